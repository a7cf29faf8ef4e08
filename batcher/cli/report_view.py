"""A report for people: what happened, what it cost, what is left of the budget, what the rest will cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from batcher.report import tables
from batcher.report.figures import Report
from batcher.report.question import Question
from batcher.report.tables import Table
from batcher.report.wallet import Reconciliation
from batcher.text import moment, safe, short

from .terminal import table

#: Characters of what the API says, at most.
_LONGEST = 60


def report_view(report: Report, ledger: Path, reconciliation: Reconciliation | None = None) -> Iterator[RenderableType]:
    """The report, part by part."""
    yield f"Ledger {safe(ledger.absolute())}"
    yield scope_line(report.question, report.as_of, running=report.running)
    yield ""
    yield from _groups(report)
    wrong = tables.troubles(report)
    parts = [
        ("Chains", tables.chains(report.chains) if report.chains else None),
        ("What went wrong", wrong if wrong.rows or wrong.notes else None),
        ("Prices", tables.prices(report.prices) if report.prices else None),
        ("Budget", tables.caps(report) if report.caps else None),
        ("The rest of the plan", tables.forecast(report.forecast)),
        ("Wallet", tables.wallet(reconciliation) if reconciliation is not None else None),
    ]
    for title, part in parts:
        if part is not None:
            yield from ("", Text(title, "bold"), *_shown(part))


def scope_line(question: Question, as_of: str, *, running: bool) -> str:
    """Of which campaigns and of which time a report tells, and when it was made."""
    going = "; a run is going" if running else ""
    return f"{safe(tables.scope(question))}, as of {moment(as_of)}{going}."


def _groups(report: Report) -> Iterator[RenderableType]:
    if not report.rows:
        yield "No job and no purchase lies in there."
        return
    for number, part in enumerate((tables.jobs(report), tables.bought(report), tables.course(report))):
        if part.rows:
            yield from ([""] if number else [])
            yield from _shown(part)
    if more := tables.left_out(report):
        yield more


def _shown(part: Table) -> Iterator[RenderableType]:
    if part.rows:
        right = [column.title for column in part.columns if column.right]
        cells = [
            [short(cell, _LONGEST) if column.long else cell for column, cell in zip(part.columns, row, strict=True)]
            for row in part.rows
        ]
        yield table([safe(column.title) for column in part.columns], cells, right=right, total=part.total)
    yield from map(safe, part.notes)
    yield from (Text(safe(warning), "yellow") for warning in part.warnings)
