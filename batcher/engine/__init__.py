"""Which jobs, how many at once, how fast, and when to stop.

Tickets lie in a queue a lane, by due time; workers of a lane take what is due, let the lifecycle make one step, and
put the ticket back as the step says. So thousands of waiting tasks cost a heap entry each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from batcher.clock import Clock
from batcher.errors import Kind, StorageError, first_of
from batcher.jobs import JobId, Planned, Status
from batcher.ledger import Ledger, Pending, Refusal, Stale
from batcher.lifecycle import Again, Blocked, Finished, Halted, Lane, Lifecycle, Step, Turn
from batcher.providers import Halt
from batcher.settings import Selection, Settings

from .feeder import Feeder
from .gate import RateGate
from .queue import Queue

__all__ = ["Ending", "Engine", "RateGate"]

#: Seconds that open paid requests get after a first signal (product.md, exit 130 / 143).
GRACE_SECONDS = 10.0
#: No new job starts while more results than this wait for a download: their URLs may not live long.
FETCH_BACKLOG = 100
#: Seconds to the first probe of an API that is dead, and between the later ones at most.
_PROBE_SECONDS = 1.0
_PROBE_SECONDS_MAX = 60.0
#: Seconds between two readings of the wallet, and before one that failed is tried again.
_READING_SECONDS = 60.0
_READING_AGAIN_SECONDS = 10.0
_HALTS = {"key": Kind.KEY, "credits": Kind.CAPPED, "wait": Kind.UNREACHABLE}
#: Seconds between the first polls of tasks that an earlier run bought: thousands at once would come at once again after
#: each interval, and wait for each other.
_APART_SECONDS = 0.002
#: Requests at once of a lane, where as many jobs may be under way.
_WORKERS = 16
_WORKERS_MAX = 256


@dataclass(slots=True)
class _Ticket:
    """A job that this run is at work on; `pending` as the feeder gave it, None for what was bought before."""

    job_id: JobId
    pending: Pending | None = None
    turn: Turn = field(default_factory=Turn)
    in_flight: bool = True


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: the kind decides the exit code, `reason` is for people.

    `left` counts why jobs did not come to their end in this run; `blocked` says which caps were in the way.
    """

    kind: Kind
    reason: str
    left: dict[str, int]
    blocked: tuple[str, ...]


class Engine:
    """One run over some campaigns. `run` returns when nothing is left to do or something stops it."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        lifecycle: Lifecycle,
        settings: Settings,
        campaigns: Sequence[str],
        selection: Selection,
        clock: Clock,
        gate: RateGate,
    ) -> None:
        self._ledger = ledger
        self._lifecycle = lifecycle
        self._gate = gate
        self._settings = settings
        self._campaigns = campaigns
        self._selection = selection
        self._clock = clock
        self._feeder = Feeder(ledger.read, campaigns, selection)
        self._queues: dict[Lane, Queue[_Ticket]] = {lane: Queue(clock) for lane in Lane}
        self._open: dict[JobId, _Ticket] = {}
        self._given_up: set[JobId] = set()
        self._started = 0
        self._searching = False
        self._in_flight = 0
        self._row_of_failures = 0
        self._halts: list[tuple[Kind, str]] = []
        self._left: Counter[str] = Counter()
        self._caps_met: set[str] = set()
        self._over = False
        self._scope = anyio.CancelScope()
        self._watching = anyio.CancelScope()

    @property
    def in_flight(self) -> int:
        """Jobs bought or being bought, without those that only lack their file."""
        return self._in_flight

    async def run(self) -> Ending:
        """Work until everything selected is at its end, or a halt. Raises StorageError."""
        apart = count()
        for campaign in self._campaigns:
            for job_id, status in self._ledger.read.unsettled(campaign):
                if status is Status.SUBMITTING:
                    self._add(_Ticket(job_id), Lane.SUBMIT)
                else:
                    self._add(_Ticket(job_id), Lane.POLL, next(apart) * _APART_SECONDS)
            if self._settings.download:
                for job_id in self._ledger.read.unsaved(campaign):
                    self._add(_Ticket(job_id, in_flight=False), Lane.FETCH)
        requests = min(max(_WORKERS, self._settings.limits.in_flight), _WORKERS_MAX)
        workers = {Lane.SUBMIT: requests, Lane.POLL: requests, Lane.FETCH: self._settings.limits.downloads}
        with self._scope:
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch)
                    for lane, number in workers.items():
                        group.start_soon(self._staff, group, lane, number)
            except BaseExceptionGroup as group_error:
                raise _one_error(group_error) from None
        for job_id in self._open:
            self._lifecycle.withdraw(job_id)
        return self._ending()

    def stop(self, kind: Kind, reason: str) -> None:
        """Start nothing new; open paid requests get some seconds, then the run ends."""
        self._halts.append((kind, reason))
        self._lifecycle.hurry(GRACE_SECONDS)
        self._scope.cancel()

    # Workers

    async def _staff(self, group: TaskGroup, lane: Lane, number: int) -> None:
        """Let so many workers begin in a lane; nothing is bought before the wallet is known, if some is to be kept."""
        if lane is Lane.SUBMIT and self._lifecycle.caps.keep is not None and self._feeder.has_jobs:
            await self._first_reading()
        for _ in range(number):
            group.start_soon(self._work, lane)

    async def _work(self, lane: Lane) -> None:
        while ticket := await self._next(lane):
            try:
                step = await self._advance(ticket, lane)
            except Stale:
                step = Again(lane)  # a person decided meanwhile: look again
            self._place(ticket, lane, step)

    async def _advance(self, ticket: _Ticket, lane: Lane) -> Step:
        job = self._ledger.read.load(ticket.job_id)
        if lane is not Lane.SUBMIT and isinstance(job.phase, Planned):
            # `batcher retry` in this very instant: it is bought where new jobs are, not from here.
            return Finished(Status.PLANNED, left="planned again by a person; the next run buys it")
        return await self._lifecycle.advance(job, ticket.turn)

    async def _next(self, lane: Lane) -> _Ticket | None:
        """The next ticket that is due in this lane; None when the run is over."""
        queue = self._queues[lane]
        while not self._over:
            if ticket := queue.take() or (self._new() if lane is Lane.SUBMIT else None):
                return ticket
            if lane is Lane.SUBMIT and self._searching:
                await anyio.lowlevel.checkpoint()  # others move too, however far the next selected job is
                continue
            if lane is Lane.SUBMIT and not self._open:  # nothing under way and nothing that may be started
                self._over = True
                self._watching.cancel()
                for each in self._queues.values():
                    each.wake_all()
                break
            await queue.idle()
        return None

    def _new(self) -> _Ticket | None:
        """A planned job, if there is room for one more in flight."""
        limit, self._searching = self._selection.limit, False
        if (
            self._halts
            or self._in_flight >= self._settings.limits.in_flight
            or (limit is not None and self._started >= limit)
            or len(self._queues[Lane.FETCH]) >= FETCH_BACKLOG
        ):
            return None
        found = self._feeder.next(lambda job: job.id in self._open or job.id in self._given_up)
        if found is None:
            self._searching = self._feeder.searching
            return None
        ticket = _Ticket(found.id, found)
        self._open[found.id] = ticket
        self._started += 1
        self._in_flight += 1
        return ticket

    def _add(self, ticket: _Ticket, lane: Lane, seconds: float = 0.0) -> None:
        self._open[ticket.job_id] = ticket
        self._in_flight += ticket.in_flight
        self._queues[lane].put(ticket, seconds)

    def _place(self, ticket: _Ticket, lane: Lane, step: Step) -> None:
        match step:
            case Again(to, seconds):
                self._queues[to].put(ticket, seconds)
                if to is Lane.FETCH and ticket.in_flight:
                    self._land(ticket)
                if to is not lane:
                    self._succeed(to)
                return
            case Blocked(refusal):
                assert ticket.pending is not None, "what was bought before has passed the caps already"
                self._feeder.close(ticket.pending, refusal)
                self._tell_of_cap(refusal)
                # The price may have been named, or credits come free, since the refusal: then nobody else would look.
                self._feeder.reopen(self._lifecycle.refusal)
            case Halted(halt):
                self._halted(_HALTS[halt.reason], f"{halt.code}: {halt.message}")
            case Finished(status, left):
                self._finished(ticket, status, left)
                self._feeder.reopen(self._lifecycle.refusal)
        if ticket.pending and not ticket.turn.bought:
            self._started -= 1  # `--limit` counts intents
        del self._open[ticket.job_id]
        if ticket.in_flight:
            self._land(ticket)
        self._queues[Lane.SUBMIT].wake()

    def _land(self, ticket: _Ticket) -> None:
        ticket.in_flight = False
        self._in_flight -= 1
        self._queues[Lane.SUBMIT].wake()

    def _succeed(self, to: Lane) -> None:
        """A job went on to another lane: its price is named, or a part of its hold may have come free."""
        self._feeder.reopen(self._lifecycle.refusal)
        if to is Lane.FETCH:
            self._row_of_failures = 0
        self._queues[Lane.SUBMIT].wake()

    def _finished(self, ticket: _Ticket, status: Status, left: str) -> None:
        if left:
            self._left[left.partition(" (request ")[0]] += 1  # the same reason, whatever the request was
        if status is Status.PLANNED:
            self._given_up.add(ticket.job_id)
        if status is Status.SUCCEEDED:
            self._row_of_failures = 0
        elif status is Status.FAILED:
            self._row_of_failures += 1
            if self._row_of_failures == self._settings.failures_in_a_row:
                self._halted(Kind.CAPPED, f"{self._row_of_failures} jobs failed in a row (stop.failures_in_a_row)")

    def _halted(self, kind: Kind, reason: str) -> None:
        if any(known == kind for known, _ in self._halts):
            return
        self._ledger.note("halted", kind=kind.value, reason=reason)
        if kind in (Kind.KEY, Kind.UNREACHABLE):
            self.stop(kind, reason)
        else:
            self._halts.append((kind, reason))

    def _tell_of_cap(self, refusal: Refusal) -> None:
        """Write down, once a run, that a cap has kept a job from being bought."""
        if refusal.cap != "price" and refusal.cap not in self._caps_met:
            self._caps_met.add(refusal.cap)
            self._ledger.note("cap_reached", cap=refusal.cap, message=refusal.message)

    # The API as a whole

    async def _watch(self) -> None:
        with self._watching:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch_api)
                if self._lifecycle.caps.keep is not None and self._feeder.has_jobs:
                    group.start_soon(self._watch_wallet)

    async def _first_reading(self) -> None:
        """Know the wallet before the first purchase, if some of it is to be kept; else there is none."""
        for _ in range(self._settings.retries.times + 1):
            trouble = await self._lifecycle.read_wallet()
            if trouble is None:
                return
            if isinstance(trouble, Halt):
                self._halted(_HALTS[trouble.reason], f"{trouble.code}: {trouble.message}")
                return
            await anyio.sleep(_READING_AGAIN_SECONDS)
        self._halted(Kind.CAPPED, "the wallet could not be read, which budget.keep needs")

    async def _watch_wallet(self) -> None:
        """Read the wallet now and then: others spend from it too."""
        while True:
            await anyio.sleep(_READING_SECONDS)
            await self._lifecycle.read_wallet()
            self._feeder.reopen(self._lifecycle.refusal)
            self._queues[Lane.SUBMIT].wake()

    async def _watch_api(self) -> None:
        """Sit out a dead network or API as one pause, with probes that grow rarer; no job's repeats are burnt.

        Seconds count on the monotonic clock, which stands still while the machine sleeps.
        """
        while True:
            await self._gate.trouble_came.wait()
            if not await self._lifecycle.reaches_api():
                await self._sit_out()
            self._gate.release()

    async def _sit_out(self) -> None:
        began, interval = self._clock.monotonic(), _PROBE_SECONDS
        self._ledger.note("outage_began")
        while True:
            await anyio.sleep(interval)
            lasted = self._clock.monotonic() - began
            if await self._lifecycle.reaches_api():
                break
            if lasted >= self._settings.retries.outage:
                self._halted(Kind.UNREACHABLE, f"the API could not be reached for {lasted:.0f} s (retries.outage)")
            interval = min(2 * interval, _PROBE_SECONDS_MAX, max(1.0, self._settings.retries.outage - lasted))
        self._ledger.note("outage_ended", seconds=round(lasted, 3))
        self._lifecycle.calmed()
        for ticket in self._open.values():
            ticket.turn.answered()

    # The end

    def _ending(self) -> Ending:
        kinds = list(self._halts)
        limit = self._selection.limit
        # What `--limit` leaves planned was not selected, whatever cap it would have met.
        refusals = [] if limit is not None and self._started >= limit else self._feeder.closed
        blocked = tuple(dict.fromkeys(refusal.message for refusal in refusals))
        caps = sorted({refusal.cap for refusal in refusals} - {"price", "until"})
        if any(refusal.cap == "until" for refusal in refusals):
            kinds.append((Kind.CAPPED, "the time of --until has come"))
        elif caps:
            kinds.append((Kind.CAPPED, f"no room left under: {', '.join(caps)}"))
        unfinished = self._unfinished()
        if unfinished:
            kinds.append((Kind.UNFINISHED, ", ".join(f"{n} {what}" for what, n in unfinished.items())))
        kind = first_of([k for k, _ in kinds])
        reason = next((words for k, words in kinds if k is kind), "everything selected is done")
        return Ending(kind, reason, dict(self._left.most_common(20)), blocked)

    def _unfinished(self) -> dict[str, int]:
        """Selected jobs that are not done, by what is the matter with them."""
        found: Counter[str] = Counter()
        for campaign in self._campaigns:
            for part in self._ledger.read.outcome(campaign, named=bool(self._selection.only)):
                if self._selection.only and not self._selection.takes(part.name):
                    continue
                match part.status:
                    case Status.SUCCEEDED:
                        if self._settings.download:
                            found["without file"] += part.jobs
                    case Status.PLANNED if self._selection.limit is not None:
                        continue
                    case status:
                        found[str(status)] += part.jobs
        if self._selection.limit is not None and self._given_up:
            found[str(Status.PLANNED)] = len(self._given_up)
        return dict(found)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _one_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The workers' first error; storage errors go first, and all: each may name a task id that is written nowhere."""
    found = list(_leaves(group))
    storage = [each for each in found if isinstance(each, StorageError)]
    lost = dict.fromkeys(each.message for each in storage)
    if len(lost) > 1:
        return StorageError("\n".join(lost), hint=storage[0].hint)
    return storage[0] if storage else found[0]
