"""Tables (.csv, .tsv, .xlsx): a header that names the columns, and rows of cells below it. One way for all of them.

What a table is made of are records: the line and the cells of whatever is not empty, the header first.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from batcher.errors import column_letters
from batcher.spelling import nfc
from batcher.text import did_you_mean

from .problems import listed
from .sources import MAX_COLUMNS, Header, Lines, Source, SourceRow
from .values import shown, unsafe_character

_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)
# Rows above a header: what they say is for people.
_ABOVE = 20
_MARKS = {"\t": "tab", ";": "semicolon"}


class Record(NamedTuple):
    """The cells of a line, as texts; `mark` is what divides them in a text."""

    line: int
    cells: list[str]
    mark: str = ""


def csv_rows(source: Source, delimiter: str = "") -> Iterator[SourceRow]:
    """The rows of a .csv or .tsv."""
    return _rows(_csv_records(source, delimiter), source)


def xlsx_rows(source: Source) -> Iterator[SourceRow]:
    """The rows of a sheet of a workbook. Raises Fault where the extra that reads them is not installed."""
    from .workbook import records

    return _rows(records(source), source)


def _csv_records(source: Source, delimiter: str) -> Iterator[Record]:
    lines = Lines(source)
    texts = iter(lines)
    first = _first_text(texts)
    if told := _SEPARATOR_LINE.fullmatch(first):  # as Excel reads and writes it
        delimiter = told[1]
        first = _first_text(texts)
    # who reads on ahead knows where the first record begins
    first_line = source.line
    reader = csv.reader(chain([first], texts), delimiter=delimiter or _delimiter(first), strict=True)
    mark = _MARKS.get(reader.dialect.delimiter, "comma")
    number = 0
    while True:
        # a record may go over several lines; a problem names the first
        line = first_line or source.line + 1
        if not first_line:
            lines.begin_row(number)
        first_line = 0
        try:
            cells = next(reader, None)
        except csv.Error as error:
            hint = "is a quote left open?" if "limit" in str(error) or "unexpected end" in str(error) else ""
            source.fault(f"this is not CSV: {error}", hint, row=max(0, number - source.above), line=line)
            return
        if cells is None:
            return
        if any(map(str.strip, cells)):
            number += 1
            yield Record(line, cells, mark)


def _first_text(texts: Iterator[str]) -> str:
    return next((text for text in texts if text.strip()), "")


def _delimiter(header: str) -> str:
    """What stands between the columns of a header: a comma, a semicolon or a tab, whichever it has most of."""
    bare = re.sub(r'"[^"]*"?', "", header)
    return max(",;\t", key=bare.count)


def _rows(records: Iterator[Record], source: Source) -> Iterator[SourceRow]:
    first, records = _found(records, source)
    names = _header(first, source) if first else None
    if first is None or names is None:
        return
    typed = dict(zip(names, map(column_name, first.cells), strict=False))
    header = Header(first.line, source.sheet, {name: index for index, name in enumerate(names, 1)}, typed)
    width, known = len(first.cells), len(names)
    for number, (line, cells, mark) in enumerate(records, 1):
        if len(cells) > known and not any(map(str.strip, cells[known:])):
            del cells[known:]
        if known < len(cells) and (not mark or len(cells) <= width):
            column = next(i for i, cell in enumerate(cells, 1) if i > known and cell.strip())
            message = "a cell has a value and its column no name"
            hint = "name it; a header below a title is found by what `columns` in the manifest names"
            source.fault(message, hint, row=number, line=line, column=column if source.sheet else 0)
            continue
        if len(cells) != known and mark:
            message = f"has {len(cells)} cells, the header {known} columns"
            hint = f'a text with a {mark} in it needs double quotes like these: "…"' if len(cells) > known else ""
            source.fault(message, hint, row=number, line=line)
            continue
        cells += [""] * (known - len(cells))
        values = {name: cell if cell.strip() else None for name, cell in zip(names, cells, strict=True)}
        yield SourceRow(number, line, values, header)


def _found(records: Iterator[Record], source: Source) -> tuple[Record | None, Iterator[Record]]:
    """The record that names the columns, and those below it.

    It is the first; where the manifest names some of them, the one of the first few that has most of these.
    """
    if not source.columns:
        return next(records, None), records
    few = list(islice(records, _ABOVE + 1))
    if not few:
        return None, records
    met = [len(source.columns.keys() & set(map(column_name, record.cells))) for record in few]
    at = met.index(max(met))
    source.above = at
    if at:
        title = next(cell for cell in few[0].cells if cell.strip())
        message = f"{'a row' if at == 1 else f'{at} rows'} above the header: no prompts"
        source.note(message, f"the first has {shown(title)}", line=few[0].line)
    return few[at], chain(few[at + 1 :], records)


def column_name(cell: str) -> str:
    """A cell of the header in one line, without what nobody sees at its ends: spaces, and marks like a BOM."""
    start, end = 0, len(cell)
    while start < end and _is_edge(cell[start]):
        start += 1
    while end > start and _is_edge(cell[end - 1]):
        end -= 1
    return nfc(" ".join(cell[start:end].split()))


def _is_edge(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cf"


def _header(record: Record, source: Source) -> list[str] | None:
    """The names of the columns, as typed or as the manifest calls them; None, and told, where one is faulty."""
    typed = list(map(column_name, record.cells))
    while typed and not typed[-1]:  # of delimiters at the line's end; a cell that has a value there is told
        typed.pop()
    faults: list[tuple[int, str, str]] = [] if typed else [(0, "no column has a name", "")]
    if len(typed) > MAX_COLUMNS:
        source.fault(f"has {len(typed):,} columns; at most {MAX_COLUMNS}", line=record.line)
        return None
    names = [source.columns.get(name, name) for name in typed]
    for missing in source.columns.keys() - set(typed):
        hint = did_you_mean(missing, typed) or f"its columns: {listed(typed)}"
        faults.append((0, f"there is no column {shown(missing)}, which `columns` in the manifest names", hint))
    for index, (was, name) in enumerate(zip(typed, names, strict=True)):
        which = column_letters(index + 1) if source.sheet else index + 1
        if not name:
            faults.append((index + 1, f"column {which} has no name", "name it, or remove it"))
        elif bad := unsafe_character(name):
            faults.append((index + 1, f"the name of column {which} holds the character {bad}", ""))
        elif was in typed[:index]:
            faults.append((index + 1, f"the column {shown(was)} is here twice", "keep one of them"))
        elif name in names[:index]:
            other = typed[names.index(name)]
            message = f"the columns {shown(other)} and {shown(was)} are both called {shown(name)}"
            faults.append((index + 1, message, "give one of them another name under `columns`"))
    for column, message, hint in faults:
        source.fault(message, hint, line=record.line, column=column if source.sheet else 0)
    return None if faults else names
