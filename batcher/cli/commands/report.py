"""`batcher report`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from batcher.cli import options
from batcher.cli.advice import advice
from batcher.cli.environment import read_access
from batcher.cli.html_page import check_target, write_page
from batcher.cli.open_ledger import need_reader
from batcher.cli.report_view import report_view
from batcher.cli.terminal import Terminal, dumps
from batcher.cli.timeline_view import timeline_view
from batcher.clock import iso
from batcher.errors import UsageError
from batcher.ledger import LedgerReader
from batcher.ledger.queries import jobs
from batcher.report.document import csv_headers, csv_rows, report_json, rows_json
from batcher.report.figures import Report, make_report
from batcher.report.question import ask
from batcher.report.table import csv_lines
from batcher.report.timeline import Timeline, make_timeline, timeline_json
from batcher.report.wallet import Reconciliation, reconcile
from batcher.state import LEDGER

FORMATS = ("text", "json", "csv")


@click.command("report")
@options.state
@click.option("--campaign", "campaigns", metavar="NAME", multiple=True, help="Only this campaign; repeatable.")
@click.option("--since", metavar="TIME", help="Only what was bought since: a date, a time, or 7d, 12h (so long ago).")
@click.option("--until", metavar="TIME", help="Only what was bought before; a date counts to its end.")
@click.option(
    "--by",
    metavar="NAME",
    multiple=True,
    help="Group by campaign, day, model, prompt, reference or any param; repeatable, or with commas.",
)
@click.option(
    "--timeline", "as_timeline", is_flag=True, help="The post-mortem instead: what happened when, what went wrong, why."
)
@click.option("--online", is_flag=True, help="Ask for the wallet, and hold it against the ledger.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page with figures, charts and the gallery of results instead.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="For whom; text unless said otherwise.")
@options.as_json
@click.pass_obj
def command(
    terminal: Terminal,
    *,
    state: Path,
    campaigns: tuple[str, ...],
    since: str | None,
    until: str | None,
    by: tuple[str, ...],
    as_timeline: bool,
    online: bool,
    page: Path | None,
    form: str | None,
    as_json: bool,
) -> int:
    """Show what came of it and what it cost, what is left, and what the rest will cost. Reads the ledger alone."""
    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} are two things", hint="Choose one.")
    if as_timeline and (by or online or form == "csv"):
        raise UsageError("--timeline goes with neither --by, --online nor --format csv", hint="Ask for both in turn.")
    if page is not None:
        if as_timeline or as_json or form is not None:
            raise UsageError("--html goes with neither --timeline, --json nor --format", hint="Ask for both in turn.")
        check_target(page)
    now = time.time()
    names = [name.strip() for text in by for name in text.split(",")]
    with closing(need_reader(state)) as read:
        question = ask(read, now=now, since=since, until=until, campaigns=campaigns, by=names)
        running = jobs.holder(state, read) is not None
        if as_timeline:
            found = make_timeline(read, question, now=now, running=running)
            _tell(terminal, found, state, as_json=as_json or form == "json")
            return 0
        reconciliation = _reconcile(terminal, read, state, now, question.scope.since) if online else None
        if page is not None:
            write_page(
                terminal,
                page,
                read,
                question,
                state=state,
                now=now,
                running=running,
                reconciliation=reconciliation,
            )
            return 0
        report, unit = make_report(read, question, now=now, running=running), read.unit
    if as_json or form == "json":
        head = {"version": 1, "ledger": str((state / LEDGER).absolute()), "unit": unit}
        _write_json(terminal, head | report_json(report, reconciliation), rows_json(report))
    elif form == "csv":
        _write_csv(terminal, report)
    else:
        terminal.show(*report_view(report, state / LEDGER, reconciliation))
    return 0


def _tell(terminal: Terminal, timeline: Timeline, state: Path, *, as_json: bool) -> None:
    if as_json:
        ledger = str((state / LEDGER).absolute())
        found = timeline_json(timeline, lambda cause: advice(cause, state, timeline.runs))
        terminal.document({"ledger": ledger, **found})
    else:
        terminal.show(*timeline_view(timeline, state / LEDGER))


def _write_json(terminal: Terminal, document: dict[str, Any], rows: Iterator[dict[str, Any]]) -> None:
    """The document, with each row on a line of its own: there may be a hundred thousand."""
    terminal.line(dumps(document).removesuffix("\n}") + ',\n  "rows": [')
    row = next(rows, None)
    while row is not None:
        following = next(rows, None)
        terminal.line(f"    {json.dumps(row)}{'' if following is None else ','}")
        row = following
    terminal.line("  ]\n}")


def _write_csv(terminal: Terminal, report: Report) -> None:
    for line in csv_lines(csv_headers([axis.name for axis in report.question.axes]), csv_rows(report)):
        terminal.line(line)


def _reconcile(terminal: Terminal, read: LedgerReader, state: Path, now: float, since: str | None) -> Reconciliation:
    # Only --online needs what can talk to the API.
    from batcher.cli.wallet import read_wallet

    wallet = read_wallet(read_access(terminal.warn), state)
    return reconcile(read, account=wallet.account, wallet=wallet.credits, at=iso(now), since=since)
