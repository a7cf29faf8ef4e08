"""Plots: where things lie on them, and round marks on their axes."""

from __future__ import annotations

import re
import time

import pytest

from batcher.report.html import drawing
from batcher.report.html.drawing import Rule, Series


@pytest.mark.parametrize(
    ("high", "found"),
    [
        (0, [0, 1]),
        (1, [0, 1]),
        (5, [0, 1, 2, 3, 4, 5]),
        (6, [0, 2, 4, 6]),
        (93, [0, 20, 40, 60, 80, 100]),
        (100_001, [0, 50_000, 100_000, 150_000]),
    ],
)
def test_marks_are_round_and_reach_what_is_shown(high: float, found: list[float]) -> None:
    assert drawing.tick_values(high) == found


def test_a_level_holds_until_the_next_and_stands_on_the_one_below() -> None:
    svg = drawing.areas([0, 5], [Series("a", "var(--a)", [1, 2]), Series("b", "var(--b)", [0, 2])], 10, "jobs")
    below, above = re.findall(r'd="([^"]+)"', svg)
    assert below == "M0,142.5L210,142.5L210,95L420,95L420,190L210,190L210,190L0,190Z"
    assert above == "M0,142.5L210,142.5L210,0L420,0L420,95L210,95L210,142.5L0,142.5Z"


@pytest.mark.parametrize("seconds", [0, 1, 50, 4_000, 86_400, 20 * 86_400, 4_000 * 86_400])
def test_times_are_round_and_few(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        svg = drawing.areas([1_780_000_001.5], [Series("a", "var(--a)", [1])], 1_780_000_001.5 + seconds, "jobs")
        told = re.findall(r">([^<>]*(?:\d\d:\d\d|-\d\d)[^<>]*)</text>", svg)
        assert len(told) == len(set(told)) <= 7
        assert told or seconds < 2
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_rule_is_on_the_plot_however_high() -> None:
    svg = drawing.columns(["mon", "tue"], [Series("a", "var(--a)", [1, 2])], "credits", Rule(8, "cap 8", "var(--cap)"))
    assert 'y1="0" x2="420" y2="0" stroke="var(--cap)"' in svg
    assert ">cap 8</text>" in svg
