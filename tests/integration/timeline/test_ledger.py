"""What the post-mortem asks of the ledger, where the helpers' night does not tell it apart."""

from __future__ import annotations

import pytest
from core_helpers import Shelf, cancel, job_name, make_spec, make_task, resolve_failed, retry

from batcher.clock import iso
from batcher.events import Event
from batcher.jobs import Status
from batcher.ledger import Stale
from batcher.ledger.queries import timeline
from batcher.ledger.queries.spend import Scope
from batcher.report.question import ask
from batcher.report.timeline import make_timeline

EVER = Scope(None, None, ())


def fail(shelf: Shelf, number: int, code: str = "bad") -> None:
    shelf.clock.now += 10
    intent = shelf.buy(number)
    said = {"error_code": code, "error_message": f"no {number}", "task_id": f"task_{intent.attempt_id}"}
    done = make_task(number, Status.FAILED, reserved_credits=10, final_credits=0, **said)
    shelf.ledger.submitted(intent, done)


def test_many_of_a_kind_are_summed_up_by_minute(shelf: Shelf) -> None:
    shelf.enrol(make_spec(n) for n in range(1, 61))
    for number in range(1, 61):
        fail(shelf, number, "odd" if number == 30 else "bad")
    found = list(timeline.batches(shelf.ledger.read, EVER))
    assert sum(batch.events for batch in found if batch.code == "bad") == 59
    assert [batch.job_id for batch in found if batch.code == "odd"] == [job_name(30)]
    assert len(found) <= 600 / 60 + 2
    assert [batch.id for batch in found] == sorted(batch.id for batch in found)
    assert found[-1].job_id == job_name(60)
    assert found[-1].message == "no 60"
    assert [(b.first, b.last) for b in found if b.code == "odd"] == [(iso(shelf.clock.now - 300),) * 2]


def test_a_trouble_is_open_until_it_is_mended(shelf: Shelf) -> None:
    shelf.enrol(make_spec(n) for n in range(1, 4))
    for number in range(1, 4):
        fail(shelf, number)
    retry(shelf.ledger, job_name(1))
    retry(shelf.ledger, job_name(2))
    fail(shelf, 2, "worse")
    found = {trouble.code: trouble for trouble in timeline.troubles(shelf.ledger.read, EVER)}
    assert (found["bad"].count, found["bad"].open, found["bad"].job_id) == (3, 1, job_name(3))
    assert (found["worse"].count, found["worse"].open, found["worse"].message) == (1, 1, "no 2")
    assert list(found) == ["bad", "worse"]


def test_troubles_by_kind(shelf: Shelf) -> None:
    shelf.enrol(make_spec(n) for n in range(1, 7))
    shelf.name_price()
    shelf.ledger.refused(shelf.buy(1), "bad", "no")
    shelf.ledger.unsent(shelf.buy(2), "no_key", "none")
    shelf.ledger.cannot_send(job_name(3), "reference_changed", "other bytes")
    lost = shelf.buy(4)
    shelf.ledger.maybe_received(lost, "cut", "it broke: off")
    given_up = shelf.buy(5)
    shelf.ledger.maybe_received(given_up, "given_up", "given up before the API answered")
    shelf.ledger.refused(given_up, "bad", "again")
    found = {(t.kind, t.code): (t.count, t.open, t.message) for t in timeline.troubles(shelf.ledger.read, EVER)}
    assert found == {
        ("failed", None): (1, 1, None),  # the job that named the price
        ("refused", "bad"): (1, 1, "no"),
        ("unsent", "no_key"): (1, 1, "none"),
        ("reference", "reference_changed"): (1, 1, "other bytes"),
        ("unanswered", "cut"): (1, 1, "it broke: off"),
        ("unanswered", "given_up"): (1, 0, "given up before the API answered"),
        ("doubtful", "bad"): (1, 1, "again"),
    }


def test_what_the_api_says_of_money_and_of_others_is_told(shelf: Shelf) -> None:
    shelf.enrol(make_spec(n) for n in range(1, 6))
    shelf.name_price()
    priced, unpriced, decided, other, still = (shelf.buy(n) for n in range(1, 6))
    shelf.ledger.submitted(priced, make_task(1, Status.SUCCEEDED, final_credits=10))
    shelf.ledger.record(priced.attempt_id, make_task(1, Status.SUCCEEDED, final_credits=25))
    shelf.ledger.submitted(unpriced, make_task(2, Status.SUCCEEDED, final_credits=0))
    shelf.ledger.final_unknown(unpriced.attempt_id)
    shelf.ledger.doubt(decided.attempt_id, "conflict", "it lasts")
    resolve_failed(shelf.ledger, decided.job_id, charged=7)
    with pytest.raises(Stale):
        shelf.ledger.record(decided.attempt_id, make_task(3, Status.SUCCEEDED, final_credits=10))
    shelf.ledger.submitted(other, make_task(4, model="another-model"))
    shelf.ledger.submitted(still, make_task(5, Status.PROCESSING, word="warming"))
    found = {batch.kind: (batch.events, batch.message) for batch in timeline.batches(shelf.ledger.read, EVER)}
    assert (
        found.items()
        >= {
            "price_rose": (1, "25 instead of 10"),
            "final_changed": (1, "25 instead of 10"),
            "holds_raised": (1, "4 open, 25 each now"),
            "final_unknown": (1, "25"),
            "final_ignored": (1, "10 instead of 7"),
            "model_differs": (1, "another-model instead of grok-imagine-video"),
            "unknown_state": (1, "warming"),
        }.items()
    )


def test_files_that_are_not_there_yet(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    assert timeline.without_file(shelf.ledger.read, EVER) is None
    done = make_task(
        1, Status.SUCCEEDED, reserved_credits=10, final_credits=10, urls=("https://x.test/a", "https://x.test/b")
    )
    shelf.ledger.submitted(shelf.buy(1), done)
    found = timeline.without_file(shelf.ledger.read, EVER)
    assert found is not None
    assert (found.count, found.job_id) == (1, job_name(1))
    assert timeline.without_file(shelf.ledger.read, Scope(iso(shelf.clock.now + 1), None, ())) is None


def test_a_task_that_is_still_waited_for_is_among_the_slowest(shelf: Shelf) -> None:
    shelf.enrol(make_spec(n) for n in range(1, 3))
    shelf.ledger.submitted(shelf.buy(1), make_task(1))
    shelf.clock.now += 100
    second = shelf.buy(2)
    shelf.ledger.submitted(second, make_task(2))
    shelf.clock.now += 50
    shelf.ledger.record(second.attempt_id, make_task(2, Status.SUCCEEDED, final_credits=10))
    shelf.clock.now += 1000
    first, other = timeline.slowest(shelf.ledger.read, EVER, now=iso(shelf.clock.now), count=5)
    assert (first.seconds, first.open, first.job_id) == (1150, True, job_name(1))
    assert (other.seconds, other.open, other.name) == (50, False, "prompt-2")


def test_gaps_are_of_one_run_and_longer_than_asked(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    shelf.clock.now += 600
    shelf.ledger.note(Event.HALTED, kind="key", reason="x")
    shelf.clock.now += 601
    shelf.ledger.note(Event.HALTED, kind="key", reason="y")
    shelf.clock.now += 5000
    shelf.restart()
    [gap] = timeline.gaps(shelf.ledger.read, EVER, longer=600)
    assert (gap.run_id, gap.seconds) == (1, 601)
    assert gap.until == iso(shelf.clock.now - 5000)


def test_a_run_without_an_end_has_a_last_sign_of_life(shelf: Shelf) -> None:
    shelf.clock.now += 77
    shelf.ledger.note(Event.HALTED, kind="key", reason="x")
    shelf.clock.now += 1000
    shelf.restart()
    first, second = timeline.runs(shelf.ledger.read, EVER)
    assert (first.state, first.until) == ("killed", iso(shelf.clock.now - 1000))
    assert second.traces.first == second.traces.last == first.traces.last + 1
    late = Scope(iso(shelf.clock.now - 999), None, ())
    assert [run.id for run in timeline.runs(shelf.ledger.read, late)] == [2]
    assert [run.id for run in timeline.runs(shelf.ledger.read, Scope(None, first.since, ()))] == []
    assert timeline.runs(shelf.ledger.read, Scope(None, None, ("autumn",))) == []


def causes(shelf: Shelf) -> list[tuple[str, str | None, int, int, str | None]]:
    now = shelf.clock.now + 1
    found = make_timeline(shelf.ledger.read, ask(shelf.ledger.read, now=now), now=now, running=False)
    return [(each.kind, each.code, each.count, each.open, each.message) for each in found.causes]


def test_a_cap_is_a_trouble_only_if_it_ended_the_run(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    shelf.ledger.note(Event.CAP_REACHED, cap="campaign", message="no room")
    shelf.ledger.end_run(exit_code=0, reason="done")
    assert causes(shelf) == []
    shelf.start()
    shelf.ledger.note(Event.CAP_REACHED, cap="until", message="too late")
    shelf.ledger.end_run(exit_code=3, reason="the time of --until has come")
    assert causes(shelf) == []
    for _ in range(2):
        shelf.start()
        shelf.ledger.note(Event.CAP_REACHED, cap="day", message="no room today")
        shelf.ledger.end_run(exit_code=3, reason="no room left under: day")
    assert causes(shelf) == [("cap", "day", 2, 1, "no room today")]


def test_runs_that_ended_badly_are_causes_while_something_is_left(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    shelf.ledger.end_run(exit_code=3, reason="no room left under: keep")  # by a version that noted no caps
    shelf.start()
    shelf.ledger.end_run(exit_code=7, reason="StorageError: full")
    shelf.start()
    shelf.ledger.note(Event.HALTED, kind="capped", reason="10 jobs failed in a row (stop.failures_in_a_row)")
    shelf.ledger.end_run(exit_code=3, reason="10 jobs failed in a row (stop.failures_in_a_row)")
    shelf.start()
    expected = {
        "cap": (None, 1, 0, "no room left under: keep"),
        "storage": (None, 1, 0, "StorageError: full"),
        "stop": (None, 1, 0, "10 jobs failed in a row (stop.failures_in_a_row)"),
        "killed": (None, 1, 1, None),
    }
    assert {kind: rest for kind, *rest in causes(shelf)} == {kind: list(rest) for kind, rest in expected.items()}
    cancel(shelf.ledger, job_name(1))
    assert all(not still for _, _, _, still, _ in causes(shelf))
