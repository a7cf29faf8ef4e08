"""Windows and times of the day, on nights in which the clock is put on or back too."""

from __future__ import annotations

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from batcher.errors import UsageError
from batcher.settings import BuyingTime, Settings, buying_time, strictest
from batcher.windows import BuyingWindow, ReadyBy, next_open

BERLIN = "Europe/Berlin"
WEEKDAYS = (0, 1, 2, 3, 4)


def at(text: str, fold: int = 0, zone: str = BERLIN) -> float:
    """A time of a zone's clock, in seconds since the epoch; `fold=1`: the second time that the clock shows it."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def shown(seconds: float, zone: str = BERLIN) -> str:
    return datetime.fromtimestamp(seconds, ZoneInfo(zone)).strftime("%a %d %H:%M")


def window(hours: str, days: tuple[int, ...] = tuple(range(7)), zone: str = BERLIN) -> BuyingWindow:
    opens, closes = (60 * int(part[:2]) + int(part[3:]) for part in hours.split("-"))
    return BuyingWindow(opens, closes, zone, days)


# 2026-11-29 is a Sunday; clocks go back on 2026-10-25 at 03:00, and on 2026-03-29 at 02:00.
@pytest.mark.parametrize(
    ("hours", "days", "now", "opens", "closes"),
    [
        ("22:00-06:00", range(7), "2026-11-29T18:00", "Sun 29 22:00", "Mon 30 06:00"),
        ("22:00-06:00", range(7), "2026-11-29T23:00", "Sun 29 22:00", "Mon 30 06:00"),
        ("22:00-06:00", range(7), "2026-11-29T05:59", "Sat 28 22:00", "Sun 29 06:00"),
        ("22:00-06:00", range(7), "2026-11-29T06:00", "Sun 29 22:00", "Mon 30 06:00"),
        ("09:00-17:00", range(7), "2026-11-29T17:30", "Mon 30 09:00", "Mon 30 17:00"),
        # a night belongs to the day on which it begins: Friday's goes on into Saturday, Sunday's is none of these
        ("22:00-06:00", WEEKDAYS, "2026-11-28T05:00", "Fri 27 22:00", "Sat 28 06:00"),
        ("22:00-06:00", WEEKDAYS, "2026-11-28T06:00", "Mon 30 22:00", "Tue 01 06:00"),
        ("22:00-06:00", WEEKDAYS, "2026-11-30T03:00", "Mon 30 22:00", "Tue 01 06:00"),
        # days that touch are one
        ("00:00-24:00", (5, 6), "2026-11-27T12:00", "Sat 28 00:00", "Mon 30 00:00"),
        ("00:00-24:00", (5, 6), "2026-11-29T12:00", "Sun 29 00:00", "Mon 30 00:00"),
        # put back: 22:00 to 06:00 are nine hours; 02:30 comes twice, and the first counts
        ("22:00-06:00", range(7), "2026-10-24T23:00", "Sat 24 22:00", "Sun 25 06:00"),
        ("22:00-02:30", range(7), "2026-10-24T23:00", "Sat 24 22:00", "Sun 25 02:30"),
        ("02:30-05:00", range(7), "2026-10-25T00:30", "Sun 25 02:30", "Sun 25 05:00"),
        # put on: what the clock skips is the first that follows
        ("22:00-06:00", range(7), "2026-03-28T23:00", "Sat 28 22:00", "Sun 29 06:00"),
        ("22:00-02:30", range(7), "2026-03-28T23:00", "Sat 28 22:00", "Sun 29 03:00"),
        ("02:30-05:00", range(7), "2026-03-29T00:30", "Sun 29 03:00", "Sun 29 05:00"),
    ],
)
def test_when_a_window_is_open(hours: str, days: range, now: str, opens: str, closes: str) -> None:
    found = window(hours, tuple(days)).next(at(now))
    assert (shown(found.opens), shown(found.closes)) == (opens, closes)


@pytest.mark.parametrize(
    ("night", "hours", "open_for"),
    [
        ("2026-10-24", "22:00-06:00", 9),
        ("2026-03-28", "22:00-06:00", 7),
        ("2026-10-24", "22:00-02:30", 4.5),
        ("2026-03-28", "22:00-02:30", 4),
        ("2026-10-25", "02:30-05:00", 3.5),
        ("2026-03-29", "02:30-05:00", 2),
    ],
)
def test_how_long_it_is_open_where_the_clock_is_changed(night: str, hours: str, open_for: float) -> None:
    """By the second: also at each edge, from whichever side it is asked."""
    opens, closes = window(hours).next(at(f"{night}T{'12' if hours[0] == '2' else '00'}:10"))
    assert (closes - opens) / 3600 == open_for
    for inside in (opens, closes - 1):
        assert window(hours).next(inside) == (opens, closes)
    assert window(hours).next(closes).opens > closes
    assert window(hours).next(opens - 1).opens == opens


def test_a_window_without_hours_and_days_never_closes() -> None:
    found = BuyingWindow(timezone=BERLIN).next(at("2026-11-29T12:00"))
    assert found.closes == math.inf


def test_several_windows_are_open_together_or_never() -> None:
    now = at("2026-11-29T18:00")
    both = next_open([window("22:00-06:00"), window("00:00-08:00", zone="UTC")], now)
    assert both is not None
    assert (shown(both.opens), shown(both.closes)) == ("Mon 30 01:00", "Mon 30 06:00")
    assert next_open([window("22:00-06:00"), window("09:00-12:00")], now) is None
    weekend = next_open([window("22:00-06:00", WEEKDAYS), window("00:00-24:00", (5, 6))], now)
    assert weekend is not None
    assert (shown(weekend.opens), shown(weekend.closes)) == ("Sat 05 00:00", "Sat 05 06:00")
    settings = strictest([Settings(windows=(window("22:00-06:00"),)), Settings(windows=(window("09:00-12:00"),))])
    with pytest.raises(UsageError, match="never open together"):
        buying_time(settings, now, None)


def test_when_a_run_may_buy() -> None:
    night = Settings(windows=(window("22:00-06:00"),), ready_by=(ReadyBy(7 * 60, BERLIN), ReadyBy(6 * 60 + 30, BERLIN)))
    opens, closes, ready = (at(f"2026-11-{time}") for time in ("29T22:00", "30T06:00", "30T06:30"))
    assert buying_time(night, at("2026-11-29T18:00"), None) == BuyingTime(opens, closes, "window", ready)
    assert buying_time(night, at("2026-11-29T23:00"), None) == BuyingTime(None, closes, "window", ready)
    assert buying_time(night, at("2026-11-29T23:00"), closes - 60) == BuyingTime(None, closes - 60, "until", ready)
    assert buying_time(night, at("2026-11-29T23:00"), closes + 60) == BuyingTime(None, closes, "window", ready)
    # by the morning after it opens, however long that is
    weekdays = Settings(windows=(window("22:00-06:00", WEEKDAYS),), ready_by=(ReadyBy(7 * 60, BERLIN),))
    assert buying_time(weekdays, at("2026-11-28T12:00"), None).ready_by == at("2026-12-01T07:00")
    assert buying_time(Settings(), at("2026-11-28T12:00"), None) == BuyingTime()
    assert buying_time(Settings(), 5.0, 7.0) == BuyingTime(None, 7.0)


@pytest.mark.parametrize(
    ("now", "ready"),
    [("2026-03-29T00:30", "Sun 29 03:00"), ("2026-10-25T00:30", "Sun 25 02:30"), ("2026-11-29T12:00", "Mon 30 02:30")],
)
def test_a_time_of_the_day_that_is_skipped_or_comes_twice(now: str, ready: str) -> None:
    assert shown(ReadyBy(150, BERLIN).next(at(now))) == ready
