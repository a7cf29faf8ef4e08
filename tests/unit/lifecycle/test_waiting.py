"""When to poll: what is learned from tasks that have ended, and what no history may change."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from itertools import pairwise
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.lifecycle.learned_waits import ENOUGH, KEPT, LearnedWaits, Waited
from batcher.settings import Polling

POLLING = Polling()
ROUND_TRIP = 0.1


def plan_of(waits: LearnedWaits, until: float) -> list[float]:
    """The ages at which a task that does not end is asked for, up to an age."""
    ages, age = list[float](), 0.0
    while age < until:
        age += waits.next_poll(age, polled=age > 0)
        ages.append(age)
    return ages


def watch(waits: LearnedWaits, seconds: float) -> tuple[float, int]:
    """Poll a task that takes so long, and learn from it: how late its end was noticed, and after how many polls."""
    age, unfinished, polls = 0.0, 0.0, 0
    while True:
        age += waits.next_poll(age, polled=polls > 0) + ROUND_TRIP
        polls += 1
        if age >= seconds:
            waits.ended(Waited(unfinished, age))
            return age - seconds, polls
        unfinished = age


def watched(waits: LearnedWaits, tasks: Iterable[float]) -> tuple[float, float]:
    """Median delay and polls a task."""
    delays, polls = zip(*(watch(waits, seconds) for seconds in tasks), strict=True)
    return median(delays), fmean(polls)


def lognormal(middle: float, sigma: float, number: int) -> list[float]:
    chance = random.Random(5)
    return [chance.lognormvariate(math.log(middle), sigma) for _ in range(number)]


# Little is known


@pytest.mark.parametrize("known", [0, 1, ENOUGH - 1])
def test_with_few_tasks_intervals_grow(known: int) -> None:
    waits = LearnedWaits(POLLING, [Waited(50, 60)] * known)
    ages = plan_of(waits, 300)
    assert ages[:6] == pytest.approx([3, 8, 14.25, 22.0625, 31.828125, 44.03515625])
    assert [b - a for a, b in pairwise(ages)][-1] == 30


def test_with_enough_tasks_it_is_polled_where_they_ended() -> None:
    ages = plan_of(LearnedWaits(POLLING, [Waited(55, 60)] * ENOUGH), 60)
    assert ages[0] == 30
    assert len(ages) <= 4


def test_tasks_learned_one_by_one_and_read_back_give_the_same_plan() -> None:
    history = [Waited(seconds - 2, seconds) for seconds in lognormal(60, 0.25, 100)]
    one_by_one = LearnedWaits(POLLING, history[: -2 * 6])
    for waited in history[-2 * 6 :]:
        one_by_one.ended(waited)
    assert plan_of(one_by_one, 500) == plan_of(LearnedWaits(POLLING, history[-KEPT:]), 500)


# There is room


def test_with_room_every_age_at_which_tasks_may_end_is_asked_at_once_and_no_other() -> None:
    waits = LearnedWaits(POLLING, [Waited(55 + n, 60 + n) for n in range(ENOUGH)])
    assert waits.next_poll(3, polled=True, room=1) == 30  # polling.max, for none ends before 55
    assert waits.next_poll(48, polled=True, room=1) == 7
    assert {waits.next_poll(age, polled=True, room=1) for age in (55, 61, 80, 400)} == {POLLING.every}
    assert waits.next_poll(400, polled=True, room=12) == 12
    for age in range(0, 400, 7):
        assert waits.next_poll(age, polled=True, room=math.inf) == waits.next_poll(age, polled=True)


def test_with_room_intervals_do_not_grow_where_nothing_is_known() -> None:
    waits = LearnedWaits(POLLING)
    assert waits.next_poll(0, polled=False, room=1) == POLLING.first
    assert [waits.next_poll(age, polled=True, room=7) for age in (3, 20, 300)] == [5, 7, 7]


# What is learned


@pytest.mark.parametrize("middle", [60, 180])
def test_like_tasks_take_half_the_polls(middle: float) -> None:
    """Against polls at fixed distances with the same median delay; the margin is that of few tasks."""
    waits = LearnedWaits(POLLING)
    watched(waits, lognormal(middle, 0.25, 100))
    tasks = lognormal(middle, 0.25, 700)[100:]
    delay, polls = watched(waits, tasks)
    fixed = fmean(math.ceil(seconds / (2 * delay)) for seconds in tasks)
    assert delay < 3.5
    assert polls < 0.55 * fixed


def test_a_long_tail_costs_no_more_than_fixed_intervals() -> None:
    waits = LearnedWaits(POLLING)
    watched(waits, lognormal(60, 1, 100))
    tasks = lognormal(60, 1, 700)[100:]
    delay, polls = watched(waits, tasks)
    assert delay < 3.5
    assert polls < fmean(math.ceil(seconds / (2 * delay)) for seconds in tasks)


def test_beyond_what_is_known_intervals_grow_to_the_longest() -> None:
    waits = LearnedWaits(POLLING, [Waited(55, 60)] * KEPT)
    steps = [round(b - a, 9) for a, b in pairwise(plan_of(waits, 400)) if a > 60]
    assert steps == sorted(steps)
    assert steps[0] < 10
    assert steps[-1] == 30


def test_between_two_kinds_of_tasks_polls_are_rare() -> None:
    history = [Waited(28, 31), Waited(195, 200)] * (KEPT // 2)
    ages = plan_of(LearnedWaits(POLLING, history), 200)
    assert len([age for age in ages if 40 < age < 190]) <= 6
    assert min(b - a for a, b in pairwise(ages) if 40 < a < 150) == pytest.approx(30)
    assert len([age for age in ages if 20 <= age <= 36]) >= 1


# The class changes


@pytest.mark.parametrize("before", [60, 180])
@pytest.mark.parametrize("after", [10, 30, 90, 400])
def test_a_class_that_changes_is_learned_anew(before: float, after: float) -> None:
    waits = LearnedWaits(POLLING)
    watched(waits, lognormal(before, 0.2, 2 * KEPT))
    watched(waits, lognormal(after, 0.2, 2 * KEPT))
    delay, polls = watched(waits, lognormal(after, 0.2, KEPT))
    fresh = LearnedWaits(POLLING)
    watched(fresh, lognormal(after, 0.2, 2 * KEPT))
    as_fresh, polls_as_fresh = watched(fresh, lognormal(after, 0.2, KEPT))
    assert delay <= 1.25 * as_fresh + 0.5
    assert polls <= 1.25 * polls_as_fresh + 0.5


def test_even_the_first_tasks_of_a_faster_class_are_late_by_less_than_the_longest_interval() -> None:
    waits = LearnedWaits(POLLING, [Waited(590, 600)] * KEPT)
    assert all(watch(waits, 10)[0] <= POLLING.max + ROUND_TRIP for _ in range(5))
    for _ in range(KEPT):
        watch(waits, 10)
    assert watch(waits, 10)[0] <= POLLING.every + ROUND_TRIP


def test_tasks_that_always_take_the_same_are_polled_ever_closer() -> None:
    waits = LearnedWaits(POLLING)
    for _ in range(3 * KEPT):
        watch(waits, 100.0)
    delay, polls = watch(waits, 100.0)
    assert delay <= POLLING.every + ROUND_TRIP
    assert polls <= 7


# What tells nothing


@pytest.mark.parametrize(
    "waited",
    [Waited(10, 10), Waited(10, 9), Waited(-1, 5), Waited(10, 10 + 61), Waited(0, 30_000), Waited(math.nan, 5)],
)
def test_pauses_and_clocks_that_were_set_teach_nothing(waited: Waited) -> None:
    waits = LearnedWaits(POLLING, [waited] * KEPT)
    for _ in range(KEPT):
        waits.ended(waited)
    assert plan_of(waits, 100) == plan_of(LearnedWaits(POLLING), 100)


# Whatever has happened

durations = st.floats(0.01, 600)
histories = st.lists(st.builds(lambda low, more: Waited(low, low + more), st.floats(0, 5000), st.floats(0.01, 60)))


@given(histories, durations, durations, durations, st.lists(st.floats(0, 100_000), min_size=2))
def test_no_history_breaks_a_bound(
    history: list[Waited], first: float, every: float, longest: float, ages: list[float]
) -> None:
    waits = LearnedWaits(Polling(first=first, every=every, max=longest), history[: len(history) // 2])
    for waited in history[len(history) // 2 :]:
        waits.ended(waited)
    for polled, least in ((False, first), (True, every)):
        due = [(age, age + waits.next_poll(age, polled=polled)) for age in sorted(ages)]
        assert all(least * (1 - 1e-9) <= at - age <= max(longest, least) + 1e-6 for age, at in due)
        # An older task is never asked for before a younger one would be at its age.
        assert all(sooner <= later * (1 + 1e-9) + 1e-6 for (_, sooner), (_, later) in pairwise(due))


@given(histories)
def test_the_same_history_gives_the_same_plan(history: list[Waited]) -> None:
    assert plan_of(LearnedWaits(POLLING, history), 1000) == plan_of(LearnedWaits(POLLING, history), 1000)


@given(histories.filter(lambda history: len(history) >= ENOUGH))
def test_order_within_what_is_kept_says_nothing(history: list[Waited]) -> None:
    kept = history[-KEPT:]
    assert plan_of(LearnedWaits(POLLING, kept), 600) == plan_of(LearnedWaits(POLLING, sorted(kept)), 600)
