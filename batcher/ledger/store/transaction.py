"""One transaction: its statements, its legal moves, its events; and how it begins, ends and is shared."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from batcher.clock import Clock, Moment, iso, moment
from batcher.errors import BatcherError
from batcher.events import Event
from batcher.jobs import MOVES, JobId, Status
from batcher.ledger.queries.sql import placeholders

from . import connection as opening
from .connection import WAIT_SECONDS, Away, Locked, Torn, is_busy, storage_errors

if TYPE_CHECKING:
    from batcher.jobs import Job

T = TypeVar("T")
#: How long a lock is waited for that is met only when all hurry is over, such as that of `batcher cancel`.
_LEAST_SECONDS = 1.0
#: A wait that is longer than this is told.
_TOLD_SECONDS = 2.0


class Stale(BatcherError):
    """The job has moved since it was read (a person decided meanwhile): read it again."""


@dataclass(frozen=True, slots=True)
class Change:
    """A fact after its commit, for observers; they cannot change the run."""

    event: str
    job_id: JobId | None = None
    old: Status | None = None
    new: Status | None = None
    detail: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


class Stamp(NamedTuple):
    """A time by each of the machine's clocks, and as the ledger writes it."""

    moment: Moment
    at: str


class Transaction:
    """What happens between BEGIN and COMMIT; collects the facts that observers get afterwards.

    `moved` is called after each move of a job, for what hangs on it.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        stamp: Stamp,
        run_id: int | None,
        moved: Callable[[Transaction, JobId], None],
    ) -> None:
        self._moved = moved
        self._connection = connection
        self.moment, self.at = stamp
        self.run_id = run_id
        self.changes: list[Change] = []
        self.to_settle: list[tuple[str, str]] = []  # for `chains`: which jobs are still to be looked at

    def run(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)

    def tell(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement whose answer nobody needs; what it breaks is known by the commit at the latest (`Torn`)."""
        getattr(self._connection, "later", self._connection.execute)(sql, values)

    def many(self, sql: str, values: Sequence[Any]) -> None:
        self._connection.executemany(sql, values)

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        return self._connection.execute(sql, values).fetchone()[0]

    def insert(self, table: str, **columns: Any) -> int:
        """Insert a row; returns its id. Nobody waits for one whose id is known."""
        values = tuple(columns.values())
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({placeholders(values)})"
        if "id" not in columns:
            return int(self.value(f"{sql} RETURNING id", values))
        self.tell(sql, values)
        return int(columns["id"])

    def update(self, table: str, row_id: int, **columns: Any) -> None:
        self.run(f"UPDATE {table} SET {' = ?, '.join(columns)} = ? WHERE id = ?", (*columns.values(), row_id))

    @property
    def boot(self) -> tuple[str | None, float | None]:
        """The machine's uptime as columns."""
        return self.moment.uptime or (None, None)

    def move(
        self,
        job_id: JobId,
        old: Status,
        new: Status,
        *,
        attempt_id: int | None = None,
        code: str | None = None,
        message: str | None = None,
        seen: bool = False,
    ) -> None:
        """Compare and set: a legal move of a job that is still in `old`, unless this transaction has `seen` it there.

        Raises Stale.
        """
        if new not in MOVES[old]:
            raise Stale(f"job {job_id} cannot go from {old} to {new}")
        sql = (
            "UPDATE wanted SET status = ?, attempt_id = coalesce(?, attempt_id), error_code = ?, error_message = ?,"
            " updated_at = ? WHERE id = ? AND status = ?"
        )
        values = (new, attempt_id, code, message, self.at, job_id, old)
        if seen:
            self.tell(sql, values)
        elif not self.run(sql, values).rowcount:
            raise Stale(f"job {job_id} is not {old} any more")
        if (old, new) != (Status.PLANNED, Status.SUBMITTING):  # who depends on it goes on waiting for its file
            self._moved(self, job_id)

    def event(
        self,
        event: Event,
        *,
        job_id: JobId | None = None,
        attempt: int | None = None,
        old: Status | None = None,
        new: Status | None = None,
        detail: dict[str, Any] | None = None,
        at: str | None = None,
    ) -> None:
        """Write an event row, as of now or an earlier time, and keep the fact for the observers."""
        moved = {} if new is None else {"from": old and str(old), "to": str(new)}
        newest = "?" if attempt is not None or job_id is None else "(SELECT max(number) FROM attempts WHERE job_id = ?)"
        self.tell(
            f"INSERT INTO events (at, run_id, job_id, attempt, event, detail) VALUES (?, ?, ?, {newest}, ?, ?)",
            (
                at or self.at,
                self.run_id,
                job_id,
                job_id if attempt is None else attempt,
                event,
                json.dumps(moved | (detail or {})),
            ),
        )
        self.changes.append(Change(event, job_id, old, new, MappingProxyType(detail or {})))


Observer = Callable[[Change], None]


@dataclass(frozen=True, slots=True)
class Buying(Generic[T]):
    """An operation of a group that buys a job: known as one beforehand, so what all of them ask is asked at once."""

    job: Job
    buy: Callable[[], T]

    def __call__(self) -> T:
        return self.buy()


class _Shared(NamedTuple):
    """A transaction that several share: when it began, what it buys, and the changes so far."""

    begun: Stamp
    buying: Sequence[Job]
    changes: list[Change]


class Writing:
    """`with` it for a transaction; `commit_group` lets several of them share one. A class, for every write passes here.

    It has its errors as StorageError, and tells observers the facts after their commit. Not to be nested.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        clock: Clock,
        observe: Observer,
        path: Path,
        moved: Callable[[Transaction, JobId], None],
    ) -> None:
        self._moved = moved
        self._connection = connection
        self._clock = clock
        self._observe = observe
        self._errors = storage_errors(path)
        self._path = path
        self.patience = opening.BUSY_SECONDS
        self.tell: Callable[[str], object] = lambda _: None
        self._locked_since: float | None = None  # another program's lock was met, and none since was taken
        self._told = False
        self._hurry_at = math.inf
        self._owed: list[Callable[[], None]] = []
        self._turn = RLock()  # a store on a network commits on a thread
        self._undoes = isinstance(connection, sqlite3.Connection)  # PostgreSQL gives the whole transaction up
        self._shared: _Shared | None = None
        self._open: Transaction | None = None
        self._facts: Any = None  # of the shared transaction, as long as it only buys
        self.run_id: int | None = None

    def __enter__(self) -> Transaction:
        self._turn.acquire()
        self._facts = None  # whatever is written may change what was known
        try:
            with self._errors:
                # sqlite3's own transactions begin deferred: two admissions could then both read before either writes.
                if self._shared is None:
                    self._begin()
                else:
                    self._connection.execute("SAVEPOINT part")
        except BaseException:
            self._turn.release()
            raise
        self._open = Transaction(
            self._connection, self._shared.begun if self._shared else self._now(), self.run_id, self._moved
        )
        return self._open

    @contextmanager
    def admitting(self, nothing: Callable[[Sequence[Job]], T]) -> Iterator[tuple[Transaction, T]]:
        """A transaction of a purchase, with what its group knows (`facts.Facts`), as long as that only buys.

        `nothing` makes what is known at first. Where a purchase fails, that may be wrong: the next one begins anew.
        """
        with self._turn:
            facts = self._facts or nothing(self._shared.buying if self._shared else ())
            with self as t:
                yield t, facts
            self._facts = facts if self._shared else None

    @contextmanager
    def single(self, *, changes_facts: bool = True) -> Iterator[Transaction]:
        """A transaction of one statement, which needs no savepoint in a group: if it fails, SQLite undoes it itself."""
        with self._turn:
            known, self._facts = self._facts, None
            if self._shared is None or not self._undoes:
                with self as t:
                    yield t
            else:
                with self._errors:
                    yield Transaction(self._connection, self._shared.begun, self.run_id, self._moved)
            self._facts = None if changes_facts else known

    def _begin(self, *, patient: bool = True) -> None:
        """Begin, in short waits for another program's lock: signals are heard between them."""
        began, waited = self._clock.monotonic(), 0.0
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except (sqlite3.OperationalError, Locked) as error:
                if not is_busy(error):
                    raise
                waited += WAIT_SECONDS
                if isinstance(error, Away) or not self.still_waits(began + waited) or not patient:
                    raise
            else:
                self._locked_since, self._told = None, False
                return

    def still_waits(self, at: float = 0.0) -> bool:
        """Whether a lock that is in the way is to be waited for on; a long wait is told.

        Who has waited in vain does not wait again: what is left to do is to come to an end. `at` is the monotonic time
        if it is later than the clock says.
        """
        now = max(self._clock.monotonic(), at)
        if self._locked_since is None:
            self._locked_since = now
        until = min(self._locked_since + self.patience, max(self._hurry_at, self._locked_since + _LEAST_SECONDS))
        if not self._told and now >= self._locked_since + _TOLD_SECONDS:
            self._told = True
            self.tell(
                f"{self._path} is held for writing by another program (`lsof {self._path}` names it): close that one."
                f" This run waits for it, {max(0.0, until - now):.0f} s more; nothing is lost meanwhile."
            )
        return now < until

    def hurry(self, seconds: float) -> None:
        """Wait for locks no longer than so many seconds from now on."""
        self._hurry_at = min(self._hurry_at, self._clock.monotonic() + seconds)

    def note(self, event: Event, detail: dict[str, Any]) -> None:
        """Write down an event of the run as a whole; what another program's lock keeps out goes with the next group."""
        at = self._now().at
        json.dumps(detail)  # what no event can hold fails here, not in the midst of what has to be written

        def write() -> None:
            with self as t:
                t.event(event, detail=detail, at=at)

        if not self._turn.acquire(blocking=False):
            self._owed.append(write)  # a group is being committed on a thread
            return
        try:
            if self._shared is not None:
                write()
            else:
                self._owed.append(write)
                with suppress(Locked):
                    self.commit_group((), patient=False)
        finally:
            self._turn.release()

    def _now(self) -> Stamp:
        now = moment(self._clock)
        return Stamp(now, iso(now.wall))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        transaction, self._open = self._open, None
        assert transaction is not None
        alone = self._shared is None
        try:
            with self._errors:
                try:
                    if error is not None:
                        raise error
                    self._connection.execute("COMMIT" if alone else "RELEASE part")
                except BaseException:
                    self._undo(*(("ROLLBACK",) if alone else ("ROLLBACK TO part", "RELEASE part")))
                    raise
            if self._shared is not None:
                self._shared.changes.extend(transaction.changes)
        finally:
            self._turn.release()
        if alone:
            self._tell(transaction.changes)

    def commit_group(self, operations: Sequence[Callable[[], T]], *, patient: bool = True) -> list[T | Exception]:
        """Do operations, each some transactions, in one; what each returned or raised. Raises StorageError.

        Those that buy (`Buying`) come last, so that they have what the others have freed, and ask the same once.
        Unless `patient` it waits for another program's lock for a moment only (Locked).
        """
        with self._turn:
            try:
                found, changes = self._in_one_transaction(operations, patient)
            except Torn as torn:  # nothing stands: once more, and whose write it was hears of it
                with torn.slowly():
                    found, changes = self._in_one_transaction(operations, patient)
        self._tell(changes)
        return found

    def _in_one_transaction(
        self, operations: Sequence[Callable[[], T]], patient: bool
    ) -> tuple[list[T | Exception], list[Change]]:
        try:
            with self._errors:
                self._begin(patient=patient)
                buying = [each.job for each in operations if isinstance(each, Buying)]
                self._shared = shared = _Shared(self._now(), buying, [])
                try:
                    owed = list(self._owed)
                    for note in owed:
                        note()
                    found = dict[int, T | Exception]()
                    for place in sorted(range(len(operations)), key=lambda n: isinstance(operations[n], Buying)):
                        found[place] = self._try(operations[place])
                    self._connection.execute("COMMIT")
                except BaseException:
                    self._undo("ROLLBACK")
                    raise
        finally:
            self._shared = self._facts = None
        del self._owed[: len(owed)]
        return [found[place] for place in range(len(operations))], shared.changes

    def _try(self, operation: Callable[[], T]) -> T | Exception:
        try:
            return operation()
        except Exception as error:
            if not self._connection.in_transaction:
                raise  # the disk is full, and SQLite took back what the others did too
            return error

    def _undo(self, *words: str) -> None:
        if self._connection.in_transaction:  # a full disk makes SQLite roll back by itself
            for word in words:
                self._connection.execute(word)

    def _tell(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._observe(change)
