"""Stamps: written and read back, and the local day that the day cap counts by."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.clock import (
    Moment,
    SystemClock,
    Uptime,
    age,
    day_begins,
    find_zone,
    from_iso,
    iso,
    local_day,
    local_time,
    machine_zone,
    next_time,
)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def test_a_stamp() -> None:
    assert iso(1_800_000_000.25) == "2027-01-15T08:00:00.250000Z"
    assert iso(0) == "1970-01-01T00:00:00.000000Z"


@given(st.floats(0, 4e9))
def test_a_stamp_is_read_back_to_the_microsecond(seconds: float) -> None:
    assert abs(from_iso(iso(seconds)) - seconds) <= 1e-6
    assert iso(from_iso(iso(seconds))) == iso(seconds)


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_stamps_sort_like_times(one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert iso(early) <= iso(late)


@pytest.mark.parametrize("text", ["", "yesterday", "2027-13-01T00:00:00Z"])
def test_what_is_no_stamp(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_iso(text)


@pytest.mark.parametrize(
    ("name", "seconds", "day"),
    [
        ("UTC", 1_800_000_000, "2027-01-15"),
        ("Pacific/Kiritimati", 1_800_000_000, "2027-01-15"),
        ("Pacific/Kiritimati", 1_800_010_800, "2027-01-16"),
        ("Pacific/Pago_Pago", 1_799_960_000, "2027-01-14"),
        ("Europe/Berlin", 1_806_181_200 - 1, "2027-03-27"),
        ("Europe/Berlin", 1_806_188_400 + 1, "2027-03-28"),
    ],
)
def test_the_local_day(zone: pytest.MonkeyPatch, name: str, seconds: float, day: str) -> None:
    zone.setenv("TZ", name)
    time.tzset()
    assert local_day(seconds, None) == day
    assert local_day(seconds, find_zone(name)) == day
    assert machine_zone() == name


@pytest.mark.parametrize(
    ("name", "day", "begins"),
    [
        ("UTC", "2027-01-15", "2027-01-15T00:00:00Z"),
        ("Asia/Dubai", "2027-01-15", "2027-01-14T20:00:00Z"),
        # The nights of the change to summer time and back have 23 and 25 hours; there the first has no midnight.
        ("Europe/Berlin", "2027-03-29", "2027-03-28T22:00:00Z"),
        ("Europe/Berlin", "2027-11-01", "2027-10-31T23:00:00Z"),
        ("America/Santiago", "2025-09-07", "2025-09-07T04:00:00Z"),
    ],
)
def test_when_a_day_begins(name: str, day: str, begins: str) -> None:
    zone = find_zone(name)
    at = day_begins(day, zone)
    assert at == from_iso(begins)
    assert (local_day(at, zone), local_day(at - 1, zone) < day) == (day, True)


@pytest.mark.parametrize("given", ["<+03>-3", "../../etc/passwd", "Mars/Olympus"])
def test_a_zone_that_has_no_name(zone: pytest.MonkeyPatch, given: str) -> None:
    zone.setenv("TZ", given)
    assert machine_zone() == ""
    assert find_zone("") is None


def test_this_machines_clocks() -> None:
    clock = SystemClock()
    first, second = clock.uptime(), clock.uptime()
    if first and second:  # a system need not tell
        assert first.boot == second.boot
        assert 0 < first.seconds <= second.seconds
    assert clock.monotonic() <= clock.monotonic()
    assert abs(clock.wall() - time.time()) < 60


@pytest.mark.parametrize(
    ("zone_name", "now", "hour", "minute", "expected"),
    [
        ("UTC", "2027-01-15T22:00:00Z", 7, 0, "2027-01-16T07:00:00Z"),
        ("UTC", "2027-01-15T06:59:59Z", 7, 0, "2027-01-15T07:00:00Z"),
        ("UTC", "2027-01-15T07:00:00Z", 7, 0, "2027-01-16T07:00:00Z"),
        ("UTC", "2027-12-31T12:00:00Z", 0, 0, "2028-01-01T00:00:00Z"),
        ("Europe/Berlin", "2027-01-15T22:30:00Z", 23, 45, "2027-01-15T22:45:00Z"),
        # The nights of the change to summer time and back: 02:30 does not exist, and 07:00 comes an hour early or late.
        ("Europe/Berlin", "2027-03-27T21:00:00Z", 7, 0, "2027-03-28T05:00:00Z"),
        ("Europe/Berlin", "2027-10-30T20:00:00Z", 7, 0, "2027-10-31T06:00:00Z"),
    ],
)
def test_the_next_time_of_the_day(
    zone: pytest.MonkeyPatch, zone_name: str, now: str, hour: int, minute: int, expected: str
) -> None:
    zone.setenv("TZ", zone_name)
    time.tzset()
    found = next_time(hour, minute, from_iso(now))
    assert found == from_iso(expected)
    assert local_time(found) == f"{hour:02}:{minute:02}"
    assert local_time(found + 5) == f"{hour:02}:{minute:02}:05"


UP = Uptime("boot", 100.0)


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        (Moment(1000, UP), Moment(9000, Uptime("boot", 110)), 10),
        (Moment(1000, UP), Moment(1010, Uptime("boot", 110), 9000), 8000),  # the API had not told its time then
        (Moment(1000, UP, 2000), Moment(1010, Uptime("boot", 110), 9000), 7000),
        (Moment(1000, UP, 2000), Moment(1060, Uptime("next", 5), 9000), 7000),
        (Moment(1000, UP), Moment(900, Uptime("next", 5)), None),
        (Moment(1000), Moment(900, None, 1030), 30),
    ],
)
def test_how_old_a_moment_is(then: Moment, now: Moment, expected: float | None) -> None:
    assert age(then, now) == expected
