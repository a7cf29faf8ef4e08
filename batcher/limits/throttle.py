"""A limit of the API that nobody has stated, found by its 429s and followed. Pure: no clock, no ledger.

How the API counts is not documented (rivya-api.md, section 1), so after a 429 requests go out at even distances,
which fits under a window of any length. Each burst of 429s cuts the pace once; without 429s it grows back, slowly
where the last one came from.
"""

from __future__ import annotations

import math

from batcher.settings import Rate

#: Seconds to wait after a 429 without Retry-After; twice as long after each further one in a row, up to the maximum.
PAUSE_SECONDS = 5.0
PAUSE_SECONDS_MAX = 300.0
#: A cut takes the pace to this share of what was too much, and what was too much is at least a quarter of the pace.
_CUT = 0.7
_TOO_MUCH_AT_LEAST = 0.25
#: The pace grows by these factors every so many seconds: far from what was too much, and within a tenth of it.
_GROWTH_SECONDS = 20.0
_GROWTH = 1.1
_GROWTH_NEAR = 1.02
_NEAR = 0.1
#: What was sent within more seconds than this says little about the pace.
_HORIZON_SECONDS = 60.0


class Throttle:
    """The pace of one kind of request, at most its stated `rate`; no pace until the API says "too many".

    Times are monotonic seconds.
    """

    def __init__(self, rate: Rate) -> None:
        self.horizon = min(rate.seconds, _HORIZON_SECONDS)
        self._stated = rate.count / self.horizon
        self._too_much = self._stated
        self._pace = math.inf
        self._grown_at = 0.0
        self._last = -math.inf
        self._paused_until = -math.inf
        self._pause = PAUSE_SECONDS
        self._refused_since: float | None = None

    def restate(self, rate: Rate) -> None:
        """Another rate is stated; what the API was found to bear stays."""
        self.horizon = min(rate.seconds, _HORIZON_SECONDS)
        self._stated = rate.count / self.horizon

    @property
    def cut(self) -> bool:
        """Whether the pace is below the stated rate."""
        return self._pace < self._stated

    @property
    def pace(self) -> float:
        """Requests a second that may go out on the average."""
        return min(self._pace, self._stated)

    def refused(self, now: float, sent: int, *, wait: float | None) -> None:
        """The API said "too many" after `sent` requests within the horizon: cut the pace, once a row of refusals.

        Without a Retry-After (`wait` in seconds) nobody knows for how long, so pauses grow until a request is let in.
        What is refused till then says that the pause was short, not that the new pace is too fast.
        """
        if self._refused_since is None:
            pace = self.pace
            self._too_much = min(pace, max(sent / self.horizon, pace * _TOO_MUCH_AT_LEAST))
            self._pace = self._too_much * _CUT
            self._refused_since = self._grown_at = now
        if wait is None:
            self._paused_until = max(self._paused_until, now + self._pause)
            self._pause = min(2 * self._pause, PAUSE_SECONDS_MAX)

    def let_in(self) -> None:
        """A request was not refused."""
        self._refused_since, self._pause = None, PAUSE_SECONDS

    def refused_for(self, now: float) -> float:
        """For how many seconds every request has been refused."""
        return 0.0 if self._refused_since is None else now - self._refused_since

    def reserve(self, now: float) -> None:
        """Room is taken for a request: the next one keeps its distance from here."""
        self._last = now

    def wait(self, now: float) -> float:
        """Seconds until the next request may go out; none below zero."""
        self._grow(now)
        return max(0.0, self._paused_until - now, self._last + 1 / self._pace - now)

    def _grow(self, now: float) -> None:
        while self.cut and self._refused_since is None and now - self._grown_at >= _GROWTH_SECONDS:
            self._grown_at += _GROWTH_SECONDS
            near = abs(self._pace - self._too_much) <= _NEAR * self._too_much
            # Even distances stay: a burst within the stated limit may be what the API refused.
            self._pace = min(self._pace * (_GROWTH_NEAR if near else _GROWTH), self._stated)
