"""What an attempt goes through, from hold to settlement: steps of one transaction, which the ledger's writer opens.

What an attempt becomes is decided in `transitions`; here it is read and written. Money lives by three rules
(product.md, promises 1 to 3): an attempt exists only through `admit`, which checks every cap in the transaction that
takes the hold; what the API took replaces the hold when it says so; an attempt is settled once, and again only by
another final that the API names later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, assert_never

from batcher.clock import iso, local_day
from batcher.events import Event
from batcher.jobs import Account, Intent, Job, JobId, Status, TaskState
from batcher.ledger import transitions
from batcher.ledger.transitions import AddFiles, Attempt, Effect, MoveJob, Other, RaiseHolds, SetColumns, WriteEvent
from batcher.statuses import is_unpriced

from . import chains, rows
from .caps import Admission, Caps, NotAdmitted, admission
from .facts import Bought, Facts
from .transaction import Stale, Transaction


def derive_key(ledger_id: str, job_id: JobId, number: int) -> str:
    """The idempotency key of an attempt: derived, so that even a lost row could not lead to another one."""
    return hashlib.sha256(f"{ledger_id}/{job_id}/{number}".encode()).hexdigest()[:40]


def admit(
    t: Transaction,
    facts: Facts,
    job: Job,
    *,
    ledger_id: str,
    account: Account,
    compose: Callable[[str], bytes],
    caps: Caps,
    api: float | None = None,
) -> Intent | NotAdmitted:
    """Take the hold and write key and exact body, if every cap has room. Raises Stale when it is not planned.

    `facts` are of this transaction. Nothing is written before all is sure.
    """

    def admitted(job: Job, caps: Caps) -> Admission | NotAdmitted:
        return admission(facts, caps, job, run_id=t.run_id, account=account.text, now=t.moment.wall)

    facts.look_ahead(job, lambda each: admitted(each, replace(caps, chains=())))
    expected = admitted(job, caps)
    if isinstance(expected, NotAdmitted):
        return expected
    stands = facts.job(job.id)
    if stands.status is not Status.PLANNED:
        raise Stale(f"job {job.id} is not {Status.PLANNED} any more")
    used = chains.used(t, job.id, job.reference) if stands.is_made else None
    allowance = caps.allowances.get(job.campaign)
    number = stands.newest + 1
    request_id = f"{job.campaign}-{job.id}-take{job.take}-{number}"
    key, body = derive_key(ledger_id, job.id, number), compose(request_id)
    boot, up = t.boot
    attempt_id, day = facts.newest_attempt() + 1, local_day(t.moment.wall, facts.read.zone)
    first = facts.price_class(account.text, job.price_class).number
    if first is None:
        t.tell("INSERT OR IGNORE INTO accounts VALUES (?, ?, ?)", (account.text, account.provider, account.unit))
    t.insert(  # from here on the hold counts: a trigger adds it to `spent`, which the caps read
        "attempts",
        id=attempt_id,
        job_id=job.id,
        number=number,
        run_id=t.run_id,
        account=account.text,
        day=day,
        price_class=job.price_class,
        class_id=first or attempt_id,
        allowance=allowance.name if allowance else None,
        idempotency_key=key,
        client_request_id=request_id,
        body=body,
        params=rows.mapping_column(job.params),
        used=used,
        quoted_credits=expected.quote,
        hold_credits=expected.hold,
        intended_at=t.at,
        boot_id=boot,
        boot_seconds=up,
        api_at=None if api is None else iso(api),
    )
    old, new = Status.PLANNED, Status.SUBMITTING
    t.move(job.id, old, new, attempt_id=attempt_id, seen=True)
    if stands.makes:
        chains.begin(t, job.id)
    t.event(Event.INTENDED, job_id=job.id, attempt=number, old=old, new=new, detail={"hold": expected.hold})
    where = {
        "run_id": t.run_id,
        "campaign": job.campaign,
        "day": day,
        "allowance": allowance.name if allowance else "",
        "unpriced": is_unpriced(job.price_class),
    }
    facts.bought(Bought(attempt_id, job.id, account.text, job.price_class, expected.hold, t.at, where))
    intended = t.moment._replace(api=api)
    return Intent(attempt_id, job.id, number, key, body, account.text, intended, maybe_received=False)


def record(t: Transaction, attempt_id: int, task: TaskState, unfinished_for: float | None = None) -> bool:
    """Write down what the API says of a task (`transitions.record`).

    False when the attempt is not the job's latest or has been closed, or when the task is another attempt's; what the
    API says is kept even then, as far as it is this attempt's.
    """
    attempt = _load(t, attempt_id)
    if attempt["task_id"] is None and (other := _other_with(t, attempt, task.task_id)):
        found = transitions.same_task(_status(attempt), task, other)
    else:
        found = transitions.record(
            attempt,
            _status(attempt),
            task,
            intended=rows.moment(attempt, "intended_at"),
            now=t.moment,
            at=t.at,
            asked_model=attempt["model"],
            unfinished_for=unfinished_for,
        )
    _write(t, attempt, found.effects)
    return found.fits


def settle_at_hold(t: Transaction, attempt_id: int) -> None:
    """The API has not named the price of a success: what was held for it is what it cost."""
    attempt = _load(t, attempt_id)
    _write(t, attempt, transitions.settle_at_hold(attempt))


def close(t: Transaction, intent: Intent, new: Status, code: str, message: str) -> Status:
    """Close a refused attempt (`transitions.close`); returns its job's new status. Raises Stale."""
    attempt = _load(t, intent.attempt_id)
    effects = transitions.close(attempt, _latest(attempt), new, code, message, t.at)
    _write(t, attempt, effects)
    return next(effect.new for effect in effects if isinstance(effect, MoveJob))


def doubt(t: Transaction, attempt_id: int, code: str, message: str) -> None:
    """We cannot know whether the API charged us: the hold stays, a person decides. Raises Stale."""
    attempt = _load(t, attempt_id)
    _write(t, attempt, transitions.doubt(_latest(attempt), code, message))


def resolve_as_task(t: Transaction, attempt_id: int, task_id: str) -> None:
    """A person says that the API has a doubtful attempt, as this task. Raises Stale."""
    attempt = _load(t, attempt_id)
    _write(t, attempt, transitions.resolve_as_task(attempt, task_id))


def resolve_as_closed(t: Transaction, attempt_id: int, charged: int, *, again: bool) -> None:
    """A person says what the API took for a doubtful attempt that came to nothing. Raises Stale."""
    attempt = _load(t, attempt_id)
    _write(t, attempt, transitions.resolve_as_closed(attempt, charged, t.at, again=again))


def _load(t: Transaction, attempt_id: int) -> Attempt:
    """An attempt's columns; beside them its job's `model`, and the job's `status` if this is its latest attempt."""
    return dict(
        t.run(
            "SELECT a.*, w.model, CASE WHEN w.attempt_id = a.id THEN w.status END AS status"
            " FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id WHERE a.id = ?",
            (attempt_id,),
        ).fetchone()
    )


def _status(attempt: Attempt) -> Status | None:
    """The job's status; None when this is not its latest attempt."""
    return None if attempt["status"] is None else Status(attempt["status"])


def _latest(attempt: Attempt) -> Status:
    """The job's status, provided that this is its latest attempt. Raises Stale."""
    if (status := _status(attempt)) is None:
        raise Stale(f"attempt {attempt['id']} is not the latest of job {attempt['job_id']}")
    return status


def _other_with(t: Transaction, attempt: Attempt, task_id: str) -> Other | None:
    found = t.run(
        "SELECT job_id, number FROM attempts WHERE task_id = ? AND account = ? AND id <> ?",
        (task_id, attempt["account"], attempt["id"]),
    ).fetchone()
    return Other(*found) if found else None


def _write(t: Transaction, attempt: Attempt, effects: Iterable[Effect]) -> None:
    """Write what becomes of an attempt. Raises Stale."""
    job_id, number = attempt["job_id"], attempt["number"]
    for effect in effects:
        match effect:
            case SetColumns(columns):
                t.update("attempts", attempt["id"], **columns)
            case MoveJob(old, new):
                t.move(job_id, old, new)
            case AddFiles(files):
                for file in range(files):
                    t.run("INSERT OR IGNORE INTO files (attempt_id, number) VALUES (?, ?)", (attempt["id"], file))
            case RaiseHolds(credits_):
                _raise_holds(t, attempt, credits_)
            case WriteEvent(event, detail, once=True) if _is_told(t, attempt, event, detail):
                pass
            case WriteEvent(event, detail, old, new):
                t.event(event, job_id=job_id, attempt=number, old=old, new=new, detail=detail)
            case _:
                assert_never(effect)


def _raise_holds(t: Transaction, attempt: Attempt, credits_: int) -> None:
    raised = t.run(
        "UPDATE attempts SET hold_credits = ?1 WHERE class_id = ?2 AND final_credits IS NULL AND hold_credits < ?1",
        (credits_, attempt["class_id"]),
    ).rowcount
    if raised:
        detail = {"price_class": attempt["price_class"], "credits": credits_, "attempts": raised}
        t.event(Event.HOLDS_RAISED, job_id=attempt["job_id"], attempt=attempt["number"], detail=detail)


def _is_told(t: Transaction, attempt: Attempt, event: Event, detail: dict[str, Any]) -> bool:
    found = t.run(
        "SELECT 1 FROM events WHERE job_id = ? AND attempt = ? AND event = ? AND detail = ?",
        (attempt["job_id"], attempt["number"], event, json.dumps(detail)),
    ).fetchone()
    return found is not None
