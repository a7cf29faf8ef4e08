"""`batcher export`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.open_ledger import need_reader
from batcher.cli.terminal import Terminal
from batcher.errors import UsageError
from batcher.fs import whole_file
from batcher.ledger import LedgerReader
from batcher.ledger.lock import LOCK
from batcher.ledger.queries import export
from batcher.report.question import ask
from batcher.report.table import csv_lines, jsonl_rows
from batcher.state import LEDGER
from batcher.text import count, safe

_STDOUT = Path("-")
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
    default=_STDOUT,
    metavar="FILE",
    help="Where to; - is stdout (default).",
)
@click.option("--campaign", "campaigns", multiple=True, metavar="NAME", help="Only this campaign; repeatable.")
@options.where
@click.option("--since", metavar="TIME", help="From then on: 2026-11-01, 2026-11-01T22:00, 12h, 7d.")
@click.option("--until", metavar="TIME", help="Before then, or to the end of that day.")
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
    force: bool,
    state: Path,
) -> int:
    """Write WHAT: jobs (default), attempts, events, files, runs or uploads of the ledger, as CSV or JSONL; or sqlite,
    a copy of the whole ledger as it is at one moment, also while a run is going."""
    if what == _COPY:
        if form or campaigns or conditions or since or until:
            raise UsageError("a copy is of the whole ledger", hint="Leave all options but --output and --force out.")
        if output == _STDOUT:
            raise UsageError("a copy needs a file", hint="Name one: batcher export sqlite --output copy.db")
    with closing(need_reader(state)) as read:
        if what == _COPY:
            with _new(output, state, force, private=True) as part:
                export.copy(read, part)
            terminal.say(f"Copied {safe(read.path)} to {safe(output)}.")
            return 0
        scope = ask(read, now=time.time(), since=since, until=until, campaigns=campaigns, where=conditions).scope
        with closing(export.sheet(read, what, scope)) as found:  # also when nobody reads to the end
            form = form or _format_of(output)
            lines = _lines(read, what, form, found)
            if output == _STDOUT:
                terminal.records(lines)
            else:
                with _new(output, state, force) as part:
                    rows = _write(part, lines) - (form == "csv")  # whose first line has the headers
                terminal.say(f"{count(rows, 'row')} of {what} in {safe(output)}.")
    return 0


def _write(part: Path, lines: Iterable[str]) -> int:
    """How many lines went into the file."""
    written = 0
    with part.open("w", encoding="utf-8", newline="") as file:
        for written, line in enumerate(lines, 1):  # noqa: B007
            file.write(f"{line}\n")
    return written


def _format_of(output: Path) -> str:
    return next((name for name, ends in _FORMATS.items() if output.suffix.lower() in ends), "csv")


def _lines(read: LedgerReader, what: str, form: str, rows: Iterable[dict[str, object]]) -> Iterator[str]:
    if form == "jsonl":
        return jsonl_rows(rows)
    columns = export.columns(read, what)
    return csv_lines(columns, ([row[name] for name in columns] for row in rows))


@contextmanager
def _new(output: Path, state: Path, force: bool, *, private: bool = False) -> Iterator[Path]:
    """The file that is to become `output`. Raises UsageError where one stands already, unless `force`.

    Nothing takes the place of what the state folder keeps, whatever name or link leads there.
    """
    if _is_kept(output, state):
        raise UsageError(f"{output} is kept in the state folder", hint="Name another file; --force does not help.")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", hint="Make it, or name another.")
    exists = UsageError(f"{output} exists already", hint="It stays as it is; --force takes its place.")
    if output.exists() and not output.is_file():
        raise UsageError(f"{output} is no file", hint="Name a file, or - for stdout.")
    if output.exists() and not force:
        raise exists
    try:
        with whole_file(output, replace=force, private=private) as part:
            yield part
    except FileExistsError:  # it came meanwhile
        raise exists from None


def _is_kept(output: Path, state: Path) -> bool:
    """Whether a path leads to the ledger, what SQLite keeps beside it, the lock, or a result."""
    real = output.resolve()
    kept = [(state / name).resolve() for name in (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm", f"{LEDGER}-journal", LOCK)]
    linked = output.exists() and any(path.exists() and path.samefile(output) for path in kept)
    return linked or real in kept or real.is_relative_to((state / "results").resolve())
