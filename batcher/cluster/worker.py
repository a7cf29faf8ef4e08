"""A worker: takes jobs of its account's runs, on any machine, and coordinates a run that has no coordinator.

Everything that others must agree on is decided by the database's clock. A worker that was stopped, or cut off from the
database, for longer than its lease has lost its claims: the fence lets nothing of it out, and others have its jobs.
"""

from __future__ import annotations

import asyncio
import os
import platform
import random
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from batcher import __version__
from batcher.clock import machine_zone, since_boot
from batcher.engine import GRACE_SECONDS
from batcher.errors import BatcherError, Kind, StorageError
from batcher.jobs import Account, Intent, JobId
from batcher.lifecycle import Commits, Context, Disk, Lifecycle
from batcher.providers import Provider

from .coordinator import Coordinator, LeaseLost, ending_of
from .database_clock import DatabaseClock
from .engine import JobQueue
from .files import SharedArtifacts, SharedFiles
from .jobs import AGAIN, JobEngine
from .limits import SharedLimiter, SharedLimits
from .postgres import PostgresConnection
from .runs import ClusterTables, GoingRun
from .spec import RunSpec, kind_of, queue_of
from .store import PostgresLedger

#: Seconds between two looks at the runs that go on, and after trouble.
LOOK_SECONDS = 0.5
AGAIN_SECONDS = 2.0
#: An answer to a paid request is held so long for a database that is away: in effect, until it is there again.
PATIENCE_SECONDS = 30 * 86400.0
_REFUSED_SECONDS = 1.0
_HELD = "the database is away, or held by another program: what is to be written down waits for it"
#: A key is sent no later than so many seconds before its window ends: the last look and the sending take some time.
_MARGIN_SECONDS = 5.0
#: What a worker tells of itself.
Tell = Callable[[str], object]
Connect = Callable[[tuple[str, ...]], AbstractContextManager[Provider]]


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """What a worker is asked to be. `spool` is its own folder, `results` names where files go (BATCHER_RESULTS).

    `connect` opens the provider for networks that results may lie in. `lease` in seconds. Unless it `buys`, it works at
    nothing but what others have bought.
    """

    conninfo: str
    account: Account
    connect: Connect
    results: str
    files: SharedFiles
    spool: Path
    concurrency: int = 50
    lease: float = 30.0
    buys: bool = True


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
        self._parts: dict[int, _Part] = {}
        self._coordinates: dict[int, Coordinator] = {}
        self._coordinated: dict[int, anyio.Event] = {}  # set when that is over
        self._stop = asyncio.Event()
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
        await self._tables.create()
        await self._set_clock()
        with closing(PostgresLedger.connect(request.conninfo, self._clock)) as ledger:
            zone = ledger.read.zone
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
            await anyio.sleep(LOOK_SECONDS)

    async def _see(self) -> None:
        assert self._group is not None
        going = {run.run_id: run for run in await self._tables.going(self._kinds)}
        for run_id, part in list(self._parts.items()):
            if run_id not in going:
                part.heard(Kind.TERMINATED, "the run has ended")
        for run in going.values():
            stops = [(Kind(run.halt[0]), run.halt[1])] if run.halt else []
            stops += [(Kind.INTERRUPTED, run.drain)] if run.drain else []
            for kind, reason in stops:
                if here := self._parts.get(run.run_id):
                    here.heard(kind, reason)
                if coordinator := self._coordinates.get(run.run_id):
                    coordinator.heard(kind, reason)
            if run.lacks_coordinator and run.run_id not in self._coordinates and not self._stop.is_set():
                epoch = await self._tables.coordinate(run.run_id, self.name, self._request.lease)
                if epoch is not None:
                    self._group.start_soon(self._coordinate, run, epoch)

    async def _coordinate(self, run: GoingRun, epoch: int) -> None:
        over = self._coordinated[run.run_id] = anyio.Event()
        try:
            spec = RunSpec.load(run.spec)
            with closing(PostgresLedger.connect(self._request.conninfo, self._clock)) as ledger:
                ledger.join_run(run.run_id)
                coordinator = Coordinator(
                    ledger, run.run_id, epoch, spec, self._tables, self._queue, self._clock, self._request.lease
                )
                self._coordinates[run.run_id] = coordinator
                self._tell(f"coordinating run {run.run_id}")
                ending = await coordinator.run()
                if self._stop.is_set() and coordinator.left:
                    await self._tables.stop_coordinating(run.run_id, epoch)
                    return
                if await self._tables.still_coordinates(run.run_id, epoch, self._request.lease):
                    found = ending_of(ending)
                    ledger.end_run(exit_code=found["exit_code"], reason=ending.reason, left=ending.left)
                    await self._tables.end(run.run_id, epoch, found)
                    self._tell(f"run {run.run_id} has ended: {ending.reason}")
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
            if run_id not in self._parts:
                self._parts[run_id] = _Part(self, run)
        part = self._parts[run_id]
        await part.ready(self._group)
        await part.take(job_id)

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


class _Part:
    """A worker's part of one run: a ledger, an engine, and the claims of the jobs that it has.

    An engine that broke off, for the database was away, is made again when the next job is brought.
    """

    def __init__(self, worker: Worker, run: GoingRun) -> None:
        self._worker = worker
        self._request, self._tables, self._clock = worker._request, worker._tables, worker._clock
        self._run_id = run.run_id
        self._spec = RunSpec.load(run.spec)
        self._engine: JobEngine | None = None
        self._ledger: PostgresLedger | None = None
        self.epochs: dict[JobId, int] = {}
        self._ready = anyio.Event()
        self._begun = False
        self.over = anyio.Event()

    async def ready(self, group: Any) -> None:
        """Wait until the engine can take jobs."""
        if not self._begun:
            self._begun = True
            group.start_soon(self._work)
        await self._ready.wait()

    async def _work(self) -> None:
        try:
            with self._open() as engine:
                self._engine = engine
                self._ready.set()
                await engine.run()
        except BatcherError as error:
            self._worker._say_once(f"run {self._run_id}", error.message)
            await anyio.sleep(AGAIN_SECONDS)
        finally:
            self._worker._parts.pop(self._run_id, None)  # the next job begins anew
            self._ready.set()
            if self._engine is not None:
                self._engine.let_go()
            with anyio.CancelScope(shield=True):
                await self._release_all()
            self.over.set()

    @contextmanager
    def _open(self) -> Iterator[JobEngine]:
        request, spec = self._request, self._spec
        if spec.results != request.results:
            raise StorageError(
                f"run {self._run_id} has its results in {spec.results}, this worker in {request.results}",
                hint="Give all of them the same BATCHER_RESULTS.",
            )
        with (
            closing(PostgresLedger.connect(request.conninfo, self._clock)) as ledger,
            closing(PostgresConnection(request.conninfo, name="batcher limits")) as slots,
            request.connect(spec.allow_net) as provider,
        ):
            ledger.join_run(self._run_id)
            ledger.wait_for_locks(PATIENCE_SECONDS, lambda _: self._worker._say_once("ledger", _HELD))
            self._ledger = ledger
            artifacts = SharedArtifacts(request.spool, request.files)
            artifacts.check(spec.campaigns)
            commits = Commits(ledger, to_thread.run_sync)
            account, stated = provider.account.text, spec.settings.limits
            shared = SharedLimits(slots, account, stated, states=spec.selection.buys)
            context = Context(
                ledger=ledger,
                commits=commits,
                provider=provider,
                limiter=SharedLimiter(ledger, stated, self._clock, commits, account, shared),
                artifacts=artifacts,
                disk=Disk(artifacts, to_thread.run_sync),
                clock=self._clock,
                settings=spec.settings,
                rng=random.Random(),  # noqa: S311  (jitter)
                fence=self._fence,
            )
            lifecycle = Lifecycle(context, spec.caps)
            yield JobEngine(context, lifecycle, request.concurrency, spec.damage, self._say, self._halt)

    async def take(self, job_id: JobId) -> None:
        """Claim a job and work at it, unless another worker has it."""
        engine, ledger = self._engine, self._ledger
        if engine is None or ledger is None or self.over.is_set() or engine.holds(job_id):
            return
        epoch = await to_thread.run_sync(ledger.claim, job_id, self._worker.name, self._request.lease)
        if epoch is None:
            return
        self.epochs[job_id] = epoch
        try:
            job = ledger.read.load(job_id)
        except BaseException:
            del self.epochs[job_id]
            raise
        await engine.take(job)

    async def _fence(self, intent: Intent) -> Intent | None:
        """Whether an intent may leave now, and until when: asked of the database, by its clock."""
        asked, ledger = since_boot(), self._ledger
        epoch = self.epochs.get(intent.job_id)
        if epoch is None or ledger is None:
            return None
        lease = self._request.lease
        key = self._spec.settings.retries.replay_window - lease - _MARGIN_SECONDS
        allowed = await to_thread.run_sync(ledger.may_send, intent, epoch, key)
        if not allowed:
            await anyio.sleep(_REFUSED_SECONDS)  # whoever has it, or looks at its age, should not be asked at once
            return None
        return replace(intent, expires=asked + lease)

    # Called by the engine

    def _say(self, job_id: JobId, said: str, last: bool) -> None:
        epoch = self.epochs.get(job_id)
        if epoch is None:
            return
        if last:
            del self.epochs[job_id]
        assert self._worker._group is not None
        self._worker._group.start_soon(self._report, job_id, epoch, said, last)

    async def _report(self, job_id: JobId, epoch: int, said: str, last: bool) -> None:
        # What is not reported is found by the coordinator's sweep once the claim has run out.
        with anyio.CancelScope(shield=True), suppress(StorageError):
            await self._tables.report(self._run_id, job_id, epoch, said)
            if last:
                await self._tables.release(job_id, epoch)

    def _halt(self, kind: Kind, reason: str) -> None:
        async def halt() -> None:
            with suppress(StorageError):
                await self._tables.halt(self._run_id, kind.value, reason)

        assert self._worker._group is not None
        self._worker._group.start_soon(halt)

    def heard(self, kind: Kind, reason: str) -> None:
        """Another worker, or a person, stopped the run."""
        if self._engine is not None and not self.over.is_set():
            self._engine.heard(kind, reason)

    async def _release_all(self) -> None:
        for job_id, epoch in list(self.epochs.items()):
            await self._report(job_id, epoch, AGAIN, True)
        self.epochs.clear()
