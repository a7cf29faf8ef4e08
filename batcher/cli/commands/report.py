"""`batcher report`."""

from __future__ import annotations

import time
from codecs import BOM_UTF8
from contextlib import closing
from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.advice import advice
from batcher.cli.environment import read_access
from batcher.cli.hand_over import check_page, write_bundle, write_invoice, write_report
from batcher.cli.open_ledger import need_reader
from batcher.cli.report_view import report_view
from batcher.cli.terminal import Terminal
from batcher.cli.timeline_view import timeline_view
from batcher.clock import iso
from batcher.errors import UsageError
from batcher.ledger import LedgerReader
from batcher.ledger.queries import jobs
from batcher.report.document import csv_headers, csv_rows, report_json, rows_json
from batcher.report.figures import make_report
from batcher.report.question import ask
from batcher.report.table import csv_lines
from batcher.report.timeline import Timeline, make_timeline, timeline_json
from batcher.report.wallet import Reconciliation, reconcile
from batcher.state import LEDGER
from batcher.text import safe

FORMATS = ("text", "json", "csv")


@click.command("report")
@click.option("--campaign", "campaigns", metavar="NAME", multiple=True, help="Only this campaign; repeatable.")
@click.option("--since", metavar="TIME", help="Only what was bought since: a date, a time, or 7d, 12h (so long ago).")
@click.option("--until", metavar="TIME", help="Only what was bought before; a date counts to its end.")
@click.option(
    "--by",
    metavar="NAME",
    multiple=True,
    help="Group by campaign, day, model, prompt, reference, status, param, variable or tag; repeatable or with commas.",
)
@options.where
@options.marked
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
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE.zip",
    help="Write a folder or ZIP for a client instead: gallery, files, contact sheet, list; nothing of what it cost.",
)
@click.option(
    "--invoice", "as_invoice", is_flag=True, help="Write an invoice instead, as CSV: what was settled, as money."
)
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="[PROVIDER=]N",
    help="For --invoice: the price of one credit, such as 0.02; repeatable for several providers.",
)
@click.option("--currency", metavar="CODE", help="For --invoice: the currency of the price, such as EUR.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="For --invoice: where the CSV goes; - is stdout (default).",
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="For whom; text unless said otherwise.")
@options.bom
@options.ledger
def command(
    terminal: Terminal,
    *,
    state: Path,
    campaigns: tuple[str, ...],
    since: str | None,
    until: str | None,
    by: tuple[str, ...],
    conditions: tuple[str, ...],
    marked: Path | None,
    as_timeline: bool,
    online: bool,
    page: Path | None,
    bundle: Path | None,
    as_invoice: bool,
    prices: tuple[str, ...],
    currency: str | None,
    output: Path | None,
    form: str | None,
    bom: bool,
) -> int:
    """Show what came of it and what it cost, what is left, and what the rest will cost. Reads the ledger alone."""
    if terminal.as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} are two things", hint="Choose one.")
    if as_timeline and (by or conditions or marked or online or form == "csv"):
        raise UsageError(
            "--timeline goes with neither --by, --where, --marked, --online nor --format csv",
            hint="Ask for both in turn.",
        )
    if page is not None and (as_timeline or terminal.as_json or form is not None):
        raise UsageError("--html goes with neither --timeline, --json nor --format", hint="Ask for both in turn.")
    if as_invoice and (as_timeline or online or bundle or form == "text"):
        raise UsageError("--invoice goes with neither --timeline, --online, --bundle nor --format text")
    if bundle is not None and (as_timeline or online or by or page or terminal.as_json or form):
        raise UsageError("--bundle goes with neither --timeline, --online, --by, --html, --json nor --format")
    if not as_invoice and (prices or currency or output):
        raise UsageError("--price, --currency and --output belong to --invoice", hint="Type --invoice too.")
    if page is not None:
        check_page(page)
    options.need_csv("csv" if as_invoice else form, bom=bom)
    terminal.as_json |= form == "json"
    now = time.time()
    names = [name.strip() for text in by for name in text.split(",")]
    with closing(need_reader(state)) as read:
        question = ask(
            read, now=now, since=since, until=until, campaigns=campaigns, by=names, where=conditions, marked=marked
        )
        if as_invoice:
            return write_invoice(terminal, read, question, state, prices, currency, output, page, bom=bom)
        if bundle is not None:
            return write_bundle(terminal, read, question, state, bundle)
        running = jobs.holder(state, read) is not None
        if as_timeline:
            _tell(terminal, make_timeline(read, question, now=now, running=running), state)
            return 0
        reconciliation = _reconcile(terminal, read, state, now, question.scope.since) if online else None
        if page is not None:
            # its target is looked at again: the wallet may have taken its time
            of = write_report(page, read, question, state, now=now, running=running, reconciliation=reconciliation)
            terminal.say(f"Report of {of}: {safe(page.absolute())}")
            return 0
        report, unit = make_report(read, question, now=now, running=running), read.unit
    if terminal.as_json:
        head = {"ledger": str((state / LEDGER).absolute()), "unit": unit, **report_json(report, reconciliation)}
        terminal.document_of("rows", rows_json(report), head, short=True)
    elif form == "csv":
        headers = csv_headers([axis.name for axis in report.question.axes])
        if bom:
            terminal.data(BOM_UTF8)
        for line in csv_lines(headers, csv_rows(report)):
            terminal.line(line)
    else:
        terminal.show(*report_view(report, state / LEDGER, reconciliation))
    return 0


def _tell(terminal: Terminal, timeline: Timeline, state: Path) -> None:
    found = timeline_json(timeline, lambda cause: advice(cause, state, timeline.runs))
    ledger = str((state / LEDGER).absolute())
    terminal.answer({"ledger": ledger, **found}, *timeline_view(timeline, state / LEDGER))


def _reconcile(terminal: Terminal, read: LedgerReader, state: Path, now: float, since: str | None) -> Reconciliation:
    # Only --online needs what can talk to the API.
    from batcher.cli.wallet import read_wallet

    wallet = read_wallet(read_access(terminal.warn), state)
    return reconcile(read, account=wallet.account, wallet=wallet.credits, at=iso(now), since=since)
