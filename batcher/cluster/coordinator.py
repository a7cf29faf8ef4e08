"""The coordinator of a run: today's engine, whose jobs are worked at by workers anywhere.

It decides which jobs are next, how many are under way, and when the run ends; one worker at a time does it for a run,
as long as it holds the lease. Whoever takes over reads the ledger, as a run that is started again does. A second one,
stopped for a while and not aware of it, does no harm: caps and claims are held by the ledger's transactions.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, cast

import anyio

from batcher.canary import NO_CONDITION, CanaryStep, parse
from batcher.clock import Clock, since_boot
from batcher.engine import Arrivals, Ending, Engine
from batcher.engine.backlog import WorkItem
from batcher.engine.engine import FETCH_BACKLOG
from batcher.engine.ramp import Ramp
from batcher.errors import Kind, exit_code
from batcher.jobs import Ended, Job, JobId, Planned, Status
from batcher.judging import canary_of
from batcher.ledger import LedgerWriter, NotAdmitted, PlannedJob, Store
from batcher.lifecycle import Context, Deferred, Done, JobRunState, Lifecycle, Reschedule, Stage, Step
from batcher.limits.creates import CreateBreaker

from .jobs import AGAIN, step_of
from .queue import JobQueue
from .runs import ClusterTables
from .spec import RunSpec, queue_of
from .store import Coordinated, PostgresLedger

#: Seconds between two looks for reports, and for jobs that nobody works at.
LOOK_SECONDS = 0.25
#: A follower of a run says so more often than this; where nobody does, nobody can decide.
FOLLOWED_SECONDS = 30.0
SWEEP_SECONDS = 0.5
#: Seconds for which a delivery waits for others that come of the same reports: they are brought by one statement.
_GATHER_SECONDS = 0.2
#: How long a delivery gets to be claimed, before the job is brought to a worker again.
_CLAIM_SECONDS = 2.0


class Deliveries:
    """Jobs that are to be brought to workers: those that come together go together."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: dict[JobId, None] = {}
        self._newest: dict[JobId, float] = {}
        self._some = anyio.Event()

    def put(self, job_id: JobId) -> None:
        self._jobs[job_id] = None
        self._some.set()

    def put_lost(self, job_id: JobId) -> None:
        """Bring a job again that nobody has, unless it was brought just now."""
        if self._clock.monotonic() - self._newest.get(job_id, -math.inf) > _CLAIM_SECONDS:
            self.put(job_id)

    def forget(self, job_id: JobId) -> None:
        self._newest.pop(job_id, None)

    async def some(self) -> None:
        """Wait until there are some."""
        await self._some.wait()

    def take_all(self) -> list[JobId]:
        found, self._jobs, self._some = list(self._jobs), {}, anyio.Event()
        self._newest.update(dict.fromkeys(found, self._clock.monotonic()))
        return found


class _Elsewhere:
    """A lifecycle whose steps are made by workers: a step is waited for until one reports."""

    def __init__(self, ledger: Store, spec: RunSpec, clock: Clock) -> None:
        self._ledger = ledger
        self._spec = spec
        self.to_deliver = Deliveries(clock)
        self._reports: dict[JobId, deque[str]] = defaultdict(deque)
        self._waiting: dict[JobId, anyio.Event] = {}
        self.out: set[JobId] = set()  # delivered, and not reported to be done
        self.buys_no_more: Callable[[], bool] = lambda: False
        self.caps = replace(spec.caps, keep=None)  # the wallet is read where it is spent from

    async def advance(self, job: Job, state: JobRunState) -> Step:
        """Have some worker do all that is to be done for a job, up to the next point that it reports."""
        if isinstance(job.phase, Ended):
            return self._done_with(job.id, Done(job.phase.status))
        if job.id not in self.out:
            self.out.add(job.id)
            if isinstance(job.phase, Planned):  # else a worker may have it: if not, the sweep brings it to one
                self.to_deliver.put(job.id)
        while True:
            step, bought = step_of(await self._report(job.id))
            state.bought = state.bought or bought
            if step is None or (isinstance(step, Deferred) and step.refusal.cap == "reading"):
                if self.buys_no_more() and isinstance(self._ledger.read.load(job.id).phase, Planned):
                    return self._done_with(job.id, Done(Status.PLANNED))
                self.to_deliver.put(job.id)
            elif isinstance(step, Reschedule):
                return step
            else:
                return self._done_with(job.id, step)

    def _done_with(self, job_id: JobId, step: Step) -> Step:
        self.out.discard(job_id)
        self._reports.pop(job_id, None)
        self.to_deliver.forget(job_id)
        return step

    async def _report(self, job_id: JobId) -> str:
        while not self._reports[job_id]:
            event = self._waiting[job_id] = anyio.Event()
            await event.wait()
        return self._reports[job_id].popleft()

    def heard(self, job_id: JobId, said: str) -> None:
        """Take in a report; one of a job that is not out is of an earlier coordinator's."""
        if job_id in self.out:
            self._reports[job_id].append(said)
            if event := self._waiting.pop(job_id, None):
                event.set()

    def silent(self, job_ids: Iterable[JobId]) -> list[JobId]:
        """Which of these are out, and have no report that is still to be taken in."""
        return [each for each in job_ids if each in self.out and not self._reports.get(each)]

    def refusal(self, job: PlannedJob | Job) -> NotAdmitted | None:
        """Why the caps would not let a planned job be bought now, if they would not."""
        return self._ledger.refusal(self.caps, account=self._spec.account, job=job)

    def hurry(self, seconds: float) -> None:
        """No request is open here."""

    def withdraw(self, *_: object) -> Status | None:
        """What is open is with the workers, who withdraw it."""
        return None

    def calmed(self) -> None:
        """Outages are sat out by the workers."""


def _ramp_of(ledger: LedgerWriter, run_id: int, spec: RunSpec, tables: ClusterTables, number: int) -> Ramp:
    """The steps of a run's canary, of which so many are over."""

    async def decide(step: CanaryStep) -> str:
        asks = json.dumps(step.json())
        while True:
            answer, quiet = await tables.ask(run_id, asks)
            if answer is not None:
                return answer
            if quiet > FOLLOWED_SECONDS:
                return "nobody is there to be asked: the command that has --decide follows the run no more"
            await anyio.sleep(LOOK_SECONDS)

    then = parse(spec.then) if spec.then else NO_CONDITION
    return canary_of(ledger, spec.selection.steps, then, decide if spec.decides else None, number)


class LeaseLost(Exception):
    """Another worker coordinates the run meanwhile."""


class Coordinator(Engine):
    """Coordinates one run for as long as this worker has the lease. `run` raises LeaseLost when it has not."""

    workers_max = 10_000  # of a stage; they only wait

    def __init__(
        self,
        ledger: PostgresLedger,
        run_id: int,
        epoch: int,
        spec: RunSpec,
        tables: ClusterTables,
        queue: JobQueue,
        clock: Clock,
        lease: float,
    ) -> None:
        self._elsewhere = _Elsewhere(ledger, spec, clock)
        context = SimpleNamespace(
            ledger=ledger,
            clock=clock,
            settings=spec.settings,
            limiter=SimpleNamespace(creates=CreateBreaker(), restate=lambda _: None),  # no request is made here
            commits=None,
        )
        lifecycle = cast(Lifecycle, self._elsewhere)
        before = ledger.coordinated(run_id) if epoch > 1 else Coordinated()
        ramp = _ramp_of(ledger, run_id, spec, tables, before.steps)
        what = (spec.campaigns, spec.selection, spec.damage, Arrivals(), ramp, run_id)
        super().__init__(cast(Context, context), lifecycle, *what)
        self._elsewhere.buys_no_more = lambda: bool(self._halts)
        self._tables, self._queue, self._store = tables, queue, ledger
        self._at, self._epoch, self._lease, self._to = run_id, epoch, lease, queue_of(spec.kind)
        self.left = False
        self._leads_until = since_boot() + lease
        self._proven = True  # each worker looks by itself
        self._halts += [(Kind.CAPPED, reason) for reason in before.halts]
        self._started = before.bought

    def _new(self) -> WorkItem | None:
        if self._selection.limit is not None and self._epoch > 1:
            # What the coordinator before has had delivered may have been bought since.
            waiting = sum(item.pending is not None and not item.state.bought for item in self.open.values())
            self._started = max(self._started, self._store.bought(self._at) + waiting)
        return super()._new()

    def _workers_for(self, _: Stage) -> int:
        """Each waits for a job, wherever that is worked at."""
        return min(self._control.limits.in_flight + FETCH_BACKLOG, self.workers_max)

    def leave(self) -> None:
        """Leave the run to another coordinator: it does not end by this."""
        self.left = True
        self.stop(Kind.TERMINATED, "its coordinator leaves")

    async def _watch(self) -> None:
        with self._watching:
            async with anyio.create_task_group() as group:
                group.start_soon(self._listen)
                group.start_soon(self._deliver)
                group.start_soon(self._sweep)
                group.start_soon(self._hold)
                group.start_soon(self._control.watch)

    async def _listen(self) -> None:
        while True:
            await self._hear()
            await anyio.sleep(LOOK_SECONDS)

    async def _hear(self) -> None:
        for job_id, said in await self._tables.reports(self._at):
            self._elsewhere.heard(job_id, said)

    async def _deliver(self) -> None:
        while True:
            await self._elsewhere.to_deliver.some()
            await anyio.sleep(_GATHER_SECONDS)
            await self._queue.deliver(self._to, self._at, self._elsewhere.to_deliver.take_all())

    async def _sweep(self) -> None:
        """Bring again what has got lost: a worker died, or the queue lost a delivery, or all of them."""
        while True:
            await anyio.sleep(SWEEP_SECONDS)
            if out := list(self._elsewhere.out):
                missing = await self._queue.missing(out)
                await self._hear()  # a worker's last word comes with the end of its claim: of those nothing is lost
                for job_id in self._elsewhere.silent(missing):
                    if self._halts:  # it may not be bought any more
                        self._elsewhere.heard(job_id, AGAIN)
                    else:
                        self._elsewhere.to_deliver.put_lost(job_id)

    async def _hold(self) -> None:
        while True:
            await anyio.sleep(self._lease / 3)
            asked = since_boot()
            if not await self._tables.still_coordinates(self._at, self._epoch, self._lease):
                raise LeaseLost
            self._leads_until = asked + self._lease

    def leads(self) -> bool:
        """Whether nobody else can have the lease."""
        return since_boot() < self._leads_until


def ending_of(ending: Ending) -> dict[str, Any]:
    """An ending as it stands in the database."""
    return {"exit_code": exit_code(ending.kind)} | asdict(ending) | {"kind": ending.kind.value}
