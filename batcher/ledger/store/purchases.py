"""What an attempt goes through, from hold to settlement: steps of one transaction, which the ledger's writer opens.

Money lives by three rules here (product.md, promises 1 to 3): an attempt exists only through `admit`, which checks
every cap in the transaction that takes the hold; what the API took replaces the hold when it says so; an attempt is
settled once, and again only by another final that the API names later.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from batcher.clock import Moment, iso, local_day
from batcher.events import Event
from batcher.jobs import SHORT_ID, UNSETTLED, Account, Intent, Job, JobId, Status, TaskState
from batcher.ledger.reader import LedgerReader

from . import rows
from .caps import Caps, Offer, Refusal, offer
from .transaction import Transaction

#: A wall clock that drifts is put right in smaller steps than this.
_JUMP_SECONDS = 2.0
#: `error_code` of a job whose purchase was answered with the task of another one.
SAME_TASK = "same_task"
_OVER = (Status.SUCCEEDED, Status.FAILED)
_STATES = ("queued", "processing", "succeeded", "failed")


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who asks for admission: the ledger (read in the same transaction), its id, and the run."""

    read: LedgerReader
    ledger_id: str
    run_id: int | None

    def offer(
        self, caps: Caps, account: Account, campaign: str, now: float, price_class: str, catalog_credits: int
    ) -> Offer | Refusal:
        """What a job of this class costs and holds, if every cap has room for it at `now`."""
        return offer(
            self.read,
            caps,
            run_id=self.run_id,
            account=account.text,
            campaign=campaign,
            now=now,
            price_class=price_class,
            catalog_credits=catalog_credits,
        )

    def key(self, job_id: JobId, number: int) -> str:
        """The idempotency key of an attempt: derived, so that even a lost row could not lead to another one."""
        return hashlib.sha256(f"{self.ledger_id}/{job_id}/{number}".encode()).hexdigest()[:40]

    def admit(
        self,
        t: Transaction,
        job: Job,
        *,
        account: Account,
        compose: Callable[[str], bytes],
        caps: Caps,
        api: float | None = None,
    ) -> Intent | Refusal:
        """Take the hold and write key and exact body, if every cap has room. Raises Stale when it is not planned."""
        expected = self.offer(caps, account, job.campaign, t.moment.wall, job.price_class, job.catalog_credits)
        if isinstance(expected, Refusal):
            return expected
        number = t.value("SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE job_id = ?", (job.id,))
        request_id = f"{job.campaign}-{job.id}-take{job.take}-{number}"
        key, body = self.key(job.id, number), compose(request_id)
        boot, up = t.boot
        attempt_id = t.insert(
            "attempts",
            job_id=job.id,
            number=number,
            run_id=self.run_id,
            account=account.text,
            day=local_day(t.moment.wall, self.read.zone),
            price_class=job.price_class,
            idempotency_key=key,
            client_request_id=request_id,
            body=body,
            params=rows.params_column(job.params),
            quoted_credits=expected.quote,
            hold_credits=expected.hold,
            intended_at=t.at,
            boot_id=boot,
            boot_seconds=up,
            api_at=None if api is None else iso(api),
        )
        t.move(job.id, Status.PLANNED, Status.SUBMITTING, attempt_id=attempt_id)
        t.event(
            Event.INTENDED,
            job_id=job.id,
            attempt=number,
            old=Status.PLANNED,
            new=Status.SUBMITTING,
            detail={"hold": expected.hold},
        )
        return Intent(
            attempt_id, job.id, number, key, body, account.text, t.moment._replace(api=api), maybe_received=False
        )


def record(
    t: Transaction, job_id: JobId, attempt_id: int, task: TaskState, unfinished_for: float | None = None
) -> bool:
    """Write down what the API says of a task, and settle it once its price is named. Nothing is written without news.

    `unfinished_for`: it was last seen unfinished so many seconds after its submission; kept of one that succeeded.
    False when the attempt is not the job's latest or has been closed, or when the task is another attempt's; what the
    API says is kept even then, as far as it is this attempt's.
    """
    before = t.attempt(attempt_id)
    if before["task_id"] is None and (other := _other_with(t, before, task.task_id)):
        return _told_of_same_task(t, before, task, other)
    old = t.status(job_id, attempt_id)
    # Closed at no cost, doubtful, or bought again meanwhile.
    late = old not in UNSETTLED and old is not task.status
    ends = not late and task.status in _OVER and before["outcome"] is None
    changes = _facts(before, task, t.at)
    if ends:
        changes |= {
            "outcome": str(task.status),
            "finished_at": t.at,
            "error_code": task.error_code,
            "error_message": task.error_message,
            "clock_jumped": _clock_jumped(rows.moment(before, "intended_at"), t.moment),
            "unfinished_for": unfinished_for if task.status is Status.SUCCEEDED else None,
        }
    changes |= _price(dict(before) | changes, task)
    if changes:
        t.update("attempts", attempt_id, **changes)
    after = dict(before) | changes
    _tell_of_price(t, before, after, task)
    _tell_of_words(t, before, task)
    detail = {"task_id": task.task_id, "word": task.word, "reserved": task.reserved_credits}
    if task.status is Status.FAILED:
        detail |= {"code": task.error_code, "message": task.error_message}
    number = before["number"]
    if late or old is None:
        t.event(Event.LATE_ANSWER, job_id=job_id, attempt=number, detail=detail)
        return False
    if task.status is Status.SUCCEEDED:
        for file in range(max(1, len(task.urls))):
            t.run("INSERT OR IGNORE INTO files (attempt_id, number) VALUES (?, ?)", (attempt_id, file))
    if old is not task.status:
        t.move(job_id, old, task.status)
    if old is not task.status or before["task_id"] is None or before["api_status"] != task.word:
        t.event(Event(task.status), job_id=job_id, attempt=number, old=old, new=task.status, detail=detail)
    return True


def _clock_jumped(then: Moment, now: Moment) -> bool:
    """Whether the wall clock was set in between, as far as the machine's uptime can tell."""
    if not (then.uptime and now.uptime and then.uptime.boot == now.uptime.boot):
        return now.wall < then.wall
    return abs((now.wall - then.wall) - (now.uptime.seconds - then.uptime.seconds)) > _JUMP_SECONDS


def _other_with(t: Transaction, before: sqlite3.Row, task_id: str) -> sqlite3.Row | None:
    """Another attempt of this account that has the task already."""
    found: sqlite3.Row | None = t.run(
        "SELECT job_id, number FROM attempts WHERE task_id = ? AND account = ? AND id <> ?",
        (task_id, before["account"], before["id"]),
    ).fetchone()
    return found


def _told_of_same_task(t: Transaction, before: sqlite3.Row, task: TaskState, other: sqlite3.Row) -> bool:
    """One task cannot be what two purchases came to: nobody knows what became of this one. Its hold stays."""
    whose = f"attempt {other['number']} of job {other['job_id'][:SHORT_ID]}"
    message = f"the API answered with task {task.task_id}, which is that of {whose}"
    if t.status(before["job_id"], before["id"]) in UNSETTLED:
        doubt(t, before["job_id"], before["id"], SAME_TASK, message)
    else:
        detail = {"task_id": task.task_id, "word": task.word, "message": message}
        t.event(Event.LATE_ANSWER, job_id=before["job_id"], attempt=before["number"], detail=detail)
    return False


def _facts(before: sqlite3.Row, task: TaskState, at: str) -> dict[str, Any]:
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


def _price(row: Mapping[str, Any], task: TaskState) -> dict[str, Any]:
    """What the answer makes of an attempt's hold and final price; `row` has all else that the answer says.

    A failed task's 0 is a price, a success's 0 or none is not: its hold stays. A failed one that names none is settled
    at its hold, for no page promises a refund. A price that a person gave is not touched.
    """
    said = task.final_credits if task.status in _OVER else None
    if said == 0 and row["outcome"] != "failed":
        said = None
    hold = max(row["hold_credits"], row["reserved_credits"] or 0)
    known, outcome = row["final_credits"], row["outcome"]
    if known is not None:
        return {} if said in (None, known) or outcome == "resolved" else {"final_credits": said}
    if outcome in ("succeeded", "failed"):
        final = hold if said is None and outcome == "failed" else said
        return _news(row, hold_credits=hold, final_credits=final)
    return _news(row, hold_credits=max(hold, said or 0))


def _news(row: Mapping[str, Any], **columns: int | None) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if value != row[name]}


def _tell_of_price(t: Transaction, before: sqlite3.Row, after: Mapping[str, Any], task: TaskState) -> None:
    """Tell of a price that is news, and take one that is higher than others of the class hold over to them at once.

    Such a rise is shown (product.md, promise 3).
    """
    whose = {"job_id": before["job_id"], "attempt": before["number"]}
    known, taken = rows.price(before), rows.price(after)
    was, final = before["final_credits"], after["final_credits"]
    if taken > known:
        t.event(Event.PRICE_ROSE, **whose, detail={"expected": known, "taken": taken})
    if was is not None and final != was:
        t.event(Event.FINAL_CHANGED, **whose, detail={"was": was, "now": final})
    elif was is None and final is not None and before["outcome"] is not None:
        t.event(Event.SETTLED, **whose, detail={"credits": final})
    if before["outcome"] == "resolved" and task.status in _OVER and task.final_credits not in (None, was):
        t.event(Event.FINAL_IGNORED, **whose, detail={"charged": was, "said": task.final_credits})
    if final is not None and final != was:
        raised = t.run(
            "UPDATE attempts SET hold_credits = ?1 WHERE account = ?2 AND price_class = ?3 AND final_credits IS NULL"
            " AND hold_credits < ?1",
            (final, before["account"], before["price_class"]),
        ).rowcount
        if raised:
            detail = {"price_class": before["price_class"], "credits": final, "attempts": raised}
            t.event(Event.HOLDS_RAISED, **whose, detail=detail)


def _tell_of_words(t: Transaction, before: sqlite3.Row, task: TaskState) -> None:
    """Tell, once an attempt, of another model than was asked for, and of each state that we do not know."""
    if task.word.strip().casefold() not in _STATES:
        _once(t, before, Event.UNKNOWN_STATE, {"word": task.word})
    if task.model is not None:
        asked = t.value("SELECT model FROM wanted WHERE id = ?", (before["job_id"],))
        if task.model.strip().casefold() != asked.casefold():
            _once(t, before, Event.MODEL_DIFFERS, {"asked": asked, "said": task.model})


def _once(t: Transaction, before: sqlite3.Row, event: Event, detail: dict[str, Any]) -> None:
    told = t.run(
        "SELECT 1 FROM events WHERE job_id = ? AND attempt = ? AND event = ? AND detail = ?",
        (before["job_id"], before["number"], event, json.dumps(detail)),
    ).fetchone()
    if not told:
        t.event(event, job_id=before["job_id"], attempt=before["number"], detail=detail)


def settle_at_hold(t: Transaction, job_id: JobId, attempt_id: int) -> None:
    """The API has not named the price of a success: what was held for it is what it cost."""
    before = t.attempt(attempt_id)
    if before["outcome"] == "succeeded" and before["final_credits"] is None:
        t.update("attempts", attempt_id, final_credits=before["hold_credits"])
        detail = {"credits": before["hold_credits"]}
        t.event(Event.FINAL_UNKNOWN, job_id=job_id, attempt=before["number"], detail=detail)


def close(t: Transaction, intent: Intent, new: Status, code: str, message: str) -> Status:
    """Close a refused attempt at no cost and move its job to `new`, unless an earlier sending may have arrived.

    Then nobody knows whether it was charged: doubtful, and the hold stays. Returns the new status.
    """
    if t.attempt(intent.attempt_id)["maybe_received"]:
        doubt(t, intent.job_id, intent.attempt_id, code, message)
        return Status.DOUBTFUL
    t.latest(intent.job_id, intent.attempt_id)
    t.run(
        "UPDATE attempts SET final_credits = 0, outcome = 'refused', finished_at = ?, error_code = ?,"
        " error_message = ? WHERE id = ? AND final_credits IS NULL",
        (t.at, code, message, intent.attempt_id),
    )
    t.move(intent.job_id, Status.SUBMITTING, new)
    detail = {"code": code, "message": message}
    t.event(Event.REFUSED, job_id=intent.job_id, attempt=intent.number, old=Status.SUBMITTING, new=new, detail=detail)
    return new


def doubt(t: Transaction, job_id: JobId, attempt_id: int, code: str, message: str) -> None:
    """We cannot know whether the API charged us: the hold stays, a person decides. Raises Stale."""
    old = t.latest(job_id, attempt_id)
    t.run(
        "UPDATE attempts SET outcome = 'doubtful', error_code = ?, error_message = ? WHERE id = ?",
        (code, message, attempt_id),
    )
    t.move(job_id, old, Status.DOUBTFUL)
    t.event(Event.DOUBTFUL, job_id=job_id, old=old, new=Status.DOUBTFUL, detail={"code": code, "message": message})
