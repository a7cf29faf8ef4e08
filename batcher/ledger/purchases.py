"""What an attempt goes through, from hold to settlement: steps of one transaction, which the ledger's writer opens.

Money lives by three rules here (product.md, promises 1 to 3): an attempt exists only through `admit`, which checks
every cap in the transaction that takes the hold; what the API took replaces the hold when it says so; an attempt is
settled once.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from batcher.clock import Moment, iso, local_day
from batcher.jobs import UNSETTLED, Account, Intent, Job, JobId, Status, TaskState

from . import rows
from .caps import Caps, Refusal, quote
from .reader import LedgerReader
from .transaction import Transaction

#: A wall clock that drifts is put right in smaller steps than this.
_JUMP_SECONDS = 2.0
_OVER = (Status.SUCCEEDED, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who asks for admission: the ledger (read in the same transaction), its id, and the run."""

    read: LedgerReader
    ledger_id: str
    run_id: int | None

    def quote(
        self, caps: Caps, account: Account, campaign: str, now: float, price_class: str, catalog_credits: int
    ) -> int | Refusal:
        """What a job of this class is expected to cost, if every cap has room for it at `now`."""
        return quote(
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
        expected = self.quote(caps, account, job.campaign, t.moment.wall, job.price_class, job.catalog_credits)
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
            quoted_credits=expected,
            intended_at=t.at,
            boot_id=boot,
            boot_seconds=up,
            api_at=None if api is None else iso(api),
        )
        t.move(job.id, Status.PLANNED, Status.SUBMITTING, attempt_id=attempt_id)
        t.event(
            "intended",
            job_id=job.id,
            attempt=number,
            old=Status.PLANNED,
            new=Status.SUBMITTING,
            detail={"hold": expected},
        )
        return Intent(
            attempt_id, job.id, number, key, body, account.text, t.moment._replace(api=api), maybe_received=False
        )


def record(
    t: Transaction, job_id: JobId, attempt_id: int, task: TaskState, unfinished_for: float | None = None
) -> bool:
    """Write down what the API says of a task; settles once, at the end. Nothing is written where nothing is new.

    `unfinished_for`: it was last seen unfinished so many seconds after its submission; kept of one that succeeded.
    False when the attempt is not the job's latest or has been closed; task id and URLs are kept even then.
    """
    before = t.attempt(attempt_id)
    old = t.status(job_id, attempt_id)
    # Closed at no cost, doubtful, or bought again meanwhile.
    late = old not in UNSETTLED and old is not task.status
    changes = _facts(before, task, t.at)
    if not late and task.status in _OVER and old is not task.status and before["final_credits"] is None:
        changes |= _settlement(before, changes, task, t.at)
        changes["unfinished_for"] = unfinished_for if task.status is Status.SUCCEEDED else None
        changes["clock_jumped"] = _clock_jumped(rows.moment(before, "intended_at"), t.moment)
    if changes:
        t.update("attempts", attempt_id, **changes)
    detail = {"task_id": task.task_id, "word": task.word, "reserved": task.reserved_credits}
    if task.status is Status.FAILED:
        detail |= {"code": task.error_code, "message": task.error_message}
    number = before["number"]
    if late or old is None:
        t.event("late_answer", job_id=job_id, attempt=number, detail=detail)
        return False
    _tell_of_rise(t, before, dict(before) | changes)
    if task.status is Status.SUCCEEDED:
        for file in range(max(1, len(task.urls))):
            t.run("INSERT OR IGNORE INTO files (attempt_id, number) VALUES (?, ?)", (attempt_id, file))
    if old is not task.status:
        t.move(job_id, old, task.status)
    if old is not task.status or before["task_id"] is None or before["api_status"] != task.word:
        t.event(str(task.status), job_id=job_id, attempt=number, old=old, new=task.status, detail=detail)
    return True


def _clock_jumped(then: Moment, now: Moment) -> bool:
    """Whether the wall clock was set in between, as far as the machine's uptime can tell."""
    if not (then.uptime and now.uptime and then.uptime.boot == now.uptime.boot):
        return now.wall < then.wall
    return abs((now.wall - then.wall) - (now.uptime.seconds - then.uptime.seconds)) > _JUMP_SECONDS


def _facts(before: sqlite3.Row, task: TaskState, at: str) -> dict[str, Any]:
    """Id, state, URLs and hold as far as they are news.

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
    known, settled = before["reserved_credits"], before["final_credits"] is not None
    open_ = not settled and not (task.status in _OVER and known is not None)
    if open_ and task.reserved_credits is not None and task.reserved_credits != known:
        news["reserved_credits"] = task.reserved_credits
    return news


def _settlement(before: sqlite3.Row, news: Mapping[str, Any], task: TaskState, at: str) -> dict[str, Any]:
    """The end of an attempt. Without a word about the final price the hold is spent: no page promises a refund."""
    hold = news.get("reserved_credits", before["reserved_credits"])
    final = next(c for c in (task.final_credits, hold, before["quoted_credits"]) if c is not None)
    return {
        "final_credits": final,
        "outcome": str(task.status),
        "finished_at": at,
        "error_code": task.error_code,
        "error_message": task.error_message,
    }


def _tell_of_rise(t: Transaction, before: sqlite3.Row, after: Mapping[str, Any]) -> None:
    """Show what the API took above its price of before (product.md, promise 3)."""
    known, taken = rows.price(before), rows.price(after)
    if taken > known:
        detail = {"expected": known, "taken": taken}
        t.event("price_rose", job_id=before["job_id"], attempt=before["number"], detail=detail)


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
    t.event("refused", job_id=intent.job_id, attempt=intent.number, old=Status.SUBMITTING, new=new, detail=detail)
    return new


def doubt(t: Transaction, job_id: JobId, attempt_id: int, code: str, message: str) -> None:
    """We cannot know whether the API charged us: the hold stays, a person decides. Raises Stale."""
    old = t.latest(job_id, attempt_id)
    t.run(
        "UPDATE attempts SET outcome = 'doubtful', error_code = ?, error_message = ? WHERE id = ?",
        (code, message, attempt_id),
    )
    t.move(job_id, old, Status.DOUBTFUL)
    t.event("doubtful", job_id=job_id, old=old, new=Status.DOUBTFUL, detail={"code": code, "message": message})
