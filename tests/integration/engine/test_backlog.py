"""Which planned job is next: manifest order over classes, long searches, classes that a cap has closed."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from integration.engine.helpers import MIXED
from integration.lifecycle.helpers import FAST, done, manifest
from support import Bench

from batcher.engine import Engine
from batcher.engine.backlog import Backlog
from batcher.errors import Kind
from batcher.jobs import Job
from batcher.ledger import Change, LedgerReader, NotAdmitted
from batcher.lifecycle import Deferred, JobRunState, Stage, Step
from batcher.settings import Selection


@pytest.fixture
def reader(bench: Bench) -> Any:
    path = bench.write(MIXED.format(more=FAST), "mixed.yaml")
    bench.run(path, selection=Selection(limit=0))
    found = LedgerReader.open(bench.ledger_path)
    yield found
    found.close()


def names(backlog: Backlog, count: int) -> list[str]:
    found = [backlog.next(lambda job: False) for _ in range(count)]
    return [job.name for job in found if job]


def test_the_feeder_keeps_manifest_order_over_classes(reader: LedgerReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.engine.backlog._PAGE", 2)
    assert names(Backlog(reader, ["mixed"], Selection()), 20) == ["long"] * 4 + ["short"] * 6
    assert names(Backlog(reader, ["mixed", "none"], Selection(only=("short",))), 20) == ["short"] * 6


def test_a_long_search_for_a_selected_job_lets_others_move(
    reader: LedgerReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batcher.engine.backlog._PAGE", 1)
    monkeypatch.setattr("batcher.engine.backlog._PAGES_AT_ONCE", 1)
    backlog = Backlog(reader, ["mixed"], Selection(only=("short",)))
    found = []
    searched = 0
    while (job := backlog.next(lambda job: False)) or backlog.searching:
        searched += job is None
        if job is not None:
            found.append((job.name, job.position))
    assert found == [("short", position) for position in range(4, 10)]
    assert searched > 4, "the four long ones are passed over one by one"


def test_a_run_whose_selected_jobs_are_far_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.engine.backlog._PAGE", 1)
    monkeypatch.setattr("batcher.engine.backlog._PAGES_AT_ONCE", 1)
    path = manifest(bench, *(f"Boat {n}" for n in range(30)))
    done(bench.run(path, selection=Selection(only=("p2", "p3", "p29"))))
    assert [job["name"] for job in bench.jobs() if job["status"] == "succeeded"] == ["p2", "p3", "p29"]
    bench.check()


def test_the_feeder_passes_over_closed_classes_and_comes_back_to_the_very_job(reader: LedgerReader) -> None:
    backlog = Backlog(reader, ["mixed"], Selection())
    first, second = backlog.next(lambda job: False), backlog.next(lambda job: False)
    assert first is not None
    assert second is not None
    refusal = NotAdmitted("run", "no", 40)
    backlog.close(second, refusal)
    backlog.close(first, refusal)
    assert backlog.closed == [refusal]
    assert names(backlog, 2) == ["short", "short"]
    asked: list[Any] = []

    def still(*what: Any) -> NotAdmitted:
        asked.append(what)
        return refusal

    backlog.reopen(still)
    assert asked == [(first,)]
    assert names(backlog, 1) == ["short"]
    backlog.reopen(lambda *what: None)
    assert backlog.closed == []
    again = backlog.next(lambda job: False)
    assert again == first


def test_a_closed_class_costs_no_query_however_many_jobs_it_has(reader: LedgerReader) -> None:
    backlog = Backlog(reader, ["mixed"], Selection())
    first = backlog.next(lambda job: False)
    assert first is not None
    backlog.close(first, NotAdmitted("run", "no", 40))
    assert names(backlog, 20) == ["short"] * 6
    count = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return []

    reader.pending = counted  # type: ignore[method-assign]
    assert names(backlog, 50) == []
    assert count == 0


def test_every_lane_has_a_heap() -> None:
    assert [stage.value for stage in Stage] == ["submit", "poll", "fetch", "price"]


@pytest.mark.parametrize(("limit", "bought"), [(None, 4), (3, 3)])
def test_a_refusal_that_arrives_when_its_cause_is_gone_holds_nothing_up(
    bench: Bench, limit: int | None, bought: int
) -> None:
    """Refused because the price had no name yet; by the time the engine hears of it, nobody else is left to look."""

    def slow_to_tell(engine: Engine) -> None:
        advance = engine._lifecycle.advance

        async def late(job: Job, state: JobRunState) -> Step:
            step = await advance(job, state)
            if isinstance(step, Deferred):
                await anyio.sleep(600)
            return step

        engine._lifecycle.advance = late  # type: ignore[method-assign]

    path = manifest(bench, *(f"Boat {n}" for n in range(4)))
    ending = bench.run(path, selection=Selection(limit=limit), engine=slow_to_tell)
    assert (ending.kind, ending.blocked) == (Kind.DONE, ())
    assert len(bench.world.oracle().tasks) == bought


def test_a_result_that_a_person_wants_again_in_the_last_instant_is_not_bought_past_the_caps(bench: Bench) -> None:
    path = manifest(bench, "Boat", more="budget: {campaign: 10}\n")

    def retry(change: Change) -> None:
        if change.event == "saved":
            bench.edit("UPDATE wanted SET status = 'planned' WHERE status = 'succeeded'")

    bench.observe = retry
    ending = bench.run(path)
    assert ending.kind is Kind.UNFINISHED
    assert ending.reason == "1 planned"
    assert len(bench.world.oracle().tasks) == 1
