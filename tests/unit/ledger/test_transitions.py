"""What an attempt becomes by an answer, without a ledger: for any attempt and any answer, the rules of money hold."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from core_helpers import make_task

from batcher.clock import Moment
from batcher.events import Event
from batcher.jobs import UNSETTLED, JobId, Status, TaskState
from batcher.ledger import transitions
from batcher.ledger.transitions import AddFiles, Effect, MoveJob, Other, RaiseHolds, Recorded, SetColumns, WriteEvent

AT = "2027-01-15T08:00:00.000000Z"
NOW = Moment(1_800_000_000.0, None, None)

BLANK: dict[str, Any] = {
    "task_id": None,
    "submitted_at": None,
    "api_status": None,
    "result_urls": "[]",
    "api_created_at": None,
    "api_updated_at": None,
    "maybe_received": 0,
}
ATTEMPTS = [
    BLANK | {"hold_credits": 10, "reserved_credits": reserved, "final_credits": final, "outcome": outcome}
    for reserved in (None, 4, 12)
    for final in (None, 0, 12)
    for outcome in (None, "succeeded", "failed", "refused", "doubtful", "resolved")
]
TASKS = [
    make_task(1, status, reserved_credits=reserved, final_credits=final)
    for status in (Status.PROCESSING, Status.SUCCEEDED, Status.FAILED)
    for reserved in (None, 4, 14)
    for final in (None, 0, 15)
]
STATUSES = [None, *Status]
ALL = list(product(ATTEMPTS, STATUSES, TASKS))


def recorded(attempt: dict[str, Any], status: Status | None, task: TaskState) -> Recorded:
    return transitions.record(attempt, status, task, intended=NOW, now=NOW, at=AT)


def after(attempt: dict[str, Any], effects: list[Effect]) -> dict[str, Any]:
    for effect in effects:
        if isinstance(effect, SetColumns):
            attempt = attempt | effect.columns
    return attempt


def test_money_after_any_answer() -> None:
    for attempt, status, task in ALL:
        found = recorded(attempt, status, task)
        now, case = after(attempt, found.effects), (attempt, status, task)
        over = task.status in (Status.SUCCEEDED, Status.FAILED)
        assert now["hold_credits"] >= attempt["hold_credits"], case
        if attempt["outcome"] is not None:
            assert now["outcome"] == attempt["outcome"], ("an attempt ends once", case)
        if attempt["final_credits"] is not None:
            named = {attempt["final_credits"], task.final_credits if over else None} - {None}
            assert now["final_credits"] in named, ("settled stays settled", case)
            if attempt["outcome"] == "resolved":
                assert now["final_credits"] == attempt["final_credits"], ("a person's figure stands", case)
        else:
            assert now["hold_credits"] >= (now["reserved_credits"] or 0), ("what the API took is held", case)
            match now["outcome"] if over else None:
                case "succeeded":
                    assert now["final_credits"] == (task.final_credits or None), ("a 0 is no price", case)
                case "failed":
                    expected = now["hold_credits"] if task.final_credits is None else task.final_credits
                    assert now["final_credits"] == expected, ("nobody promises a refund", case)
                case None if now["outcome"] in ("succeeded", "failed"):
                    pass
                case _:
                    assert now["final_credits"] is None, ("of what has not ended nothing is final", case)
                    assert now["hold_credits"] >= ((task.final_credits or 0) if over else 0), ("late", case)
        raised = [effect.credits for effect in found.effects if isinstance(effect, RaiseHolds)]
        assert raised == ([now["final_credits"]] if now["final_credits"] != attempt["final_credits"] else []), case


def test_the_job_moves_only_where_the_answer_is_of_its_attempt() -> None:
    for attempt, status, task in ALL:
        found, case = recorded(attempt, status, task), (attempt, status, task)
        moves = [effect for effect in found.effects if isinstance(effect, MoveJob | AddFiles)]
        told = [effect.event for effect in found.effects if isinstance(effect, WriteEvent)]
        assert found.fits is (status in UNSETTLED or status is task.status), case
        if not found.fits or status is None:
            assert moves == [], case
            assert told[-1] is Event.LATE_ANSWER, case
            assert after(attempt, found.effects)["outcome"] == attempt["outcome"], case
        elif status is not task.status:
            assert moves[-1] == MoveJob(status, task.status), case


def test_the_same_answer_once_more_changes_nothing() -> None:
    for attempt, status, task in ALL:
        first = recorded(attempt, status, task)
        now = after(attempt, first.effects)
        moved = [effect.new for effect in first.effects if isinstance(effect, MoveJob)]
        again = recorded(now, moved[0] if moved else status, task)
        told = [effect.event for effect in again.effects if isinstance(effect, WriteEvent)]
        assert after(now, again.effects) == now, (attempt, status, task)
        assert set(told) <= {Event.LATE_ANSWER, Event.FINAL_IGNORED}, (attempt, status, task)


@pytest.mark.parametrize("new", [Status.FAILED, Status.PLANNED])
def test_only_what_was_certainly_not_received_is_closed_at_no_cost(new: Status) -> None:
    for attempt, received in product(ATTEMPTS, (0, 1)):
        effects = transitions.close(
            attempt | {"maybe_received": received}, Status.SUBMITTING, new, "code", "message", AT
        )
        now = after(attempt, effects)
        if received:
            assert effects == transitions.doubt(Status.SUBMITTING, "code", "message")
            assert (now["final_credits"], now["outcome"]) == (attempt["final_credits"], "doubtful")
        else:
            assert MoveJob(Status.SUBMITTING, new) in effects
            expected = (0, "refused") if attempt["final_credits"] is None else (now["final_credits"], now["outcome"])
            assert (now["final_credits"], now["outcome"]) == expected


@pytest.mark.parametrize("status", STATUSES)
def test_a_task_of_two_purchases_leaves_the_second_in_doubt(status: Status | None) -> None:
    found = transitions.same_task(status, make_task(7), Other(JobId("ab" * 16), 1))
    moves = [effect for effect in found.effects if isinstance(effect, MoveJob)]
    assert not found.fits
    assert moves == ([MoveJob(status, Status.DOUBTFUL)] if status in UNSETTLED and status else [])
    assert not any("final_credits" in e.columns for e in found.effects if isinstance(e, SetColumns))


def test_only_a_success_without_a_price_is_settled_at_its_hold() -> None:
    for attempt in ATTEMPTS:
        now = after(attempt, transitions.settle_at_hold(attempt))
        fits = attempt["outcome"] == "succeeded" and attempt["final_credits"] is None
        assert now == (attempt | {"final_credits": 10} if fits else attempt)


@pytest.mark.parametrize("again", [False, True])
def test_what_a_person_says_settles_a_doubtful_attempt_once(again: bool) -> None:
    for attempt in ATTEMPTS:
        now = after(attempt, transitions.resolve_as_closed(attempt, 7, AT, again=again))
        expected = (
            (7, "resolved") if attempt["final_credits"] is None else (attempt["final_credits"], attempt["outcome"])
        )
        assert (now["final_credits"], now["outcome"]) == expected
        assert now["hold_credits"] == attempt["hold_credits"]


def test_a_task_that_a_person_names_keeps_the_hold_and_changes_nothing_that_is_settled() -> None:
    for attempt in ATTEMPTS:
        now = after(attempt, transitions.resolve_as_task(attempt, "task_9"))
        assert (now["hold_credits"], now["final_credits"]) == (attempt["hold_credits"], attempt["final_credits"])
        assert now["task_id"] == ("task_9" if attempt["final_credits"] is None else attempt["task_id"])
