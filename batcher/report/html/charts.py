"""The charts of the page: what is drawn, what it says in words, and its numbers as a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from batcher.jobs import ParamValue, Status
from batcher.ledger.queries.gallery import Span, Spent, StatusChange
from batcher.ledger.queries.spend import WaitingTimes
from batcher.report.figures import GroupRow, value_order
from batcher.report.tables import Column, Table
from batcher.text import count, number, wait

from . import drawing
from .drawing import Rule, Series

#: A cap higher than so many times what was spent would press the rest flat.
_OFF_THE_CHART = 3
#: Values of a param that are shown, and rows of numbers behind a chart over time.
_MOST_VALUES, _MOST_ROWS = 12, 12


@dataclass(frozen=True, slots=True)
class Cost:
    """What the jobs with one value of an axis came to, in credits; `None` is the value of those that have none."""

    value: ParamValue | None
    jobs: int = 0
    files: int = 0
    settled: int = 0
    held: int = 0

    @property
    def each(self) -> float | None:
        """Settled credits a file."""
        return round(self.settled / self.files, 2) if self.files else None


def costs(rows: Iterable[GroupRow], axis: str) -> list[Cost]:
    """The rows of a report, added up by one of its axes; in the order of its values."""
    found: dict[ParamValue | None, Cost] = {}
    for row in rows:
        value = dict(row.by)[axis]
        sums = found.get(value, Cost(value))
        found[value] = replace(
            sums,
            jobs=sums.jobs + sum(row.figures.jobs.values()),
            files=sums.files + row.figures.files,
            settled=sums.settled + row.figures.credits.settled,
            held=sums.held + row.figures.credits.held,
        )
    return sorted(found.values(), key=lambda cost: value_order(cost.value))


@dataclass(frozen=True, slots=True)
class StatusLevel:
    """How many jobs had which status from `at` (seconds since the epoch) on."""

    at: float
    jobs: Mapping[Status, int]


def states(moves: Sequence[StatusChange]) -> list[StatusLevel]:
    """The levels that the changes make."""
    jobs: dict[Status, int] = {}
    levels: list[StatusLevel] = []
    for move in moves:
        if move.old is not None:
            jobs[move.old] = jobs.get(move.old, 0) - move.jobs
        jobs[move.new] = jobs.get(move.new, 0) + move.jobs
        if levels and levels[-1].at == move.at:
            levels.pop()
        levels.append(StatusLevel(move.at, dict(jobs)))
    return levels


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing; `says` is what it tells somebody who does not see it, `svg` is markup, made of escaped text."""

    title: str
    says: str
    svg: str
    table: Table


def credits_over_time(campaign: str, steps: Sequence[Spent], cap: int | None, within: Span) -> Chart:
    """What a campaign had settled and held, against its cap."""
    points, settled, held = [(within.start, 0, 0)], 0, 0
    for step in steps:
        settled, held = settled + step.settled, held + step.held
        points.append((step.at, settled, held))
    if points[-1][0] < within.end:
        points.append((within.end, settled, held))
    at, *values = zip(*points, strict=True)
    most = max(s + h for _, s, h in points)
    says = f"{number(settled)} credits settled and {number(held)} held in the end"
    return Chart(
        title=f"Credits over time: {campaign}",
        says=f"{says}{_cap_words(cap, most)}.",
        svg=drawing.areas(at, _money(*values), within.end, "credits", _cap_rule(cap, most)),
        table=Table(
            [Column("time"), Column("settled", right=True), Column("held", right=True)],
            [[_told(at), number(s), number(h)] for at, s, h in _some(points)],
        ),
    )


def credits_by_day(days: Sequence[Cost], cap: int | None) -> Chart:
    """What was settled and is held of each day's purchases, against the day's cap."""
    shown = days[-_MOST_VALUES * 3 :]
    most = max(day.settled + day.held for day in days)
    says = f"{count(len(days), 'day')}, at most {number(most)} credits on one"
    return Chart(
        title="Credits by day",
        says=f"{says}{_cap_words(cap, most)}.",
        svg=drawing.columns([str(day.value) for day in shown], _costs(shown), "credits", _cap_rule(cap, most)),
        table=_cost_table("day", days),
    )


def states_over_time(found: Sequence[StatusLevel], within: Span) -> Chart:
    """How many jobs had which status."""
    shown = [status for status in Status if any(level.jobs.get(status) for level in found)]
    levels = list(found)
    if levels[-1].at < within.end:
        levels.append(StatusLevel(within.end, levels[-1].jobs))
    series = [Series(str(s), f"var(--{s})", [level.jobs.get(s, 0) for level in levels]) for s in shown]
    last = levels[-1].jobs
    return Chart(
        title="States over time",
        says=", ".join(f"{number(last[s])} {s}" for s in shown if last.get(s)) + " in the end.",
        svg=drawing.areas([level.at for level in levels], series, within.end, "jobs"),
        table=Table(
            [Column("time"), *(Column(str(status), right=True) for status in shown)],
            [[_told(lv.at), *(number(lv.jobs.get(s, 0)) for s in shown)] for lv in _some(levels)],
        ),
    )


def waiting(waits: Sequence[float], found: WaitingTimes) -> Chart:
    """How long results took, in seconds, with the median and what nine out of ten did not exceed (`found`)."""
    width = _piece_width(max(found.p90 * 1.5, found.median))
    pieces = [(place * width, n) for place, n in sorted(Counter(int(wait / width) for wait in waits).items())]
    rules = [Rule(found.median, "median"), Rule(found.p90, "90 %")]
    return Chart(
        title="Waiting time",
        says=f"{count(found.count, 'result')}; median {wait(found.median)}, nine out of ten within {wait(found.p90)}.",
        svg=drawing.pieces(pieces, width, rules, "purchases", "seconds from submission to result"),
        table=Table(
            [Column("seconds"), Column("purchases", right=True)],
            [[f"{start:g} to {start + width:g}", number(n)] for start, n in pieces],
        ),
    )


def cost_by_param(name: str, costs: Sequence[Cost]) -> Chart:
    """What the jobs of each value of a param cost, and what a file of them did."""
    largest = sorted(costs, key=lambda cost: -(cost.settled + cost.held))[:_MOST_VALUES]
    shown = [cost for cost in costs if cost in largest]
    names = [_named(cost) for cost in shown]
    notes = [f"{number(cost.each)} a file" if cost.each is not None else "no file" for cost in shown]
    said = zip(names, shown, notes, strict=True)
    return Chart(
        title=f"Cost by {name}",
        says="; ".join(f"{name}: {number(cost.settled + cost.held)} credits, {note}" for name, cost, note in said)
        + ".",
        svg=drawing.rows(names, _costs(shown), notes, "credits"),
        table=_cost_table(name, costs),
    )


def _piece_width(longest: float) -> float:
    """Seconds a bar of the waits stands for: a round number of which twenty or so cover the longest wait."""
    rough = max(longest, 1.0) / 20
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


# Pieces


def _costs(costs: Sequence[Cost]) -> list[Series]:
    return _money([cost.settled for cost in costs], [cost.held for cost in costs])


def _money(settled: Sequence[float], held: Sequence[float]) -> list[Series]:
    return [Series("settled", "var(--settled)", settled), Series("held", "var(--held)", held)]


def _cap_rule(cap: int | None, most: int) -> Rule | None:
    if cap is None or cap > most * _OFF_THE_CHART:
        return None
    return Rule(cap, f"cap {number(cap)}", "var(--cap)")


def _cap_words(cap: int | None, most: int) -> str:
    if cap is None:
        return "; no cap"
    far = ", far above the chart" if cap > most * _OFF_THE_CHART else ""
    return f"; the cap is {number(cap)}{far}"


def _cost_table(name: str, costs: Sequence[Cost]) -> Table:
    columns = [Column(name), *(Column(what, right=True) for what in ("jobs", "files", "settled", "held", "a file"))]
    return Table(
        columns,
        [[_named(c), *map(number, (c.jobs, c.files, c.settled, c.held, c.each))] for c in costs],
    )


def _named(cost: Cost) -> str:
    return "–" if cost.value is None else str(cost.value)


def _some(points: Sequence[Any]) -> Sequence[Any]:
    every = max(1, math.ceil(len(points) / _MOST_ROWS))
    return [*points[:-1][::every], points[-1]] if points else []


def _told(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006
