"""The charts of the page: Altair describes them, vl-convert draws them as SVG, without a browser or a network.

Colours are the page's CSS variables, so that they follow light and dark. Each chart comes with what it says in words
and with its numbers as a table.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import altair as alt
import vl_convert

from batcher.jobs import ParamValue, Status
from batcher.ledger.queries.gallery import Span, Spent, StatusChange
from batcher.ledger.queries.spend import WaitingTimes
from batcher.report.figures import GroupRow, value_order
from batcher.report.tables import Column, Table
from batcher.text import count, number, wait

_WIDTH, _HEIGHT = 420, 190
#: A cap higher than so many times what was spent would press the rest flat.
_OFF_THE_CHART = 3
#: So many values of a param are shown, and so many rows of numbers behind a chart over time.
_MOST_VALUES, _MOST_ROWS = 12, 12
_VEGA_LITE = "6.4"
#: How times are written on an axis that is shorter than so many seconds.
_TIMES = ((600, "%H:%M:%S"), (86_400, "%H:%M"), (10 * 86_400, "%d %b %H:%M"))
_ROOT = re.compile(r'^<svg [^>]*?viewBox="([-0-9. ]+)"[^>]*>')
_CONFIG: dict[str, Any] = {
    "background": None,
    "aria": False,
    "font": "sans-serif",
    "padding": 4,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelOverlap": True,
    },
    "legend": {"labelColor": "currentColor", "labelFontSize": 11, "symbolType": "square", "symbolStrokeWidth": 0},
    "text": {"color": "currentColor", "fontSize": 11},
}


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
            jobs[Status(move.old)] = jobs.get(Status(move.old), 0) - move.jobs
        jobs[Status(move.new)] = jobs.get(Status(move.new), 0) + move.jobs
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
    rows = [
        {"at": _clock(at), "credits": value, "kind": kind, "order": order}
        for at, *values in points
        for order, (kind, value) in enumerate(zip(("settled", "held"), values, strict=True))
    ]
    area = _over_time(rows, "credits", within, ["settled", "held"], ["var(--settled)", "var(--held)"])
    most = max((s + h for _, s, h in points), default=0)
    layers = [area, *_cap_rule(cap, most)]
    says = f"{number(settled)} credits settled and {number(held)} held in the end"
    return Chart(
        title=f"Credits over time: {campaign}",
        says=f"{says}{_cap_words(cap, most)}.",
        svg=_svg(alt.layer(*layers)),
        table=Table(
            [Column("time"), Column("settled", right=True), Column("held", right=True)],
            [[_told(at), number(s), number(h)] for at, s, h in _some(points)],
        ),
    )


def credits_by_day(days: Sequence[Cost], cap: int | None) -> Chart:
    """What was settled and is held of each day's purchases, against the day's cap."""
    rows = [row for day in days[-_MOST_VALUES * 3 :] for row in _stack(day, str(day.value))]
    x = alt.X("value:N", title=None, sort=None, axis=alt.Axis(labelAngle=0))
    most = max(day.settled + day.held for day in days)
    says = f"{count(len(days), 'day')}, at most {number(most)} credits on one"
    return Chart(
        title="Credits by day",
        says=f"{says}{_cap_words(cap, most)}.",
        svg=_svg(alt.layer(_bars(rows, x, alt.Y("credits:Q", title="credits")), *_cap_rule(cap, most))),
        table=_cost_table("day", days),
    )


def states_over_time(found: Sequence[StatusLevel], within: Span) -> Chart:
    """How many jobs had which status."""
    shown = [status for status in Status if any(level.jobs.get(status) for level in found)]
    levels = list(found)
    if levels[-1].at < within.end:
        levels.append(StatusLevel(within.end, levels[-1].jobs))
    rows = [
        {"at": _clock(level.at), "jobs": level.jobs.get(status, 0), "kind": str(status), "order": order}
        for level in levels
        for order, status in enumerate(shown)
    ]
    names = [str(status) for status in shown]
    last = levels[-1].jobs
    return Chart(
        title="States over time",
        says=", ".join(f"{number(last[s])} {s}" for s in shown if last.get(s)) + " in the end.",
        svg=_svg(_over_time(rows, "jobs", within, names, [f"var(--{name})" for name in names])),
        table=Table(
            [Column("time"), *(Column(name, right=True) for name in names)],
            [[_told(lv.at), *(number(lv.jobs.get(s, 0)) for s in shown)] for lv in _some(levels)],
        ),
    )


def waiting(waits: Sequence[float], found: WaitingTimes) -> Chart:
    """How long results took, in seconds, with the median and what nine out of ten did not exceed (`found`)."""
    width = _piece_width(max(found.p90 * 1.5, found.median))
    pieces = [(place * width, n) for place, n in sorted(Counter(int(wait / width) for wait in waits).items())]
    rows = [{"from": start, "to": start + width, "jobs": n} for start, n in pieces]
    # Above the bars is room for what the rules say.
    top = alt.Scale(domainMax=1.3 * max(n for _, n in pieces), nice=False)
    bars = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(color="var(--processing)", binSpacing=1)
        .encode(
            x=alt.X(
                "from:Q",
                bin="binned",
                title="seconds from submission to result",
                axis=alt.Axis(tickCount=8),
                scale=alt.Scale(domainMin=0),
            ),
            x2="to:Q",
            y=alt.Y("jobs:Q", title="purchases", scale=top, axis=alt.Axis(tickMinStep=1, tickCount=5)),
        )
    )
    far = 0.75 * (pieces[-1][0] + width)  # further on there is no room for a word on the right
    rules = [
        layer
        for x, what, y in ((found.median, "median", 6), (found.p90, "90 %", 19))
        for one in [alt.Chart(alt.InlineData(values=[{"x": x, "what": what}]))]
        for layer in (
            one.mark_rule(color="currentColor", strokeDash=[4, 3]).encode(x="x:Q"),
            one.mark_text(align="right" if x > far else "left", dx=-4 if x > far else 4).encode(
                x="x:Q", text="what:N", y=alt.value(y)
            ),
        )
    ]
    return Chart(
        title="Waiting time",
        says=f"{count(found.count, 'result')}; median {wait(found.median)}, nine out of ten within {wait(found.p90)}.",
        svg=_svg(alt.layer(bars, *rules)),
        table=Table(
            [Column("seconds"), Column("purchases", right=True)],
            [[f"{start:g} to {start + width:g}", number(n)] for start, n in pieces],
        ),
    )


def cost_by_param(name: str, costs: Sequence[Cost]) -> Chart:
    """What the jobs of each value of a param cost, and what a file of them did."""
    shown = sorted(costs, key=lambda cost: -(cost.settled + cost.held))[:_MOST_VALUES]
    shown = [cost for cost in costs if cost in shown]
    rows = [row for cost in shown for row in _stack(cost, _named(cost))]
    ends: list[dict[str, Any]] = [
        {
            "value": _named(cost),
            "credits": cost.settled + cost.held,
            "note": f"{number(cost.each)} a file" if cost.each is not None else "no file",
        }
        for cost in shown
    ]
    y = alt.Y("value:N", title=None, sort=None, axis=alt.Axis(labelLimit=120))
    notes = (
        alt.Chart(alt.InlineData(values=ends))
        .mark_text(align="left", dx=5)
        .encode(y=y, x=alt.X("credits:Q"), text="note:N")
    )
    most = max((end["credits"] for end in ends), default=1) or 1
    # The notes stand behind the bars and need room there.
    x = alt.X(
        "credits:Q", title="credits", axis=alt.Axis(tickCount=5), scale=alt.Scale(domain=[0, most * 1.3], nice=False)
    )
    chart = alt.layer(_bars(rows, y, x, horizontal=True), notes)
    return Chart(
        title=f"Cost by {name}",
        says="; ".join(f"{end['value']}: {number(end['credits'])} credits, {end['note']}" for end in ends) + ".",
        svg=_svg(chart, height=max(90, 30 * len(shown))),
        table=_cost_table(name, costs),
    )


def _piece_width(longest: float) -> float:
    """Seconds a bar of the waits stands for: a round number of which twenty or so cover the longest wait."""
    rough = max(longest, 1.0) / 20
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


# Pieces


def _over_time(rows: list[dict[str, Any]], what: str, within: Span, names: list[str], colors: list[str]) -> Any:
    seconds = within.end - within.start
    form = next((form for longest, form in _TIMES if seconds < longest), "%Y-%m-%d")
    axis = alt.Axis(tickCount=5, grid=False, format=form)
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_area(interpolate="step-after", opacity=0.9)
        .encode(
            x=alt.X("at:T", title=None, scale=alt.Scale(type="utc"), axis=axis),
            y=alt.Y(f"{what}:Q", title=what, stack=True, axis=alt.Axis(tickMinStep=1, tickCount=5)),
            color=_color(names, colors),
            order="order:Q",
        )
    )


def _bars(rows: list[dict[str, Any]], place: Any, size: Any, *, horizontal: bool = False) -> Any:
    across, up = (size, place) if horizontal else (place, size)
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar()
        .encode(
            x=across,
            y=up,
            color=_color(["settled", "held"], ["var(--settled)", "var(--held)"]),
            order="order:Q",
        )
    )


def _color(names: list[str], colors: list[str]) -> Any:
    legend = alt.Legend(title=None, orient="top", columns=4, columnPadding=18, labelLimit=120)
    return alt.Color("kind:N", scale=alt.Scale(domain=names, range=colors), legend=legend)


def _cap_rule(cap: int | None, most: int) -> Iterator[Any]:
    if cap is None or cap > most * _OFF_THE_CHART:
        return
    data = alt.Chart(alt.InlineData(values=[{"cap": cap, "what": f"cap {number(cap)}"}]))
    yield data.mark_rule(color="var(--cap)", strokeDash=[6, 4], strokeWidth=1.5).encode(y="cap:Q")
    yield data.mark_text(align="right", dy=-6, color="var(--cap)").encode(y="cap:Q", x=alt.value(_WIDTH), text="what:N")


def _cap_words(cap: int | None, most: int) -> str:
    if cap is None:
        return "; no cap"
    far = ", far above the chart" if cap > most * _OFF_THE_CHART else ""
    return f"; the cap is {number(cap)}{far}"


def _stack(cost: Cost, value: str) -> Iterator[dict[str, Any]]:
    for order, (kind, amount) in enumerate((("settled", cost.settled), ("held", cost.held))):
        yield {"value": value, "kind": kind, "credits": amount, "order": order}


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


def _clock(at: float) -> str:
    """A local time as if it were one of UTC: what draws knows no zone but that."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: DTZ006


def _told(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006


def _svg(chart: Any, *, height: int = _HEIGHT) -> str:
    spec = chart.properties(width=_WIDTH, height=height).to_dict(validate=False) | {"config": _CONFIG}
    drawn = vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE, allowed_base_urls=[])
    # The page scales it and says in words what it shows.
    return _ROOT.sub(r'<svg viewBox="\1" aria-hidden="true" focusable="false">', drawn, count=1)
