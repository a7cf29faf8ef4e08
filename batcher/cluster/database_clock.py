"""The database's clock: the one time of all workers, whatever their own clocks say."""

from __future__ import annotations

from batcher.clock import Clock, SystemClock, Uptime


class DatabaseClock:
    """A clock whose wall is the database's, as of the newest answer and this machine's monotonic time since.

    It lags behind by no more than an answer takes; until the first answer it is this machine's.
    """

    def __init__(self, own: Clock | None = None) -> None:
        self._own = own or SystemClock()
        self._ahead = self._own.wall() - self._own.monotonic()

    def heard(self, now: float) -> None:
        """Take in the database's time (seconds since the epoch), as its answer comes."""
        self._ahead = now - self._own.monotonic()

    def monotonic(self) -> float:
        return self._own.monotonic()

    def wall(self) -> float:
        return self._own.monotonic() + self._ahead

    def uptime(self) -> Uptime | None:
        return self._own.uptime()
