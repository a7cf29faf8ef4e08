"""What an attempt becomes by an answer, without a ledger: for any attempt and any answer, the rules of money hold."""

from __future__ import annotations

from typing import Any

from core_helpers import make_task
from hypothesis import given
from hypothesis import strategies as st

from batcher.clock import Moment
from batcher.events import Event
from batcher.jobs import UNSETTLED, JobId, Status, TaskState
from batcher.ledger import transitions
from batcher.ledger.transitions import AddFiles, Effect, MoveJob, Other, RaiseHolds, Recorded, SetColumns, WriteEvent

AT = "2027-01-15T08:00:00.000000Z"
NOW = Moment(1_800_000_000.0, None, None)

CREDITS = st.sampled_from([None, 0, 4, 10, 12])
ATTEMPTS = st.fixed_dictionaries(
    {
        "task_id": st.sampled_from([None, "task_1"]),
        "submitted_at": st.sampled_from([None, AT]),
        "api_status": st.sampled_from([None, "queued", "succeeded"]),
        "result_urls": st.just("[]"),
        "api_created_at": st.none(),
        "api_updated_at": st.none(),
        "reserved_credits": CREDITS,
        "final_credits": CREDITS,
        "hold_credits": st.sampled_from([4, 10, 12]),
        "outcome": st.sampled_from([None, "succeeded", "failed", "refused", "doubtful", "resolved"]),
        "maybe_received": st.booleans(),
    }
)
STATUSES = st.none() | st.sampled_from(UNSETTLED) | st.sampled_from(list(Status))
TASKS = st.builds(
    make_task,
    st.just(1),
    st.sampled_from([Status.QUEUED, Status.PROCESSING, Status.SUCCEEDED, Status.FAILED]),
    reserved_credits=CREDITS,
    final_credits=CREDITS,
    urls=st.sampled_from([(), ("https://m/1", "https://m/2")]),
)


def recorded(attempt: dict[str, Any], status: Status | None, task: TaskState) -> Recorded:
    return transitions.record(attempt, status, task, intended=NOW, now=NOW, at=AT)


def after(attempt: dict[str, Any], effects: list[Effect]) -> dict[str, Any]:
    for effect in effects:
        if isinstance(effect, SetColumns):
            attempt = attempt | effect.columns
    return attempt


@given(ATTEMPTS, STATUSES, TASKS)
def test_money_after_any_answer(attempt: dict[str, Any], status: Status | None, task: TaskState) -> None:
    found = recorded(attempt, status, task)
    now = after(attempt, found.effects)
    assert now["hold_credits"] >= attempt["hold_credits"], "a hold is never lowered"
    if attempt["final_credits"] is None:
        assert now["hold_credits"] >= (now["reserved_credits"] or 0), "what the API took is held"
        if now["outcome"] not in ("succeeded", "failed"):
            assert now["final_credits"] is None, "of what has not ended nothing is final"
            if found.effects and not found.fits and task.status in (Status.SUCCEEDED, Status.FAILED):
                assert now["hold_credits"] >= (task.final_credits or 0), "what it says too late is held"
        if now["outcome"] == "succeeded":
            assert now["final_credits"] in ({None} if not task.final_credits else {None, task.final_credits})
        if now["outcome"] == task.status == Status.FAILED:
            assert now["final_credits"] == (now["hold_credits"] if task.final_credits is None else task.final_credits)
    else:
        assert now["final_credits"] is not None, "settled stays settled"
        if attempt["outcome"] == "resolved":
            assert now["final_credits"] == attempt["final_credits"], "a person's figure stands"
    if attempt["outcome"] is not None:
        assert now["outcome"] == attempt["outcome"], "an attempt ends once"
    if attempt["task_id"] is not None:
        assert now["task_id"] == attempt["task_id"]
    raised = [effect.credits for effect in found.effects if isinstance(effect, RaiseHolds)]
    assert raised == ([now["final_credits"]] if now["final_credits"] != attempt["final_credits"] else [])


@given(ATTEMPTS, STATUSES, TASKS)
def test_the_job_moves_only_where_the_answer_is_of_its_attempt(
    attempt: dict[str, Any], status: Status | None, task: TaskState
) -> None:
    found = recorded(attempt, status, task)
    fits = status in UNSETTLED or status is task.status
    assert found.fits is fits
    moves = [effect for effect in found.effects if isinstance(effect, MoveJob | AddFiles)]
    told = [effect.event for effect in found.effects if isinstance(effect, WriteEvent)]
    if not fits:
        assert moves == []
        assert told[-1] is Event.LATE_ANSWER
        assert after(attempt, found.effects)["outcome"] == attempt["outcome"]
    elif status is not task.status:
        assert status is not None
        assert moves[-1] == MoveJob(status, task.status)


@given(ATTEMPTS, STATUSES, TASKS)
def test_the_same_answer_once_more_is_no_news(attempt: dict[str, Any], status: Status | None, task: TaskState) -> None:
    first = recorded(attempt, status, task)
    now = after(attempt, first.effects)
    moved = [effect.new for effect in first.effects if isinstance(effect, MoveJob)]
    again = recorded(now, moved[0] if moved else status, task)
    assert after(now, again.effects) == now
    known = (Event.LATE_ANSWER, Event.FINAL_IGNORED)
    told = [effect.event for effect in again.effects if isinstance(effect, WriteEvent) and effect.event not in known]
    if now["final_credits"] is not None or now["outcome"] not in ("succeeded", "failed"):
        assert told == []


@given(ATTEMPTS, st.sampled_from(list(Status)), st.sampled_from([Status.FAILED, Status.PLANNED]))
def test_only_what_was_certainly_not_received_is_closed_at_no_cost(
    attempt: dict[str, Any], status: Status, new: Status
) -> None:
    effects = transitions.close(attempt, status, new, "code", "message", AT)
    now = after(attempt, effects)
    if attempt["maybe_received"]:
        assert effects == transitions.doubt(status, "code", "message")
        assert (now["final_credits"], now["outcome"]) == (attempt["final_credits"], "doubtful")
    else:
        assert MoveJob(Status.SUBMITTING, new) in effects
        if attempt["final_credits"] is None:
            assert (now["final_credits"], now["outcome"]) == (0, "refused")
        else:
            assert now == attempt


@given(STATUSES)
def test_a_task_of_two_purchases_leaves_the_second_in_doubt(status: Status | None) -> None:
    found = transitions.same_task(status, make_task(7), Other(JobId("ab" * 16), 1))
    moves = [effect for effect in found.effects if isinstance(effect, MoveJob)]
    assert not found.fits
    assert moves == ([MoveJob(status, Status.DOUBTFUL)] if status in UNSETTLED and status else [])
    assert not any("final_credits" in e.columns for e in found.effects if isinstance(e, SetColumns))
