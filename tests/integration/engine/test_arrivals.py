"""Jobs come into the ledger while the first are bought: what is bought, in which order, and how it ends meanwhile."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import done, faults, manifest, seen, statuses
from support import PIXEL, Bench

from batcher.errors import Kind
from batcher.settings import Selection

JOBS = 12
#: So many jobs a step of an enrolment: two are there when the engine begins.
STEP = 1


@pytest.fixture(autouse=True)
def in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.ledger.store.enrolment.BATCH", STEP)
    monkeypatch.setattr("batcher.engine.arrivals.PAUSE_SECONDS", 0.1)  # virtual ones


def boats(bench: Bench, name: str = "spring", more: str = "") -> Path:
    """Jobs of two price classes, the dear ones first."""
    lines = "".join(
        f"  - {{name: {name}{n}, prompt: Boat {n}, params: {{duration: {10 if n < 6 else 6}}}}}\n" for n in range(JOBS)
    )
    text = f"campaign: {name}\nmodel: grok-imagine-video\nprompts:\n{lines}"
    return bench.write(f"{text}limits: {{submit: 1000/second, requests: 1000/second}}\n{more}", f"{name}.yaml")


def rows(bench: Bench) -> int:
    with closing(sqlite3.connect(bench.ledger_path)) as other:
        [found] = other.execute("SELECT count(*) FROM wanted").fetchone()
        return int(found)


def bought(bench: Bench) -> list[str]:
    """The names of what was bought, in the order of the intents."""
    with bench.reader() as reader:
        return [row["name"] for row in reader.rows("SELECT name FROM jobs WHERE attempt > 0 ORDER BY submitted_at, id")]


def at_each_request(bench: Bench) -> list[int]:
    """How many jobs the ledger has when a request arrives; filled in later."""
    found: list[int] = []
    bench.api.arrived = lambda request: found.append(rows(bench))
    return found


def test_the_first_requests_wait_for_no_other_job(bench: Bench) -> None:
    known = at_each_request(bench)
    done(bench.run(boats(bench)))
    assert known[0] < known[2] < JOBS
    assert statuses(bench) == ["succeeded"] * JOBS
    with bench.reader() as reader:
        [told] = reader.rows("SELECT json_extract(detail, '$.message') AS said FROM events WHERE event = 'looked'")[:1]
    assert f"of {JOBS} jobs" in told["said"], "the wallet is held against all of the plan"
    bench.check()
    done(bench.run(boats(bench)))
    assert len(seen(bench, "create")) == JOBS, "the expansion is known as it is"


def test_where_results_lie_beside_it_all_jobs_are_looked_at_first(bench: Bench) -> None:
    done(bench.run(manifest(bench, "Boat")))
    known = at_each_request(bench)
    done(bench.run(boats(bench)))
    assert known[0] == JOBS + 1


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(fair=False), [*(f"spring{n}" for n in range(JOBS)), *(f"autumn{n}" for n in range(JOBS))]),
        (Selection(fair=False, limit=7), [f"spring{n}" for n in range(7)]),
        (Selection(only=("autumn11",)), ["autumn11"]),
    ],
)
def test_the_order_is_that_of_all_jobs(
    bench: Bench, selection: Selection, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though each job comes later than the one before is done."""
    monkeypatch.setattr("batcher.engine.arrivals.PAUSE_SECONDS", 90.0)
    more = "polling: {first: 1s, every: 1s, max: 1s}\n"
    paths = [boats(bench, name, more) for name in ("spring", "autumn")]
    for path in paths:
        path.write_text(path.read_text().replace("1000/second}", "1000/second, in_flight: 1}"))
    ending = bench.run(*paths, selection=selection)
    assert ending.kind is Kind.DONE
    assert bought(bench) == names
    assert rows(bench) == 2 * JOBS


def test_what_a_cap_leaves_out_is_as_with_all_jobs_there(bench: Bench) -> None:
    """Room for five dear ones or for more cheap ones: the first are bought, then what still fits."""
    ending = bench.run(boats(bench, more="budget: {campaign: 100}\n"))
    assert ending.kind is Kind.CAPPED
    whole = bought(bench)
    (bench.folder / "other").mkdir()
    other = Bench(bench.folder / "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batcher.ledger.store.enrolment.BATCH", 500)
        other.run(boats(other, more="budget: {campaign: 100}\n"))
    assert sorted(whole) == sorted(bought(other))
    bench.check()


def test_a_refused_key_leaves_every_job_planned(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "status", "status": 401, "code": "api_key_revoked"})
    assert bench.run(boats(bench)).kind is Kind.KEY
    assert statuses(bench) == ["planned"] * JOBS
    faults(bench)
    done(bench.run(boats(bench)))
    bench.check()


def test_a_file_that_goes_meanwhile_ends_the_buying_and_loses_nothing(bench: Bench) -> None:
    refs = bench.folder / "refs"
    refs.mkdir()
    lines = ""
    for n in range(JOBS):
        (refs / f"{n}.png").write_bytes(PIXEL)
        lines += f"  - {{prompt: Boat {n}, references: [refs/{n}.png]}}\n"
    path = bench.write(f"campaign: spring\nmodel: grok-imagine-video\nprompts:\n{lines}")
    last = refs / f"{JOBS - 1}.png"

    def lose(request: httpx.Request) -> None:
        last.write_bytes(b"no picture")

    bench.api.arrived = lose
    ending = bench.run(path)
    assert (ending.kind, ending.reason.partition(":")[0]) == (Kind.CAPPED, "manifest_changed")
    assert "11.png" in ending.reason
    assert len(bought(bench)) <= JOBS - 1
    bench.api.arrived = lambda request: None
    last.write_bytes(PIXEL)
    done(bench.run(path))
    bench.check()
    assert statuses(bench) == ["succeeded"] * JOBS
