"""Plots as SVG: areas and bars that stand on each other, with axes, a legend and rules. Every text is escaped.

Colours are the page's CSS variables, so that they follow light and dark. Sizes are in units of the drawing, which the
page scales.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import NamedTuple

from markupsafe import Markup, escape

from batcher.text import number

_WIDTH, _HEIGHT = 420.0, 190.0
#: A character of a label at its size is about so wide.
_CHARACTER, _SIZE, _LINE = 6.2, 11, 16.0
_COLUMNS, _LONGEST = 4, 20
#: Seconds between two marks of an axis of time, and how these are written; from days on, that is one by the calendar.
_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_DAY = 86400
_DAYS = (1, 2, 4, 7, 14, 30, 60, 90, 180, 365)
_TIMES = ((600, "%H:%M:%S"), (_DAY, "%H:%M"), (10 * _DAY, "%d %b %H:%M"))


class Series(NamedTuple):
    """What has one colour: its name in the legend, and a value at each place."""

    name: str
    color: str
    values: Sequence[float]


class Rule(NamedTuple):
    """A dashed line at a value, with a word at it."""

    at: float
    word: str
    color: str = "currentColor"


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to places on the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)


def tick_values(high: float, most: int = 5) -> list[float]:
    """Round numbers from 0 to where `high` is covered, some `most` of them; whole ones."""
    rough = max(high, 1.0) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(1.0, next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough))
    return [place * step for place in range(math.ceil(max(high, 1.0) / step) + 1)]


def areas(at: Sequence[float], series: Sequence[Series], end: float, title: str, rule: Rule | None = None) -> str:
    """Levels over time, on each other: each holds from its time in `at` (seconds since the epoch) to the next."""
    stacks, times = _stacks(series), [*at, max(end, at[-1])]
    ticks = tick_values(max(*(stack[-1] for stack in stacks), rule.at if rule else 0))
    x = _Scale(at[0], max(end, at[0] + 1), 0, _WIDTH)
    y = _Scale(0, ticks[-1], _HEIGHT, 0)

    def edge(level: int) -> list[str]:
        held = zip(pairwise(times), stacks, strict=True)
        return [f"{_n(x.at(when))},{_n(y.at(stack[level]))}" for span, stack in held for when in span]

    drawn = [
        _tag("path", d=f"M{'L'.join([*edge(place + 1), *reversed(edge(place))])}Z", fill=each.color)
        for place, each in enumerate(series)
    ]
    under = [(x.at(when), word) for when, word in _times(x.low, x.high)]
    return _framed([*_left(ticks, y, title), *drawn, *_bottom(under, _HEIGHT), *_across(rule, y)], ticks, series)


def columns(labels: Sequence[str], series: Sequence[Series], title: str, rule: Rule | None = None) -> str:
    """Bars beside each other, each with a label below it as far as there is room."""
    stacks, band = _stacks(series), _WIDTH / len(labels)
    ticks = tick_values(max(*(stack[-1] for stack in stacks), rule.at if rule else 0))
    y = _Scale(0, ticks[-1], _HEIGHT, 0)
    drawn = [
        _bar((place + 0.1) * band, y.at(high), band * 0.8, y.at(low) - y.at(high), each.color)
        for place, stack in enumerate(stacks)
        for (low, high), each in zip(pairwise(stack), series, strict=True)
    ]
    under = [((place + 0.5) * band, label) for place, label in enumerate(labels)]
    return _framed([*_left(ticks, y, title), *drawn, *_bottom(under, _HEIGHT), *_across(rule, y)], ticks, series)


def rows(labels: Sequence[str], series: Sequence[Series], notes: Sequence[str], title: str) -> str:
    """Bars below each other, with a label on the left and a note behind each."""
    stacks, height = _stacks(series), max(90.0, 30.0 * len(labels))
    most, band = max(1.0, *(stack[-1] for stack in stacks)), height / len(labels)
    x = _Scale(0, most * 1.3, 0, _WIDTH)  # the notes stand behind the bars and need room there
    drawn = [
        _bar(x.at(low), (place + 0.1) * band, x.at(high) - x.at(low), band * 0.8, each.color)
        for place, stack in enumerate(stacks)
        for (low, high), each in zip(pairwise(stack), series, strict=True)
    ]
    shown = [label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…" for label in labels]
    for place, (label, note, stack) in enumerate(zip(shown, notes, stacks, strict=True)):
        middle = (place + 0.5) * band + 4
        drawn += [_text(label, -6, middle, anchor="end"), _text(note, x.at(stack[-1]) + 5, middle)]
    under = [(x.at(value), number(round(value))) for value in tick_values(most) if value <= x.high]
    side = max(map(len, shown)) * _CHARACTER + 10
    return _svg([*drawn, *_bottom(under, height, title)], series, side, height + 2 * _LINE)


def pieces(bars: Sequence[tuple[float, float]], width: float, rules: Sequence[Rule], title: str, across: str) -> str:
    """How many lie in which piece of `width`: each bar is the lower end of one, and their number."""
    # Above the bars is room for what the rules say.
    high = 1.3 * max(count for _, count in bars)
    ticks = [tick for tick in tick_values(high) if tick <= high]
    end = bars[-1][0] + width
    x, y = _Scale(0, end, 0, _WIDTH), _Scale(0, high, _HEIGHT, 0)
    drawn = [
        _bar(x.at(low) + 0.5, y.at(count), x.at(width) - 1, _HEIGHT - y.at(count), "var(--processing)")
        for low, count in bars
    ]
    for place, rule in enumerate(rules):
        at, far = x.at(rule.at), rule.at > 0.75 * end  # further on there is no room for a word on the right
        drawn.append(_line(at, 0, at, _HEIGHT, rule.color, "4,3"))
        drawn.append(_text(rule.word, at + (-4 if far else 4), 10 + 13 * place, anchor="end" if far else "start"))
    under = [(x.at(value), number(round(value))) for value in tick_values(end, 8) if value <= end]
    parts = [*_left(ticks, y, title), *drawn, *_bottom(under, _HEIGHT, across)]
    return _framed(parts, ticks, (), below=2 * _LINE)


# Pieces


def _stacks(series: Sequence[Series]) -> list[list[float]]:
    """For each place where one series ends and the next begins, from 0 up."""
    return [list(accumulate(values, initial=0.0)) for values in zip(*(each.values for each in series), strict=True)]


def _times(low: float, high: float) -> Iterator[tuple[float, str]]:
    """Some five round times of the local clock between two moments, and how they are written."""
    form = next((form for longest, form in _TIMES if high - low < longest), "%Y-%m-%d")
    step = next((step for step in _CLOCK if (high - low) / step <= 6), None)
    begin = datetime.fromtimestamp(low).replace(hour=0, minute=0, second=0, microsecond=0)  # noqa: DTZ006
    days = 1 if step else next((days for days in _DAYS if (high - low) / (days * _DAY) <= 6), _DAYS[-1])
    if step:
        skipped = math.floor((low - begin.timestamp()) / step)
        stops = (begin + timedelta(seconds=step * (skipped + place)) for place in range(9))
    else:
        stops = (begin + timedelta(days=days * place) for place in range(9 + int((high - low) / _DAY / days)))
    for stop in stops:
        if low <= stop.timestamp() <= high:
            yield stop.timestamp(), stop.strftime(form)


def _left(ticks: Sequence[float], y: _Scale, title: str) -> Iterator[Markup]:
    """An axis with lines across, and its title."""
    for tick in ticks:
        yield _line(0, y.at(tick), _WIDTH, y.at(tick), "var(--line)")
        yield _text(number(round(tick)), -6, y.at(tick) + 4, anchor="end")
    side = max(len(number(round(tick))) for tick in ticks) * _CHARACTER + 14
    yield _text(title, -_HEIGHT / 2, -side, anchor="middle", transform="rotate(-90)")


def _bottom(under: Sequence[tuple[float, str]], height: float, title: str = "") -> Iterator[Markup]:
    yield _line(0, height, _WIDTH, height, "var(--line)")
    free = -math.inf
    for at, word in under:
        half = len(word) * _CHARACTER / 2
        if at - half > free:
            free = at + half + 4
            yield _line(at, height, at, height + 4, "var(--line)")
            yield _text(word, at, height + _LINE, anchor="middle")
    if title:
        yield _text(title, _WIDTH / 2, height + 2 * _LINE, anchor="middle")


def _across(rule: Rule | None, y: _Scale) -> Iterator[Markup]:
    if rule:
        yield _line(0, y.at(rule.at), _WIDTH, y.at(rule.at), rule.color, "6,4")
        yield _text(rule.word, _WIDTH, y.at(rule.at) - 6, anchor="end", color=rule.color)


def _framed(parts: Sequence[Markup], ticks: Sequence[float], series: Sequence[Series], *, below: float = _LINE) -> str:
    side = max(len(number(round(tick))) for tick in ticks) * _CHARACTER + 28
    return _svg(parts, series, side, _HEIGHT + below)


def _svg(parts: Sequence[Markup], series: Sequence[Series], side: float, height: float) -> str:
    """All of it, with a legend above; `side` is the room on the left."""
    legend = list[Markup]()
    above = 12.0 + _LINE * math.ceil(len(series) / _COLUMNS)
    for place, each in enumerate(series):
        left, top = place % _COLUMNS * _WIDTH / _COLUMNS, place // _COLUMNS * _LINE - above + 4
        legend += [_bar(left, top, 10, 10, each.color), _text(each.name, left + 15, top + 9)]
    view = f"{_n(-side)} {_n(-above)} {_n(side + _WIDTH + 24)} {_n(above + height + 6)}"
    inside = Markup("").join([*legend, *parts])
    return str(_tag("svg", inside, viewBox=view, aria_hidden="true", focusable="false"))


def _bar(x: float, y: float, width: float, height: float, color: str) -> Markup:
    return _tag("rect", x=_n(x), y=_n(y), width=_n(max(width, 0)), height=_n(max(height, 0)), fill=color)


def _line(x1: float, y1: float, x2: float, y2: float, color: str, dashes: str = "none") -> Markup:
    return _tag("line", x1=_n(x1), y1=_n(y1), x2=_n(x2), y2=_n(y2), stroke=color, stroke_dasharray=dashes)


def _text(text: str, x: float, y: float, *, anchor: str = "start", color: str = "currentColor", **more: str) -> Markup:
    return _tag("text", text, x=_n(x), y=_n(y), text_anchor=anchor, fill=color, font_size=_SIZE, **more)


def _tag(name: str, inside: str = "", **given: object) -> Markup:
    shown = "".join(f' {key.replace("_", "-")}="{escape(value)}"' for key, value in given.items())
    return Markup(f"<{name}{shown}>{escape(inside)}</{name}>")  # noqa: S704  (all of it is escaped)


def _n(value: float) -> str:
    return f"{round(value, 1):g}"
