"""Tables for other programs, a line at a time: CSV whose cells no spreadsheet takes for formulas, and JSONL."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

#: A cell that begins so is a formula, or becomes one, in some spreadsheet (OWASP, "CSV injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def defuse(cell: object) -> object:
    """The cell as a spreadsheet may have it: a text that could be a formula gets a `'` in front, all else stays."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def csv_lines(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """CSV (RFC 4180), a record at a time, each without its line end.

    Cells are defused; objects and lists are JSON, None is an empty cell.
    """
    buffer = io.StringIO(newline="")
    # The writer quotes a cell for the characters of its line end only, so it gets the real one.
    writer = csv.writer(buffer, lineterminator="\r\n")
    for row in chain([headers], rows):
        writer.writerow([defuse(_cell(cell)) for cell in row])
        yield buffer.getvalue().removesuffix("\r\n")
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
