"""A worker's part of one run: a ledger, an engine, and the claims of the jobs that it has."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from batcher.errors import BatcherError, Kind, StorageError
from batcher.jobs import Account, Intent, JobId
from batcher.ledger import Change
from batcher.lifecycle import Commits, Context, Disk, Lifecycle
from batcher.providers import Provider

from .database_clock import DatabaseClock
from .files import SharedArtifacts, SharedFiles
from .jobs import AGAIN, JobEngine
from .limiter import ClaimTerms, SharedLimiter
from .postgres import PostgresConnection
from .runs import ClusterTables, GoingRun, HeardHalt
from .slots import SharedLimits
from .spec import RunSpec
from .store import PostgresLedger

#: Seconds after trouble until the next try.
AGAIN_SECONDS = 2.0
#: An answer to a paid request is held so long for a database that is away: in effect, until it is there again.
PATIENCE_SECONDS = 30 * 86400.0
_REFUSED_SECONDS = 1.0
_HELD = "the database is away, or held by another program: what is to be written down waits for it"
#: A key is sent no later than so many seconds before its window ends: the last look and the sending take some time.
_MARGIN_SECONDS = 5.0


class RunAlerts(Protocol):
    """Tells of one run; as `batcher.alerts` does."""

    async def watch(self) -> None: ...

    def look(self, *, over: bool = False) -> None: ...

    async def deliver(self, over: Callable[[], bool]) -> None: ...


class RunWatch(Protocol):
    """Hears of what this worker does of one run; nobody does unless it is asked for."""

    def __call__(self, change: Change) -> None: ...

    def lead(self) -> None: ...

    def leave(self) -> None: ...

    async def gauge(self) -> None: ...


class _Unwatched:
    def __call__(self, change: Change) -> None: ...

    def lead(self) -> None: ...

    def leave(self) -> None: ...

    async def gauge(self) -> None: ...


#: Makes the observers of a run; gets its ledger once that is open.
WatchOf = Callable[[int, RunSpec, Callable[[], PostgresLedger]], RunWatch]
#: The alerts of a run that this worker leads, as far as that is so; None where nobody is to be told.
TellOf = Callable[[PostgresLedger, int, RunSpec, Callable[[], bool]], RunAlerts | None]
Connect = Callable[[tuple[str, ...]], AbstractContextManager[Provider]]


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """What a worker is asked to be. `spool` is its own folder, `results` names where files go (BATCHER_RESULTS).

    `connect` opens the provider for networks that results may lie in. `lease` in seconds. Unless it `buys`, it works at
    nothing but what others have bought. `tell_of` makes the alerts of a run that it leads, `watch_of`
    hears of what it does.
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
    tell_of: TellOf = lambda *_: None
    watch_of: WatchOf = lambda *_: _Unwatched()


@contextmanager
def left(watch: RunWatch) -> Iterator[None]:
    """Whatever happens, it hears that this is over."""
    try:
        yield
    finally:
        watch.leave()


class RunPart:
    """A worker's part of one run: a ledger, an engine, and the claims of the jobs that it has.

    An engine that broke off, for the database was away, is made again when the next job is brought.
    """

    def __init__(
        self,
        request: WorkerRequest,
        name: str,
        run: GoingRun,
        tables: ClusterTables,
        clock: DatabaseClock,
        group: TaskGroup,
        *,
        tell: Callable[[str, str], object],
        gone: Callable[[], object],
    ) -> None:
        """`name` is the worker's; `tell` hears of what there is trouble with, and which; `gone` that this one is over:
        the next job begins anew."""
        self._request, self._name, self._tables, self._clock = request, name, tables, clock
        self._group, self._tell, self._gone = group, tell, gone
        self._run_id = run.run_id
        self._spec = RunSpec.load(run.spec)
        self._engine: JobEngine | None = None
        self._ledger: PostgresLedger | None = None
        self._commits: Commits
        self.limiter: SharedLimiter | None = None
        self.epochs: dict[JobId, int] = {}
        self._ready = anyio.Event()
        self._begun = False
        self.over = anyio.Event()

    async def ready(self) -> None:
        """Wait until the engine can take jobs."""
        if not self._begun:
            self._begun = True
            self._group.start_soon(self._work)
        await self._ready.wait()

    async def ask_api(self) -> None:
        """Find out whether the API answers from here, where another worker does not reach it."""
        await self.ready()
        if self.limiter is not None and not self.over.is_set():
            self.limiter.trouble_elsewhere()

    async def _work(self) -> None:
        try:
            with self._open() as engine:
                self._engine = engine
                self._ready.set()
                await engine.run()
        except BatcherError as error:
            self._tell(f"run {self._run_id}", error.message)
            await anyio.sleep(AGAIN_SECONDS)
        finally:
            self._gone()
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
        if self._key_seconds <= 0:
            raise StorageError(
                f"run {self._run_id} trusts a key for {spec.settings.retries.replay_window:g} s only: too short for a"
                f" lease of {request.lease:g} s",
                hint="State a longer retries.replay_window, or a shorter --lease.",
            )
        watch = request.watch_of(self._run_id, spec, lambda: ledger)
        with (
            closing(PostgresLedger.connect(request.conninfo, self._clock, watch)) as ledger,
            left(watch),
            closing(PostgresConnection(request.conninfo, name="batcher limits")) as slots,
            request.connect(spec.allow_net) as provider,
        ):
            ledger.join_run(self._run_id)
            ledger.wait_for_locks(PATIENCE_SECONDS, lambda _: self._tell("ledger", _HELD))
            self._ledger = ledger
            artifacts = SharedArtifacts(request.spool, request.files)
            artifacts.check(spec.campaigns)
            self._commits = commits = Commits(ledger, to_thread.run_sync)
            account, stated = provider.account.text, spec.settings.limits
            shared = SharedLimits(slots, account, stated, self._run_id, states=spec.selection.buys)
            self.limiter = SharedLimiter(
                *(ledger, stated, self._clock, commits, account, shared),
                ClaimTerms(self._name, self.epochs.get, self._key_seconds, self._give_back),
            )
            context = Context(
                ledger=ledger,
                commits=commits,
                provider=provider,
                limiter=self.limiter,
                artifacts=artifacts,
                disk=Disk(artifacts, to_thread.run_sync),
                clock=self._clock,
                settings=spec.settings,
                rng=random.Random(),  # noqa: S311  (jitter)
            )
            lifecycle = Lifecycle(context, spec.caps)
            yield JobEngine(context, lifecycle, request.concurrency, spec.damage, self._say, self._halt)

    async def take(self, job_id: JobId) -> None:
        """Claim a job and work at it, unless another worker has it."""
        engine, ledger = self._engine, self._ledger
        if engine is None or ledger is None or self.over.is_set() or engine.holds(job_id):
            return
        epoch = await self._commits(partial(ledger.claim, job_id, self._name, self._request.lease))
        if epoch is None:
            return
        self.epochs[job_id] = epoch
        try:
            job = ledger.read.load(job_id)
        except BaseException:
            del self.epochs[job_id]
            raise
        await engine.take(job)
        if job_id not in engine.open:  # else its intent may still be withdrawn when the engine ends
            ledger.forget_claim(job_id, epoch)

    @property
    def _key_seconds(self) -> float:
        """For how long a key is sent."""
        return self._spec.settings.retries.replay_window - self._request.lease - _MARGIN_SECONDS

    async def _give_back(self, intent: Intent, code: str, why: str) -> None:
        """Plan anew what was not sent, as this worker knows that has its claim."""
        epoch, ledger = self.epochs.get(intent.job_id), self._ledger
        if epoch is None or ledger is None or not await to_thread.run_sync(ledger.give_back, intent, epoch, code, why):
            await anyio.sleep(_REFUSED_SECONDS)  # whoever has it, or decides on it, should not be asked at once

    # Called by the engine

    def _say(self, job_id: JobId, said: str, last: bool) -> None:
        epoch = self.epochs.get(job_id)
        if epoch is None:
            return
        if last:
            del self.epochs[job_id]
        self._group.start_soon(self._report, job_id, epoch, said, last)

    async def _report(self, job_id: JobId, epoch: int, said: str, last: bool) -> None:
        # What is not reported is found by the coordinator's sweep once the claim has run out.
        with anyio.CancelScope(shield=True), suppress(StorageError):
            await self._tables.report(self._run_id, job_id, epoch, said, last=last)

    def _halt(self, kind: Kind, message: str, code: str = "") -> None:
        async def halt() -> None:
            with suppress(StorageError):
                await self._tables.halt(self._run_id, HeardHalt(kind, message, code))

        self._group.start_soon(halt)

    def heard(self, kind: Kind, reason: str) -> None:
        """Another worker, or a person, stopped the run."""
        if self._engine is not None and not self.over.is_set():
            self._engine.heard(kind, reason)

    async def _release_all(self) -> None:
        for job_id, epoch in list(self.epochs.items()):
            await self._report(job_id, epoch, AGAIN, True)
        self.epochs.clear()
