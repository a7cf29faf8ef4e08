"""`batcher export`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.new_file import STDOUT, new_file, write_lines
from batcher.cli.open_ledger import need_reader
from batcher.cli.terminal import Terminal
from batcher.errors import UsageError
from batcher.ledger import LedgerReader
from batcher.ledger.queries import export
from batcher.report.question import ask
from batcher.report.table import csv_lines, jsonl_rows
from batcher.text import count, safe

_COPY = "sqlite"
_WHAT = (*export.SHEETS, _COPY)
_FORMATS = {"csv": (".csv",), "jsonl": (".jsonl", ".ndjson", ".nl")}


@click.command(short_help="Jobs, attempts, events … as CSV or JSONL; a copy of the ledger.")
@click.argument("what", metavar="[WHAT]", type=click.Choice(_WHAT), default="jobs")
@click.option(
    "--format", "form", type=click.Choice(tuple(_FORMATS)), help="Default: as the file's name ends, else csv."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=STDOUT,
    metavar="FILE",
    help="Where to; - is stdout (default).",
)
@click.option("--campaign", "campaigns", multiple=True, metavar="NAME", help="Only this campaign; repeatable.")
@options.where
@click.option("--since", metavar="TIME", help="From then on: 2026-11-01, 2026-11-01T22:00, 12h, 7d.")
@click.option("--until", metavar="TIME", help="Before then, or to the end of that day.")
@options.bom
@click.option("--force", is_flag=True, help="Take the place of an existing file.")
@options.state
@click.pass_obj
def command(
    terminal: Terminal,
    *,
    what: str,
    form: str | None,
    output: Path,
    campaigns: tuple[str, ...],
    conditions: tuple[str, ...],
    since: str | None,
    until: str | None,
    bom: bool,
    force: bool,
    state: Path,
) -> int:
    """Write WHAT: jobs (default), attempts, events, files, runs or uploads of the ledger, as CSV or JSONL; or sqlite,
    a copy of the whole ledger as it is at one moment, also while a run is going."""
    form = form or (None if what == _COPY else _format_of(output))
    options.need_csv(form, bom=bom)
    if what == _COPY:
        if form or campaigns or conditions or since or until:
            raise UsageError("a copy is of the whole ledger", hint="Leave all options but --output and --force out.")
        if output == STDOUT:
            raise UsageError("a copy needs a file", hint="Name one: batcher export sqlite --output copy.db")
    with closing(need_reader(state)) as read:
        if what == _COPY:
            with new_file(output, state, force, private=True) as part:
                export.copy(read, part)
            terminal.say(f"Copied {safe(read.path)} to {safe(output)}.")
            return 0
        scope = ask(read, now=time.time(), since=since, until=until, campaigns=campaigns, where=conditions).scope
        with closing(export.sheet(read, what, scope)) as found:  # also when nobody reads to the end
            lines = _lines(read, what, form, found)
            if output == STDOUT:
                terminal.records(lines, bom=bom)
            else:
                with new_file(output, state, force) as part:
                    rows = write_lines(part, lines, bom=bom) - (form == "csv")  # whose first line has the headers
                terminal.say(f"{count(rows, 'row')} of {what} in {safe(output)}.")
    return 0


def _format_of(output: Path) -> str:
    return next((name for name, ends in _FORMATS.items() if output.suffix.lower() in ends), "csv")


def _lines(read: LedgerReader, what: str, form: str | None, rows: Iterable[dict[str, object]]) -> Iterator[str]:
    if form == "jsonl":
        return jsonl_rows(rows)
    columns = export.columns(read, what)
    return csv_lines(columns, ([row[name] for name in columns] for row in rows))
