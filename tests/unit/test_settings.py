"""Several manifests in one run: of each number the strictest, and of two rates one that keeps both."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.errors import UsageError
from batcher.settings import Budget, Limits, Polling, Rate, Retries, Selection, Settings, strictest


def merged(*rates: Rate) -> Rate:
    return strictest([Settings(limits=Limits(submit=rate, requests=rate)) for rate in rates]).limits.submit


def test_nothing_to_merge() -> None:
    with pytest.raises(UsageError):
        strictest([])


def test_one_is_itself_but_for_the_campaigns_cap() -> None:
    own = Settings(budget=Budget(campaign=5, day=6, keep=7), failures_in_a_row=3, download=False)
    assert strictest([own]) == Settings(budget=Budget(day=6, keep=7), failures_in_a_row=3, download=False)


def test_of_each_number_the_strictest() -> None:
    one = Settings(
        limits=Limits(Rate(30, 60.0), Rate(2, 1.0), in_flight=5, downloads=9),
        polling=Polling(first=1, every=9, max=10, give_up=100),
        retries=Retries(times=3, replay_window=50, outage=70),
        failures_in_a_row=4,
        budget=Budget(campaign=1, day=None, keep=5),
        download=False,
    )
    other = Settings(
        limits=Limits(Rate(60, 60.0), Rate(30, 60.0), in_flight=7, downloads=2),
        polling=Polling(first=2, every=3, max=40, give_up=50),
        retries=Retries(times=9, replay_window=40, outage=80),
        failures_in_a_row=9,
        budget=Budget(campaign=2, day=8, keep=9),
    )
    for pair in itertools.permutations([one, other]):
        assert strictest(pair) == Settings(
            limits=Limits(Rate(30, 60.0), Rate(1, 2.0), in_flight=5, downloads=2),
            polling=Polling(first=2, every=9, max=40, give_up=50),
            retries=Retries(times=3, replay_window=40, outage=70),
            failures_in_a_row=4,
            budget=Budget(day=8, keep=9),
            download=True,
        )


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([Rate(30, 60), Rate(30, 60)], Rate(30, 60)),
        ([Rate(30, 60), Rate(10, 60)], Rate(10, 60)),
        ([Rate(1, 1), Rate(30, 60)], Rate(1, 2)),
        ([Rate(1, 1), Rate(60, 60)], Rate(1, 1)),
        ([Rate(5, 1), Rate(5, 3600)], Rate(5, 3600)),
        # A thousand an hour alone would let a thousand out in the first minute.
        ([Rate(100, 60), Rate(1000, 3600)], Rate(16, 60)),
        ([Rate(1, 1), Rate(3, 86400)], Rate(1, 28800)),
    ],
)
def test_one_rate_that_keeps_both(rates: list[Rate], expected: Rate) -> None:
    assert merged(*rates) == expected
    assert merged(*reversed(rates)) == expected


rates = st.builds(Rate, st.integers(1, 40), st.sampled_from([1.0, 5.0, 12.0, 60.0]))


@settings(derandomize=True, deadline=None)
@given(st.lists(rates, min_size=2, max_size=3))
def test_the_fullest_use_of_the_merged_rate_breaks_none_of_them(several: list[Rate]) -> None:
    own = merged(*several)
    assert own.count >= 1
    # The densest train that an exact window lets through: bursts of `count`, one window apart.
    sends = [burst * own.seconds for burst in range(int(200 / own.seconds) + 2) for _ in range(own.count)]
    for rate in several:
        for start in {s for s in sends if s <= 100}:
            assert sum(start <= s < start + rate.seconds - 1e-6 for s in sends) <= rate.count, (own, rate)


def test_rates_in_words() -> None:
    assert [str(Rate(3, s)) for s in (1.0, 60.0, 3600.0, 86400.0, 90.0)] == [
        *("3/second", "3/minute", "3/hour", "3/day", "3/90s")
    ]
    assert Rate(30, 60.0).per_second == 0.5


def test_selection_by_glob() -> None:
    assert Selection().takes("anything")
    some = Selection(("dunes*", "boat-[12]"))
    assert [name for name in ("dunes", "dunes-2", "boat-1", "boat-3", "Dunes") if some.takes(name)] == [
        *("dunes", "dunes-2", "boat-1")
    ]
