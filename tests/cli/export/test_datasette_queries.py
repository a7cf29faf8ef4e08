"""The canned queries of docs/datasette.yml in the real Datasette, held against the read model and sums by hand."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.helpers import ROOT
from core_helpers import Shelf, make_spec, make_task
from support import Bench

METADATA = ROOT / "docs/datasette.yml"
QUERIES: dict[str, dict[str, str]] = yaml.safe_load(METADATA.read_text("utf-8"))["databases"]["ledger"]["queries"]

pytestmark = pytest.mark.filterwarnings("default")  # those of Datasette and what it brings


def asked(path: Path, *names: str) -> list[list[dict[str, Any]]]:
    """The rows of canned queries, from a Datasette that serves this ledger."""
    from datasette.app import Datasette

    async def ask() -> list[list[dict[str, Any]]]:
        served = Datasette([str(path)], metadata=yaml.safe_load(METADATA.read_text("utf-8")))
        await served.invoke_startup()
        answers = [await served.client.get(f"/ledger/{name}.json?_shape=array") for name in names]
        assert [answer.status_code for answer in answers] == [200] * len(names)
        return [answer.json() for answer in answers]

    return asyncio.run(ask())


def test_spend_by_day(bench: Bench) -> None:
    ((*rows,),) = asked(bench.ledger_path, "spend_by_day")
    assert len({row["day"] for row in rows}) == 2
    with bench.reader() as read:
        for row in rows:
            found = read.row(
                "SELECT sum(held), sum(settled) FROM spent WHERE day = ? AND campaign = ?",
                (row["day"], row["campaign"]),
            )
            assert found is not None
            assert (row["held"], row["settled"]) == tuple(found)
        every = read.spent()
    assert (sum(r["held"] for r in rows), sum(r["settled"] for r in rows)) == (every.held, every.settled) == (15, 60)


@pytest.mark.parametrize(("reserved", "held"), [(None, 10), (14, 14), (0, 10)])
def test_what_is_held_is_what_the_api_took(tmp_path: Path, reserved: int | None, held: int) -> None:
    shelf = Shelf(tmp_path / "ledger.db")
    shelf.enrol([make_spec(1, params={"duration": 10})])
    shelf.ledger.submitted(shelf.buy(1), make_task(1, reserved_credits=reserved, final_credits=None))
    shelf.ledger.close()
    found = asked(shelf.path, "spend_by_day", "cost_by_parameter", "campaigns")
    assert [[row["held"] for row in rows] for rows in found] == [[held]] * 3


def test_doubtful_jobs(bench: Bench) -> None:
    ((row,),) = asked(bench.ledger_path, "doubtful_jobs")
    (job,) = (job for job in bench.jobs() if job["status"] == "doubtful")
    assert (row["id"], row["name"], row["held"]) == (job["id"], "doubt", 15)
    assert (row["error_code"], row["client_request_id"]) == ("validation_error", job["client_request_id"])


def test_cost_by_parameter(bench: Bench) -> None:
    (rows,) = asked(bench.ledger_path, "cost_by_parameter")
    found = {
        (r["campaign"], r["param"], r["value"]): (r["jobs"], r["purchases"], r["settled"], r["held"], r["settled_each"])
        for r in rows
    }
    assert found == {
        ("spring", "duration", 10): (1, 1, 10, 0, 10.0),
        ("spring", "duration", "(default)"): (5, 6, 35, 15, 7.0),
        ("spring", "mode", "fun"): (3, 3, 20, 0, 6.67),
        ("spring", "mode", "(default)"): (3, 4, 25, 15, 8.33),
    }


def test_failures(bench: Bench) -> None:
    (rows,) = asked(bench.ledger_path, "failures")
    found = [(r["code"], r["outcome"], r["campaign"], r["purchases"], r["settled"]) for r in rows]
    assert found == [
        ("generation_failed", "failed", "spring", 2, 0),
        ("validation_error", "doubtful", "spring", 1, 0),
    ]


def test_campaigns(bench: Bench) -> None:
    (rows,) = asked(bench.ledger_path, "campaigns")
    with bench.reader() as read:
        for row in rows:
            statuses = read.counts()[row["campaign"]]
            assert row["jobs"] == sum(statuses.values())
            for status in ("succeeded", "failed", "doubtful", "planned"):
                assert row[status] == statuses.get(status, 0)
            money = read.spent(campaign=row["campaign"])
            assert (row["settled"], row["held"]) == (money.settled, money.held)
    assert [row["campaign"] for row in rows] == ["autumn", "spring"]


def test_what_the_page_says_to_type(bench: Bench) -> None:
    page = (ROOT / "docs/ledger.md").read_text("utf-8")
    assert "datasette state/ledger.db -m docs/datasette.yml\n" in page
    assert re.findall(r"^\| `(\w+)` \|", page.partition("## Datasette")[2], re.MULTILINE) == list(QUERIES)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "datasette", "state/ledger.db", "-m", str(METADATA)),
            *("--get", "/ledger/spend_by_day.json?_shape=array"),
        ],
        cwd=bench.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(done.stdout)] == asked(bench.ledger_path, "spend_by_day")


def test_every_query_is_asked_here() -> None:
    source = Path(__file__).read_text("utf-8")
    assert [name for name in QUERIES if f'asked(bench.ledger_path, "{name}")' not in source] == []
    assert all(query["title"] and query["description"] for query in QUERIES.values())
