"""What a person decides: to buy again, not to send, and what became of a doubtful attempt.

A decision is a value. Whether it may be taken of a job is one pure question (`_why_not`), asked for the preview and
again inside the transaction that writes it. Each is a compare-and-set on the job's status, and none touches a job that
a run may be at work on (submitting, queued, processing), so none needs the run lock but `Retry.alone`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import assert_never

from batcher.clock import Clock
from batcher.errors import UsageError
from batcher.events import Event
from batcher.jobs import SHORT_ID, JobId, Status

from .queries.jobs import JobReview as JobReview
from .queries.jobs import file_of as file_of
from .queries.jobs import has_campaign as has_campaign
from .queries.jobs import review_of as review_of
from .queries.jobs import select as select
from .reader import LedgerReader
from .store import chains
from .store.enrolment import NOT_IN_MANIFEST
from .store.purchases import resolve_as_closed, resolve_as_task, settle_at_hold
from .store.transaction import Transaction
from .store.writer import LedgerWriter

#: `error_code` of a job that a person cancelled; no manifest brings it back.
CANCELLED = "cancelled"
_PAGE = 200
#: Jobs that are told one by one.
SHOWN = 20
_TASK_ID = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True)
class Retry:
    """Plan jobs with these statuses again: the next intent is a new attempt, with a new key.

    `alone` says that the caller holds the run lock, so that nobody is fetching a result just now.
    """

    statuses: frozenset[Status] = frozenset({Status.FAILED})
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """Do not send planned jobs, until a retry."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The API has the doubtful attempt, under this id: the next run polls it; the hold stays."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The doubtful attempt came to nothing, or to nothing of use; `charged` is what the API took for it.

    With `again` the job is planned again, else it has failed.
    """

    charged: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class Judge:
    """The job's file will do, or will not, for what is made from it: `approved` or `rejected`. Holds for its bytes."""

    verdict: str


Decision = Retry | Cancel | Submitted | Closed | Judge


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision changed: the job as it was, its new status, what the attempt was settled with, if it was."""

    job: JobReview
    status: Status
    charged: int | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """A job that the decision does not fit, and why; `settled` when it is already as the decision wants it."""

    job: JobReview
    why: str
    settled: bool = False


def open_ledger(path: Path, clock: Clock) -> LedgerWriter:
    """The ledger for a decision. Takes no lock, so it makes and migrates nothing: raises StorageError instead."""
    LedgerReader.open(path).close()
    return LedgerWriter.open(path, clock)


def behind_a_gate(read: LedgerReader, campaign: str) -> set[JobId]:
    """The jobs of a campaign whose file a person has to approve before others are made from it."""
    found = read.rows(
        "SELECT DISTINCT s.source_id FROM sources AS s JOIN wanted AS w ON w.id = s.source_id"
        " WHERE s.gate AND w.campaign = ?",
        (campaign,),
    )
    return {JobId(row["source_id"]) for row in found}


# Judging


def weigh(read: LedgerReader, decision: Decision, job: JobReview) -> Left | None:
    """Why a decision cannot be taken of a job as it stands now; None when it can. Writes nothing."""
    if isinstance(decision, Submitted) and job.status is Status.DOUBTFUL:
        if not _TASK_ID.fullmatch(decision.task_id):
            return Left(job, f"{decision.task_id!r} cannot be the id of a task")
        other = read.row(
            "SELECT job_id FROM attempts WHERE task_id = ? AND id <> ?", (decision.task_id, job.attempt_id)
        )
        if other:
            return Left(job, f"task {decision.task_id} is that of an attempt of job {other['job_id'][:SHORT_ID]}")
    if isinstance(decision, Judge):
        sha256, verdict = file_of(read, job.id)
        if sha256 is None:
            return Left(job, f"it is {job.status} and has no file to judge")
        return Left(job, f"it is {verdict} already", settled=True) if verdict == decision.verdict else None
    why, settled = _why_not(decision, job)
    return Left(job, why, settled) if why else None


def _why_not(decision: Decision, job: JobReview) -> tuple[str, bool]:
    """In words why not (empty: it may be decided), and whether it is already so."""
    match decision:
        case Retry():
            return _why_no_retry(decision, job)
        case Cancel():
            return _why_no_cancel(job)
        case Submitted() | Closed() if job.status is not Status.DOUBTFUL or job.attempt_id is None:
            return f"it is {job.status}, not doubtful: there is nothing to decide", False
        case Submitted() | Closed() | Judge():
            return "", False
        case _:
            assert_never(decision)


def _why_no_retry(decision: Retry, job: JobReview) -> tuple[str, bool]:
    match job.status:
        case Status.PLANNED:
            return "it is planned already", True
        case Status.SUBMITTING | Status.QUEUED | Status.PROCESSING:
            return f"it is {job.status}: it is bought, and the next run goes on with it", False
        case Status.DOUBTFUL:
            return f"it is doubtful; decide first: batcher resolve {job.short} --as again (or another way)", False
        case Status.CANCELLED if job.code in (chains.SOURCE_FAILED, chains.SOURCE_REJECTED):
            return "it comes back with what it is made from: retry that (or approve it, if it was rejected)", True
        case status if status not in decision.statuses:
            return f"it is {status}; if that is meant, add --status {status}", False
        case Status.SUCCEEDED if job.unsaved and not decision.alone:
            return "its file is not fetched yet, and a run is going that may be at it; ask again after its end", False
        case _:
            return "", False


def _why_no_cancel(job: JobReview) -> tuple[str, bool]:
    match job.status:
        case Status.PLANNED:
            return "", False
        case Status.CANCELLED if job.code in (NOT_IN_MANIFEST, chains.SOURCE_FAILED, chains.SOURCE_REJECTED):
            return "", False
        case Status.CANCELLED:
            return "it is cancelled already", True
        case Status.SUBMITTING | Status.QUEUED | Status.PROCESSING:
            return f"it is {job.status}: it is bought, and the API cannot cancel what it has", False
        case status:
            return f"it is {status}: there is nothing left to send", False


def check_all(read: LedgerReader, decision: Decision, jobs: Iterable[JobReview]) -> None:
    """Raises UsageError, naming every job that the decision does not fit; then nothing has been changed."""
    found = [left for job in jobs if (left := weigh(read, decision, job)) and not left.settled]
    if found:
        lines = [f"job {left.job.short}: {left.why}" for left in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"… and {len(found) - SHOWN:,} more")
        raise UsageError("\n".join(lines), hint="Nothing was changed.")


# Writing


def decide(ledger: LedgerWriter, decision: Decision, jobs: Iterable[JobId]) -> Iterator[Decided | Left]:
    """Take a decision of each job that it fits, some to a transaction; a job's news comes after its commit.

    Stop reading, and the jobs of the transactions to come stay as they are.
    """
    stream = iter(jobs)
    while page := list(islice(stream, _PAGE)):
        with ledger._write as t:
            done = [_decide(t, ledger.read, decision, review_of(ledger.read, job)) for job in page]
        yield from done


def _decide(t: Transaction, read: LedgerReader, decision: Decision, job: JobReview) -> Decided | Left:
    if left := weigh(read, decision, job):
        return left
    match decision:
        case Retry():
            if job.status is Status.SUCCEEDED and job.attempt_id is not None:
                settle_at_hold(t, job.attempt_id)  # nobody will ask for its price any more
            t.move(job.id, job.status, Status.PLANNED)
            t.event(Event.RETRIED, job_id=job.id, old=job.status, new=Status.PLANNED)
            return Decided(job, Status.PLANNED)
        case Cancel():
            if job.status is Status.CANCELLED:
                t.run("UPDATE wanted SET error_code = ?, error_message = ? WHERE id = ?", (*_BY_A_PERSON, job.id))
            else:
                code, message = _BY_A_PERSON
                t.move(job.id, job.status, Status.CANCELLED, code=code, message=message)
            detail = {"code": CANCELLED}
            t.event(Event.CANCELLED, job_id=job.id, old=job.status, new=Status.CANCELLED, detail=detail)
            return Decided(job, Status.CANCELLED)
        case Judge(verdict):
            sha256, _ = file_of(read, job.id)
            assert sha256 is not None
            chains.review(t, sha256, verdict)
            t.event(Event.REVIEWED, job_id=job.id, detail={"verdict": verdict, "sha256": sha256})
            return Decided(job, job.status)
        case Submitted(task_id):
            assert job.attempt_id is not None
            resolve_as_task(t, job.attempt_id, task_id)
            return Decided(job, Status.QUEUED)
        case Closed(charged, again):
            assert job.attempt_id is not None
            resolve_as_closed(t, job.attempt_id, charged, again=again)
            return Decided(job, Status.PLANNED if again else Status.FAILED, charged)
        case _:
            assert_never(decision)


_BY_A_PERSON = (CANCELLED, "a person cancelled it; `batcher retry` brings it back")
