"""What `report` writes into files: its page, and what is handed to a client, a bundle or an invoice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from batcher.clock import iso_seconds
from batcher.errors import BatcherError, StorageError, UsageError
from batcher.fs import whole_file
from batcher.ledger import LedgerReader
from batcher.report import html
from batcher.report.question import Question, ask
from batcher.report.table import csv_lines
from batcher.report.wallet import Reconciliation
from batcher.state import SAMPLE
from batcher.text import count, number, safe

from .new_file import STDOUT, new_file, write_lines
from .open_ledger import need_reader, state_words
from .terminal import Terminal

#: The first bytes of a page of batcher, in which its mark stands.
_HEAD = 400


def check_page(target: Path) -> None:
    """Raises UsageError when something else has the file's place; before any work."""
    if str(target) == "-":
        raise UsageError("--html needs a file: what is linked lies relative to it", hint="Name one: --html report.html")
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


def put_page(target: Path, text: str) -> None:
    """Write a page, whole or absent. Raises StorageError."""
    with whole_file(target, replace=True) as part:
        part.write_text(text, encoding="utf-8", errors="replace")


def write_report(
    target: Path,
    read: LedgerReader,
    question: Question,
    state: Path,
    *,
    now: float,
    running: bool,
    reconciliation: Reconciliation | None = None,
) -> str:
    """Write the page of a report, whole or absent; what it is of. Raises UsageError and StorageError."""
    check_page(target)
    # Jinja2 takes its time to load, and only this needs it.
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
    put_page(target, page.text)
    more = f", {count(page.left_out, 'job')} more without a card" if page.left_out else ""
    return f"{count(page.jobs, 'job')}{more}"


def write_sample(state: Path, campaigns: Sequence[str], terminal: Terminal) -> None:
    """Write the page of a sample that was bought into its state folder; what keeps it from that is a warning."""
    try:
        with closing(need_reader(state)) as read:
            now = time.time()
            question = ask(read, now=now, campaigns=campaigns)
            write_report(state / SAMPLE, read, question, state, now=now, running=False)
    except BatcherError as error:
        terminal.warn(f"the page of the sample could not be written: {error.message}")


def write_bundle(terminal: Terminal, read: LedgerReader, question: Question, state: Path, target: Path) -> int:
    """Write a bundle, and say what is in it. Raises UsageError and StorageError."""
    from batcher.report import bundle

    bundle.need_extra()
    made = bundle.make_bundle(read, question, state=state, target=target, now=time.time())
    if made.left_out:
        terminal.warn(f"{count(made.left_out, 'job')} more have no card in the gallery")
    if made.not_drawn:
        terminal.warn(f"{count(made.not_drawn, 'file')} more are not on the contact sheet")
    if made.blanked:
        terminal.note(f"the provider had written its task's id into {count(made.blanked, 'file')}; it is blanked there")
    if made.to_fetch:
        terminal.warn(
            f"{count(made.to_fetch, 'job')} succeeded and have no file yet: `batcher fetch`, then a new bundle"
        )
    terminal.say(f"Bundle of {count(made.files, 'file')}: {safe(target.absolute())}")
    return 0


def write_invoice(
    terminal: Terminal,
    read: LedgerReader,
    question: Question,
    state: Path,
    prices: Sequence[str],
    currency: str | None,
    output: Path | None,
    page: Path | None,
    *,
    bom: bool,
) -> int:
    """Write an invoice: as a page where one is named, else as CSV or JSON. Raises UsageError and StorageError."""
    from batcher.report import invoice as invoices

    if output is not None and (page is not None or terminal.as_json):
        raise UsageError("--output is for the CSV: it goes with neither --html nor --json")
    invoice = invoices.make_invoice(read, question, invoices.read_prices(prices), invoices.check_currency(currency))
    if page is not None:
        from batcher.report.html.invoice_page import invoice_page

        put_page(page, invoice_page(invoice, iso_seconds(time.time())))
        terminal.say(f"Invoice of {count(len(invoice.lines), 'line')}: {safe(page.absolute())}")
    elif terminal.as_json:
        terminal.document({"ledger": str(read.path.absolute()), **invoices.invoice_json(invoice)})
    else:
        lines = csv_lines(invoices.invoice_headers(invoice), invoices.invoice_rows(invoice))
        if output in (None, STDOUT):
            terminal.records(lines, bom=bom)
        else:
            with new_file(output, state) as part:
                write_lines(part, lines, bom=bom)
            terminal.say(f"Invoice of {count(len(invoice.lines), 'line')}: {safe(output.absolute())}")
    for account, credits_ in invoice.held.items():
        terminal.note(f"{number(credits_)} of {account} are held and not invoiced: nobody knows yet what they come to")
    if invoice.to_fetch:
        late = count(invoice.to_fetch, "purchase")
        terminal.note(f"of {late} the file is still to come (`batcher fetch`): charged without a file until then")
    return 0
