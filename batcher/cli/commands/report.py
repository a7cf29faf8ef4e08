"""`batcher report`."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.advice import advice
from batcher.cli.environment import read_access
from batcher.cli.open_ledger import need_reader, state_words
from batcher.cli.report_view import report_view
from batcher.cli.terminal import Terminal
from batcher.cli.timeline_view import timeline_view
from batcher.clock import iso
from batcher.errors import StorageError, UsageError
from batcher.fs import whole_file
from batcher.ledger import LedgerReader
from batcher.ledger.queries import jobs
from batcher.report import html
from batcher.report.document import csv_headers, csv_rows, report_json, rows_json
from batcher.report.figures import make_report
from batcher.report.question import Question, ask
from batcher.report.table import csv_lines
from batcher.report.timeline import Timeline, make_timeline, timeline_json
from batcher.report.wallet import Reconciliation, reconcile
from batcher.state import LEDGER
from batcher.text import count, safe

FORMATS = ("text", "json", "csv")
#: In so many bytes of a report of ours its mark stands.
_HEAD = 400


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
    as_timeline: bool,
    online: bool,
    page: Path | None,
    form: str | None,
) -> int:
    """Show what came of it and what it cost, what is left, and what the rest will cost. Reads the ledger alone."""
    if terminal.as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} are two things", hint="Choose one.")
    if as_timeline and (by or conditions or online or form == "csv"):
        raise UsageError(
            "--timeline goes with neither --by, --where, --online nor --format csv", hint="Ask for both in turn."
        )
    if page is not None:
        if as_timeline or terminal.as_json or form is not None:
            raise UsageError("--html goes with neither --timeline, --json nor --format", hint="Ask for both in turn.")
        _check_target(page)
    terminal.as_json |= form == "json"
    now = time.time()
    names = [name.strip() for text in by for name in text.split(",")]
    with closing(need_reader(state)) as read:
        question = ask(read, now=now, since=since, until=until, campaigns=campaigns, by=names, where=conditions)
        running = jobs.holder(state, read) is not None
        if as_timeline:
            _tell(terminal, make_timeline(read, question, now=now, running=running), state)
            return 0
        reconciliation = _reconcile(terminal, read, state, now, question.scope.since) if online else None
        if page is not None:
            _write_page(terminal, page, read, question, state, now, running, reconciliation)
            return 0
        report, unit = make_report(read, question, now=now, running=running), read.unit
    if terminal.as_json:
        head = {"ledger": str((state / LEDGER).absolute()), "unit": unit, **report_json(report, reconciliation)}
        terminal.document_of("rows", rows_json(report), head, short=True)
    elif form == "csv":
        for line in csv_lines(csv_headers([axis.name for axis in report.question.axes]), csv_rows(report)):
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


def _check_target(target: Path) -> None:
    """Raises UsageError when the extra is missing, or when something else has the file's place; before any work."""
    html.need_extra()
    if str(target) == "-":
        raise UsageError(
            "--html needs a file: the films are linked relative to it", hint="Name one: --html report.html"
        )
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", hint="Make it first.")
    if not target.exists():
        return
    if not target.is_file():
        raise UsageError(f"{target} is no file", hint="Name a file.")
    try:
        with target.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror or error}") from error
    if head and html.MARK.encode() not in head:
        raise UsageError(f"{target} exists and is no report of batcher", hint="It stays as it is; name another file.")


def _write_page(
    terminal: Terminal,
    target: Path,
    read: LedgerReader,
    question: Question,
    state: Path,
    now: float,
    running: bool,
    reconciliation: Reconciliation | None,
) -> None:
    """Write the page, whole or absent, and say where it is. Raises UsageError and StorageError."""
    _check_target(target)  # again: the wallet may have taken its time
    # Altair and vl-convert take their time to load, and only this needs them.
    from batcher.report.html.page import make_page

    page = make_page(
        read,
        question,
        state=state,
        target=target,
        now=now,
        running=running,
        reconciliation=reconciliation,
        words_of_state=state_words(state),
    )
    with whole_file(target, replace=True) as part:
        part.write_text(page.text, encoding="utf-8", errors="replace")
    more = f", {count(page.left_out, 'job')} more without a card" if page.left_out else ""
    terminal.say(f"Report of {count(page.jobs, 'job')}{more}: {safe(target.absolute())}")
