"""Work that is due at some time, and the workers of one kind who wait for it.

A waiting work item costs a heap entry. Of the idle workers one watches the clock, the others only wait to be woken, one
for each work item, so that what is due in one turn of the event loop is taken up in one turn.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Generic, TypeVar

import anyio

from batcher.clock import Clock

T = TypeVar("T")


class Scheduler(Generic[T]):
    """work items by due time. Times are monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, T]] = []
        self._order = count()
        self._idle: OrderedDict[anyio.Event, None] = OrderedDict()
        self._watcher: anyio.Event | None = None
        self._watched_until = math.inf  # when the watcher looks again by itself

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, item: T, seconds: float = 0.0) -> None:
        """Let a worker have the work item in so many seconds."""
        due = self._clock.monotonic() + seconds
        heapq.heappush(self._heap, (due, next(self._order), item))
        if seconds <= 0:
            self.wake()
        elif self._watcher and due < self._watched_until:
            self._watcher.set()

    def hasten(self, latest: Callable[[T], float]) -> None:
        """Let no work item be due later than in so many seconds, which `latest` says of each (inf: as it is)."""
        now = self._clock.monotonic()
        self._heap = [(min(due, now + latest(item)), order, item) for due, order, item in self._heap]
        heapq.heapify(self._heap)
        if self._watcher:
            self._watcher.set()

    def take(self) -> T | None:
        """The work item that is due for the longest time, if one is due."""
        if self._heap and self._heap[0][0] <= self._clock.monotonic():
            return heapq.heappop(self._heap)[2]
        return None

    def wake(self) -> None:
        """Let one idle worker look again."""
        if self._idle:
            self._idle.popitem(last=False)[0].set()
        elif self._watcher:
            self._watcher.set()

    def wake_all(self) -> None:
        """Let all idle workers look again."""
        while self._idle:
            self.wake()
        self.wake()

    async def idle(self) -> None:
        """Wait until there may be something to take: until woken or, for the one who watches the clock, it is due."""
        event = anyio.Event()
        if self._watcher:
            self._idle[event] = None
            try:
                await event.wait()
            finally:
                self._idle.pop(event, None)
            return
        self._watcher = event
        self._watched_until = self._heap[0][0] if self._heap else math.inf
        try:
            with anyio.move_on_after(self._watched_until - self._clock.monotonic()):
                await event.wait()
        finally:
            self._watcher = None
            # Somebody else has to watch now, and there may be more to take than one worker can.
            for _ in range(max(1, self._due(len(self._idle)))):
                self.wake()

    def _due(self, most: int) -> int:
        """How many work items are due, of so many at most."""
        now, found, places = self._clock.monotonic(), 0, [0]
        while places and found < most:
            place = places.pop()
            if place < len(self._heap) and self._heap[place][0] <= now:
                found += 1
                places += (2 * place + 1, 2 * place + 2)
        return found
