"""Rows of the ledger for other programs: CSV for spreadsheets, JSONL for everything else. A line at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from .table import defuse

# Not "\n": Python before 3.13 quotes a cell that has a line end in it only if that occurs in the line's own.
_LINE_END = "\r\n"


def csv_rows(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """A header and a record a row (RFC 4180), each without its line end, defused; objects and lists are JSON."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=_LINE_END)
    for cells in chain([columns], ([_cell(row[name]) for name in columns] for row in rows)):
        writer.writerow([defuse(cell) for cell in cells])
        yield buffer.getvalue().removesuffix(_LINE_END)
        buffer.seek(0)
        buffer.truncate()


def jsonl_rows(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """An object a line, with nothing changed; everything but ASCII is escaped."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=True)


def _cell(value: object) -> object:
    match value:
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return value
