"""A report as the JSON of docs/json.md and as the rows of its CSV. Only shapes: the figures are the read model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from batcher.jobs import Status
from batcher.ledger.queries.spend import Attempts, Credits, WaitingTimes

from .budget import Cap, Forecast
from .figures import Figures, Report
from .wallet import Reconciliation

_ATTEMPTS = (*Attempts.__dataclass_fields__, "bought")
_CREDITS = (*Credits.__dataclass_fields__, "over")
_WAIT = tuple(WaitingTimes.__dataclass_fields__)


def report_json(report: Report, reconciliation: Reconciliation | None = None) -> dict[str, Any]:
    """A report as docs/json.md has it, without the version and without its `rows`, which may be many."""
    scope = report.question.scope
    return {
        "as_of": report.as_of,
        "running": report.running,
        "since": scope.since,
        "until": scope.until,
        "campaigns": list(scope.campaigns),
        "where": [condition.text for condition in scope.conditions],
        "by": [axis.name for axis in report.question.axes],
        "total": figures_json(report.total),
        "troubles": [asdict(trouble) for trouble in report.troubles],
        "content_refusals": asdict(report.content_refusals),
        "chains": [each._asdict() | {"total": each.total} for each in report.chains],
        "prices": [{**asdict(price), "difference": price.difference} for price in report.prices],
        "budget": [_cap(cap) for cap in report.caps],
        "forecast": _forecast(report.forecast),
        "reconcile": None if reconciliation is None else _reconciliation(reconciliation),
    }


def rows_json(report: Report) -> Iterator[dict[str, Any]]:
    """The `rows` of a report, one by one."""
    for row in report.rows:
        yield {"by": dict(row.by), **figures_json(row.figures)}


def figures_json(figures: Figures) -> dict[str, Any]:
    """The figures of a group."""
    wait = figures.wait
    return {
        "jobs": {
            "total": sum(figures.jobs.values()),
            **{str(status): figures.jobs.get(status, 0) for status in Status},
        },
        # Not `asdict`, which copies every number: there may be a hundred thousand rows.
        "attempts": {name: getattr(figures.attempts, name) for name in _ATTEMPTS},
        "credits": {name: getattr(figures.credits, name) for name in _CREDITS},
        "files": figures.files,
        "cost_of_result": figures.cost_of_result,
        "failure_rate": figures.failure_rate,
        "wait": None if wait is None else {name: getattr(wait, name) for name in _WAIT},
    }


def _cap(cap: Cap) -> dict[str, Any]:
    return asdict(cap) | {"used": cap.used, "hours_left": cap.hours_left}


def _forecast(forecast: Forecast) -> dict[str, Any]:
    return {
        "jobs": forecast.jobs,
        "credits": forecast.credits,
        "fits": not forecast.bites,
        "campaigns": [
            {
                "campaign": each.campaign,
                "jobs": each.jobs,
                "credits": each.credits,
                "committed": each.committed,
                "at_end": each.committed + each.credits,
                "prices": [asdict(quote) | {"credits": quote.credits} for quote in each.quotes],
            }
            for each in forecast.campaigns
        ],
        "bites": [asdict(bite) for bite in forecast.bites],
    }


def _reconciliation(found: Reconciliation) -> dict[str, Any]:
    return asdict(found) | {
        "expected": found.expected,
        "difference": found.difference,
        "unexplained": found.unexplained,
    }


def csv_headers(axes: Sequence[str]) -> list[str]:
    """The columns of the CSV: the axes, then every figure."""
    return [*axes, *_cells(Figures())]


def csv_rows(report: Report) -> Iterator[list[object]]:
    """A record a group, and none for the total: what is added up twice is wrong."""
    for row in report.rows:
        yield [*(value for _, value in row.by), *_cells(row.figures).values()]


def _cells(figures: Figures) -> dict[str, object]:
    """The figures of a group by their columns: those of the JSON, with the names of both levels in one."""
    cells: dict[str, object] = {}
    for name, value in figures_json(figures).items():
        parts = dict.fromkeys(_WAIT) if name == "wait" and value is None else value
        if isinstance(parts, dict):
            prefix = "" if name == "jobs" else f"{name}_"
            cells |= {name if part == "total" else f"{prefix}{part}": number for part, number in parts.items()}
        else:
            cells[name] = parts
    return cells
