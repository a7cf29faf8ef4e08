"""Which jobs, how many at once, and when to stop.

Work items lie in a queue a stage, by due time; workers of a stage take what is due, let the lifecycle make one step,
and put the item back as the step says. So thousands of waiting tasks cost a heap entry each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count

import anyio
import anyio.lowlevel

from batcher.damage import Damage
from batcher.errors import Kind, ManifestError
from batcher.events import Event, OwnHalt
from batcher.jobs import JobId, Planned, Status
from batcher.ledger import HELD, TIMES, NotAdmitted, PlannedJob, Stale
from batcher.lifecycle import Abort, Context, Deferred, Done, Lifecycle, Reschedule, Stage, Step
from batcher.settings import Selection

from .arrivals import Arrivals
from .backlog import Backlog, WorkItem
from .control import Control
from .ending import NO_CAP, Ending, ending_of, halt_reason, one_error
from .hints import Hints
from .leftover import leftovers, to_review, unfinished
from .lull import Lull
from .outage import Outages
from .preflight import Preflight
from .ramp import Ramp
from .readings import HALTS, Readings
from .scheduler import Scheduler
from .stalled import Stalled
from .stop_rules import StopRules

#: Seconds that open paid requests get after a first signal (product.md, exit 130 / 143).
GRACE_SECONDS = 10.0
#: No new job starts while more results than this wait for a download: their URLs may not live long.
FETCH_BACKLOG = 100
#: Seconds between the first polls of tasks that an earlier run bought: thousands at once would come at once again after
#: each interval, and wait for each other.
_APART_SECONDS = 0.002
#: Requests at once of a stage, where as many jobs may be under way.
_WORKERS = 16


class Engine:
    """One run over some campaigns. `run` returns when nothing is left to do or something stops it."""

    workers_max = 256  # of a stage

    def __init__(
        self,
        context: Context,
        lifecycle: Lifecycle,
        campaigns: Sequence[str],
        selection: Selection,
        damage: Damage,
        arrivals: Arrivals,
        ramp: Ramp,
        run_id: int | None = None,
        looks: tuple[Callable[[], None], ...] = (),
    ) -> None:
        ledger, clock, settings, limiter = context.ledger, context.clock, context.settings, context.limiter
        self._ledger, self._lifecycle = ledger, lifecycle
        self._limiter, self._settings = limiter, settings
        self._campaigns, self._clock, self._run_id = campaigns, clock, run_id
        self._damage, self._selection = damage, selection
        self._arrivals, self._commits = arrivals, context.commits
        self._backlog = Backlog(ledger.read, campaigns, selection, arrivals.steps, to_come=arrivals.has_jobs)
        self._queues: dict[Stage, Scheduler[WorkItem]] = {stage: Scheduler(clock) for stage in Stage}
        self._preflight = Preflight(ledger, lifecycle, arrivals.to_buy)
        self._lull = Lull(clock, self._queues[Stage.PRICE])
        self.open: dict[JobId, WorkItem] = {}
        self._starting: list[WorkItem] = []
        self._given_up: set[JobId] = set()
        self._started, self._searching, self._over = 0, False, False
        self.in_flight = 0  # jobs bought or being bought, without those that only lack their file
        self._stops, self._ramp = StopRules(settings), ramp
        self._halts: list[tuple[Kind, str]] = []
        self._left: Counter[str] = Counter()
        self._caps_met: set[str] = set()
        self._proven = False  # whether this key may read tasks
        self._first: JobId | None = None  # the job that is to show it
        self._outages = Outages(context, lifecycle, self.halted)
        self._hints = Hints(ledger, clock, self._queues[Stage.POLL], self.open, settings.polling.every)
        self._readings = Readings(
            lifecycle, self._preflight, settings.retries.times, self.halted, lambda: bool(self._halts), self._changed
        )
        self._control = Control(
            context, lifecycle.caps, changed=self._changed, drain=self._drain, beside=(self._hints.look, *looks)
        )
        self._stalled = Stalled(self, limiter.creates, self._outages, lifecycle, clock)
        self._staffed: Counter[Stage] = Counter()  # stages whose workers have begun
        self._scope, self._watching = anyio.CancelScope(), anyio.CancelScope()

    async def run(self) -> Ending:
        """Work until everything selected is at its end, or a halt. Raises StorageError."""
        apart, read = count(), self._ledger.read
        for item, stage in leftovers(read, self._campaigns, self._settings, self._selection, self._damage):
            self.add(item, stage, next(apart) * _APART_SECONDS if stage is Stage.POLL else 0.0)
        self._control.begin(to_buy=self._backlog.has_jobs)
        with self._scope:
            try:
                async with anyio.create_task_group() as self._group:
                    self._group.start_soon(self._watch)
                    self._group.start_soon(self._grow)
                    for stage in Stage:
                        self._group.start_soon(self._begin, stage)
            except BaseExceptionGroup as group_error:
                raise one_error(group_error) from None
        for job_id in self.open:
            self._lifecycle.withdraw(job_id)
        if not any(kind in (Kind.INTERRUPTED, Kind.TERMINATED) for kind, _ in self._halts):
            self._arrivals.finish()
        return self._ending()

    def stop(self, kind: Kind, reason: str) -> None:
        """Start nothing new; open paid requests get some seconds, then the run ends."""
        self._halts.append((kind, reason))
        self._lifecycle.hurry(GRACE_SECONDS)
        self._scope.cancel()

    async def _grow(self) -> None:
        """Bring the jobs into the ledger that are not there yet. What has become faulty meanwhile ends the buying."""
        try:
            await self._arrivals.bring(self._commits, self._clock, self._grew)
        except ManifestError as error:
            self.halted(Kind.CAPPED, str(error), OwnHalt.MANIFEST_CHANGED)
            self._backlog.growing.clear()
            self._queues[Stage.SUBMIT].wake_all()

    def _grew(self, campaign: str, whole: bool) -> None:
        self._backlog.grew(campaign, whole=whole)
        self._queues[Stage.SUBMIT].wake_all()

    # Workers

    async def _begin(self, stage: Stage) -> None:
        """Let workers begin in a stage; a run looks at the wallet before it buys."""
        if stage is Stage.SUBMIT and self._backlog.has_jobs:
            await self._readings.look()
            self._preflight.done()
        self._staff(stage)

    def _staff(self, stage: Stage) -> None:
        """Let more workers begin where there are too few; those that are too many end by themselves."""
        for _ in range(self._staffed[stage], self._workers_for(stage)):
            self._staffed[stage] += 1
            self._group.start_soon(self._work, stage)

    def _workers_for(self, stage: Stage) -> int:
        """How many workers a stage has: so many requests at once, and as many who put away what has come."""
        limits, asks = self._control.limits, stage in (Stage.SUBMIT, Stage.POLL)
        return min(max(_WORKERS, limits.in_flight), self.workers_max) if asks else 2 * limits.downloads

    async def _work(self, stage: Stage) -> None:
        while item := await self._next(stage):
            try:
                step = await self._advance(item, stage)
            except Stale:
                step = Reschedule(stage)  # a person decided meanwhile: look again
            if isinstance(step, Deferred) and step.refusal.cap == "reading" and await self._readings.again():
                step = Reschedule(stage)
            self._place(item, stage, step)

    async def _advance(self, item: WorkItem, stage: Stage) -> Step:
        job = self._ledger.read.load(item.job_id)
        if stage is not Stage.SUBMIT and isinstance(job.phase, Planned):
            # `batcher retry` in this very instant: it is bought where new jobs are, not from here.
            return Done(Status.PLANNED, left="planned again by a person; the next run buys it")
        item.state.idle, item.state.under_way = self._lull.seconds(len(self.open)), self.in_flight
        return await self._lifecycle.advance(job, item.state)

    async def _next(self, stage: Stage) -> WorkItem | None:
        """The next work item that is due in this stage; None when the run is over."""
        queue = self._queues[stage]
        while not self._over:
            if self._staffed[stage] > self._workers_for(stage):
                self._staffed[stage] -= 1
                queue.wake()  # what this one was woken for, another takes
                return None
            if item := queue.take() or (self._new() if stage is Stage.SUBMIT else None):
                return item
            if stage is Stage.SUBMIT and self._searching:
                await anyio.lowlevel.checkpoint()  # others move too, however far the next selected job is
                continue
            # nor may anything be started, now or later
            if stage is Stage.SUBMIT and not self.open and not self._backlog.growing and not self._waits:
                if self._stalled.judge_last(any(refusal.cap == "price" for refusal in self._backlog.closed)):
                    continue
                if not self._ramp.is_over and not self._halts and not self._backlog.closed:
                    await self._ramp.go_on(self._wider, self.halted)
                    continue
                self._over = True
                self._watching.cancel()
                for each in self._queues.values():
                    each.wake_all()
                break
            self._lull.seconds(len(self.open))  # it may begin now
            await queue.idle()
        return None

    def _new(self) -> WorkItem | None:
        """A planned job, if there is room for one more in flight."""
        limit, self._searching = self._selection.limit, False
        if (
            self._halts
            or self._limiter.creates.down
            or self._waits_for_proof
            or self.in_flight >= self._control.limits.in_flight
            or (limit is not None and self._started >= limit)
            or len(self._queues[Stage.FETCH]) >= FETCH_BACKLOG
        ):
            return None
        found = self._planned()
        if found is None:
            self._searching = self._backlog.searching
            return None
        item = WorkItem(found.id, found)
        item.state.look, self._first = not self._proven, found.id
        self.open[found.id] = item
        self._starting.append(item)
        self._started += 1
        self.in_flight += 1
        return item

    def _planned(self) -> PlannedJob | None:
        """The next job that may be bought, as far as that is a matter of time, or of a person's word."""

        def skip(job: PlannedJob) -> bool:
            return job.id in self.open or job.id in self._given_up or not self._ramp.lets(job.id)

        while found := self._backlog.next(skip, self._committed):
            if not self._control.holds or (no := self._lifecycle.refusal(found)) is None:
                return found
            self._backlog.close(found, no)
        return None

    def _wider(self) -> None:
        """The next step of the canary begins: jobs that were passed over may be bought."""
        self._backlog.again()
        self._queues[Stage.SUBMIT].wake_all()

    def _drain(self, who: str) -> None:
        """End once what is under way is finished; the command itself is written down already."""
        if not self._halts:
            self._halts.append((Kind.CAPPED, f"drained by {who}"))

    @property
    def _waits(self) -> bool:
        """Whether nothing is under way, and yet more may be bought later."""
        return not self._halts and any(refusal.cap in HELD for refusal in self._backlog.closed)

    def _changed(self) -> None:
        """More or less may be started than before."""
        self._reopen()
        for stage in self._staffed:
            self._staff(stage)
            self._queues[stage].wake_all()

    def _committed(self, campaign: str) -> int:
        """The credits that this run has committed for a campaign, and those of jobs on their way to an intent."""
        self._starting = [each for each in self._starting if each.job_id in self.open and not each.state.bought]
        coming = (each.pending for each in self._starting if each.pending and each.pending.campaign == campaign)
        spent = self._ledger.read.spent(campaign=campaign, run_id=self._run_id).committed
        return spent + sum(job.catalog_credits for job in coming)

    @property
    def _waits_for_proof(self) -> bool:
        """Whether the first job of the run is still to show that this key may read what it buys."""
        return not self._proven and self._first in self.open and not self._limiter.creates.suspects(self._first)

    def put(self, item: WorkItem) -> None:
        """Let what is open be sent."""
        self._queues[Stage.SUBMIT].put(item)

    def add(self, item: WorkItem, stage: Stage, seconds: float = 0.0) -> None:
        self.open[item.job_id] = item
        self._lull.note(item.job_id, prices=stage is Stage.PRICE)
        self.in_flight += item.in_flight
        self._queues[stage].put(item, seconds)

    def _place(self, item: WorkItem, stage: Stage, step: Step) -> None:
        if not self._proven and (item.state.polled or step in (Reschedule(Stage.FETCH), Done(Status.SUCCEEDED))):
            self._proven = True
            self._queues[Stage.SUBMIT].wake_all()
        if stage is Stage.SUBMIT and self._stalled.takes(item, step):
            return
        if stage is Stage.FETCH and (barred := self._stops.fetched(item.job_id, item.state.barred)):
            self.halted(Kind.CAPPED, barred, OwnHalt.DOWNLOADS_BLOCKED)
        match step:
            case Reschedule(to, seconds):
                self._queues[to].put(item, seconds)
                self._lull.note(item.job_id, prices=to is Stage.PRICE)
                if to in (Stage.FETCH, Stage.PRICE) and item.in_flight:
                    self._leave(item)
                if to is not stage:
                    self._moved_on(to)
                return
            case Deferred(refusal):
                assert item.pending is not None, "what was bought before has passed the caps already"
                self._backlog.close(item.pending, refusal)
                self._tell_of_cap(refusal)
                # The price may have been named, or credits come free, since the refusal: then nobody else would look.
                self._reopen()
            case Abort(halt):
                self.halted(HALTS[halt.reason], halt.message, halt.code)
            case Done(status, left):
                self.finished(item, status, left)
                self._reopen()
        self.drop(item)

    def drop(self, item: WorkItem) -> None:
        if item.pending and not item.state.bought:
            self._started -= 1  # `--limit` counts intents
        del self.open[item.job_id]
        self._lull.note(item.job_id, prices=False)
        if item.in_flight:
            self._leave(item)
        self._queues[Stage.SUBMIT].wake()

    def _leave(self, item: WorkItem) -> None:
        """It is with the API no more: its place is another's."""
        item.in_flight = False
        self.in_flight -= 1
        self._queues[Stage.SUBMIT].wake()

    def _moved_on(self, to: Stage) -> None:
        """A job went on to another stage: its price is named, or a part of its hold may have come free."""
        self._reopen()
        if to in (Stage.FETCH, Stage.PRICE):
            self._stops.goes_on()
        self._queues[Stage.SUBMIT].wake()

    def finished(self, item: WorkItem, status: Status, left: str) -> None:
        if left:
            self._left[left] += 1
        if status is Status.PLANNED:
            self._given_up.add(item.job_id)
        if rule := self._stops.ended(status, blocked=item.state.blocked):
            self.halted(Kind.CAPPED, rule)

    def halted(self, kind: Kind, message: str, code: str = "") -> None:
        if any(known == kind for known, _ in self._halts):
            return
        reason = halt_reason(message, code)
        self._ledger.note(Event.HALTED, kind=kind.value, reason=reason, code=code, message=message)
        if kind in (Kind.KEY, Kind.UNREACHABLE):
            # Once a file was whole, its later absence changes no exit code.
            done = not self._backlog.has_jobs and all(item.done for item in self.open.values())
            self.stop(Kind.DONE if done else kind, reason)
        else:
            self._halts.append((kind, reason))

    def _reopen(self) -> None:
        """Take up again what has room by now; a cap that is found to have none is told of as one that refused a job."""
        self._backlog.reopen(self._lifecycle.refusal)
        for refusal in self._backlog.closed:
            self._tell_of_cap(refusal)

    def _tell_of_cap(self, refusal: NotAdmitted) -> None:
        """Write down, once a run, that a cap has kept a job from being bought."""
        if refusal.cap == "price_above":
            self.halted(Kind.CAPPED, refusal.message)
        if refusal.cap not in NO_CAP - TIMES.keys() and refusal.words not in self._caps_met:
            self._caps_met.add(refusal.words)
            self._ledger.note(Event.CAP_REACHED, cap=refusal.words, message=refusal.message)

    # The API as a whole

    async def _watch(self) -> None:
        with self._watching:
            async with anyio.create_task_group() as group:
                group.start_soon(self._outages.watch, self._answers_again)
                for watch in (self._stalled.watch, self._preflight.at_models, self._control.watch):
                    group.start_soon(watch)
                if self._lifecycle.caps.keep is not None and self._backlog.has_jobs:
                    group.start_soon(self._readings.watch)

    def _answers_again(self) -> None:
        """Nobody was let in for a while: what each met in that time says nothing of it."""
        self._limiter.creates.since(self._clock.monotonic())
        self._lifecycle.calmed()
        for item in self.open.values():
            item.state.answered()

    # The end

    def _ending(self) -> Ending:
        self._control.look()  # what the last jobs met is asked already, it may just not have been looked at
        # What `--limit` leaves planned was not selected, whatever cap it would have met.
        limit = (chosen := self._selection).limit
        refusals = [] if limit is not None and self._started >= limit else self._backlog.closed
        undone = unfinished(self._ledger.read, self._campaigns, self._settings, chosen, len(self._given_up))
        review, left = to_review(self._ledger.read, self._campaigns, chosen), self._left.most_common(20)
        return ending_of(self._halts, refusals, undone, dict(left), probe=chosen.probe, to_review=review)
