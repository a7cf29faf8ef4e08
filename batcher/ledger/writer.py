"""Writing the ledger: every method is one transaction with its event in it, and returns after its commit.

Money lives by three rules here (product.md, promises 1 to 3): an attempt exists only through `intend`, which
checks every cap in the transaction that takes the hold; what the API took replaces the hold when it says so;
an attempt is settled once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from batcher.clock import Clock, iso, local_day
from batcher.errors import BatcherError
from batcher.jobs import UNSETTLED, Account, Intent, Job, JobId, JobSpec, Status, TaskState, Upload

from . import enrolment, rows, schema
from .caps import Caps, Refusal, quote
from .connection import open_writer, storage_errors
from .enrolment import Enrolled
from .reader import LedgerReader
from .transaction import Change, Stale, Transaction

_SENDS_KEPT_SECONDS = 25 * 3600.0  # the longest window of a rate is a day
Observer = Callable[[Change], None]


class Ledger:
    """The one writer of a ledger. `read` reads through the same connection."""

    def __init__(self, connection: sqlite3.Connection, path: Path, clock: Clock, observe: Observer) -> None:
        self._connection = connection
        self._clock = clock
        self._observe = observe
        self._run_id: int | None = None
        self.path = path
        self.read = LedgerReader(connection, path)
        self._ledger_id = self.read.ledger_id

    @classmethod
    def open(cls, path: Path, clock: Clock, observe: Observer = lambda _: None) -> Self:
        """Open or make the ledger at `path`; the caller holds the run lock if it may have to be migrated.

        Raises StorageError when it cannot be used or is of a newer version.
        """
        connection = open_writer(path)
        try:
            with storage_errors(path):
                if schema.pending(connection, path):
                    schema.migrate(connection, path, stamp=iso(clock.wall()).replace(":", "")[:17])
                meta = (secrets.token_hex(16), iso(clock.wall()))
                connection.execute("INSERT OR IGNORE INTO meta VALUES (1, ?, ?)", meta)
            return cls(connection, path, clock, observe)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def enrol(self, campaign: str, manifest: str, specs: Iterable[JobSpec]) -> Enrolled:
        """Make the ledger want exactly the jobs of this expansion; what is bought already stays as it is.

        `manifest` is the file's path, for people. Streams `specs` in batches, a transaction each.
        """
        return enrolment.enrol(self._write, self.read, campaign, manifest, specs)

    @contextmanager
    def _write(self) -> Iterator[Transaction]:
        # sqlite3's own transactions begin deferred: two admissions could then both read before either writes.
        with storage_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            transaction = Transaction(self._connection, self._clock.wall(), self._run_id)
            try:
                yield transaction
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk makes SQLite roll back by itself
                    self._connection.execute("ROLLBACK")
                raise
        for change in transaction.changes:
            self._observe(change)

    # Runs

    def start_run(self, *, version: str, pid: int, account: str, campaigns: Sequence[str], settings: str) -> int:
        """Open a run. Every intent that it finds on disk may have been received, for good."""
        with self._write() as t:
            run_id = t.insert(
                "runs",
                started_at=t.at,
                version=version,
                pid=pid,
                account=account,
                campaigns=json.dumps(list(campaigns)),
                settings=settings,
            )
            t.run_id = run_id
            t.run(
                "UPDATE attempts SET maybe_received = 1 WHERE id IN"
                " (SELECT attempt_id FROM wanted WHERE status = 'submitting')"
            )
            t.run("DELETE FROM sends WHERE at < ?", (iso(t.seconds - _SENDS_KEPT_SECONDS),))
            t.event("run_started", detail={"version": version, "campaigns": list(campaigns)})
        self._run_id = run_id
        return run_id

    def end_run(self, *, exit_code: int, reason: str, left: Mapping[str, int] | None = None) -> None:
        """Close the run with exit code and reason in words; `left` counts why jobs did not come to their end."""
        with self._write() as t:
            t.run(
                "UPDATE runs SET ended_at = ?, exit_code = ?, reason = ? WHERE id = ?",
                (t.at, exit_code, reason, self._run_id),
            )
            t.event("run_ended", detail={"exit_code": exit_code, "reason": reason, "left": dict(left or {})})

    def note(self, event: str, **detail: Any) -> None:
        """Write down something that happened to the run as a whole."""
        with self._write() as t:
            t.event(event, detail=detail)

    # Sends

    def stamp(self, kind: str) -> int:
        """Write down a request right before it is sent, for the rate windows; returns the row id."""
        with self._write() as t:
            return t.insert("sends", at=t.at, kind=kind)

    # Money

    def intend(self, job: Job, *, account: Account, compose: Callable[[str], bytes], caps: Caps) -> Intent | Refusal:
        """Commit key, exact body and hold of a new attempt, if every cap has room for it.

        `compose` makes the body from the client_request_id; it runs once an attempt. Raises Stale when the job is
        not planned any more.
        """
        with self._write() as t:
            number = t.value("SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE job_id = ?", (job.id,))
            expected = self._quote(caps, account, job.campaign, t.seconds, job.price_class, job.catalog_credits)
            if isinstance(expected, Refusal):
                return expected
            request_id = f"{job.campaign}-{job.id}-take{job.take}-{number}"
            attempt_id = t.insert(
                "attempts",
                job_id=job.id,
                number=number,
                run_id=self._run_id,
                account=account.text,
                day=local_day(t.seconds),
                price_class=job.price_class,
                idempotency_key=self._key(job.id, number),
                client_request_id=request_id,
                body=compose(request_id),
                quoted_credits=expected,
                intended_at=t.at,
            )
            t.move(job.id, Status.PLANNED, Status.SUBMITTING, attempt_id=attempt_id)
            t.event("intended", job_id=job.id, old=Status.PLANNED, new=Status.SUBMITTING, detail={"hold": expected})
            return rows.intent(t.attempt(attempt_id))

    def refusal(
        self, caps: Caps, *, account: Account, campaign: str, price_class: str, catalog_credits: int
    ) -> Refusal | None:
        """Why `intend` would not admit a job of this class now, if it would not; writes nothing."""
        found = self._quote(caps, account, campaign, self._clock.wall(), price_class, catalog_credits)
        return found if isinstance(found, Refusal) else None

    def _quote(
        self, caps: Caps, account: Account, campaign: str, now: float, price_class: str, catalog_credits: int
    ) -> int | Refusal:
        return quote(
            self.read,
            caps,
            run_id=self._run_id,
            account=account.text,
            campaign=campaign,
            now=now,
            price_class=price_class,
            catalog_credits=catalog_credits,
        )

    def _key(self, job_id: JobId, number: int) -> str:
        # Derived, so that even a lost row could not lead to another key for the same purchase.
        return hashlib.sha256(f"{self._ledger_id}/{job_id}/{number}".encode()).hexdigest()[:40]

    def maybe_received(self, intent: Intent, why: str) -> None:
        """Mark the attempt: a sending of it ended without a definite answer. Never taken back."""
        with self._write() as t:
            t.run("UPDATE attempts SET maybe_received = 1 WHERE id = ?", (intent.attempt_id,))
            t.event("maybe_received", job_id=intent.job_id, attempt=intent.number, detail={"why": why})

    def submitted(self, intent: Intent, task: TaskState) -> None:
        """Record the API's answer to a create, before anything else happens with it."""
        self.record(intent.job_id, intent.attempt_id, task)

    def record(self, job_id: JobId, attempt_id: int, task: TaskState, unfinished_for: float | None = None) -> None:
        """Record what the API says of a task, whoever brings the news. Settles once, at the end.

        `unfinished_for`: it was last seen unfinished so many seconds after its submission; kept of one that succeeded.
        Raises Stale when the attempt is not the job's latest or has been closed; task id and URLs are kept even then.
        """
        with self._write() as t:
            attempt = t.attempt(attempt_id)
            self._keep_facts(t, attempt, task)
            old = t.status(job_id, attempt_id)
            late = old not in UNSETTLED and old is not task.status  # closed at no cost, doubtful, or bought again
            detail = {"task_id": task.task_id, "word": task.word, "reserved": task.reserved_credits}
            if task.status is Status.FAILED:
                detail |= {"code": task.error_code, "message": task.error_message}
            if late or old is None:
                t.event("late_answer", job_id=job_id, attempt=attempt["number"], detail=detail)
            else:
                if task.status in (Status.SUCCEEDED, Status.FAILED) and old is not task.status:
                    self._settle(t, attempt_id, task, unfinished_for if task.status is Status.SUCCEEDED else None)
                self._tell_of_rise(t, attempt)
                self._add_files(t, attempt_id, task)
                if old is not task.status:
                    t.move(job_id, old, task.status)
                if old is not task.status or attempt["task_id"] is None or attempt["api_status"] != task.word:
                    t.event(str(task.status), job_id=job_id, old=old, new=task.status, detail=detail)
        if late:
            raise Stale(f"attempt {attempt_id} of job {job_id} was closed before the API's answer came")

    def _keep_facts(self, t: Transaction, attempt: sqlite3.Row, task: TaskState) -> None:
        """Id, URLs, state and hold. What an ended task has reserved says nothing any more: its price is final."""
        ended = task.status in (Status.SUCCEEDED, Status.FAILED) and attempt["reserved_credits"] is not None
        t.run(
            "UPDATE attempts SET task_id = coalesce(task_id, ?), submitted_at = coalesce(submitted_at, ?),"
            " reserved_credits = coalesce(?, reserved_credits), api_status = ?, result_urls = ? WHERE id = ?",
            (
                task.task_id,
                t.at,
                None if ended or attempt["final_credits"] is not None else task.reserved_credits,
                task.word,
                json.dumps(list(task.urls) or json.loads(attempt["result_urls"])),
                attempt["id"],
            ),
        )

    def _settle(self, t: Transaction, attempt_id: int, task: TaskState, unfinished_for: float | None) -> None:
        # Without a word about the final price the hold counts as spent: no page promises a refund.
        values = (task.final_credits, str(task.status), t.at, task.error_code, task.error_message, unfinished_for)
        t.run(
            "UPDATE attempts SET final_credits = coalesce(?, reserved_credits, quoted_credits), outcome = ?,"
            " finished_at = ?, error_code = ?, error_message = ?, unfinished_for = ?"
            " WHERE id = ? AND final_credits IS NULL",
            (*values, attempt_id),
        )

    def _tell_of_rise(self, t: Transaction, before: sqlite3.Row) -> None:
        """Show what the API took above its price of before (product.md, promise 3)."""
        known, taken = rows.price(before), rows.price(t.attempt(before["id"]))
        if taken > known:
            detail = {"expected": known, "taken": taken}
            t.event("price_rose", job_id=before["job_id"], attempt=before["number"], detail=detail)

    def _add_files(self, t: Transaction, attempt_id: int, task: TaskState) -> None:
        if task.status is Status.SUCCEEDED:
            for number in range(max(1, len(task.urls))):
                t.run("INSERT OR IGNORE INTO files (attempt_id, number) VALUES (?, ?)", (attempt_id, number))

    def refused(self, intent: Intent, code: str, message: str) -> Status:
        """A definite refusal: the job failed and the hold is freed, unless an earlier sending may have arrived.

        Then nobody knows whether it was charged: doubtful, and the hold stays. Returns the new status.
        """
        with self._write() as t:
            if t.attempt(intent.attempt_id)["maybe_received"]:
                self._doubt(t, intent.job_id, intent.attempt_id, code, message)
                return Status.DOUBTFUL
            self._close(t, intent, code, message)
            t.move(intent.job_id, Status.SUBMITTING, Status.FAILED)
            self._report_end(t, intent, Status.FAILED, code, message)
            return Status.FAILED

    def unsent(self, intent: Intent, code: str, message: str) -> Status:
        """Close an attempt at no cost and plan its job again; the next attempt has a new key.

        Only for an attempt that cannot have been received; a maybe-received one becomes doubtful instead.
        Returns the new status.
        """
        with self._write() as t:
            if t.attempt(intent.attempt_id)["maybe_received"]:
                self._doubt(t, intent.job_id, intent.attempt_id, code, message)
                return Status.DOUBTFUL
            self._close(t, intent, code, message)
            t.move(intent.job_id, Status.SUBMITTING, Status.PLANNED)
            self._report_end(t, intent, Status.PLANNED, code, message)
            return Status.PLANNED

    def _close(self, t: Transaction, intent: Intent, code: str, message: str) -> None:
        t.latest(intent.job_id, intent.attempt_id)
        t.run(
            "UPDATE attempts SET final_credits = 0, outcome = 'refused', finished_at = ?, error_code = ?,"
            " error_message = ? WHERE id = ? AND final_credits IS NULL",
            (t.at, code, message, intent.attempt_id),
        )

    def _report_end(self, t: Transaction, intent: Intent, new: Status, code: str, message: str) -> None:
        t.event(
            "refused",
            job_id=intent.job_id,
            old=Status.SUBMITTING,
            new=new,
            detail={"code": code, "message": message},
        )

    def doubt(self, job_id: JobId, attempt_id: int, code: str, message: str) -> None:
        """We cannot know whether the API charged us: the hold stays, a person decides."""
        with self._write() as t:
            self._doubt(t, job_id, attempt_id, code, message)

    def _doubt(self, t: Transaction, job_id: JobId, attempt_id: int, code: str, message: str) -> None:
        old = t.latest(job_id, attempt_id)
        t.run(
            "UPDATE attempts SET outcome = 'doubtful', error_code = ?, error_message = ? WHERE id = ?",
            (code, message, attempt_id),
        )
        t.move(job_id, old, Status.DOUBTFUL)
        t.event(
            "doubtful",
            job_id=job_id,
            old=old,
            new=Status.DOUBTFUL,
            detail={"code": code, "message": message},
        )

    def cannot_send(self, job_id: JobId, code: str, message: str) -> None:
        """A planned job that cannot be bought (its reference changed): failed, nothing was paid."""
        with self._write() as t:
            t.move(job_id, Status.PLANNED, Status.FAILED, code=code, message=message)
            t.event(
                "failed",
                job_id=job_id,
                old=Status.PLANNED,
                new=Status.FAILED,
                detail={"code": code, "message": message},
            )

    # Uploads and files

    def remember_upload(self, account: Account, upload: Upload) -> None:
        """Keep an upload: one row a file and account; a newer one takes its place."""
        with self._write() as t:
            t.run(
                "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    account.text,
                    upload.sha256,
                    upload.url,
                    upload.kind,
                    upload.name,
                    upload.mime,
                    upload.file_id,
                    upload.duration_token,
                    upload.duration_seconds,
                    t.at,
                    iso(upload.checked_at),
                ),
            )
            t.event("uploaded", detail={"sha256": upload.sha256, "name": upload.name})

    def vouched(self, account: Account, sha256: str) -> None:
        """The API still has the upload, as of now."""
        with self._write() as t:
            t.run("UPDATE uploads SET checked_at = ? WHERE account = ? AND sha256 = ?", (t.at, account.text, sha256))

    def begin_file(self, attempt_id: int, number: int, validator: str | None) -> None:
        """Remember under which validator (strong ETag) a download was begun, so that it may go on."""
        with self._write() as t:
            t.run("UPDATE files SET validator = ? WHERE attempt_id = ? AND number = ?", (validator, attempt_id, number))

    def claim_file(self, attempt_id: int, number: int, *, target: str, sha256: str, size: int) -> bool:
        """Commit hash and target of a whole file before it gets its name; False when another job has the target."""
        try:
            with self._write() as t:
                t.run(
                    "UPDATE files SET target = ?, sha256 = ?, size = ? WHERE attempt_id = ? AND number = ?",
                    (target, sha256, size, attempt_id, number),
                )
        except BatcherError as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError):
                return False
            raise
        return True

    def file_saved(self, job_id: JobId, attempt_id: int, number: int) -> None:
        """The file stands whole under its target."""
        with self._write() as t:
            t.run(
                "UPDATE files SET saved_at = ?, validator = NULL WHERE attempt_id = ? AND number = ?",
                (t.at, attempt_id, number),
            )
            t.event("saved", job_id=job_id, detail={"number": number})
