"""Rate limits: no window of the stated length ever holds more requests than stated, nor than the API bears.

The stated limits are exact sliding logs, whose stamps the ledger keeps on disk: leaky buckets and GCRA let nearly
twice the limit through in a window (design.md). Room is reserved first, the request is written down and committed, and
it counts in the window from the moment at which it is sent, so what stands between (the commit, others' turns) costs no
accuracy: a reservation counts like a stamp of now.
The API's own limits are learned from its 429s (`throttle`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import anyio

from batcher.clock import Clock, age, moment
from batcher.events import Event
from batcher.jobs import Intent, JobId
from batcher.ledger import Send, Store
from batcher.providers import Retryable
from batcher.settings import Limits, Rate

from .creates import CreateBreaker
from .throttle import Throttle
from .window import Window

#: Seconds for which a wait that the API asks for is obeyed; then one `GET /credits` asks whether it still holds
#: (product.md, exit 6).
LONGEST_WAIT = 600.0
#: Where room is short submissions come first, for polls can wait; but a poll that never comes holds up its job, so
#: this share of the room stays for requests of other kinds.
_OTHERS_SHARE = 0.25
#: So much of the room polls may take whenever they like; beyond it each is sent when it is likely to tell something.
_POLLS_SHARE = 1 / 3
#: So much earlier than it leaves a poll may be written down, to share a commit with others.
AHEAD_SECONDS = 0.25

SendKind = Literal["submit", "poll", "upload", "file", "credits", "download", "models"]
_Line = Literal["submit", "other", "probe"]
#: Does an operation on the ledger and returns when it is on disk.
_Commit = Callable[[Callable[[], None]], Awaitable[object]]


class _Limit:
    """A stated limit and what the API bears of it."""

    def __init__(self, name: str, rate: Rate) -> None:
        self.name = name
        self.rate = rate
        self.window = Window(rate)
        self.throttle = Throttle(rate)
        self.cut = False  # as the ledger's events tell it

    def restate(self, rate: Rate, stamps: Sequence[float]) -> None:
        """State it anew; `stamps` are of the newest requests, as the log has them."""
        self.rate = rate
        self.window = self.window.restated(rate, stamps)
        self.throttle.restate(rate)

    def wait(self, now: float) -> float:
        return max(self.window.wait(now), self.throttle.wait(now))

    def short(self, now: float) -> bool:
        """Whether requests have to queue for room, or soon will."""
        return self.throttle.cut or self.window.short(now)

    @property
    def pace(self) -> float:
        """Requests a second, on the average, that have room."""
        return min(self.rate.per_second, self.throttle.pace)


class Permit:
    """A wait for room, a reservation, and then a request that was sent; `heard` takes in what came of it."""

    def __init__(self, limiter: RateLimiter, kind: SendKind, line: _Line) -> None:
        self._limiter = limiter
        self._kind = kind
        self._line = line
        self._number = 0  # of the request among all of this limiter; 0: not sent
        self._reserved = False

    async def __aenter__(self) -> Permit:
        await self._reserve()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._give_back()

    async def _reserve(self) -> None:
        await self._limiter.reserve(self._kind, self._line)
        self._reserved = True

    def _give_back(self) -> None:
        if self._reserved:
            self._reserved = False
            self._limiter.give_back(self._kind)

    async def stamp(self, at: float = 0.0) -> None:
        """Write the request down and count it; returns right before it is to be sent.

        It is not sent before `at` (monotonic seconds), which is `AHEAD_SECONDS` from now at most.
        """
        await self._limiter.commits(self.write)
        if await self._limiter.slept(at):
            self._give_back()
            await self._reserve()
            await self._limiter.commits(self.write)
        self.go()

    def write(self) -> None:
        """Only write the request down: for an operation that commits more than this. `go` has to follow the commit."""
        self._limiter.write(self._kind)

    async def take(self, intent: Intent) -> Intent | None:
        """Wait for what a paid request needs beside its room, right before it is sent; the intent as it may be sent.

        None where this process has it no more. Who holds the lock of a ledger is alone, and waits for nothing.
        """
        return intent

    def go(self) -> None:
        """Count the request that was written down, right before it is sent. Without it the room is given back."""
        self._number = self._limiter.sent(self._kind)
        self._give_back()

    def heard(self, outcome: object) -> None:
        """Take in what came of the request, whatever the provider returned: it may slow down or hold everybody."""
        self._limiter.heard(self._kind, self._number, outcome)


class RateLimiter:
    """Lets requests to the API's host out, within `limits.submit` and `limits.requests`, over restarts too.

    What other accounts have sent does not count; without an account everything does.
    """

    def __init__(
        self, ledger: Store, limits: Limits, clock: Clock, commits: _Commit, account: str | None = None
    ) -> None:
        self._ledger = ledger
        self._account = account
        self.commits = commits
        self._clock = clock
        self._submits = _Limit("submit", limits.submit)
        self._requests = _Limit("requests", limits.requests)
        self._last_send = 0
        self._sent = 0
        self._cut_at = 0  # requests up to this number belong to a burst that has been answered by a cut
        self._paused_until = -math.inf
        self._held = False
        self.transfers = anyio.CapacityLimiter(limits.downloads)  # of results, from whatever host
        self.trouble_came = anyio.Event()
        self.creates = CreateBreaker()
        self.unanswered: Retryable | None = None  # what the newest create without an answer came to
        self._changed = anyio.Event()
        # One waiter of a kind at a time looks at the limits; the others stand in line behind it, in order.
        self._lines: dict[_Line, anyio.Lock] = {"submit": anyio.Lock(), "other": anyio.Lock(), "probe": anyio.Lock()}
        self._waiting: dict[_Line, int] = dict.fromkeys(self._lines, 0)
        self._watched = False  # whether anybody waits for a change
        self._last_other = -math.inf
        self._remember(limits)

    def _limits(self, kind: str) -> tuple[_Limit, ...]:
        return (self._submits, self._requests) if kind == "submit" else (self._requests,)

    def _sent_at(self, send: Send) -> float:
        """When a request was sent at the latest, in monotonic seconds; a stamp from the future (a clock set back) is of
        now."""
        ahead = AHEAD_SECONDS if send.kind == "poll" else 0.0
        return self._clock.monotonic() - max(0.0, (age(send.sent, moment(self._clock)) or 0.0) - ahead)

    def _sent_by(self, log: Sequence[Send]) -> list[float]:
        """When requests were sent (given oldest first), in order of time: none later than one of this boot after it.

        So a stamp of the future pauses nobody again and again until its time comes.
        """
        uptime, latest, found = self._clock.uptime(), math.inf, list[float]()
        for send in reversed(log):
            at = min(self._sent_at(send), latest)
            if uptime and send.sent.uptime and send.sent.uptime.boot == uptime.boot:
                latest = at
            found.append(at)
        return sorted(found)

    def _remember(self, limits: Limits) -> None:
        """Take in what earlier runs have sent."""
        self._last_send = self._ledger.last_send()
        self.restate(limits)

    def restate(self, limits: Limits) -> None:
        """Obey other limits from now on, over what was sent before too."""
        self.transfers.total_tokens = limits.downloads
        for limit, rate in ((self._requests, limits.requests), (self._submits, limits.submit)):
            log = self._ledger.newest_sends(rate.count, account=self._account, submissions=limit is self._submits)
            limit.restate(rate, self._sent_by(log))
        self._look_again()

    def _learn(self, *, but: int = 0) -> None:
        """Take in what another process has sent meanwhile (`batcher credits`); `but` is a row of this process."""
        for send in self._ledger.sends_after(self._last_send):
            self._last_send = send.id
            if send.id != but and (None in (self._account, send.account) or send.account == self._account):
                for limit in self._limits(send.kind):
                    limit.window.add(self._sent_at(send))

    # Waiting for room

    def slot(self, kind: SendKind, *, probing: bool = False) -> Permit:
        """Wait for room for one request; leaving without sending it gives the room back.

        A request that is `probing` goes out while all others are held.
        """
        return Permit(self, kind, "probe" if probing else "submit" if kind == "submit" else "other")

    async def reserve(self, kind: SendKind, line: _Line) -> None:
        """Wait for room for one request, behind those of its kind that wait already, and take it."""
        if not self._waiting[line] and self._wait(kind, line) <= 0:
            self._reserve(kind, line)
            return
        self._waiting[line] += 1
        try:
            async with self._lines[line]:
                while (seconds := self._wait(kind, line)) > 0:
                    await self._change(seconds)
                self._reserve(kind, line)
        finally:
            self._waiting[line] -= 1
            self._look_again()  # who let this one go first

    async def _change(self, seconds: float = math.inf) -> None:
        """Wait until something has changed, for so many seconds at most."""
        self._watched = True
        changed = self._changed
        with anyio.move_on_after(seconds):
            await changed.wait()

    def _wait(self, kind: str, line: _Line) -> float:
        self._learn()
        now = self._clock.monotonic()
        if self._held and line != "probe":
            return math.inf
        seconds = max(self._paused_until - now, *(limit.wait(now) for limit in self._limits(kind)), 0.0)
        if line == "other" and self._waiting["submit"] and self._requests.short(now):
            return max(seconds, self._until_other(now))
        return seconds

    def _until_other(self, now: float) -> float:
        """Seconds until a request that is no submission has its turn, where both kinds wait for scarce room.

        Such requests keep a distance that leaves the submissions their pace.
        """
        pace = max(self._requests.pace - self._submits.pace, self._requests.pace * _OTHERS_SHARE)
        return self._last_other + 1 / pace - now

    def _reserve(self, kind: str, line: _Line) -> None:
        for limit in self._limits(kind):
            limit.window.reserved += 1
            limit.throttle.reserve(self._clock.monotonic())
        if line == "other":
            self._last_other = self._clock.monotonic()

    def write(self, kind: SendKind) -> None:
        """Write a request down that is about to be sent; its row has to be committed before it is."""
        own, before = self._ledger.stamp(kind, self._account), self._last_send
        self._last_send = own
        if own != before + 1:  # another process wrote one since the last look
            self._last_send = before
            self._learn(but=own)

    def sent(self, kind: SendKind) -> int:
        """Count a request right before it is sent; returns its number."""
        for limit in self._limits(kind):
            limit.window.add(self._clock.monotonic())
        self._sent += 1
        return self._sent

    async def slept(self, at: float) -> bool:
        """Wait for a moment (monotonic seconds) that is near; whether everybody is held or paused by then."""
        seconds = at - self._clock.monotonic()
        if not 0 < seconds <= AHEAD_SECONDS:
            return False
        await anyio.sleep(seconds)
        return self._held or self._paused_until > self._clock.monotonic()

    def give_back(self, kind: SendKind) -> None:
        """End a reservation."""
        for limit in self._limits(kind):
            limit.window.reserved -= 1
        self._look_again()

    def _look_again(self) -> None:
        if self._watched:
            self._watched = False
            self._changed.set()
            self._changed = anyio.Event()

    # What came of the requests

    def heard(self, kind: SendKind, number: int, outcome: object) -> None:
        """Take in what came of request `number`; no answer at all holds everybody.

        A 429 to a create slows creates down, one to anything else all requests; its Retry-After is everybody's.
        """
        limit, *_ = self._limits(kind)
        afresh = number > self._cut_at
        match outcome:
            case Retryable(throttled=True, retry_after=wait):
                self._pause(wait)
                if afresh:
                    self._cut(limit, wait)
            case Retryable(outage=outage, retry_after=wait):
                self._pause(wait)
                if outage:
                    self.trouble()
            case _ if afresh:
                limit.throttle.let_in()
                if limit.cut and not limit.throttle.cut:
                    limit.cut = False
                    self._ledger.note(Event.LIMIT_RESTORED, limit=limit.name)

    def _pause(self, seconds: float | None) -> None:
        """Everybody waits as long as the API asked; after ten minutes somebody asks whether it still holds."""
        if seconds is None:
            return
        self._paused_until = max(self._paused_until, self._clock.monotonic() + min(seconds, LONGEST_WAIT))
        if seconds > LONGEST_WAIT:
            self.trouble()

    def _cut(self, limit: _Limit, wait: float | None) -> None:
        """One cut a burst: what was sent before it says nothing about the new pace."""
        self._cut_at, limit.cut = self._sent, True
        now = self._clock.monotonic()
        limit.throttle.refused(now, limit.window.since(now - limit.throttle.horizon), wait=wait)
        self._ledger.note(
            Event.LIMIT_CUT, limit=limit.name, per_minute=round(60 * limit.throttle.pace, 2), retry_after=wait
        )

    def create_ended(self, job_id: JobId, outcome: object) -> None:
        """Take in what came of a job's paid request; "too many" and "too early" say nothing of the others' creates."""
        match outcome:
            case Retryable(outage=False, maybe_received=False):
                pass
            case Retryable():
                self.unanswered = outcome
                self.creates.unanswered(job_id, self._clock.monotonic())
            case _:
                self.creates.answered(job_id)

    def poll_interval(self, tasks: int) -> float:
        """Seconds between two polls of each of so many tasks, by the share of the room that polls always have."""
        return tasks / (self._requests.pace * _POLLS_SHARE)

    def creates_down(self) -> bool:
        """Whether no create is answered; may change while somebody waits."""
        return self.creates.down

    def refused_for(self) -> float:
        """For how many seconds the API has answered every request, or every submission, with a 429."""
        now = self._clock.monotonic()
        return max(limit.throttle.refused_for(now) for limit in (self._submits, self._requests))

    def trouble(self) -> None:
        """A request had no answer, or a 5xx: hold everybody until somebody knows whether the API is dead."""
        if not self._held:
            self._held = True
            self.trouble_came.set()

    async def calm(self) -> None:
        """Wait while everybody is held; for requests to other hosts, which no limit counts."""
        while self._held:
            await self._change()

    def release(self) -> None:
        """The API answers: let everybody out again."""
        self._held = False
        self.trouble_came = anyio.Event()
        self._look_again()
