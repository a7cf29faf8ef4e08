"""Runs that go on without the process that started them, the workers, and what they report: by the database's clock.

On a connection of its own, asked from the event loop; each call is one statement. A run has one coordinator at a time,
which holds a lease and counts an epoch; a worker's reports count only while it has the job's claim.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, cast

import anyio
import psycopg
from psycopg.rows import DictRow, dict_row

from batcher.errors import Kind, StorageError
from batcher.jobs import JobId

from .connections import PARAMETERS, AsyncConnection
from .postgres import postgres_errors, shown

#: A statement that takes longer, in seconds, counts as a database that is away.
_SECONDS = 10
_SETTINGS = f"SET statement_timeout = {_SECONDS * 1000}; SET timezone = 'UTC'"


class HeardHalt(NamedTuple):
    """What a worker met for which a run starts no new job. It is written as JSON, by older workers as a reason only."""

    kind: Kind
    message: str
    code: str = ""

    @classmethod
    def read(cls, kind: str, said: str) -> Self:
        try:
            match json.loads(said):
                case {"message": str(message), "code": str(code)}:
                    return cls(Kind(kind), message, code)
        except ValueError:
            pass
        return cls(Kind(kind), said)


@dataclass(frozen=True, slots=True)
class GoingRun:
    """A run that has not ended; `halt` is why a worker stopped it.

    `held`: a worker of its account does not reach the API, and has all wait.
    """

    run_id: int
    spec: str
    halt: HeardHalt | None
    lacks_coordinator: bool
    held: bool


class ClusterTables:
    """Runs, workers and reports. Every method raises StorageError where the database cannot be asked."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._place = shown(conninfo)
        self._turn = anyio.Lock()
        self._open: psycopg.AsyncConnection[DictRow] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._open is not None:
            await self._open.close()

    async def _all(self, sql: str, **values: Any) -> list[DictRow]:
        async with self._turn:
            try:
                # A statement that is cancelled half-way would cost the connection.
                with anyio.fail_after(_SECONDS, shield=True), postgres_errors(self._place):
                    if self._open is None or self._open.closed:
                        self._open = await AsyncConnection.connect(
                            self._conninfo,
                            autocommit=True,
                            row_factory=dict_row,
                            application_name="batcher cluster",
                            **PARAMETERS,
                        )
                        await self._open.execute(cast(Any, _SETTINGS))
                    cursor = await self._open.execute(cast(Any, sql), values)
                    return await cursor.fetchall() if cursor.description else []
            except TimeoutError:
                if self._open is not None:
                    await self._open.close()
                raise StorageError(f"{self._place} does not answer", hint="Is the database up?") from None

    async def now(self) -> float:
        """The database's clock, in seconds since the epoch."""
        [row] = await self._all("SELECT extract(epoch FROM clock_timestamp())::float8 AS now")
        return float(row["now"])

    # Runs

    async def begin(self, run_id: int, kind: str, spec: str) -> None:
        """Let a run go on by itself, once its jobs are enrolled."""
        await self._all(
            "INSERT INTO batcher.cluster_runs (run_id, kind, spec) VALUES (%(run)s, %(kind)s, %(spec)s)",
            run=run_id,
            kind=kind,
            spec=spec,
        )

    async def going(self, kinds: Sequence[str]) -> list[GoingRun]:
        """The runs for kinds of workers that have not ended."""
        rows = await self._all(
            "SELECT run_id, spec, halt_kind, halt_reason, until < clock_timestamp() AS free,"
            " EXISTS (SELECT 1 FROM batcher.pauses WHERE held_until > clock_timestamp()"
            " AND starts_with(kind, account || ' ')) AS held"
            " FROM batcher.cluster_runs WHERE kind = ANY(%(kinds)s) AND ending IS NULL ORDER BY run_id",
            kinds=list(kinds),
        )
        return [
            GoingRun(
                row["run_id"],
                row["spec"],
                HeardHalt.read(row["halt_kind"], row["halt_reason"]) if row["halt_kind"] else None,
                row["free"],
                row["held"],
            )
            for row in rows
        ]

    async def going_elsewhere(self, kinds: Sequence[str]) -> list[str]:
        """The other kinds of workers for which runs go on."""
        sql = "SELECT DISTINCT kind FROM batcher.cluster_runs WHERE ending IS NULL AND kind <> ALL(%(kinds)s)"
        return [row["kind"] for row in await self._all(sql, kinds=list(kinds))]

    async def ending(self, run_id: int) -> dict[str, Any] | None:
        """How a run ended; None while it goes on."""
        rows = await self._all("SELECT ending FROM batcher.cluster_runs WHERE run_id = %(run)s", run=run_id)
        return json.loads(rows[0]["ending"]) if rows and rows[0]["ending"] else None

    async def progress(self, campaigns: Sequence[str]) -> Counter[str]:
        """How many jobs of campaigns have which status."""
        rows = await self._all(
            "SELECT status, count(*) AS jobs FROM batcher.wanted WHERE campaign = ANY(%(campaigns)s) GROUP BY status",
            campaigns=list(campaigns),
        )
        return Counter({row["status"]: row["jobs"] for row in rows})

    async def halt(self, run_id: int, halt: HeardHalt) -> None:
        """Have a run stop for what a worker met; the first one counts."""
        await self._all(
            "UPDATE batcher.cluster_runs SET halt_kind = %(kind)s, halt_reason = %(reason)s"
            " WHERE run_id = %(run)s AND halt_kind IS NULL",
            run=run_id,
            kind=halt.kind.value,
            reason=json.dumps({"message": halt.message, "code": halt.code}),
        )

    # Whether a canary goes on (`run --decide`): its coordinator asks, who follows the run answers

    async def ask(self, run_id: int, asks: str) -> tuple[str | None, float]:
        """Ask who follows a run; the answer to this very question, and for how many seconds nobody has followed."""
        [row] = await self._all(
            "UPDATE batcher.cluster_runs SET asks = %(asks)s, answer = CASE WHEN asks = %(asks)s THEN answer END"
            " WHERE run_id = %(run)s RETURNING answer,"
            " extract(epoch FROM clock_timestamp() - followed)::float8 AS quiet",
            run=run_id,
            asks=asks,
        )
        return row["answer"], row["quiet"]

    async def asked(self, run_id: int) -> str | None:
        """Say that somebody follows a run; what is asked and has no answer yet."""
        [row] = await self._all(
            "UPDATE batcher.cluster_runs SET followed = clock_timestamp() WHERE run_id = %(run)s"
            " RETURNING CASE WHEN answer IS NULL THEN asks END AS asks",
            run=run_id,
        )
        return cast(str | None, row["asks"])

    async def answer(self, run_id: int, asks: str, answer: str) -> None:
        """Answer what is asked, unless that is something else by now."""
        sql = "UPDATE batcher.cluster_runs SET answer = %(answer)s WHERE run_id = %(run)s AND asks = %(asks)s"
        await self._all(f"{sql} AND answer IS NULL", run=run_id, asks=asks, answer=answer)

    # The coordinator's lease

    async def coordinate(self, run_id: int, worker: str, lease: float) -> int | None:
        """Become the coordinator of a run that has none (any more); the epoch, None where somebody was faster."""
        rows = await self._all(
            "UPDATE batcher.cluster_runs SET coordinator = %(worker)s, epoch = epoch + 1,"
            " until = clock_timestamp() + make_interval(secs => %(lease)s)"
            " WHERE run_id = %(run)s AND ending IS NULL AND until < clock_timestamp() RETURNING epoch",
            run=run_id,
            worker=worker,
            lease=lease,
        )
        return rows[0]["epoch"] if rows else None

    async def still_coordinates(self, run_id: int, epoch: int, lease: float) -> bool:
        """Prolong the lease; False where the run has another coordinator."""
        rows = await self._all(
            "UPDATE batcher.cluster_runs SET until = clock_timestamp() + make_interval(secs => %(lease)s)"
            " WHERE run_id = %(run)s AND epoch = %(epoch)s AND ending IS NULL RETURNING 1 AS one",
            run=run_id,
            epoch=epoch,
            lease=lease,
        )
        return bool(rows)

    async def stop_coordinating(self, run_id: int, epoch: int) -> None:
        """Leave the run to others at once."""
        sql = "UPDATE batcher.cluster_runs SET until = 'epoch' WHERE run_id = %(run)s AND epoch = %(epoch)s"
        await self._all(sql, run=run_id, epoch=epoch)

    async def end(self, run_id: int, epoch: int, ending: Mapping[str, Any]) -> bool:
        """End a run; False where another coordinator has it."""
        rows = await self._all(
            "UPDATE batcher.cluster_runs SET ending = %(ending)s WHERE run_id = %(run)s AND epoch = %(epoch)s"
            " AND ending IS NULL RETURNING 1 AS one",
            run=run_id,
            epoch=epoch,
            ending=json.dumps(ending),
        )
        return bool(rows)

    # Reports

    async def report(self, run_id: int, job_id: JobId, epoch: int, said: str, *, last: bool) -> None:
        """Report on a job to the coordinator, unless another worker has it meanwhile; the last word gives it back."""
        await self._all(
            "WITH back AS (UPDATE batcher.claims SET until = clock_timestamp() WHERE %(last)s AND job_id = %(job)s"
            " AND epoch = %(epoch)s AND until > clock_timestamp())"
            " INSERT INTO batcher.reports (run_id, job_id, said) SELECT %(run)s, %(job)s, %(said)s"
            " WHERE EXISTS (SELECT 1 FROM batcher.claims WHERE job_id = %(job)s AND epoch = %(epoch)s)",
            run=run_id,
            job=job_id,
            epoch=epoch,
            said=said,
            last=last,
        )

    async def reports(self, run_id: int) -> list[tuple[JobId, str]]:
        """Take the reports on a run's jobs, in their order."""
        rows = await self._all(
            "DELETE FROM batcher.reports WHERE run_id = %(run)s RETURNING id, job_id, said", run=run_id
        )
        return [(JobId(row["job_id"]), row["said"]) for row in sorted(rows, key=lambda row: row["id"])]

    # Workers

    async def join(self, name: str, **facts: Any) -> None:
        """Write a worker down."""
        names = ", ".join(facts)
        marks = ", ".join(f"%({each})s" for each in facts)
        await self._all(f"INSERT INTO batcher.workers (name, {names}) VALUES (%(name)s, {marks})", name=name, **facts)

    async def seen(self, name: str) -> None:
        await self._all("UPDATE batcher.workers SET seen = clock_timestamp() WHERE name = %(name)s", name=name)

    async def renew(self, name: str, job_ids: Sequence[JobId], lease: float) -> None:
        """Prolong this worker's claims of jobs; one that ran out stays lost."""
        await self._all(
            "UPDATE batcher.claims SET until = clock_timestamp() + make_interval(secs => %(lease)s)"
            " WHERE job_id = ANY(%(jobs)s) AND worker = %(name)s AND until > clock_timestamp()",
            name=name,
            jobs=list(job_ids),
            lease=lease,
        )

    async def leave(self, name: str) -> None:
        await self._all("UPDATE batcher.workers SET left_at = clock_timestamp() WHERE name = %(name)s", name=name)

    async def workers(self) -> Sequence[Mapping[str, Any]]:
        """Return the workers, and for how many seconds each was not heard of."""
        return await self._all(
            "SELECT *, extract(epoch FROM clock_timestamp() - seen)::float8 AS quiet FROM batcher.workers"
            " WHERE left_at IS NULL AND seen > clock_timestamp() - interval '1 day' ORDER BY name"
        )
