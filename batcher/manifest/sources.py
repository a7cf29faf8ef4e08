"""Rows of prompts from .csv, .jsonl and .txt files: a stream, one row at a time, faulty rows told and left out."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from batcher.errors import Problem
from batcher.spelling import nfc

from .problems import Fault, Problems, listed
from .values import Value, kind_of, shown, to_number, typed_float, unsafe_character

MAX_LINE = 1_000_000
_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"
_AS_UTF_8 = "save it as UTF-8 (in Excel: CSV UTF-8)"
MAX_COLUMNS = 500
# Rows that are handed on together: so many, or fewer long ones, for what a row grows to is kept until then.
_SOME, _SOME_BYTES = 50, 50_000
MAX_KEY = 200
MAX_DEPTH = 24
# JSON writes whole numbers of fewer characters but for -0 as Python does.
_SHORT = 20
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)
_A_LINE = "a .jsonl has one whole object a line, with nothing between them"
#: The column of a .txt file.
LINE_COLUMN = "prompt"


class SourceRow(NamedTuple):
    """One row: its number among the rows from 1, the line it begins in, and its columns.

    An empty cell is None. `header` is the line that names the columns, 0 where each row names its own.
    """

    number: int
    line: int
    values: dict[str, Value]
    header: int = 0


def suffix_of(name: str) -> str:
    """The suffix that says how a source is read. Raises Fault for others."""
    suffix = Path(name).suffix.lower()
    if suffix not in _READERS:
        raise Fault(f"a prompt file is one of {listed([*_READERS])}")
    return suffix


def read_rows(file: BinaryIO, shown: str, suffix: str, problems: Problems) -> Iterator[list[SourceRow]]:
    """The rows of an open source, some at a time; `shown` is its name in problems.

    Who does one step to some rows, then the next, is faster by a fifth than who takes each row through all steps: the
    processor keeps the code of a step at hand.
    """
    lines = _Lines(file, shown, problems)
    before = problems.count
    empty = True
    some: list[SourceRow] = []
    begun = 0
    try:
        for row in _READERS[suffix](lines):
            some.append(row)
            if len(some) >= _SOME or lines.bytes - begun >= _SOME_BYTES:
                yield some
                some, begun, empty = [], lines.bytes, False
    except _Unreadable as end:
        lines.fault(end.message, row=lines.row, line=end.line, column=end.column, hint=end.hint)
    if some:
        yield some
    elif empty and problems.count == before:
        problems.add(Problem(shown, "has no rows"))


class _Unreadable(Exception):
    """The source cannot be read on."""

    def __init__(self, message: str, hint: str = "", *, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.hint, self.line, self.column = message, hint, line, column


class _Lines:
    """The lines of a UTF-8 file as texts, each bounded; counts them. Raises _Unreadable at what is no text."""

    def __init__(self, file: BinaryIO, shown: str, problems: Problems) -> None:
        self.file, self.shown, self.problems = file, shown, problems
        self.number = 0
        self.row = 0  # that is being read, 0 before the first
        self.bytes = 0
        self.taken = 0
        self.first = 1

    def begin_row(self, row: int) -> None:
        """What comes now is a row of its own, of `MAX_LINE` bytes at most; in a CSV it may go over many lines."""
        self.row = row
        self.taken = 0
        self.first = self.number + 1

    def __iter__(self) -> Iterator[str]:
        for data in _split(self.file):
            self.number += 1
            if self.number == 1:
                if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:2].count(b"\0") == 1:
                    raise _Unreadable("is UTF-16", _AS_UTF_8)
                while data.startswith(_BOM):  # some programs put a second one before the first
                    data = data[len(_BOM) :]
            if len(data) > MAX_LINE:
                raise _Unreadable(f"the line is longer than {MAX_LINE:,} bytes")
            self.bytes += len(data)
            self.taken += len(data)
            if self.taken > MAX_LINE:
                message = f"the row goes on over more than {MAX_LINE:,} bytes; is a quote left open?"
                raise _Unreadable(message, line=self.first)
            try:
                yield data.decode("utf-8")
            except UnicodeDecodeError as error:
                column = len(data[: error.start].decode("utf-8", "replace")) + 1
                message = f"the byte 0x{data[error.start]:02X} is not UTF-8"
                raise _Unreadable(message, _AS_UTF_8, column=column) from None

    def fault(self, message: str, *, row: int = 0, line: int = 0, column: int = 0, hint: str = "") -> None:
        self.problems.add(Problem(self.shown, message, line or self.number, column, row, hint))


def _split(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file with their ends: LF, CRLF, or a CR alone. One that is longer than `MAX_LINE` ends it."""
    rest = b""
    while chunk := file.read(_CHUNK):
        lines = (rest + chunk).splitlines(keepends=True)
        # what has no end yet; a CR may be half of a CRLF
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        yield from lines
        if len(rest) > MAX_LINE:
            break
    if rest:
        yield rest


def _txt_rows(lines: _Lines) -> Iterator[SourceRow]:
    number = 0
    left_out, first = 0, (0, "")
    lines.begin_row(1)
    for line in lines:
        text = line.strip()
        comment = text.startswith("#")
        number += bool(text) and not comment
        lines.begin_row(number + 1)
        if comment:
            first = first if left_out else (lines.number, text)
            left_out += 1
        elif text:
            yield SourceRow(number, lines.number, {LINE_COLUMN: text})
    if left_out:
        what = f"{left_out:,} lines begin with # and are no prompts; the first" if left_out > 1 else "no prompt"
        note = Problem(
            lines.shown, f"{what}: {shown(first[1])}", first[0], hint="a text that begins with # goes into a .csv"
        )
        lines.problems.notes.add(note)


def _csv_rows(lines: _Lines, delimiter: str = "") -> Iterator[SourceRow]:
    texts = iter(lines)
    first = _first_text(texts)
    if told := _SEPARATOR_LINE.fullmatch(first):  # as Excel reads and writes it
        delimiter = told[1]
        first = _first_text(texts)
    # who reads on ahead knows where the first record begins
    first_line = lines.number
    reader = csv.reader(chain([first], texts), delimiter=delimiter or _delimiter(first), strict=True)
    header: list[str] | None = None
    header_line = width = number = 0
    while True:
        # a record may go over several lines; a problem names the first
        line = first_line or lines.number + 1
        if not first_line:
            lines.begin_row(number + 1 if header else 0)
        first_line = 0
        try:
            cells = next(reader, None)
        except csv.Error as error:
            hint = "is a quote left open?" if "limit" in str(error) or "unexpected end" in str(error) else ""
            lines.fault(f"this is not CSV: {error}", row=number + 1 if header else 0, line=line, hint=hint)
            return
        if cells is None:
            return
        if not any(map(str.strip, cells)):
            continue
        if header is None:
            width = len(cells)
            header = _header(cells, lines, line)
            header_line = line
            if header is None:
                return
            continue
        number += 1
        if len(cells) > len(header) and not any(map(str.strip, cells[len(header) :])):
            del cells[len(header) :]
        if len(header) < len(cells) <= width:
            lines.fault("a cell has a value and its column no name", row=number, line=line, hint="name the column")
            continue
        if len(cells) != len(header):
            message = f"has {len(cells)} cells, the header {len(header)} columns"
            mark = {"\t": "tab", ";": "semicolon"}.get(reader.dialect.delimiter, "comma")
            hint = f'a text with a {mark} in it needs double quotes like these: "…"' if len(cells) > len(header) else ""
            lines.fault(message, row=number, line=line, hint=hint)
            continue
        values = {name: cell if cell.strip() else None for name, cell in zip(header, cells, strict=True)}
        yield SourceRow(number, line, values, header_line)


def _first_text(texts: Iterator[str]) -> str:
    return next((text for text in texts if text.strip()), "")


def _delimiter(header: str) -> str:
    """What stands between the columns of a header: a comma, a semicolon or a tab, whichever it has most of."""
    bare = re.sub(r'"[^"]*"?', "", header)
    return max(",;\t", key=bare.count)


def _column_name(cell: str) -> str:
    """A cell of the header without what nobody sees at its ends: spaces, and marks like a BOM in the wrong place."""
    start, end = 0, len(cell)
    while start < end and _is_edge(cell[start]):
        start += 1
    while end > start and _is_edge(cell[end - 1]):
        end -= 1
    return nfc(cell[start:end])


def _is_edge(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cf"


def _header(cells: list[str], lines: _Lines, line: int) -> list[str] | None:
    names = list(map(_column_name, cells))
    while names and not names[-1]:  # of delimiters at the line's end; a cell that has a value there is told
        names.pop()
    fine = bool(names)
    if not fine:
        lines.fault("no column has a name", line=line)
    if len(names) > MAX_COLUMNS:
        lines.fault(f"has {len(names):,} columns; at most {MAX_COLUMNS}", line=line)
        return None
    for index, name in enumerate(names):
        if not name:
            lines.fault(f"column {index + 1} has no name", line=line, hint="name it, or remove it")
            fine = False
        elif bad := unsafe_character(name):
            lines.fault(f"the name of column {index + 1} holds the character {bad}", line=line)
            fine = False
        elif name in names[:index]:
            lines.fault(f"the column {shown(name)} is here twice", line=line, hint="keep one of them")
            fine = False
    return names if fine else None


def _jsonl_rows(lines: _Lines) -> Iterator[SourceRow]:
    # json.loads makes such a decoder for each line
    decoder = json.JSONDecoder(
        object_pairs_hook=_pairs, parse_constant=_no_constant, parse_float=_float, parse_int=_int
    )
    number = 0
    lines.begin_row(1)
    for line in lines:
        text = line.rstrip()
        number += bool(text)
        lines.begin_row(number + 1)
        if not text:
            continue
        try:
            value = decoder.decode(text)
        except Fault as fault:
            lines.fault(fault.message, row=number, hint=fault.hint)
        except json.JSONDecodeError as error:
            lines.fault(f"this is not JSON: {error.msg}", row=number, column=error.colno, hint=_A_LINE)
        except RecursionError:
            lines.fault("this is not JSON: nested too deeply", row=number)
        else:
            if isinstance(value, dict) and text.count("{") + text.count("[") > MAX_DEPTH and _too_deep(value):
                lines.fault(f"nested deeper than {MAX_DEPTH} levels", row=number)
            elif isinstance(value, dict):
                yield SourceRow(number, lines.number, value)
            else:
                lines.fault(f"must be a JSON object {{…}}, not {kind_of(value)}", row=number, hint=_A_LINE)


def _too_deep(value: Value, left: int = MAX_DEPTH) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left < 0 or any(_too_deep(item, left - 1) for item in inner)


def _pairs(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    if len(pairs) > MAX_COLUMNS:
        raise Fault(f"has {len(pairs):,} keys; at most {MAX_COLUMNS}")
    mapping = dict(pairs)
    # no two keys are the same, and all of them together are not too long for one
    if len(mapping) == len(pairs) and len(keys := "".join(mapping)) <= MAX_KEY and keys.isascii():
        return mapping
    mapping = {}
    for typed, value in pairs:
        key = nfc(typed)
        if key in mapping:
            raise Fault(f"the key {shown(key)} is here twice", "keep one of them")
        if len(key) > MAX_KEY:
            raise Fault(f"the key {shown(key)} has {len(key):,} characters; at most {MAX_KEY}")
        mapping[key] = value
    return mapping


def _no_constant(text: str) -> Value:
    raise Fault(f"this is not JSON: {text} is no JSON number")


def _int(text: str) -> Value:
    if len(text) < _SHORT and text != "-0":
        return int(text)
    number = to_number(text)
    if number is None:
        raise Fault("the number is too long", "put it in quotes")
    return number


def _float(text: str) -> Value:
    number = to_number(text)
    if number is None:
        raise Fault("the number is too large", "put it in quotes")
    return number if isinstance(number, float) else typed_float(text)


_READERS: dict[str, Callable[[_Lines], Iterator[SourceRow]]] = {
    ".csv": _csv_rows,
    ".tsv": partial(_csv_rows, delimiter="\t"),
    ".jsonl": _jsonl_rows,
    ".txt": _txt_rows,
}
