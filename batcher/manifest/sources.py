"""Rows of prompts from .csv, .jsonl and .txt files: a stream, one row at a time, faulty rows told and left out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from batcher.errors import Problem

from .problems import Fault, Problems, listed
from .values import Value, kind_of, shown, to_number, typed_float

SUFFIXES = (".csv", ".jsonl", ".txt")
MAX_LINE = 1_000_000
MAX_COLUMNS = 500
# Rows that are handed on together: so many, or fewer long ones, for what a row grows to is kept until then.
_SOME, _SOME_BYTES = 50, 50_000
MAX_KEY = 200
MAX_DEPTH = 24
# JSON writes whole numbers of fewer characters but for -0 as Python does.
_SHORT = 20
#: The column of a .txt file.
LINE_COLUMN = "prompt"


class Row(NamedTuple):
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
    if suffix not in SUFFIXES:
        raise Fault(f"a prompt file is one of {listed(SUFFIXES)}")
    return suffix


def read_rows(file: BinaryIO, shown: str, suffix: str, problems: Problems) -> Iterator[list[Row]]:
    """The rows of an open source, some at a time; `shown` is its name in problems.

    Who does one step to some rows, then the next, is faster by a fifth than who takes each row through all steps: the
    processor keeps the code of a step at hand.
    """
    lines = _Lines(file, shown, problems)
    reader = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".txt": _txt_rows}[suffix]
    before = problems.count
    empty = True
    some: list[Row] = []
    begun = 0
    for row in reader(lines):
        some.append(row)
        if len(some) >= _SOME or lines.bytes - begun >= _SOME_BYTES:
            yield some
            some, begun, empty = [], lines.bytes, False
    if some:
        yield some
    elif empty and problems.count == before:
        problems.add(Problem(shown, "has no rows"))


class _Lines:
    """The lines of a UTF-8 file as texts, each bounded; counts them. Stops, with a problem, at what is no text."""

    def __init__(self, file: BinaryIO, shown: str, problems: Problems) -> None:
        self.file, self.shown, self.problems = file, shown, problems
        self.number = 0
        self.bytes = 0
        self.taken = 0
        self.first = 1
        self.broken = False

    def begin_row(self) -> None:
        """What comes now is a row of its own, of `MAX_LINE` bytes at most; in a CSV it may go over many lines."""
        self.taken = 0
        self.first = self.number + 1

    def __iter__(self) -> Iterator[str]:
        while data := self.file.readline(MAX_LINE + 1):
            self.number += 1
            if self.number == 1:
                if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    self.stop("is UTF-16; save it as UTF-8")
                    return
                data = data.removeprefix(b"\xef\xbb\xbf")
            if len(data) > MAX_LINE:
                self.stop(f"the line is longer than {MAX_LINE:,} bytes")
                return
            self.bytes += len(data)
            self.taken += len(data)
            if self.taken > MAX_LINE:
                self.stop(f"the row goes on over more than {MAX_LINE:,} bytes; is a quote left open?", line=self.first)
                return
            try:
                yield data.decode("utf-8")
            except UnicodeDecodeError as error:
                column = len(data[: error.start].decode("utf-8", "replace")) + 1
                self.stop("is not UTF-8; save it as UTF-8", column)
                return

    def stop(self, message: str, column: int = 0, *, line: int = 0) -> None:
        self.broken = True
        self.problems.add(Problem(self.shown, message, line or self.number, column))

    def fault(self, message: str, *, row: int = 0, line: int = 0, column: int = 0, hint: str = "") -> None:
        self.problems.add(Problem(self.shown, message, line or self.number, column, row, hint))


def _txt_rows(lines: _Lines) -> Iterator[Row]:
    number = 0
    for text in lines:
        lines.begin_row()
        if text.strip():
            number += 1
            yield Row(number, lines.number, {LINE_COLUMN: text.strip()})


def _csv_rows(lines: _Lines) -> Iterator[Row]:
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    header_line = 0
    number = 0
    while True:
        # a record may go over several lines; a problem names the first
        line = lines.number + 1
        lines.begin_row()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if lines.broken:
                return
            hint = "is a quote left open?" if "limit" in str(error) or "unexpected end" in str(error) else ""
            lines.fault(f"this is not CSV: {error}", row=number + 1 if header else 0, line=line, hint=hint)
            return
        if cells is None or lines.broken:
            return
        if not any(cells):
            continue
        if header is None:
            header = _header(cells, lines, line)
            header_line = line
            if header is None:
                return
            continue
        number += 1
        if len(cells) != len(header):
            message = f"has {len(cells)} cells, the header {len(header)} columns"
            hint = 'a text with a comma in it needs double quotes: "a, b"' if len(cells) > len(header) else ""
            lines.fault(message, row=number, line=line, hint=hint)
            continue
        values = {name: cell if cell.strip() else None for name, cell in zip(header, cells, strict=True)}
        yield Row(number, line, values, header_line)


def _header(cells: list[str], lines: _Lines, line: int) -> list[str] | None:
    names = [cell.strip() for cell in cells]
    fine = True
    if len(names) > MAX_COLUMNS:
        lines.fault(f"has {len(names):,} columns; at most {MAX_COLUMNS}", line=line)
        return None
    for index, name in enumerate(names):
        if not name:
            lines.fault(f"column {index + 1} has no name", line=line)
            fine = False
        elif name in names[:index]:
            lines.fault(f"the column {shown(name)} is here twice", line=line, hint="keep one of them")
            fine = False
    if fine and len(names) == 1 and any(c in names[0] for c in ";\t"):
        lines.fault("the columns are not separated by commas", line=line, hint="save it with commas")
        fine = False
    return names if fine else None


def _jsonl_rows(lines: _Lines) -> Iterator[Row]:
    # json.loads makes such a decoder for each line
    decoder = json.JSONDecoder(
        object_pairs_hook=_pairs, parse_constant=_no_constant, parse_float=_float, parse_int=_int
    )
    number = 0
    for line in lines:
        lines.begin_row()
        text = line.rstrip()
        if not text:
            continue
        number += 1
        try:
            value = _decoded(decoder, text)
        except Fault as fault:
            lines.fault(fault.message, row=number, hint=fault.hint)
        except json.JSONDecodeError as error:
            lines.fault(f"this is not JSON: {error.msg}", row=number, column=error.colno)
        except RecursionError:
            lines.fault("this is not JSON: nested too deeply", row=number)
        else:
            if isinstance(value, dict) and _may_be_deep(text) and _too_deep(value):
                lines.fault(f"nested deeper than {MAX_DEPTH} levels", row=number)
            elif isinstance(value, dict):
                yield Row(number, lines.number, value)
            else:
                lines.fault(f"must be a JSON object {{…}}, not {kind_of(value)}", row=number, hint="one object a line")


def _decoded(decoder: json.JSONDecoder, text: str) -> Value:
    try:
        value, end = decoder.raw_decode(text)
    except json.JSONDecodeError:
        end = -1
    # what has spaces before it, something after it or a fault is looked at the long way, which tells the place
    return value if end == len(text) else decoder.decode(text)


def _may_be_deep(text: str) -> bool:
    flat = "[" not in text and text.rfind("{") <= 0
    return not flat and text.count("{") + text.count("[") > MAX_DEPTH


def _too_deep(value: Value, left: int = MAX_DEPTH) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left < 0 or any(_too_deep(item, left - 1) for item in inner)


def _pairs(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    if len(pairs) > MAX_COLUMNS:
        raise Fault(f"has {len(pairs):,} keys; at most {MAX_COLUMNS}")
    mapping = dict(pairs)
    # no two keys are the same, and all of them together are not too long for one
    if len(mapping) == len(pairs) and len("".join(mapping)) <= MAX_KEY:
        return mapping
    mapping = {}
    for key, value in pairs:
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
