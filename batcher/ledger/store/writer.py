"""Writing the ledger: every method is one transaction with its event in it, and returns after its commit.

`commit_group` lets many of them share one: a commit waits for the disk, however much it holds.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from batcher.clock import Clock, iso
from batcher.errors import UsageError
from batcher.events import Event
from batcher.jobs import Account, Intent, Job, JobId, JobSpec, Status, TaskState, Upload
from batcher.ledger.queries import budgets, export
from batcher.ledger.queries.lookup import Place
from batcher.ledger.reader import LedgerReader, PlannedJob
from batcher.measures import UNINSPECTED, Inspection

from . import chains, commands, enrolment, purchases, sends
from .caps import Caps, NotAdmitted, admission
from .connection import AlreadyThere, open_writer
from .enrolment import Asked, Enrolled, EnrolmentStep, unknown
from .facts import Facts
from .sends import Send
from .transaction import Observer, Stale, Transaction, Writing

_SENDS_KEPT_SECONDS = 25 * 3600.0  # the longest window of a rate is a day
_WHOSE = {Place.SIMULATOR: "the simulator", Place.LOOPBACK: "an API on loopback", Place.NET: "the API on the net"}
T = TypeVar("T")


class LedgerWriter:
    """The one writer of a ledger. `read` reads through the same connection."""

    def __init__(self, connection: sqlite3.Connection, path: Path, clock: Clock, observe: Observer) -> None:
        self._connection = connection
        self._clock = clock
        self._write = Writing(connection, clock, observe, path, chains.settle)
        self.path = path
        self.read = self._reader()
        self._ledger_id = self.read.ledger_id
        self.commanded = commands.Watch(self.read, observe)  # what people ask of the run that goes on

    @classmethod
    def open(
        cls,
        path: Path,
        clock: Clock,
        observe: Observer = lambda _: None,
        *,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> Self:
        """Open or make the ledger at `path`; the caller holds the run lock if it may have to be migrated.

        `factory` makes its connections: of a kind that fails or counts, in tests.
        Raises StorageError when it cannot be used or is of a newer version.
        """
        connection = open_writer(path, ledger_id=secrets.token_hex(16), at=iso(clock.wall()), factory=factory)
        return cls(connection, path, clock, observe)

    def _reader(self) -> LedgerReader:
        return LedgerReader(self._connection, self.path)

    def close(self) -> None:
        self._connection.close()

    def enrolling(
        self, campaign: str, manifest: str, specs: Iterable[JobSpec], origin: Asked = unknown
    ) -> Iterator[EnrolmentStep]:
        """The steps, a transaction each, to where the ledger wants just the jobs of an expansion (see `enrolment`)."""
        return enrolment.enrolling(self._write, self.read, campaign, manifest, specs, origin)

    def enrol(self, campaign: str, manifest: str, specs: Iterable[JobSpec], origin: Asked = unknown) -> Enrolled:
        """Do every step of `enrolling`."""
        steps = self.enrolling(campaign, manifest, specs, origin)
        return Enrolled(*map(sum, zip(*(step() for step in steps), strict=True)))

    def cancel_gone(self, campaign: str, expansion: int) -> int:
        """Cancel what is planned and not in the expansion, for a person planned it again; how many jobs that were."""
        with self._write as t:
            return enrolment.cancel_gone(t, campaign, expansion)

    def wait_for_locks(self, seconds: float, tell: Callable[[str], object]) -> None:
        """Wait so long for another program's lock; a long wait is told."""
        self._write.patience, self._write.tell = seconds, tell

    def still_waits(self) -> bool:
        """Whether the lock that was in the way just now is to be waited for on."""
        return self._write.still_waits()

    def hurry(self, seconds: float) -> None:
        """Wait for locks no longer than so many seconds from now on; also called by handlers of signals."""
        self._write.hurry(seconds)

    def commit_group(self, operations: Sequence[Callable[[], T]], *, patient: bool = True) -> list[T | Exception]:
        """Do operations, each some calls of this ledger's methods, in one transaction; returns after its commit.

        Each call stands whole or not at all. The answer holds what each operation returned or raised. Raises
        StorageError when nothing of any of them stands.
        """
        return self._write.commit_group(operations, patient=patient)

    # Runs

    def start_run(self, *, version: str, pid: int, account: str, campaigns: Sequence[str], settings: str) -> int:
        """Open a run. Every intent that it finds on disk may have been received, for good."""
        with self._write as t:
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
            self._take_over(t)
            sends.forget(t, _SENDS_KEPT_SECONDS)
            t.event(Event.RUN_STARTED, detail={"version": version, "campaigns": list(campaigns)})
            self.commanded.begin(t)
        self._write.run_id = run_id
        return run_id

    def _take_over(self, t: Transaction) -> None:
        """Nobody else is at work: what was intended before this run may have been received, what was asked holds on."""
        commands.hand_on(t)
        t.run(
            "UPDATE attempts SET maybe_received = 1 WHERE id IN (SELECT attempt_id FROM wanted"
            " WHERE status = 'submitting' AND campaign IN (SELECT name FROM campaigns))"
        )

    def end_run(self, *, exit_code: int, reason: str, left: Mapping[str, int] | None = None) -> None:
        """Close the run with exit code and reason in words; `left` counts why jobs did not come to their end."""

        def end() -> None:
            with self._write as t:
                t.update("runs", self._write.run_id or 0, ended_at=t.at, exit_code=exit_code, reason=reason)
                commands.forget(t)
                t.event(Event.RUN_ENDED, detail={"exit_code": exit_code, "reason": reason, "left": dict(left or {})})

        [failed] = self._write.commit_group([end])  # with the notes that a lock has kept out
        if failed is not None:
            raise failed

    def note(self, event: Event, **detail: Any) -> None:
        """Write down something that happened to the run as a whole.

        Nobody waits for another program's lock for this: then it is written with the next group (`commit_group`).
        """
        self._write.note(event, detail)

    def belong(self, place: Place) -> None:
        """Write down where the API is that this ledger is for, for good. Raises UsageError when it is for another."""
        with self._write as t:
            t.run("UPDATE meta SET place = ? WHERE place IS NULL", (place,))
        row = self.read.row("SELECT place FROM meta")
        if row is None or row["place"] != place:
            raise UsageError(
                f"{self.path} is the ledger of {_WHOSE[Place(row['place'])] if row else 'nobody'}, and this run would"
                f" ask {_WHOSE[place]}",
                hint="They never share one: name another folder with --state, or mend the base URL.",
            )

    def accept(self, traces: Sequence[str]) -> None:
        """A person accepts that the ledger does not know of these (see `traces`): they are told no more."""
        with self._write as t:
            for trace in traces:
                t.run("INSERT OR IGNORE INTO accepted VALUES (?, ?)", (trace, t.at))
            t.event(Event.OLD_LEDGER_ACCEPTED, detail={"traces": len(traces), "first": list(traces[:10])})

    # Sends

    def stamp(self, kind: str, account: str | None = None) -> int:
        """Write down a request right before it is sent, for the rate windows of its account; returns the row id.

        One of no account counts in the windows of all.
        """
        with self._write.single(changes_facts=False) as t:
            return sends.write(t, kind, account)

    def last_send(self) -> int:
        """The newest request (row id), whosever it is; 0 where there is none."""
        return sends.last(self.read)

    def newest_sends(self, count: int, *, account: str | None = None, submissions: bool = False) -> list[Send]:
        """The newest `count` requests that count for an account (None: all), oldest first; `submissions` or all."""
        return sends.newest(self.read, count, account=account, submissions=submissions)

    def sends_after(self, send_id: int) -> list[Send]:
        """The requests after `send_id`, oldest first."""
        return sends.after(self.read, send_id)

    # Money

    def intend(
        self, job: Job, *, account: Account, compose: Callable[[str], bytes], caps: Caps, api: float | None = None
    ) -> Intent | NotAdmitted:
        """Commit key, exact body and hold of a new attempt, if every cap has room for it.

        `compose` makes the body from the client_request_id; it runs once an attempt. `api` is the API's own time, if
        it is known (seconds since the epoch). Raises Stale when the job is not planned any more.
        """
        with self._write.admitting(partial(Facts, self.read)) as (t, facts):
            return purchases.admit(
                t, facts, job, ledger_id=self._ledger_id, account=account, compose=compose, caps=caps, api=api
            )

    def refusal(self, caps: Caps, *, account: Account, job: PlannedJob | Job) -> NotAdmitted | None:
        """Why `intend` would not admit a job now, if it would not; writes nothing."""
        facts, now = Facts(self.read), self._clock.wall()
        found = admission(facts, caps, job, run_id=self._write.run_id, account=account.text, now=now)
        return found if isinstance(found, NotAdmitted) else None

    def counted(self, account: str, since: str) -> budgets.Counted | None:
        """What counted at the newest reading of the wallet, if bought since with an answer after `since` (a time)."""
        return budgets.counted(self.read, account, since)

    def maybe_received(self, intent: Intent, code: str, message: str) -> None:
        """Mark the attempt: a sending of it ended without a definite answer. Never taken back."""
        with self._write as t:
            t.run("UPDATE attempts SET maybe_received = 1 WHERE id = ?", (intent.attempt_id,))
            t.event(
                Event.MAYBE_RECEIVED,
                job_id=intent.job_id,
                attempt=intent.number,
                detail={"code": code, "message": message},
            )

    def submitted(self, intent: Intent, task: TaskState) -> None:
        """Record the API's answer to a create, before anything else happens with it."""
        self.record(intent.attempt_id, task)

    def record(self, attempt_id: int, task: TaskState, unfinished_for: float | None = None) -> None:
        """Record what the API says of a task, whoever brings the news. Settles it once its price is named.

        `unfinished_for`: it was last seen unfinished so many seconds after its submission; kept of one that succeeded.
        Raises Stale when the attempt is not the job's latest or has been closed, or when another one has the task: look
        at the job again. Task id and URLs are kept even then.
        """
        with self._write as t:
            fits = purchases.record(t, attempt_id, task, unfinished_for)
        if not fits:
            raise Stale(f"attempt {attempt_id} was closed before the API's answer came")

    def final_unknown(self, attempt_id: int) -> None:
        """Settle a success whose price the API has not named at its hold; changes nothing if it has meanwhile."""
        with self._write as t:
            purchases.settle_at_hold(t, attempt_id)

    def refused(self, intent: Intent, code: str, message: str) -> Status:
        """A definite refusal: the job failed and the hold is freed, unless an earlier sending may have arrived.

        Then nobody knows whether it was charged: doubtful, and the hold stays. Returns the new status.
        """
        with self._write as t:
            return purchases.close(t, intent, Status.FAILED, code, message)

    def unsent(self, intent: Intent, code: str, message: str) -> Status:
        """Close an attempt at no cost and plan its job again; the next attempt has a new key.

        Only for an attempt that cannot have been received; a maybe-received one becomes doubtful instead.
        Returns the new status.
        """
        with self._write as t:
            return purchases.close(t, intent, Status.PLANNED, code, message)

    def doubt(self, attempt_id: int, code: str, message: str) -> None:
        """We cannot know whether the API charged us: the hold stays, a person decides."""
        with self._write as t:
            purchases.doubt(t, attempt_id, code, message)

    def cannot_send(self, job_id: JobId, code: str, message: str) -> None:
        """A planned job that cannot be bought (its reference changed): failed, nothing was paid."""
        old, new, detail = Status.PLANNED, Status.FAILED, {"code": code, "message": message}
        with self._write as t:
            t.move(job_id, old, new, code=code, message=message)
            t.event(Event.FAILED, job_id=job_id, old=old, new=new, detail=detail)

    # Uploads and files

    def remember_upload(self, account: Account, upload: Upload) -> None:
        """Keep an upload: one row a file and account; a newer one takes its place."""
        with self._write as t:
            t.run("DELETE FROM uploads WHERE account = ? AND sha256 = ?", (account.text, upload.sha256))
            t.run(
                "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            t.event(Event.UPLOADED, detail={"sha256": upload.sha256, "name": upload.name})

    def upload_verified(self, account: Account, sha256: str) -> None:
        """The API still has the upload, as of now."""
        with self._write.single() as t:
            t.run("UPDATE uploads SET checked_at = ? WHERE account = ? AND sha256 = ?", (t.at, account.text, sha256))

    def begin_file(self, attempt_id: int, number: int, validator: str | None, announced: int | None = None) -> None:
        """Remember under which validator (strong ETag) and for which length a download was begun, so it may go on."""
        with self._write.single() as t:
            t.run(
                "UPDATE files SET validator = ?, announced = ? WHERE attempt_id = ? AND number = ?",
                (validator, announced, attempt_id, number),
            )

    def claim_file(
        self,
        attempt_id: int,
        number: int,
        *,
        target: str,
        sha256: str,
        size: int,
        found: Inspection = UNINSPECTED,
    ) -> bool:
        """Commit hash, target and measures of a whole file before it gets its name; False if another has the target."""
        differs = json.dumps([each._asdict() for each in found.differs]) if found.differs else None
        try:
            with self._write.single() as t:
                t.run(
                    "UPDATE files SET target = ?, sha256 = ?, size = ?, seconds = ?, width = ?, height = ?, differs = ?"
                    " WHERE attempt_id = ? AND number = ?",
                    (target, sha256, size, *found.measures, differs, attempt_id, number),
                )
        except AlreadyThere:
            return False
        return True

    def set_aside(self, job_id: JobId, attempt_id: int, number: int, *, path: str, sha256: str, why: str) -> None:
        """What came for a file cannot be shown to be whole; it stands at `path`, for a person to judge."""
        with self._write as t:
            t.run(
                "UPDATE files SET unverified = ?, unverified_sha256 = ? WHERE attempt_id = ? AND number = ?",
                (path, sha256, attempt_id, number),
            )
            t.event(Event.UNVERIFIED, job_id=job_id, detail={"number": number, "path": path, "why": why})

    def file_event(self, job_id: JobId, event: Event, **detail: Any) -> None:
        """Something about a file that is or was whole."""
        with self._write as t:
            t.event(event, job_id=job_id, detail=detail)

    def forget(self, job_id: JobId, *, forgotten: bool = True) -> int:
        """A person does not want the files of a job's latest attempt, or wants them again; how many changed."""
        with self._write as t:
            changed = t.run(
                "UPDATE files SET forgotten_at = ? WHERE attempt_id = (SELECT attempt_id FROM wanted WHERE id = ?)"
                f" AND forgotten_at IS {'NULL' if forgotten else 'NOT NULL'}",
                (t.at if forgotten else None, job_id),
            ).rowcount
            if changed:
                chains.settle(t, job_id)
                t.event(Event.FORGOTTEN if forgotten else Event.WANTED_AGAIN, job_id=job_id, detail={"files": changed})
            return changed

    def file_saved(self, job_id: JobId, attempt_id: int, number: int) -> None:
        """The file stands whole under its target."""
        with self._write as t:
            differs = t.value(
                "UPDATE files SET saved_at = ?, validator = NULL WHERE attempt_id = ? AND number = ? RETURNING differs",
                (t.at, attempt_id, number),
            )
            chains.settle(t, job_id)
            t.event(Event.SAVED, job_id=job_id, detail={"number": number})
            if differs:
                detail = {"number": number, "differs": json.loads(differs)}
                t.event(Event.FILE_DIFFERS, job_id=job_id, detail=detail)

    def saved(self, attempt_id: int, number: int) -> Iterator[export.Saved]:
        """One file of an attempt, if it is saved and the attempt is its job's latest."""
        return export.saved_of(self.read, attempt_id, number)
