"""When to ask for a task next, learned from how long tasks of its price class took before.

What is known of a task that has ended is an interval: it was last seen unfinished at one age, and first seen finished
at another. The mass of each is spread evenly over its interval. So a wide one says little about where, and is looked
into more closely once many tasks end there: that is how a class that has become faster is found out.

All together give the hazard, the rate at which tasks of this age end. The best density of checks is proportional to its
square root (J. B. Keller, "Optimum checking schedules for systems subject to random failure", Management Science 21,
1974; exact schedules: R. E. Barlow, L. C. Hunter, F. Proschan, "Optimum checking procedures", J. SIAM 11, 1963). So the
next poll is due when the integral of that density has grown by one.

`polling.every` is the interval where the hazard is as high as it typically is where tasks end, and the least one
everywhere; `polling.max` is the longest. Beyond the ages that are known intervals grow by a quarter each, as they do
for a class of which too little is known. Ages and intervals are in seconds, ages since the API had the task. Nothing
here reads a clock, and a poll costs two bisections in a list of a dozen.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from batcher.settings import Polling

#: How many of the newest tasks of a class are learned from.
KEPT = 48
#: With fewer nothing is learned.
ENOUGH = 8
#: The schedule is made anew after so many ended tasks.
_ANEW = 6
#: Between the ages by which these shares of the tasks have ended the hazard is taken as constant. The first share is
#: small, for it decides where frequent polls begin.
_SHARES = (0.0, 1 / 24, 1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1.0)
_CELLS = tuple(pairwise(_SHARES))
#: The typical hazard is not exceeded where this share of the tasks ends. The highest one would be a matter of chance:
#: that of the cell which happens to be the narrowest.
_TYPICAL = 0.7
#: Where nothing is known, each interval is longer than the one before by this part of it.
_GROWTH = 0.25


class Waited(NamedTuple):
    """Ages at which a task was last seen unfinished and first seen finished."""

    unfinished: float
    finished: float


class _Schedule(NamedTuple):
    """Ages, rising from 0 to the last that is known; the interval from each on; how many polls there are before it."""

    ages: list[float]
    intervals: list[float]
    polls: list[float]


class LearnedWaits:
    """What is known of one price class of one account."""

    def __init__(self, polling: Polling, newest: Iterable[Waited] = ()) -> None:
        """`newest` are tasks that have ended, the oldest first."""
        self._polling = polling
        self._waited = deque((each for each in newest if self._tells(each)), KEPT)
        self._new = 0
        self._none_before = 0.0  # the age before which no task has ended
        self._schedule = self._learned()

    def ended(self, waited: Waited) -> None:
        """Learn from one more task that has ended."""
        if not self._tells(waited):
            return
        self._waited.append(waited)
        self._new += 1
        if self._schedule is None or self._new >= _ANEW:
            self._schedule = self._learned()
            self._new = 0

    def next_poll(self, age: float, *, polled: bool, room: float = math.inf) -> float:
        """In how many seconds to ask for an unfinished task of this age; `polled` when it was asked for before.

        `room`: there is room to ask for every task each so many seconds, which is done at ages where tasks may end.
        """
        first, every, longest = self._polling.first, self._polling.every, self._polling.max
        least = every if polled else first
        if self._schedule is None:
            wait = min(every + _GROWTH * (age - first), room) if polled else first
        else:
            wait = _until_due(self._schedule, max(0.0, age))
            wait = min(wait, max(room, self._none_before - age))
        return min(max(wait, least), max(longest, least))

    def _tells(self, waited: Waited) -> bool:
        """Whether the task decided how long that was, and not a pause of this program or a clock that was set."""
        longest = max(self._polling.max, self._polling.every, self._polling.first)
        return 0 <= waited.unfinished < waited.finished <= waited.unfinished + 2 * longest

    def _learned(self) -> _Schedule | None:
        if len(self._waited) < ENOUGH:
            return None
        ages = _ages(self._waited)
        self._none_before = ages[0]
        # Of the tasks that come to the middle of a cell, so many end in it.
        hazards = [
            (more - share) / (1 - (share + more) / 2) / max(end - begin, 1e-9)
            for (share, more), (begin, end) in zip(_CELLS, pairwise(ages), strict=True)
        ]
        typical = _typical(hazards)
        intervals = [self._bounded(self._polling.every * math.sqrt(typical / hazard)) for hazard in hazards]
        if ages[0] > 0:
            ages, intervals = [0.0, *ages], [self._bounded(math.inf), *intervals]
        polls = [0.0]
        for (begin, end), interval in zip(pairwise(ages), intervals, strict=True):
            polls.append(polls[-1] + (end - begin) / interval)
        return _Schedule(ages, intervals, polls)

    def _bounded(self, interval: float) -> float:
        return max(self._polling.every, min(self._polling.max, interval))


def _until_due(schedule: _Schedule, age: float) -> float:
    """In how many seconds one more poll is due."""
    ages, intervals, polls = schedule
    if age >= ages[-1]:
        return intervals[-1] + _GROWTH * (age - ages[-1])
    now = bisect_right(ages, age) - 1
    due = polls[now] + (age - ages[now]) / intervals[now] + 1
    then = min(bisect_right(polls, due), len(intervals)) - 1
    return ages[then] + (due - polls[then]) * intervals[then] - age


def _typical(hazards: list[float]) -> float:
    ended = 0.0
    for hazard, (share, more) in sorted(zip(hazards, _CELLS, strict=True)):
        ended += more - share
        if ended >= _TYPICAL:
            return hazard
    return max(hazards)  # pragma: no cover  (the shares come to 1)


def _ages(waited: Iterable[Waited]) -> list[float]:
    """By which ages each of `_SHARES` of the tasks had ended, when each one's mass is spread over its interval."""
    steps: list[tuple[float, float]] = []  # at an age, by how much the density changes
    for unfinished, finished in waited:
        density = 1 / (finished - unfinished)
        steps += (unfinished, density), (finished, -density)
    steps.sort()
    goals = [share * len(steps) / 2 for share in _SHARES[1:-1]]
    age, density, ended = steps[0][0], 0.0, 0.0
    found = [age]
    for at, change in steps:
        while len(found) <= len(goals) and density > 0 and ended + density * (at - age) >= goals[len(found) - 1]:
            age, ended = age + (goals[len(found) - 1] - ended) / density, goals[len(found) - 1]
            found.append(age)
        age, ended, density = at, ended + density * (at - age), density + change
    # Sums that are rounded may fall short of the last shares by a hair.
    return found + [steps[-1][0]] * (len(_SHARES) - len(found))
