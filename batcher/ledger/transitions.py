"""What an attempt becomes by what the API says of it, or does not say. Pure: values in, effects out.

The store reads (the attempt, its job's status), asks here, and writes the effects in their order, all in one
transaction. So the rules of money (docs/money.md) stand apart from SQL, and hold for every store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from batcher.clock import Moment
from batcher.events import Event
from batcher.jobs import SHORT_ID, UNSETTLED, JobId, Status, TaskState
from batcher.statuses import committed

#: An attempt's columns by name, as `attempts` has them.
Attempt = Mapping[str, Any]
#: `error_code` of a job whose purchase was answered with the task of another one.
SAME_TASK = "same_task"
#: A wall clock that drifts is put right in smaller steps than this.
_JUMP_SECONDS = 2.0
_OVER = (Status.SUCCEEDED, Status.FAILED)
_STATES = ("queued", "processing", "succeeded", "failed")


class SetColumns(NamedTuple):
    """Set columns of the attempt."""

    columns: dict[str, Any]


class MoveJob(NamedTuple):
    """Move the attempt's job, provided that it is `old` still."""

    old: Status
    new: Status


class AddFiles(NamedTuple):
    """Keep a place for each of so many result files."""

    files: int


class RaiseHolds(NamedTuple):
    """Let every open attempt of the same account and class hold so many credits at least."""

    credits: int


class WriteEvent(NamedTuple):
    """Write an event of the attempt; with `once` unless the very same is there already."""

    event: Event
    detail: dict[str, Any]
    old: Status | None = None
    new: Status | None = None
    once: bool = False


Effect = SetColumns | MoveJob | AddFiles | RaiseHolds | WriteEvent


class Other(NamedTuple):
    """Another attempt of the account, which has the task already."""

    job_id: JobId
    number: int


class Recorded(NamedTuple):
    """What came of an answer; `fits` is false when it is kept, but says nothing of the job any more."""

    effects: list[Effect]
    fits: bool


def record(
    attempt: Attempt,
    status: Status | None,
    task: TaskState,
    *,
    intended: Moment,
    now: Moment,
    at: str,
    asked_model: str | None = None,
    unfinished_for: float | None = None,
) -> Recorded:
    """Take in what the API says of a task, and settle it once its price is named. Without news nothing is written.

    `status` is the job's, None when this is not its latest attempt; `at` is `now` as the ledger writes it;
    `asked_model` what the job wants. `unfinished_for`: it was last seen unfinished so many seconds after its
    submission; kept of one that succeeded.
    """
    # Closed at no cost, doubtful, or bought again meanwhile.
    late = status not in UNSETTLED and status is not task.status
    changes = _facts(attempt, task, at)
    if not late and task.status in _OVER and attempt["outcome"] is None:
        changes |= {
            "outcome": str(task.status),
            "finished_at": at,
            "error_code": task.error_code,
            "error_message": task.error_message,
            "clock_jumped": _clock_jumped(intended, now),
            "unfinished_for": unfinished_for if task.status is Status.SUCCEEDED else None,
        }
    changes |= _price({**attempt, **changes}, task)
    after = {**attempt, **changes}
    effects: list[Effect] = [SetColumns(changes)] if changes else []
    effects += _news_of_price(attempt, after, task)
    effects += _news_of_words(task, asked_model)
    detail = {"task_id": task.task_id, "word": task.word, "reserved": task.reserved_credits}
    if task.status is Status.FAILED:
        detail |= {"code": task.error_code, "message": task.error_message}
    if late or status is None:
        return Recorded([*effects, WriteEvent(Event.LATE_ANSWER, detail)], fits=False)
    if task.status is Status.SUCCEEDED:
        effects.append(AddFiles(max(1, len(task.urls))))
    if status is not task.status:
        effects.append(MoveJob(status, task.status))
    if status is not task.status or attempt["task_id"] is None or attempt["api_status"] != task.word:
        effects.append(WriteEvent(Event(task.status), detail, status, task.status))
    return Recorded(effects, fits=True)


def same_task(status: Status | None, task: TaskState, other: Other) -> Recorded:
    """One task cannot be what two purchases came to: nobody knows what became of this one. Its hold stays."""
    whose = f"attempt {other.number} of job {other.job_id[:SHORT_ID]}"
    message = f"the API answered with task {task.task_id}, which is that of {whose}"
    if status in UNSETTLED and status is not None:
        return Recorded(doubt(status, SAME_TASK, message), fits=False)
    detail = {"task_id": task.task_id, "word": task.word, "message": message}
    return Recorded([WriteEvent(Event.LATE_ANSWER, detail)], fits=False)


def settle_at_hold(attempt: Attempt) -> list[Effect]:
    """The API has not named the price of a success: what was held for it is what it cost."""
    if attempt["outcome"] != "succeeded" or attempt["final_credits"] is not None:
        return []
    hold = attempt["hold_credits"]
    return [SetColumns({"final_credits": hold}), WriteEvent(Event.FINAL_UNKNOWN, {"credits": hold})]


def close(attempt: Attempt, status: Status, new: Status, code: str, message: str, at: str) -> list[Effect]:
    """Close a refused attempt at no cost and move its job to `new`, unless an earlier sending may have arrived.

    Then nobody knows whether it was charged: doubtful, and the hold stays.
    """
    if attempt["maybe_received"]:
        return doubt(status, code, message)
    refused = {
        "final_credits": 0,
        "outcome": "refused",
        "finished_at": at,
        "error_code": code,
        "error_message": message,
    }
    closed: list[Effect] = [SetColumns(refused)] if attempt["final_credits"] is None else []
    old, detail = Status.SUBMITTING, {"code": code, "message": message}
    return [*closed, MoveJob(old, new), WriteEvent(Event.REFUSED, detail, old, new)]


def doubt(status: Status, code: str, message: str) -> list[Effect]:
    """We cannot know whether the API charged us: the hold stays, a person decides."""
    return [
        SetColumns({"outcome": "doubtful", "error_code": code, "error_message": message}),
        MoveJob(status, Status.DOUBTFUL),
        WriteEvent(Event.DOUBTFUL, {"code": code, "message": message}, status, Status.DOUBTFUL),
    ]


def resolve_as_task(attempt: Attempt, task_id: str) -> list[Effect]:
    """A person says that the API has a doubtful attempt, as this task: it is asked for again, and the hold stays."""
    known = {"task_id": task_id, "outcome": None, "error_code": None, "error_message": None}
    return _resolved(attempt, known, Status.QUEUED, {"as": "submitted", "task_id": task_id})


def resolve_as_closed(attempt: Attempt, charged: int, at: str, *, again: bool) -> list[Effect]:
    """A person says what the API took for a doubtful attempt that came to nothing; `again`: its job is planned anew."""
    known = {"final_credits": charged, "outcome": "resolved", "finished_at": at}
    detail = {"as": "again" if again else "failed", "charged": charged, "hold": attempt["hold_credits"]}
    return _resolved(attempt, known, Status.PLANNED if again else Status.FAILED, detail)


def _resolved(attempt: Attempt, known: dict[str, Any], new: Status, detail: dict[str, Any]) -> list[Effect]:
    settled: list[Effect] = [SetColumns(known)] if attempt["final_credits"] is None else []
    return [*settled, MoveJob(Status.DOUBTFUL, new), WriteEvent(Event.RESOLVED, detail, Status.DOUBTFUL, new)]


def _clock_jumped(then: Moment, now: Moment) -> bool:
    """Whether the wall clock was set in between, as far as the machine's uptime can tell."""
    if not (then.uptime and now.uptime and then.uptime.boot == now.uptime.boot):
        return now.wall < then.wall
    return abs((now.wall - then.wall) - (now.uptime.seconds - then.uptime.seconds)) > _JUMP_SECONDS


def _facts(before: Attempt, task: TaskState, at: str) -> dict[str, Any]:
    """Id, state, URLs and what was reserved, as far as they are news.

    What an ended task has reserved says nothing any more: its price is final.
    """
    news: dict[str, Any] = {}
    if before["task_id"] is None:
        news["task_id"] = task.task_id
    if before["submitted_at"] is None:
        news["submitted_at"] = at
    if before["api_status"] != task.word:
        news["api_status"] = task.word
    if task.urls and (urls := json.dumps(list(task.urls))) != before["result_urls"]:
        news["result_urls"] = urls
    for column, said in (("api_created_at", task.created_at), ("api_updated_at", task.updated_at)):
        if said is not None and said != before[column]:
            news[column] = said
    known, settled = before["reserved_credits"], before["final_credits"] is not None
    open_ = not settled and not (task.status in _OVER and known is not None)
    if open_ and task.reserved_credits is not None and task.reserved_credits != known:
        news["reserved_credits"] = task.reserved_credits
    return news


def _price(attempt: Attempt, task: TaskState) -> dict[str, Any]:
    """What the answer makes of an attempt's hold and final price; `attempt` has all else that the answer says.

    A failed task's 0 is a price, a success's 0 or none is not: its hold stays. A failed one that names none is settled
    at its hold, for no page promises a refund. A price that a person gave is not touched.
    """
    said = task.final_credits if task.status in _OVER else None
    if said == 0 and attempt["outcome"] != "failed":
        said = None
    hold = max(attempt["hold_credits"], attempt["reserved_credits"] or 0)
    known, outcome = attempt["final_credits"], attempt["outcome"]
    if known is not None:
        return {} if said in (None, known) or outcome == "resolved" else {"final_credits": said}
    if outcome in ("succeeded", "failed"):
        final = hold if said is None and outcome == "failed" else said
        return _news(attempt, hold_credits=hold, final_credits=final)
    return _news(attempt, hold_credits=max(hold, said or 0))


def _news(attempt: Attempt, **columns: int | None) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if value != attempt[name]}


def _news_of_price(before: Attempt, after: Attempt, task: TaskState) -> list[Effect]:
    """Tell of a price that is news, and take one that is higher than others of the class hold over to them at once.

    Such a rise is shown (product.md, promise 3).
    """
    effects: list[Effect] = []
    known, taken = committed(before), committed(after)
    was, final = before["final_credits"], after["final_credits"]
    if taken > known:
        effects.append(WriteEvent(Event.PRICE_ROSE, {"expected": known, "taken": taken}))
    if was is not None and final != was:
        effects.append(WriteEvent(Event.FINAL_CHANGED, {"was": was, "now": final}))
    elif was is None and final is not None and before["outcome"] is not None:
        effects.append(WriteEvent(Event.SETTLED, {"credits": final}))
    if before["outcome"] == "resolved" and task.status in _OVER and task.final_credits not in (None, was):
        effects.append(WriteEvent(Event.FINAL_IGNORED, {"charged": was, "said": task.final_credits}))
    if final is not None and final != was:
        effects.append(RaiseHolds(final))
    return effects


def _news_of_words(task: TaskState, asked_model: str | None) -> list[Effect]:
    """Tell, once an attempt, of another model than was asked for, and of each state that we do not know."""
    effects: list[Effect] = []
    if task.word.strip().casefold() not in _STATES:
        effects.append(WriteEvent(Event.UNKNOWN_STATE, {"word": task.word}, once=True))
    if task.model is not None and asked_model is not None and task.model.strip().casefold() != asked_model.casefold():
        effects.append(WriteEvent(Event.MODEL_DIFFERS, {"asked": asked_model, "said": task.model}, once=True))
    return effects
