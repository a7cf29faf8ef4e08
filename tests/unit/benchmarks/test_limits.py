"""The counting of benchmarks/limits.py: a violation that it does not see would be a goal met for nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import batcher

ROOT = Path(batcher.__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # the benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks.limits import latest, made, violations  # noqa: E402


def test_made_counts_from_the_first_arrival_and_not_beyond_the_time() -> None:
    assert made([], 20) == 0
    assert made([100.0, 110.0, 119.999, 120.0, 130.0], 20) == 3


def test_as_many_as_allowed_in_any_window_is_no_violation() -> None:
    bursts = [second + number / 1024 for second in range(5) for number in range(10)]
    assert violations(bursts, 10, 1) == 0
    assert violations([], 10, 1) == 0


def test_one_more_in_a_window_is_a_violation_wherever_it_stands() -> None:
    bursts = [second + number / 1024 for second in range(5) for number in range(10)]
    assert violations([*bursts, 2.5], 10, 1) == 11  # itself, and each of the next burst
    assert violations([0.0, 0.1, 0.2], 2, 1) == 1


def test_a_burst_over_the_edge_of_a_second_is_seen() -> None:
    edge = [0.9, 0.95, 0.99, 1.0, 1.05, 1.1]
    assert violations(edge, 3, 1) == 3  # though each second by the clock has three


def test_a_window_does_not_hold_both_of_its_ends() -> None:
    assert violations([0.0, 1.0, 2.0], 1, 1) == 0
    assert violations([0.0, 0.96], 1, 0.95) == 0
    assert violations([0.0, 0.94], 1, 0.95) == 1


def test_arrivals_need_no_order() -> None:
    assert violations([2.0, 0.0, 0.5], 1, 1) == 1


def test_the_latest_arrival_is_told_by_place_and_needs_no_stamp_of_every_one() -> None:
    assert latest([1.5, 2.25, 3.0], [1.0, 2.0, 3.0, 4.0]) == 0.5
    assert latest([3.0, 1.25], [1.0, 2.0]) == 1.0
