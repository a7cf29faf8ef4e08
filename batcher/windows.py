"""Hours in which new jobs may start, and the time by which all has to be done: pure; times in seconds since the epoch.

A window opens and closes when its zone's clock first shows the time; a time that the clock skips counts as the first
that follows. A window's day is the one on which it opens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from .clock import find_zone

DAY_MINUTES = 24 * 60
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Days ahead that are looked at: a window comes again within a week.
_AHEAD_DAYS = 9


class OpenTime(NamedTuple):
    """From when to when."""

    opens: float
    closes: float


@dataclass(frozen=True, slots=True)
class BuyingWindow:
    """Minutes since midnight in a zone ("": this machine's) on days of the week (0: Monday) on which it opens."""

    opens: int = 0
    closes: int = DAY_MINUTES
    timezone: str = ""
    days: tuple[int, ...] = tuple(range(7))

    def next(self, now: float) -> OpenTime:
        """The time in which it is open, now or next. One that begins where another ends is part of it."""
        zone = find_zone(self.timezone)
        found: OpenTime | None = None
        today = datetime.fromtimestamp(now, zone).date()
        for day in (today + timedelta(days=n) for n in range(-1, _AHEAD_DAYS)):
            if day.weekday() not in self.days:
                continue
            last = day if self.closes > self.opens else day + timedelta(days=1)
            span = OpenTime(first_shown(day, self.opens, zone), first_shown(last, self.closes, zone))
            if found and span.opens > found.closes:
                return found
            if span.closes > now:
                found = OpenTime(found.opens if found else span.opens, span.closes)
        assert found is not None, "it opens on one day of the week at least"
        return found if found.closes < now + (_AHEAD_DAYS - 3) * 86_400 else OpenTime(found.opens, math.inf)


@dataclass(frozen=True, slots=True)
class ReadyBy:
    """A time of the day, in minutes since midnight in a zone ("": this machine's), by which all has to be done."""

    minutes: int
    timezone: str = ""

    def next(self, now: float) -> float:
        """When that is next."""
        zone = find_zone(self.timezone)
        today = datetime.fromtimestamp(now, zone).date()
        each = (first_shown(today + timedelta(days=n), self.minutes, zone) for n in range(3))
        return next(at for at in each if at > now)


def next_open(windows: Sequence[BuyingWindow], now: float) -> OpenTime | None:
    """When all of some windows are open, now or next; None where they never are together."""
    start = now
    for _ in range(8 * max(1, len(windows))):
        spans = [window.next(start) for window in windows]
        opens, closes = max(span.opens for span in spans), min(span.closes for span in spans)
        if opens < closes:
            return OpenTime(opens, closes)
        start = opens
    return None


def first_shown(day: date, minutes: int, zone: tzinfo | None) -> float:
    """When the clock of a zone (None: this machine's) first shows so many minutes since a day's midnight, or later."""
    naive = datetime.combine(day, time()) + timedelta(minutes=minutes)
    first, second = (_instant(naive.replace(fold=fold), zone) for fold in (0, 1))
    if second >= first:  # the clock shows it once, or (where it is put back) twice
        return first
    # The clock is put on over it, between these two: the moment at which it jumps is searched for.
    low, high = second, first
    after = _offset(high, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(middle, zone) == after else (middle, high)
    return high


def _instant(naive: datetime, zone: tzinfo | None) -> float:
    return naive.replace(tzinfo=zone).timestamp()


def _offset(at: float, zone: tzinfo | None) -> timedelta | None:
    return datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
