"""An exact sliding window: the stamps of the last `count` requests. Pure: times are monotonic seconds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from batcher.settings import Rate

# Stamps are written with microseconds; this keeps rounding from putting one more into a window.
_MARGIN = 0.001


class Window:
    """The requests of one limit: stamps in monotonic seconds and reservations not yet stamped."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._stamps: deque[float] = deque(maxlen=rate.count)
        self.reserved = 0

    def restated(self, rate: Rate, log: Sequence[float]) -> Window:
        """The same requests under another rate. `log` has stamps from before the oldest that is known here, too.

        What is known here is when they left, which the log says less exactly.
        """
        found = Window(rate)
        found.reserved = self.reserved
        for stamp in (*log[: max(0, len(log) - len(self._stamps))], *self._stamps):
            found.add(stamp)
        return found

    def add(self, stamp: float) -> None:
        """A request was sent at `stamp`; one that is heard of late counts like the newest."""
        self._stamps.append(max(stamp, self._stamps[-1]) if self._stamps else stamp)

    def wait(self, now: float) -> float:
        """Seconds until one more request has room; infinite while only reservations are in the way."""
        self._forget(now)
        over = len(self._stamps) + self.reserved - self._rate.count
        if over < 0:
            return 0.0
        if over >= len(self._stamps):
            return math.inf
        return self._stamps[over] + self._rate.seconds + _MARGIN - now

    def short(self, now: float) -> bool:
        """Whether less than half of the room is left."""
        self._forget(now)
        return 2 * (len(self._stamps) + self.reserved) > self._rate.count

    def _forget(self, now: float) -> None:
        """Drop the stamps that no window which holds `now` holds."""
        while self._stamps and self._stamps[0] + self._rate.seconds + _MARGIN <= now:
            self._stamps.popleft()

    def since(self, start: float) -> int:
        """How many requests of this window were sent after `start`."""
        return sum(stamp > start for stamp in self._stamps)
