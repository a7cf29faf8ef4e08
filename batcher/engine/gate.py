"""Rate limits, exactly: no window of the stated length ever holds more requests than stated.

An exact sliding log: the stamps of the last `count` requests, kept on disk by the ledger. Leaky buckets and GCRA let
nearly twice the limit through in a window (design.md). Room is reserved first and stamped right before the request,
so what stands between the two (the intent's commit) costs no accuracy: a reservation counts like a stamp of now.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from batcher.clock import Clock, from_iso
from batcher.ledger import Ledger, Send
from batcher.lifecycle.steps import SendKind
from batcher.settings import Limits, Rate

# Stamps are written with microseconds; this keeps rounding from putting one more into a window.
_MARGIN = 0.001
#: Seconds that everybody waits after a 429 without Retry-After.
THROTTLE_SECONDS = 5.0


class Window:
    """The requests of one limit: stamps in monotonic seconds and reservations not yet stamped."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._stamps: deque[float] = deque(maxlen=rate.count)
        self.reserved = 0

    def add(self, stamp: float) -> None:
        """A request was sent at `stamp`; one that is heard of late counts like the newest."""
        self._stamps.append(max(stamp, self._stamps[-1]) if self._stamps else stamp)

    def wait(self, now: float) -> float:
        """Seconds until one more request has room; infinite while only reservations are in the way."""
        while self._stamps and self._stamps[0] + self._rate.seconds + _MARGIN <= now:
            self._stamps.popleft()
        over = len(self._stamps) + self.reserved - self._rate.count
        if over < 0:
            return 0.0
        if over >= len(self._stamps):
            return math.inf
        return self._stamps[over] + self._rate.seconds + _MARGIN - now


class _Room:
    """A reservation; `stamp` turns it into a request that was sent."""

    def __init__(self, gate: RateGate, kind: SendKind) -> None:
        self._gate = gate
        self._kind = kind
        self.stamped = False

    def stamp(self) -> None:
        self._gate.commit(self._kind)
        self.stamped = True


class RateGate:
    """Lets requests to the API's host out, within `limits.submit` and `limits.requests`, over restarts too."""

    def __init__(self, ledger: Ledger, limits: Limits, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._submits = Window(limits.submit)
        self._requests = Window(limits.requests)
        self._last_send = 0
        self._paused_until = -math.inf
        self._held = False
        self.trouble_came = anyio.Event()
        self._changed = anyio.Event()
        # One waiter of a kind at a time looks at the windows; the others stand in line behind it, in order.
        self._lines = {"submit": anyio.Lock(), "other": anyio.Lock(), "probe": anyio.Lock()}
        self._remember(limits)

    def _windows(self, kind: str) -> tuple[Window, ...]:
        return (self._submits, self._requests) if kind == "submit" else (self._requests,)

    def _age(self, send: Send) -> float:
        """When a request was sent, in monotonic seconds; a stamp from the future (a clock set back) counts as now."""
        return self._clock.monotonic() - max(0.0, self._clock.wall() - from_iso(send.at))

    def _remember(self, limits: Limits) -> None:
        """Take in what earlier runs have sent."""
        requests = self._ledger.read.last_sends(limits.requests.count)
        submits = self._ledger.read.last_sends(limits.submit.count, kind="submit")
        for window, sends in ((self._requests, requests), (self._submits, submits)):
            for stamp in sorted(map(self._age, sends)):  # by time: a clock that was set back wrote them out of order
                window.add(stamp)
        if requests:
            self._last_send = requests[-1].id

    def _learn(self, *, but: int = 0) -> None:
        """Take in what another process has sent meanwhile (`batcher credits`)."""
        for send in self._ledger.read.sends_after(self._last_send):
            self._last_send = send.id
            if send.id != but:
                for window in self._windows(send.kind):
                    window.add(self._age(send))

    def _wait(self, kind: str, probing: bool) -> float:
        self._learn()
        now = self._clock.monotonic()
        if self._held and not probing:
            return math.inf
        return max(self._paused_until - now, *(window.wait(now) for window in self._windows(kind)), 0.0)

    @asynccontextmanager
    async def slot(self, kind: SendKind, *, probing: bool = False) -> AsyncIterator[_Room]:
        """Wait for room for one request; leaving without a stamp gives the room back.

        A request that is `probing` goes out while all others are held.
        """
        async with self._lines["probe" if probing else "submit" if kind == "submit" else "other"]:
            while (seconds := self._wait(kind, probing)) > 0:
                changed = self._changed
                with anyio.move_on_after(seconds):
                    await changed.wait()
            for window in self._windows(kind):
                window.reserved += 1
        room = _Room(self, kind)
        try:
            yield room
        finally:
            if not room.stamped:
                self._release(kind)

    def commit(self, kind: SendKind) -> None:
        """Write a request down right before it is sent."""
        own = self._ledger.stamp(kind)
        self._learn(but=own)  # what another process wrote since the last look has a lower id
        for window in self._windows(kind):
            window.add(self._clock.monotonic())
        self._release(kind)

    def _release(self, kind: SendKind) -> None:
        for window in self._windows(kind):
            window.reserved -= 1
        self._look_again()

    def _look_again(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def trouble(self) -> None:
        """A request had no answer, or a 5xx: hold everybody until somebody knows whether the API is dead."""
        if not self._held:
            self._held = True
            self.trouble_came.set()

    def release(self) -> None:
        """The API answers: let everybody out again."""
        self._held = False
        self.trouble_came = anyio.Event()
        self._look_again()

    def throttled(self, seconds: float | None) -> None:
        """A 429: everybody waits, as long as the API asked."""
        until = self._clock.monotonic() + (THROTTLE_SECONDS if seconds is None else seconds)
        self._paused_until = max(self._paused_until, until)
