"""Time as an argument, so that tests run on virtual time.

Within a run only `monotonic` decides about waiting and rate windows; `wall` is what is written down, and may be wrong.
What carries over a restart is a `Moment`: the wall clock, the machine's uptime and the API's own time. All in seconds.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

#: A `Date` header says whole seconds, so that two of them may seem to go back by this much.
_ROUNDING_SECONDS = 2.0
#: The zone's files as systems keep them; behind this stands the zone's name.
_ZONES = "/zoneinfo/"


class Uptime(NamedTuple):
    """For how many seconds the machine has been up, its sleep included, and which boot that was."""

    boot: str
    seconds: float


class Clock(Protocol):
    """Where the house reads the time."""

    def wall(self) -> float:
        """Seconds since the epoch, UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def uptime(self) -> Uptime | None:
        """How long the machine is up; None where the system does not say which boot this is."""
        ...


class Moment(NamedTuple):
    """When something was, by each clock that was there: `wall` and `api` (the API's `Date`) since the epoch."""

    wall: float
    uptime: Uptime | None = None
    api: float | None = None


def age(then: Moment, now: Moment) -> float | None:
    """Seconds between two moments, the largest that a clock says; None when nobody can tell.

    Within one boot the uptime is exact, and a wall clock that was set says nothing more. Else the wall clock counts,
    unless it went back. The API's own time counts beside both: a virtual machine may have stood still.
    """
    if then.uptime and now.uptime and then.uptime.boot == now.uptime.boot:
        found = now.uptime.seconds - then.uptime.seconds
    else:
        found = now.wall - then.wall
    if now.api is not None:
        found = max(found, now.api - (then.wall if then.api is None else then.api))
    return max(0.0, found) if found >= -_ROUNDING_SECONDS else None


def moment(clock: Clock, api: float | None = None) -> Moment:
    """Now, by each of the clocks."""
    return Moment(clock.wall(), clock.uptime(), api)


@dataclass(frozen=True, slots=True)
class SystemClock:
    """This machine's clocks."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def uptime(self) -> Uptime | None:
        boot = _boot()
        return Uptime(boot, since_boot()) if boot else None


def since_boot() -> float:
    """Seconds of this machine that go on while a process is stopped and while the machine sleeps."""
    return time.clock_gettime(_SINCE_BOOT)


# On macOS CLOCK_MONOTONIC goes on while the machine sleeps; Linux has a clock of its own for that.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@cache
def _boot() -> str:
    """What tells this boot of the machine from every other one; "" where the system does not say.

    The first eight digits of a UUID: it stands with each request in the ledger.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except (OSError, ValueError):
        pass
    import ctypes  # slow to import, and needed on macOS only

    found, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    try:
        ask = ctypes.CDLL(None).sysctlbyname
        ask(b"kern.bootsessionuuid", found, ctypes.byref(size), None, 0)
        return found.value.decode("ascii")[:8]
    except (OSError, AttributeError, ValueError):
        return ""


def iso(seconds: float) -> str:
    """Seconds since the epoch as the ledger writes them: ISO 8601, UTC, `Z`, microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def iso_seconds(seconds: float) -> str:
    """The same to the second, as the lock and `doctor` say it."""
    return f"{iso(seconds)[:19]}Z"


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


def local_day(seconds: float, zone: tzinfo | None) -> str:
    """The date at that time in a zone (None: this machine's), `YYYY-MM-DD`; what the day cap counts by."""
    return datetime.fromtimestamp(seconds, zone).date().isoformat()


def day_begins(day: str, zone: tzinfo | None) -> float:
    """When a day (`YYYY-MM-DD`) begins in a zone (None: this machine's). Raises ValueError for what is no day.

    Where the clock is put on at midnight, the day begins with the first instant that it has.
    """
    return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=zone).timestamp()


def find_zone(name: str) -> tzinfo | None:
    """A time zone by its name in the IANA's list; None (this machine's) for "". Raises LookupError for others."""
    if not name:
        return None
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # slow to import, and most commands need no day

    try:
        return ZoneInfo(name)
    except (OSError, ValueError) as error:
        raise LookupError(name) from error


def machine_zone() -> str:
    """The IANA's name of this machine's time zone; "" where it cannot be known."""
    given = os.environ.get("TZ")
    candidates = [_zone_name(given.removeprefix(":"))] if given else [_linked_zone(), _written_zone()]
    for name in candidates:
        try:
            zone = find_zone(name)
        except LookupError:
            continue
        if zone is not None:
            return name
    return ""


def _zone_name(path: str) -> str:
    name = path.rpartition(_ZONES)[2]
    return name.removeprefix("posix/").removeprefix("right/")


def _linked_zone() -> str:
    path = os.path.realpath("/etc/localtime")
    return _zone_name(path) if _ZONES in path else ""


def _written_zone() -> str:
    try:
        return Path("/etc/timezone").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
