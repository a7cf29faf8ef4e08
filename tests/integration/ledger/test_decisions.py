"""Retry, cancel, resolve: each legal case and each that is not, in one transaction, with sums that add up."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from core_helpers import (
    ManualClock,
    Shelf,
    cancel,
    job_name,
    make_spec,
    make_task,
    resolve_again,
    resolve_failed,
    resolve_submitted,
    retry,
)
from integration.ledger.helpers import JOB, by_hand, put, wanted

from batcher.errors import StorageError, UsageError
from batcher.jobs import Intent, Status
from batcher.ledger import Enrolled, NotAdmitted, Stale, decisions
from batcher.ledger.decisions import Cancel, Closed, Decided, Decision, Left, Retry, Submitted, weigh
from batcher.ledger.queries.selectors import Condition, own
from batcher.ledger.store import schema


def events(shelf: Shelf, number: int = JOB) -> list[tuple[str, dict[str, Any]]]:
    found = shelf.rows("SELECT event, detail FROM events WHERE job_id = ? ORDER BY id", job_name(number))
    return [(row["event"], json.loads(row["detail"])) for row in found]


def status(shelf: Shelf, number: int = JOB) -> str:
    return str(shelf.job(number)["status"])


EVERY = frozenset({Status.FAILED, Status.SUCCEEDED, Status.CANCELLED})
LEGAL: list[tuple[Decision, Status, Status]] = [
    (Retry(), Status.FAILED, Status.PLANNED),
    (Retry(EVERY), Status.SUCCEEDED, Status.PLANNED),
    (Retry(EVERY), Status.CANCELLED, Status.PLANNED),
    (Cancel(), Status.PLANNED, Status.CANCELLED),
    (Submitted("task_9"), Status.DOUBTFUL, Status.QUEUED),
    (Closed(), Status.DOUBTFUL, Status.FAILED),
    (Closed(again=True), Status.DOUBTFUL, Status.PLANNED),
]


def dump(ledger: Path) -> list[str]:
    with closing(sqlite3.connect(ledger)) as connection:
        return list(connection.iterdump())


@pytest.mark.parametrize("old", Status)
@pytest.mark.parametrize(
    "decision",
    [Retry(), Retry(EVERY), Retry(EVERY, alone=True), Cancel(), Submitted("task_9"), Closed(), Closed(3, again=True)],
    ids=["retry", "retry every", "retry alone", "cancel", "submitted", "failed", "again"],
)
def test_every_decision_in_every_status(shelf: Shelf, decision: Decision, old: Status) -> None:
    """What is not in the table of legal cases is refused with a reason, and changes nothing at all."""
    put(shelf, old)
    news = {
        new for known, from_, new in LEGAL if type(known) is type(decision) and from_ is old and allows(decision, old)
    }
    before = dump(shelf.path)
    case = decisions.review_of(shelf.ledger.read, job_name(JOB))
    judged = weigh(shelf.ledger.read, decision, case)
    [found] = decisions.decide(shelf.ledger, decision, [job_name(JOB)])
    assert found.job == case
    if not news:
        assert isinstance(found, Left)
        assert found == judged
        assert str(old) in found.why
        assert found.settled is ((type(decision), old) in {(Retry, Status.PLANNED), (Cancel, Status.CANCELLED)})
        assert dump(shelf.path) == before
    else:
        assert isinstance(found, Decided)
        assert judged is None
        assert found.status in news
        assert status(shelf) == str(found.status)
        assert events(shelf)[-1][1] | {"from": str(old), "to": str(found.status)} == events(shelf)[-1][1]
    by_hand(shelf)


def allows(decision: Decision, old: Status) -> bool:
    return not isinstance(decision, Retry) or old in decision.statuses


# Retry


def test_a_retry_buys_exactly_one_more_attempt_with_another_key(shelf: Shelf) -> None:
    put(shelf, Status.FAILED)
    [first] = shelf.attempts(JOB)
    decided = retry(shelf.ledger, job_name(JOB))
    assert (decided.job.status, decided.status, decided.charged) == (Status.FAILED, Status.PLANNED, None)
    assert events(shelf)[-1] == ("retried", {"from": "failed", "to": "planned"})
    assert shelf.attempts(JOB) == [first], "settled as it was"
    shelf.restart()
    shelf.enrol(wanted(shelf))
    shelf.buy(JOB)
    with pytest.raises(Stale):
        shelf.intend(JOB)
    old, new = shelf.attempts(JOB)
    assert old == first
    assert (new["number"], new["final_credits"]) == (2, None)
    assert new["idempotency_key"] != old["idempotency_key"]
    assert new["client_request_id"] != old["client_request_id"]
    assert by_hand(shelf) == (10, 0)


def test_a_retry_of_a_success_leaves_its_bill(shelf: Shelf) -> None:
    put(shelf, Status.SUCCEEDED)
    with pytest.raises(UsageError, match="add --status succeeded"):
        retry(shelf.ledger, job_name(JOB))
    retry(shelf.ledger, job_name(JOB), [Status.SUCCEEDED])
    assert by_hand(shelf) == (0, 10)
    shelf.buy(JOB)
    assert by_hand(shelf) == (10, 10)


def test_a_result_that_a_run_may_be_fetching_is_not_bought_again(shelf: Shelf) -> None:
    put(shelf, Status.SUCCEEDED)
    shelf.edit("UPDATE files SET saved_at = NULL")
    with pytest.raises(UsageError, match="its file is not fetched yet, and a run is going"):
        retry(shelf.ledger, job_name(JOB), EVERY)
    [found] = decisions.decide(shelf.ledger, Retry(EVERY, alone=True), [job_name(JOB)])
    assert isinstance(found, Decided)
    assert shelf.ledger.read.unsaved("spring") == [], "the next run buys it, and does not fetch the old one"


def test_a_retry_of_what_the_manifest_has_dropped_lasts_until_the_next_run(shelf: Shelf) -> None:
    put(shelf, Status.FAILED)
    shelf.enrol([])
    retry(shelf.ledger, job_name(JOB))
    assert shelf.ledger.enrol("spring", "m", []) == Enrolled(0, 0, 1)
    assert (status(shelf), shelf.job(JOB)["error_code"]) == ("cancelled", "not_in_manifest")
    retry(shelf.ledger, job_name(JOB), [Status.CANCELLED])
    assert shelf.ledger.enrol("spring", "m", [make_spec(JOB)]) == Enrolled(0, 0, 0)
    assert status(shelf) == "planned"


# Cancel


def test_a_cancelled_job_stays_so_until_a_retry(shelf: Shelf) -> None:
    put(shelf, Status.CANCELLED)
    assert events(shelf)[-1] == ("cancelled", {"from": "planned", "to": "cancelled", "code": "cancelled"})
    assert shelf.ledger.enrol("spring", "m", [make_spec(JOB)]) == Enrolled(0, 0, 0)
    assert shelf.ledger.enrol("spring", "m", []) == Enrolled(0, 0, 0)
    assert shelf.ledger.enrol("spring", "m", [make_spec(JOB)]) == Enrolled(0, 0, 0)
    assert (status(shelf), shelf.job(JOB)["error_code"]) == ("cancelled", "cancelled")
    with pytest.raises(Stale):
        shelf.intend(JOB)
    retry(shelf.ledger, job_name(JOB), [Status.CANCELLED])
    assert (status(shelf), shelf.job(JOB)["error_code"]) == ("planned", None)
    shelf.buy(JOB)


def test_cancelling_what_the_manifest_has_dropped_keeps_it_from_coming_back(shelf: Shelf) -> None:
    put(shelf, Status.PLANNED)
    shelf.enrol([])
    decided = cancel(shelf.ledger, job_name(JOB))
    assert (decided.job.code, decided.status) == ("not_in_manifest", Status.CANCELLED)
    assert events(shelf)[-1] == ("cancelled", {"from": "cancelled", "to": "cancelled", "code": "cancelled"})
    assert shelf.ledger.enrol("spring", "m", [make_spec(JOB)]) == Enrolled(0, 0, 0)
    assert status(shelf) == "cancelled"
    with pytest.raises(UsageError, match="cancelled already"):
        cancel(shelf.ledger, job_name(JOB))


# Resolve


@pytest.mark.parametrize("charged", [0, 4, 25])
@pytest.mark.parametrize("again", [False, True])
def test_a_doubtful_attempt_is_settled_once(shelf: Shelf, charged: int, again: bool) -> None:
    put(shelf, Status.DOUBTFUL)
    put(shelf, Status.FAILED, 2)
    assert by_hand(shelf) == (10, 0)
    resolve = resolve_again if again else resolve_failed
    decided = resolve(shelf.ledger, job_name(JOB), charged)
    assert (decided.job.hold, decided.charged) == (10, charged)
    assert by_hand(shelf) == (0, charged)
    [attempt] = shelf.attempts(JOB)
    assert (attempt["outcome"], attempt["final_credits"], attempt["error_code"]) == (
        "resolved",
        charged,
        "validation_failed",
    )
    assert attempt["finished_at"]
    new = "planned" if again else "failed"
    detail = {"from": "doubtful", "to": new, "as": "again" if again else "failed", "charged": charged, "hold": 10}
    assert events(shelf)[-1] == ("resolved", detail)
    for other in (resolve_again, resolve_failed):
        with pytest.raises(UsageError, match=f"it is {new}, not doubtful"):
            other(shelf.ledger, job_name(JOB))
    assert by_hand(shelf) == (0, charged)
    if again:
        shelf.buy(JOB)
        keys = {row["idempotency_key"] for row in shelf.attempts(JOB)}
        assert len(keys) == 2
        assert by_hand(shelf) == (10, charged)


def test_a_freed_hold_makes_room_under_a_cap(shelf: Shelf) -> None:
    put(shelf, Status.DOUBTFUL)
    put(shelf, Status.PLANNED, 2)
    assert isinstance(shelf.intend(2, campaigns={"spring": 10}), NotAdmitted)
    resolve_failed(shelf.ledger, job_name(JOB))
    assert isinstance(shelf.intend(2, campaigns={"spring": 10}), Intent)


def test_a_charge_that_a_person_knows_of_counts_over_a_cap(shelf: Shelf) -> None:
    put(shelf, Status.DOUBTFUL)
    put(shelf, Status.PLANNED, 2)
    resolve_failed(shelf.ledger, job_name(JOB), 90)
    refusal = shelf.intend(2, campaigns={"spring": 50})
    assert isinstance(refusal, NotAdmitted)
    assert "90 held or settled" in refusal.message


def test_submitted_keeps_the_hold_until_the_task_ends(shelf: Shelf) -> None:
    put(shelf, Status.DOUBTFUL)
    resolve_submitted(shelf.ledger, job_name(JOB), "task_9")
    assert by_hand(shelf) == (10, 0)
    [attempt] = shelf.attempts(JOB)
    assert (attempt["task_id"], attempt["outcome"], attempt["error_code"]) == ("task_9", None, None)
    assert events(shelf)[-1][1] == {"from": "doubtful", "to": "queued", "as": "submitted", "task_id": "task_9"}
    assert shelf.ledger.read.unsettled("spring") == [(job_name(JOB), Status.QUEUED)]
    done = make_task(9, Status.SUCCEEDED, reserved_credits=12, final_credits=12, urls=("https://x/9",))
    shelf.ledger.record(attempt["id"], done)
    assert by_hand(shelf) == (0, 12)
    assert status(shelf) == "succeeded"


def test_another_task_id_takes_the_place_of_a_wrong_one(shelf: Shelf) -> None:
    put(shelf, Status.QUEUED)
    [attempt] = shelf.attempts(JOB)
    shelf.ledger.doubt(attempt["id"], "not_found", "the API does not know the task")
    resolve_submitted(shelf.ledger, job_name(JOB), "task_9")
    assert shelf.job(JOB)["task_id"] == "task_9"
    shelf.ledger.doubt(attempt["id"], "not_found", "nor this one")
    resolve_submitted(shelf.ledger, job_name(JOB), "task_9")
    assert status(shelf) == "queued"


def test_a_task_is_one_job(shelf: Shelf) -> None:
    put(shelf, Status.DOUBTFUL)
    put(shelf, Status.QUEUED, 2)
    with pytest.raises(UsageError, match="task task_2 is that of an attempt of job 000000000000"):
        resolve_submitted(shelf.ledger, job_name(JOB), "task_2")
    assert status(shelf) == "doubtful"


@pytest.mark.parametrize("task", ["", "two words", "a\nb", "ä", "x" * 201])
def test_what_cannot_be_a_task_id(shelf: Shelf, task: str) -> None:
    put(shelf, Status.DOUBTFUL)
    with pytest.raises(UsageError, match="cannot be the id of a task"):
        resolve_submitted(shelf.ledger, job_name(JOB), task)


def test_a_late_answer_after_a_decision_changes_no_sum(shelf: Shelf) -> None:
    put(shelf, Status.DOUBTFUL)
    [attempt] = shelf.attempts(JOB)
    resolve_failed(shelf.ledger, job_name(JOB), 3)
    with pytest.raises(Stale):
        shelf.ledger.record(attempt["id"], make_task(7, Status.SUCCEEDED, final_credits=10))
    assert by_hand(shelf) == (0, 3)
    assert shelf.job(JOB)["task_id"] == "task_7", "but what the API said is kept"


def test_a_doubtful_row_without_an_attempt_is_not_decided_about(shelf: Shelf) -> None:
    put(shelf, Status.PLANNED)
    shelf.edit("UPDATE wanted SET status = 'doubtful'")
    with pytest.raises(UsageError, match="nothing to decide"):
        resolve_failed(shelf.ledger, job_name(JOB))


# Finding


def test_selecting(shelf: Shelf) -> None:
    shelf.name_price()
    for number, each in enumerate(Status, 1):
        put(shelf, each, number)
    read = shelf.ledger.read

    def numbers(**chosen: Any) -> list[int]:
        return [int(case.id, 16) for case in decisions.select(read, **chosen)]

    assert numbers() == [0xF001, *range(1, 9)]
    assert numbers(campaign="spring") == list(range(1, 9))
    assert numbers(statuses=[Status.DOUBTFUL, Status.FAILED]) == [0xF001, 6, 7]
    assert numbers(campaign="spring", statuses=[Status.DOUBTFUL]) == [7]
    assert numbers(campaign="autumn") == []
    assert numbers(conditions=[Condition(own("error_code"), "validation_failed")]) == [7]
    assert numbers(conditions=[Condition(own("error_code"), "cancelled")]) == [8]
    assert decisions.has_campaign(read, "spring")
    assert not decisions.has_campaign(read, "spr")
    [case] = decisions.select(read, conditions=[Condition(own("error_code"), "validation_failed")])
    assert (case.short, case.reason, case.hold) == ("000000000000", "validation_failed: no", 10)
    held = {case.status for case in decisions.select(read, campaign="spring") if case.hold}
    assert held == {Status.SUBMITTING, Status.QUEUED, Status.PROCESSING, Status.DOUBTFUL}, (
        "what is settled holds nothing"
    )
    with pytest.raises(UsageError, match="there is no job"):
        decisions.review_of(read, job_name(99))


def test_a_thousand_jobs_are_decided_about_while_they_are_listed(shelf: Shelf) -> None:
    shelf.enrol([make_spec(n) for n in range(1001)])
    chosen = decisions.select(shelf.ledger.read, campaign="spring", statuses=[Status.PLANNED])
    found = list(decisions.decide(shelf.ledger, Cancel(), (case.id for case in chosen)))
    assert len(found) == 1001
    assert {type(each) for each in found} == {Decided}
    assert shelf.ledger.read.counts() == {"spring": {"cancelled": 1001}}


# Beside a run


def test_a_decision_and_a_run_never_both_win(shelf: Shelf) -> None:
    """The run has read a planned job; a person in another process cancels it; the intent is refused, and leaves no
    hold."""
    put(shelf, Status.PLANNED)
    job = shelf.ledger.read.load(job_name(JOB))
    with closing(decisions.open_ledger(shelf.path, shelf.clock)) as other:
        cancel(other, job.id)
        with pytest.raises(Stale):
            shelf.intend(JOB)
        assert by_hand(shelf) == (0, 0)
        retry(other, job.id, [Status.CANCELLED])
        shelf.buy(JOB)
        with pytest.raises(UsageError, match="cannot cancel what it has"):
            cancel(other, job.id)
    run_ids = {row["run_id"] for row in shelf.rows("SELECT run_id FROM events WHERE event IN ('cancelled', 'retried')")}
    assert run_ids == {None}, "no run did that"


def test_an_older_ledger_is_not_migrated_without_the_lock(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("version_2", "CREATE TABLE more (x TEXT) STRICT;")))
    with pytest.raises(StorageError, match="older version") as caught:
        decisions.open_ledger(shelf.path, shelf.clock)
    assert "batcher run" in caught.value.hint
    assert list(shelf.path.parent.glob("*before*")) == []
    assert shelf.rows("SELECT name FROM sqlite_master WHERE name = 'more'") == []


def test_no_ledger_is_made_for_a_decision(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no ledger"):
        decisions.open_ledger(tmp_path / "ledger.db", ManualClock())
    assert list(tmp_path.iterdir()) == []
