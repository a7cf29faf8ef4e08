"""`claim`: what a support desk asks for, and nothing that it must not have."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cli.helpers import MANIFEST, Cli, Site, environment, site
from support import KEY


@pytest.fixture
def place(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "m.yaml").write_text(MANIFEST + "budget: {campaign: 35}\n")
    with site(fail_prompt="watch on") as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        assert cli("run", "m.yaml").code == 1
        yield place


def rows(sql: str, *values: object) -> list[sqlite3.Row]:
    with closing(sqlite3.connect("state/ledger.db")) as ledger:
        ledger.row_factory = sqlite3.Row
        found = ledger.execute(sql, values).fetchall()
        ledger.commit()
        return found


def test_what_was_bought_is_told_whole(cli: Cli, place: Site) -> None:
    [bought] = rows(
        "SELECT * FROM attempts AS a JOIN jobs AS j ON j.id = a.job_id WHERE j.status = 'succeeded' LIMIT 1"
    )
    ran = cli("claim", bought["job_id"][:12])
    assert ran.code == 0
    for name in ("job_id", "idempotency_key", "client_request_id", "task_id", "intended_at", "result_sha256"):
        assert bought[name] in ran.out, name
    assert "final_credits: 10\n" in ran.out
    body = next(line for line in ran.out.splitlines() if line.startswith("  body: "))
    assert json.loads(body.removeprefix("  body: ")) == json.loads(bought["body"]), "the body, as it was sent"


def test_what_failed_is_told_in_the_words_of_the_api(cli: Cli, place: Site) -> None:
    [failed] = rows("SELECT id, error_code, error_message FROM jobs WHERE status = 'failed'")
    found = json.loads(cli("claim", failed["id"], "--json").out)
    [purchase] = found["claims"][0]["purchases"]
    assert (purchase["error_code"], purchase["error_message"]) == (failed["error_code"], failed["error_message"])
    assert [answer["code"] for answer in purchase["answers"]] == [failed["error_code"]]


def test_what_nobody_else_may_have_is_left_out(cli: Cli, place: Site, tmp_path: Path) -> None:
    """No key, no path, no query of a URL wherever that stands."""
    signed = "http://cdn.test/film.mp4?signature=private#part"
    rows("UPDATE attempts SET result_urls = json_array(?), error_message = 'no answer from ' || ?", signed, signed)
    rows("UPDATE attempts SET body = CAST(json_set(CAST(body AS TEXT), '$.params.image', ?) AS BLOB)", signed)
    words = [row["id"] for row in rows("SELECT id FROM jobs WHERE attempt")]
    for out in (cli("claim", *words).out, cli("claim", *words, "--json").out):
        assert out.count("http://cdn.test/film.mp4?") == 3 * len(words)
        for secret in ("signature", "private", KEY, str(tmp_path), "state/", "results/"):
            assert secret not in out.replace("results:", ""), secret


def test_a_job_of_which_nothing_was_bought(cli: Cli, place: Site) -> None:
    Path("m.yaml").write_text(MANIFEST.replace("tiny", "next"))
    cli("run", "m.yaml", "--limit", "0")
    [planned, *_] = rows("SELECT id FROM jobs WHERE status = 'planned'")
    assert cli("claim", planned["id"]).out.endswith("Nothing was bought.\n\n")
