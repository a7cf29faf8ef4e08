"""A worker: takes jobs of its account's runs, on any machine, and coordinates a run that has no coordinator.

Everything that others must agree on is decided by the database's clock. A worker that was stopped, or cut off from the
database, for longer than its lease has lost its claims: the fence lets nothing of it out, and others have its jobs.
"""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from typing import Any

import anyio
from anyio import to_thread

from batcher import __version__
from batcher.clock import machine_zone
from batcher.engine import GRACE_SECONDS
from batcher.engine.ending import halt_reason
from batcher.errors import BatcherError, Kind, StorageError
from batcher.jobs import JobId

from .coordinator import Coordinator, LeaseLost, ending_of
from .database_clock import DatabaseClock
from .files import check_create
from .part import AGAIN_SECONDS, RunPart, left
from .part import WorkerRequest as WorkerRequest
from .queue import JobQueue
from .runs import ClusterTables, GoingRun
from .spec import RunSpec, kind_of, queue_of
from .store import PostgresLedger

#: Seconds between two looks at the runs that go on, and for the first one.
LOOK_SECONDS, IDLE_LOOK_SECONDS = 0.5, 0.75
#: What a worker tells of itself.
Tell = Callable[[str], object]


class Worker:
    """One worker. `run` returns after `stop`, when its jobs are left to others."""

    def __init__(self, request: WorkerRequest, tell: Tell) -> None:
        self._request = request
        self._tell = tell
        self.name = f"{platform.node()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
        self._kinds = [kind_of(request.account, buys=buys) for buys in (True, False) if request.buys or not buys]
        self._tables = ClusterTables(request.conninfo)
        self._queue = JobQueue(request.conninfo)
        self._clock = DatabaseClock()
        self._going = set[int]()
        self._parts: dict[int, RunPart] = {}
        self._coordinates: dict[int, Coordinator] = {}
        self._coordinated: dict[int, anyio.Event] = {}  # set when that is over
        self._stop = asyncio.Event()
        self.cut_off = False  # whether it leaves, for it does not reach the API while others do
        self._told: set[str] = set()
        self._group: anyio.abc.TaskGroup | None = None

    def stop(self) -> None:
        """Take no more jobs, give open paid requests some seconds, and leave the rest to others."""
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop`. Raises StorageError where the database cannot be used at the start."""
        async with self._tables, self._queue:
            await self._meet()
            async with anyio.create_task_group() as group:
                self._group = group
                group.start_soon(self._hold)
                group.start_soon(self._look)
                group.start_soon(
                    self._queue.work,
                    [queue_of(kind) for kind in self._kinds],
                    self._request.concurrency,
                    self._perform,
                    partial(self._say_once, "queue"),
                    self._stop,
                )
                await self._stop.wait()
                await self._leave()
                group.cancel_scope.cancel()

    async def _meet(self) -> None:
        """Write this worker down, and tell where it differs from the others."""
        request = self._request
        with closing(PostgresLedger.connect(request.conninfo, self._clock)) as ledger:
            zone = ledger.read.zone
        await to_thread.run_sync(check_create, request.files, request.spool, "check")
        await self._set_clock()
        here = machine_zone()
        await self._tables.join(
            self.name,
            host=platform.node(),
            pid=os.getpid(),
            kind=self._kinds[0],
            version=__version__,
            timezone=here,
            concurrency=request.concurrency,
            lease=request.lease,
        )
        if here != str(zone):
            self._tell(f"this machine's time zone is {here}; the ledger's days are those of {zone}")
        if others := await self._tables.going_elsewhere(self._kinds) if request.buys else ():
            self._tell(
                f"{len(others)} run{'s' * (len(others) > 1)} of other accounts or versions go on, which this worker"
                f" ({self._kinds[0]}) leaves to theirs: {'; '.join(others)}"
            )

    async def _set_clock(self) -> None:
        self._clock.heard(await self._tables.now())

    # What goes on beside the jobs

    async def _hold(self) -> None:
        """Say that this worker is there, and keep its claims."""
        while True:
            await self._trying("heartbeat", self._beat)
            await anyio.sleep(self._request.lease / 3)

    async def _beat(self) -> None:
        await self._set_clock()
        await self._tables.seen(self.name)
        if held := [job_id for part in self._parts.values() for job_id in part.epochs]:
            await self._tables.renew(self.name, held, self._request.lease)

    async def _look(self) -> None:
        """See which runs go on, and coordinate those that nobody does."""
        while True:
            await self._trying("runs", self._see)
            await anyio.sleep(LOOK_SECONDS if self._going else IDLE_LOOK_SECONDS)

    async def _see(self) -> None:
        assert self._group is not None
        if not self.cut_off and any(part.limiter and part.limiter.cut_off for part in self._parts.values()):
            self.cut_off = True
            self._tell("the API answers others and cannot be reached from here: this worker leaves its jobs to them")
            self.stop()
        going = {run.run_id: run for run in await self._tables.going(self._kinds)}
        for run_id, part in list(self._parts.items()):
            if run_id not in going:
                part.heard(Kind.TERMINATED, "the run has ended")
            elif self._going != going.keys() and part.limiter:
                part.limiter.look_again()  # the others' limits hold for all of the account
        self._going = set(going)
        for run in going.values():
            if run.held and not self._stop.is_set():
                self._group.start_soon(self._part(run).ask_api)
            if run.halt:
                if here := self._parts.get(run.run_id):
                    here.heard(run.halt.kind, halt_reason(run.halt.message, run.halt.code))
                if coordinator := self._coordinates.get(run.run_id):
                    coordinator.halted(*run.halt)
            if run.lacks_coordinator and run.run_id not in self._coordinates and not self._stop.is_set():
                epoch = await self._tables.coordinate(run.run_id, self.name, self._request.lease)
                if epoch is not None:
                    self._group.start_soon(self._coordinate, run, epoch)

    async def _coordinate(self, run: GoingRun, epoch: int) -> None:
        over = self._coordinated[run.run_id] = anyio.Event()
        try:
            spec = RunSpec.load(run.spec)
            watch = self._request.watch_of(run.run_id, spec, lambda: ledger)
            with closing(PostgresLedger.connect(self._request.conninfo, self._clock, watch)) as ledger, left(watch):
                ledger.join_run(run.run_id)
                watch.lead()
                coordinator = Coordinator(
                    ledger, run.run_id, epoch, spec, self._tables, self._queue, self._clock, self._request.lease
                )
                self._coordinates[run.run_id] = coordinator
                self._tell(f"coordinating run {run.run_id}")
                told = self._request.tell_of(ledger, run.run_id, spec, coordinator.leads)
                async with _beside(watch.gauge, *([told.watch] if told else [])):
                    ending = await coordinator.run()
                if self._stop.is_set() and coordinator.left:
                    await self._tables.stop_coordinating(run.run_id, epoch)
                    return
                if await self._tables.still_coordinates(run.run_id, epoch, self._request.lease):
                    found = ending_of(ending)
                    ledger.end_run(exit_code=found["exit_code"], reason=ending.reason, left=ending.left)
                    if told:
                        told.look(over=True)
                    await self._tables.end(run.run_id, epoch, found)
                    self._tell(f"run {run.run_id} has ended: {ending.reason}")
                    if told:
                        self._coordinates.pop(run.run_id)
                        await told.deliver(self._stop.is_set)
        except LeaseLost:
            self._tell(f"run {run.run_id} has another coordinator")
        except BatcherError as error:
            self._say_once("coordinator", error.message)
            with suppress(BatcherError):
                await self._tables.stop_coordinating(run.run_id, epoch)
            await anyio.sleep(AGAIN_SECONDS)
        finally:
            self._coordinates.pop(run.run_id, None)
            over.set()

    # Jobs

    async def _perform(self, run_id: int, job_id: JobId) -> None:
        """Work at a job until this worker is done with it. Returns at once where somebody else does."""
        if run_id not in self._parts:
            run = next((each for each in await self._tables.going(self._kinds) if each.run_id == run_id), None)
            if run is None or self._stop.is_set():
                return
            self._part(run)
        part = self._parts[run_id]
        await part.ready()
        await part.take(job_id)

    def _part(self, run: GoingRun) -> RunPart:
        """This worker's part of a run, made anew where there is none."""
        if run.run_id not in self._parts:
            assert self._group is not None
            self._parts[run.run_id] = RunPart(
                self._request,
                self.name,
                run,
                self._tables,
                self._clock,
                self._group,
                tell=self._say_once,
                gone=lambda: self._parts.pop(run.run_id, None),
            )
        return self._parts[run.run_id]

    async def _leave(self) -> None:
        """Leave all that is under way to others, as it stands in the ledger."""
        for coordinator in self._coordinates.values():
            coordinator.leave()
        for part in self._parts.values():
            part.heard(Kind.TERMINATED, "this worker leaves")
        with anyio.move_on_after(GRACE_SECONDS + 5):
            for over in [*(part.over for part in self._parts.values()), *self._coordinated.values()]:
                await over.wait()
        with suppress(StorageError):
            await self._tables.leave(self.name)

    async def _trying(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
            self._told.discard(what)
        except StorageError as error:
            self._say_once(what, error.message)

    def _say_once(self, what: str, message: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._tell(message)


@asynccontextmanager
async def _beside(*works: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Do these for the block, each until it is cancelled; none of them raises."""
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
