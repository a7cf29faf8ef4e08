"""The ledger on PostgreSQL: `LedgerWriter`'s own code over another connection, and what many workers need besides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from batcher.clock import Clock
from batcher.errors import Kind
from batcher.events import Event
from batcher.jobs import Intent, JobId, Status
from batcher.ledger import LedgerReader, LedgerWriter, Observer
from batcher.ledger.store import purchases
from batcher.ledger.store.connection import open_reader
from batcher.ledger.store.transaction import Transaction

from . import claims, schema
from .database_clock import DatabaseClock
from .postgres import PostgresConnection


class _Reading:
    """Reads on a connection of its own, or in a mirror, but within a transaction of this thread on that one."""

    def __init__(self, conninfo: str, writing: PostgresConnection, mirror: Any) -> None:
        self._writing = writing
        self.apart = PostgresConnection(conninfo, name="batcher reading", idle_seconds=0)
        self._own: Any = mirror or self.apart

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        if self._writing.is_mine:
            return self._writing.execute(sql, values)
        return self._own.execute(sql, values)

    def several(self, questions: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Any]]:
        if self._writing.is_mine:
            return self._writing.several(questions)
        return [self._own.execute(*question).fetchall() for question in questions]

    def create_function(self, *words: Any, **named: Any) -> None:
        """What SQLite's readers add to it; no question of a run asks for that."""
        if self._own is not self.apart:
            self._own.create_function(*words, **named)

    def close(self) -> None:
        self._own.close()
        self.apart.close()


class Coordinated(NamedTuple):
    """What a run has come to by now: `steps` of its canary judged good, `halts` by caps, and purchases."""

    steps: int = 0
    halts: Sequence[str] = ()
    bought: int = 0


class PostgresLedger(LedgerWriter):
    """A writer of a ledger on PostgreSQL; there may be many. `read` may be asked on another thread than a group's."""

    def __init__(self, conninfo: str, clock: Clock, observe: Observer, mirror: Any = None) -> None:
        self.clock = clock
        self.connection = PostgresConnection(conninfo, prepares=True)
        if isinstance(clock, DatabaseClock):
            self.connection.heard = clock.heard
        self._reading: _Reading | None = None
        self.epochs: dict[JobId, int] = {}  # of the claims that were taken here, until nothing more is done with them
        try:
            schema.check(self.connection)
            self._reading = _Reading(conninfo, self.connection, mirror)
            # Both are what the store asks of a connection; the path is for messages.
            super().__init__(cast(Any, self.connection), cast(Path, self.connection.place), clock, observe)
        except BaseException:
            self.close()
            raise

    def _reader(self) -> LedgerReader:
        return LedgerReader(cast(Any, self._reading), cast(Path, self.connection.place))

    @classmethod
    def connect(cls, conninfo: str, clock: Clock | None = None, observe: Observer = lambda _: None) -> Self:
        """Open the ledger of a database, on the database's clock unless another one is given (`clock`).

        Raises StorageError when it holds no ledger, or one of another version.
        """
        return cls(conninfo, clock or DatabaseClock(), observe)

    @classmethod
    def beside(cls, conninfo: str, mirror: Path) -> Self:
        """Open the ledger of a database for a person's decisions: what is asked outside of them, its mirror answers."""
        return cls(conninfo, DatabaseClock(), lambda _: None, open_reader(mirror))

    def _take_over(self, t: Transaction) -> None:
        """Others may be at work: whoever takes a claim over doubts its intent (`claim`), and no run is cut off."""

    def join_run(self, run_id: int) -> None:
        """Let what is written belong to a run that another process has started."""
        self._write.run_id = run_id
        self.commanded.join(run_id)

    def going(self) -> list[int]:
        """The runs that go on, oldest first."""
        return [
            row[0] for row in self._apart.query("SELECT run_id FROM cluster_runs WHERE ending IS NULL ORDER BY run_id")
        ]

    def coordinated(self, run_id: int) -> Coordinated:
        """What whoever takes a run over goes on from, beside its jobs."""
        found = self._apart.query(
            "SELECT event, detail::jsonb AS detail FROM events WHERE run_id = %s AND event IN (%s, %s) ORDER BY id",
            (run_id, Event.CANARY, Event.HALTED),
        )
        steps = sum(row["event"] == Event.CANARY and row["detail"]["went_on"] for row in found)
        halts = [row["detail"]["reason"] for row in found if row["detail"].get("kind") == Kind.CAPPED.value]
        return Coordinated(steps, halts, self.bought(run_id))

    def bought(self, run_id: int) -> int:
        """How many purchases a run has made."""
        return int(self._apart.query("SELECT count(*) FROM attempts WHERE run_id = %s", (run_id,))[0][0])

    def now(self) -> float:
        """The database's time, in seconds since the epoch."""
        return float(self._apart.query("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0])

    # Claims (see `claims`)

    def claim(self, job_id: JobId, worker: str, lease: float) -> int | None:
        """Claim a job for so many seconds: its epoch, or None while another claim of it holds."""
        with self._write as t:
            epoch = claims.take(t, job_id, worker, lease)
        if epoch is not None:
            self.epochs[job_id] = epoch
        return epoch

    def forget_claim(self, job_id: JobId, epoch: int) -> None:
        """Nothing more is done here with the claim of this epoch."""
        if self.epochs.get(job_id) == epoch:
            del self.epochs[job_id]

    def unsent(self, intent: Intent, code: str, message: str) -> Status:
        """As LedgerWriter's, unless another worker has claimed the job since: it may be sending this very intent."""
        with self._write as t:
            epoch = self.epochs.get(intent.job_id)
            if epoch is None or claims.is_newest(t, intent.job_id, epoch):
                return purchases.close(t, intent, Status.PLANNED, code, message)
            return self.read.known([intent.job_id])[intent.job_id].status

    def release(self, job_id: JobId, epoch: int) -> bool:
        """Give a claim back; whether it still was one."""
        with self._write as t:
            return claims.release(t, job_id, epoch)

    def give_back(self, intent: Intent, epoch: int, code: str, message: str) -> bool:
        """Plan the job of an intent anew that was certainly not sent, as the claim of this epoch knows; whether it was.

        Once another worker has the claim, or a sending may have arrived, nothing changes.
        """
        with self._write as t:
            mine = claims.holds(t, intent, epoch)
            if mine:
                purchases.close(t, intent, Status.PLANNED, code, message)
            return mine

    @property
    def _apart(self) -> PostgresConnection:
        """The connection that no group is committed on."""
        assert self._reading is not None
        return self._reading.apart

    def close(self) -> None:
        self.connection.close()
        if self._reading is not None:
            self._reading.close()


def create(conninfo: str, clock: Clock) -> bool:
    """Make a database the ledger's, or bring an older one up to date; whether anything had to be done."""
    with PostgresConnection(conninfo, idle_seconds=60) as connection:
        return schema.create(connection, clock)
