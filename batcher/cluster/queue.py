"""procrastinate as what brings jobs to workers, and nothing more. The one module that imports it.

Who works at a job is decided by its claim in the ledger (`PostgresLedger.claim`), and what becomes of it by the
ledger's transactions. A delivery is a row of procrastinate's: one that is lost is made anew (`missing`), one that comes
twice meets the claim. So no row is ever given back or retried, which procrastinate does by the row's id alone: two
rescuers, or a worker that was stopped and comes back, would undo each other's work.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self

import anyio
import procrastinate
from procrastinate import exceptions
from procrastinate.connector import BaseConnector
from procrastinate.jobs import Job as Delivery
from procrastinate.jobs import Notification
from procrastinate.manager import JobManager, NotificationCallback
from psycopg_pool import AsyncConnectionPool

from batcher.errors import StorageError
from batcher.jobs import JobId

from .connections import PARAMETERS, AsyncConnection

#: procrastinate's tables have a schema of their own; the ledger's are in `batcher`.
SCHEMA = "procrastinate"
_TASK = "batcher.job"
#: Any number will do: under this lock the tables are made, once.
_MAKING = 0x6261_7465
#: A worker that starts removes heartbeats that are older, in seconds. Ours are in `workers`.
_PRUNE_SECONDS = 3600.0
#: Between two looks for deliveries that nobody was told of, in seconds: what comes while procrastinate looks is one.
_LOOK_SECONDS = 1.0
_HEARTBEAT_SECONDS = 60.0
_AGAIN_SECONDS = 1.0
_STOP_SECONDS = 3.0
#: Deliveries that should be on their way and are not: nobody alive has a claim, and none lies in the queue.
_MISSING = f"""
SELECT wanted.id FROM unnest(%(ids)s::text[]) AS wanted (id)
WHERE NOT EXISTS (SELECT 1 FROM batcher.claims AS c WHERE c.job_id = wanted.id AND c.until > clock_timestamp())
AND NOT EXISTS (SELECT 1 FROM {SCHEMA}.procrastinate_jobs AS j
    WHERE j.queueing_lock = wanted.id AND j.status = 'todo')
"""
#: A worker that has many jobs lets others take what is brought next: it waits so many seconds a job, as for so many at
#: most.
_YIELD_SECONDS = 0.005
_YIELD_JOBS = 10
#: What workers had that procrastinate has forgotten (after `_PRUNE_SECONDS`): it was brought anew long since.
_LEFT_BEHIND = f"DELETE FROM {SCHEMA}.procrastinate_jobs WHERE status = 'doing' AND worker_id IS NULL"
#: Works at a job of a run until this worker is done with it.
Perform = Callable[[int, JobId], Awaitable[None]]


class _Looks(JobManager):
    """procrastinate's statements, but it asks for no job where it is known that none is there.

    procrastinate asks again after each job that it got. What this worker is told of is kept here by number: deliveries
    are taken in that order, so whoever got the newest one knows that there are no more.
    """

    def __init__(self, connector: BaseConnector, working: Callable[[], int]) -> None:
        """`working` counts the jobs that this worker is at."""
        super().__init__(connector)
        self._working = working
        self._told = set[int]()  # deliveries that nobody is known to have
        self._none_else = False  # whether there were no others when it asked last
        self._more = False  # whether it got one then

    async def register_worker(self) -> int:
        """Begin anew: all of the queue may have been lost, and its numbers come again."""
        self._told.clear()
        self._none_else = self._more = False
        return await super().register_worker()

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        async def heard(*, channel: str, notification: Notification) -> None:
            if notification["type"] == "job_inserted":
                self._told.add(notification["job_id"])
            await on_notification(channel=channel, notification=notification)

        await super().listen_for_jobs(on_notification=heard, queues=queues)

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Delivery | None:
        if self._more and self._none_else and not self._told:
            self._more = False
            return None
        if not self._more:
            await asyncio.sleep(_YIELD_SECONDS * min(self._working(), _YIELD_JOBS))
        told = set(self._told)
        found = await super().fetch_job(queues, worker_id)
        number = found.id if found else None
        self._more = number is not None
        if number is None:
            self._none_else = True
            self._told -= told
        else:
            self._none_else = self._none_else and number in told  # else it was not told of all
            self._told -= {each for each in told if each <= number}
        return found


class JobQueue:
    """Deliveries of jobs to workers, in queues. Raises StorageError where the database cannot be asked."""

    def __init__(self, conninfo: str, *, connections: int = 3) -> None:
        self._app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                pool_factory=_pool,
                conninfo=conninfo,
                min_size=1,
                max_size=connections,
                # A plan that is kept outlives the loss of the tables, and no statement of it works any more.
                kwargs=PARAMETERS | {"prepare_threshold": None},
                connection_class=AsyncConnection,
                configure=_prepare,
            )
        )
        self._working = 0
        self._app.job_manager = _Looks(self._app.connector, lambda: self._working)
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)  # what matters is told by the worker
        logging.getLogger("psycopg").setLevel(logging.CRITICAL)

    async def __aenter__(self) -> Self:
        with _errors():
            await self._app.open_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(exceptions.ProcrastinateException):
            await self._app.close_async()

    async def create(self) -> bool:
        """Make the tables, unless they are there; whether they had to be made."""
        there = f"SELECT to_regclass('{SCHEMA}.procrastinate_jobs') IS NOT NULL AS there"
        with _errors():
            [row] = await self._app.connector.execute_query_all_async(there)
            if row["there"]:
                return False
            # One statement of several parts is one transaction: who comes second finds the tables, and fails softly.
            made = f"SELECT pg_advisory_xact_lock({_MAKING}); CREATE SCHEMA IF NOT EXISTS {SCHEMA};"
            try:
                text = self._app.schema_manager.get_schema().replace("%", "%%")
                await self._app.connector.execute_query_async(made + text)
            except exceptions.ConnectorException:
                [row] = await self._app.connector.execute_query_all_async(there)
                if not row["there"]:
                    raise
                return False
        return True

    async def deliver(self, queue: str, run_id: int, job_ids: Sequence[JobId]) -> None:
        """Have workers of a queue take jobs; nothing changes for one that is on its way already."""
        with _errors():
            try:
                await self._defer(queue, run_id, job_ids)
            except exceptions.AlreadyEnqueued:  # then none of them was delivered
                for job_id in job_ids if len(job_ids) > 1 else ():
                    await self.deliver(queue, run_id, [job_id])

    async def _defer(self, queue: str, run_id: int, job_ids: Sequence[JobId]) -> None:
        task = partial(self._app.configure_task, _TASK, queue=queue)
        made = [task(queueing_lock=each).make_new_job(run_id=run_id, job_id=each) for each in job_ids]
        await self._app.job_manager.batch_defer_jobs_async(made)

    async def missing(self, job_ids: Sequence[JobId]) -> list[JobId]:
        """Which of these jobs nobody works at and nobody will be brought."""
        with _errors():
            rows = await self._app.connector.execute_query_all_async(_MISSING, ids=list(job_ids))
        return [JobId(row["id"]) for row in rows]

    async def work(
        self,
        queues: Sequence[str],
        concurrency: int,
        perform: Perform,
        trouble: Callable[[str], object],
        stop: asyncio.Event,
    ) -> None:
        """Take jobs of queues until `stop`, so many at once; where the database is away, begin again when it is back.

        `trouble` hears why, once each time. A job that is being worked at is not cut short by that.
        """

        @self._app.task(name=_TASK)
        async def job(run_id: int, job_id: str) -> None:
            self._working += 1
            try:
                await perform(run_id, JobId(job_id))
            finally:
                self._working -= 1

        asyncio.get_running_loop().set_exception_handler(_without_lost_deliveries)
        told = ""
        while not stop.is_set():
            try:
                with _errors():
                    await self.create()
                    await self._app.connector.execute_query_async(_LEFT_BEHIND)
                    working = asyncio.ensure_future(
                        self._app.run_worker_async(
                            queues=list(queues),
                            concurrency=concurrency,
                            install_signal_handlers=False,
                            delete_jobs="always",
                            fetch_job_polling_interval=_LOOK_SECONDS,
                            update_heartbeat_interval=_HEARTBEAT_SECONDS,
                            stalled_worker_timeout=_PRUNE_SECONDS,
                            shutdown_graceful_timeout=0,
                        )
                    )
                    stopping = asyncio.ensure_future(stop.wait())
                    try:
                        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        stopping.cancel()
                        await _ended(working)
                    if not stop.is_set():
                        raise StorageError("the queue of jobs broke off", hint="Is the database up?")
                    told = ""
            except StorageError as error:
                if error.message != told:
                    told = error.message
                    trouble(told)
            if not stop.is_set():
                await asyncio.sleep(_AGAIN_SECONDS)


def _pool(**given: Any) -> AsyncConnectionPool:
    """A pool that asks a connection whether it is alive only where it may not be: procrastinate's asks each time."""
    return AsyncConnectionPool(**(given | {"check": _check}))


async def _check(connection: AsyncConnection) -> None:
    """Nothing comes unasked on a connection that is idle, but that it ends."""
    look = select.poll()
    look.register(connection.fileno(), select.POLLIN)
    if look.poll(0):
        await AsyncConnectionPool.check_connection(connection)


async def _ended(working: asyncio.Future[None]) -> None:
    """End procrastinate's worker, which takes a cancellation as a request to stop, and wait until it has.

    A second one would cut its stopping off, and leave its tasks behind. One of them then stayed for ever: what listens
    for deliveries loses a cancellation that comes together with a delivery (`asyncio.wait_for` before Python 3.12), and
    procrastinate, left alone, cancels it again. Where the database is away that is not waited for.
    """
    working.cancel()
    with anyio.move_on_after(_STOP_SECONDS, shield=True):
        await asyncio.wait({working})
    if working.done() and not working.cancelled() and (error := working.exception()):
        raise error


def _without_lost_deliveries(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A delivery that could not be ticked off comes again, and meets the job's claim: nobody has to be told."""
    if not isinstance(context.get("exception"), exceptions.ProcrastinateException):
        loop.default_exception_handler(context)


async def _prepare(connection: AsyncConnection) -> None:
    """Each statement stands alone: one round trip in place of three.

    A delivery that a crash of the database loses is made anew, so nobody waits for the disk. By statements, for
    pgbouncer takes no `options` of a connection.
    """
    await connection.set_autocommit(True)
    await connection.execute(f"SET search_path = {SCHEMA}; SET synchronous_commit = off")


class _errors:  # noqa: N801  (a context manager, used like a function)
    """procrastinate's errors as StorageError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, exceptions.ProcrastinateException | OSError):
            cause = error.__cause__ or error
            line = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
            raise StorageError(f"the queue of jobs cannot be used: {line}", hint="Is the database up?") from error
