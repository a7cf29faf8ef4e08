"""Time as an argument, so that tests run on virtual time.

Within a run only `monotonic` decides about waiting and rate windows; `wall` is what is written down and what
carries rate windows over a restart. Both in seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the house reads the time."""

    def wall(self) -> float:
        """Seconds since the epoch, UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """This machine's clocks."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def iso(seconds: float) -> str:
    """Seconds since the epoch as the ledger writes them: ISO 8601, UTC, `Z`, microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_iso(text: str) -> float:
    """The inverse of `iso`. Raises ValueError for anything else."""
    return datetime.fromisoformat(text).timestamp()


def local_time(seconds: float) -> str:
    """The local time of this machine, `HH:MM`, and the seconds where there are some."""
    text = time.strftime("%H:%M:%S", time.localtime(seconds))
    return text.removesuffix(":00")


def next_time(hour: int, minute: int, now: float) -> float:
    """When it is that time of the day on this machine next, in seconds since the epoch; never `now` itself."""
    today = time.localtime(now)
    # mktime knows the day after the last of a month, and summer time of that day (-1: find out).
    at = [
        time.mktime((today.tm_year, today.tm_mon, today.tm_mday + days, hour, minute, 0, 0, 0, -1)) for days in (0, 1)
    ]
    return at[0] if at[0] > now else at[1]


def local_day(seconds: float) -> str:
    """The local date of this machine at that time, `YYYY-MM-DD`; what the day cap counts by."""
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
