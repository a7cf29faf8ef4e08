"""A person's decisions and whole runs, against the simulator; and what doctor asks of a ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from core_helpers import (
    Shelf,
    make_spec,
    resolve_again,
    resolve_failed,
    resolve_submitted,
    retry,
)
from integration.ledger.helpers import by_hand, put
from support import Bench

from batcher.jobs import Status
from batcher.ledger import LedgerWriter, decisions
from batcher.ledger.decisions import Decided
from batcher.ledger.queries import health
from batcher.ledger.store import schema
from batcher.simulator.faults import parse_all

VERSIONS = tuple(name for name, _ in schema.MIGRATIONS)


# Whole runs, against the simulator

MANIFEST = """
campaign: spring
model: grok-imagine-video
prompts: [A boat on a lake]
limits: {submit: 100/second, requests: 1000/second}
polling: {first: 1s, every: 1s, max: 2s}
"""
REFUSED: dict[str, object] = {"on": "create", "do": "status", "status": 400, "code": "validation_failed", "nth": 2}


def decide(bench: Bench, act: Callable[[LedgerWriter, Any], Decided]) -> Decided:
    """In a connection of its own, as another process does it."""
    with closing(decisions.open_ledger(bench.ledger_path, bench.clock)) as ledger:
        [job] = decisions.select(ledger.read)
        return act(ledger, job.id)


def money(bench: Bench) -> tuple[int, int]:
    with bench.reader() as read:
        found = read.spent()
    with closing(sqlite3.connect(bench.ledger_path)) as connection:
        assert (found.held, found.settled) == connection.execute(
            "SELECT sum(iif(final_credits IS NULL, coalesce(reserved_credits, quoted_credits), 0)),"
            " sum(coalesce(final_credits, 0)) FROM attempts"
        ).fetchone()
    return found.held, found.settled


def test_a_failed_job_is_bought_once_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.switches.fail_prompt = "boat"
    path = bench.write(MANIFEST)
    bench.run(path)
    bench.run(path)
    assert len(bench.world.oracle().tasks) == 1, "a failed job is not sent again by itself"
    bench.switches.fail_prompt = ""
    decide(bench, retry)
    bench.run(path)
    bench.run(path)
    assert [job["status"] for job in bench.jobs()] == ["succeeded"]
    assert len(bench.world.oracle().tasks) == 2
    assert money(bench) == (0, 10)
    bench.check()


def test_a_doubtful_job_that_was_never_received_is_bought_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.app.faults.replace(parse_all([{"on": "create", "do": "lost_before", "nth": 1}, REFUSED]))
    path = bench.write(MANIFEST)
    bench.run(path)
    assert [job["status"] for job in bench.jobs()] == ["doubtful"]
    bench.run(path)
    assert (len(bench.world.oracle().tasks), money(bench)) == (0, (10, 0))
    decide(bench, resolve_again)
    assert money(bench) == (0, 0)
    bench.run(path)
    assert [(job["status"], job["attempt"]) for job in bench.jobs()] == [("succeeded", 2)]
    assert money(bench) == (0, 10)
    bench.check()


def test_a_doubtful_job_that_the_api_has_is_polled_and_fetched(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.app.faults.replace(parse_all([{"on": "create", "do": "lost", "nth": 1}, REFUSED]))
    path = bench.write(MANIFEST)
    bench.run(path)
    [task] = bench.world.oracle().tasks
    decide(bench, lambda ledger, job: resolve_submitted(ledger, job, task))
    assert money(bench) == (10, 0)
    bench.run(path)
    assert [(job["status"], job["attempt"], job["task_id"]) for job in bench.jobs()] == [("succeeded", 1, task)]
    assert money(bench) == (0, 10)
    bench.check()


def test_a_task_that_is_not_there_after_all_is_doubtful_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.app.faults.replace(parse_all([{"on": "create", "do": "lost_before", "nth": 1}, REFUSED]))
    path = bench.write(MANIFEST)
    bench.run(path)
    decide(bench, lambda ledger, job: resolve_submitted(ledger, job, "task_nobody_knows"))
    bench.run(path)
    assert [job["status"] for job in bench.jobs()] == ["doubtful"]
    assert money(bench) == (10, 0)
    decide(bench, resolve_failed)
    bench.run(path)
    assert [job["status"] for job in bench.jobs()] == ["failed"]
    assert (len(bench.world.oracle().tasks), money(bench)) == (0, (0, 0))


# Soundness


def test_a_sound_ledger(shelf: Shelf) -> None:
    shelf.name_price()
    for number, each in enumerate(Status, 1):
        put(shelf, each, number)
    found = health.look(shelf.path, now=shelf.clock.wall())
    held, settled = by_hand(shelf)
    assert found == health.Health(VERSIONS, older=False, held=held, settled=settled, open=4)
    assert health.look(shelf.path, now=shelf.clock.wall() - 10).ahead == "2027-01-15T08:00:00.000000Z"


def test_sums_and_holds_that_somebody_has_edited(shelf: Shelf) -> None:
    put(shelf, Status.FAILED)
    put(shelf, Status.QUEUED, 2)
    [spent] = shelf.rows("SELECT * FROM spent")
    shelf.edit("UPDATE spent SET held = held + 1")
    found = health.look(shelf.path, now=shelf.clock.wall())
    assert found.wrong_sums == (f"run {spent['run_id']}, spring, {spent['day']}",)
    shelf.edit("DELETE FROM spent")
    assert health.look(shelf.path, now=shelf.clock.wall()).wrong_sums == found.wrong_sums
    shelf.edit("UPDATE wanted SET status = 'failed'")
    assert health.look(shelf.path, now=shelf.clock.wall()).leaks == 1


def test_an_older_and_a_damaged_ledger(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.enrol([make_spec(n) for n in range(500)])
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("version_2", "SELECT 1;")))
    assert health.look(shelf.path, now=0) == health.Health(VERSIONS, older=True)
    monkeypatch.undo()
    shelf.ledger.close()
    whole = shelf.path.read_bytes()
    leaf = max(at for at in range(0, len(whole), 4096) if whole[at] == 0x0D)  # a page of some table's rows
    shelf.path.write_bytes(whole[: leaf + 8] + b"\x55" * 4088 + whole[leaf + 4096 :])
    assert health.look(shelf.path, now=0).damage
    shelf.path.write_bytes(whole)
    shelf.ledger = LedgerWriter.open(shelf.path, shelf.clock)


def test_versions_of_sqlite() -> None:
    assert health.sqlite_is_new_enough()
    assert health.sqlite_version() == sqlite3.sqlite_version


def test_part_files_that_nobody_goes_on_with(shelf: Shelf) -> None:
    put(shelf, Status.SUCCEEDED)
    put(shelf, Status.SUCCEEDED, 2)
    put(shelf, Status.QUEUED, 3)
    shelf.edit("UPDATE files SET saved_at = NULL WHERE attempt_id = 1")
    names = {"going": (1, 0), "no such file": (1, 1), "saved": (2, 0), "queued": (3, 0), "unknown": (99, 0)}
    assert health.parts(shelf.ledger.read, names) == ["no such file", "saved", "queued", "unknown"]
