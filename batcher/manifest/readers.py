"""Rows of prompts from files: a stream, one row at a time, faulty rows told and left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from batcher.errors import Problem
from batcher.spelling import nfc

from .problems import Fault, listed
from .sources import MAX_COLUMNS, Lines, Source, SourceRow, Unreadable
from .tables import csv_rows, xlsx_rows
from .values import Value, kind_of, shown, to_number, typed_float

# Rows that are handed on together: so many, or fewer long ones, for what a row grows to is kept until then.
_SOME, _SOME_BYTES = 50, 50_000
MAX_KEY = 200
MAX_DEPTH = 24
# JSON writes whole numbers of fewer characters but for -0 as Python does.
_SHORT = 20
_A_LINE = "a .jsonl has one whole object a line, with nothing between them"
#: The column of a .txt file.
LINE_COLUMN = "prompt"


def suffix_of(name: str) -> str:
    """The suffix that says how a source is read. Raises Fault for others."""
    suffix = Path(name).suffix.lower()
    if suffix not in _READERS:
        hint = "save it as .xlsx" if suffix in (".xls", ".xlsm", ".xlsb", ".ods", ".numbers") else ""
        raise Fault(f"a prompt file is one of {listed([*_READERS])}", hint)
    return suffix


def check_kind(suffix: str, entry: Mapping[str, object]) -> None:
    """Raise Fault where an entry says of its file what files of this kind do not have."""
    if "sheet" in entry and suffix != ".xlsx":
        raise Fault("only a .xlsx has sheets", "remove `sheet`")
    if "columns" in entry and suffix == ".txt":
        raise Fault("a .txt has no columns", "remove `columns`; a line of it is the prompt")


def read_rows(source: Source, suffix: str) -> Iterator[list[SourceRow]]:
    """The rows of an open source, some at a time.

    Who does one step to some rows, then the next, is faster by a fifth than who takes each row through all steps: the
    processor keeps the code of a step at hand.
    """
    before = source.problems.count
    empty = True
    some: list[SourceRow] = []
    begun = 0
    try:
        for row in _READERS[suffix](source):
            some.append(row)
            if len(some) >= _SOME or source.size - begun >= _SOME_BYTES:
                yield some
                some, begun, empty = [], source.size, False
    except Unreadable as end:
        number = max(0, source.row - source.above)
        source.fault(end.message, end.hint, row=number, line=end.line, column=end.column)
    if some:
        yield some
    elif empty and source.problems.count == before:
        source.problems.add(Problem(source.shown, "has no rows", sheet=source.sheet))


def _txt_rows(source: Source) -> Iterator[SourceRow]:
    lines = Lines(source)
    number = 0
    left_out, first = 0, (0, "")
    lines.begin_row(1)
    for line in lines:
        text = line.strip()
        comment = text.startswith("#")
        number += bool(text) and not comment
        lines.begin_row(number + 1)
        if comment:
            first = first if left_out else (source.line, text)
            left_out += 1
        elif text:
            yield SourceRow(number, source.line, {LINE_COLUMN: text})
    if left_out:
        what = f"{left_out:,} lines begin with # and are no prompts; the first" if left_out > 1 else "no prompt"
        source.note(f"{what}: {shown(first[1])}", "a text that begins with # goes into a .csv", line=first[0])


def _jsonl_rows(source: Source) -> Iterator[SourceRow]:
    # json.loads makes such a decoder for each line
    decoder = json.JSONDecoder(
        object_pairs_hook=_pairs, parse_constant=_no_constant, parse_float=_float, parse_int=_int
    )
    lines = Lines(source)
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
            source.fault(fault.message, fault.hint, row=number)
        except json.JSONDecodeError as error:
            source.fault(f"this is not JSON: {error.msg}", _A_LINE, row=number, column=error.colno)
        except RecursionError:
            source.fault("this is not JSON: nested too deeply", row=number)
        else:
            if isinstance(value, dict) and text.count("{") + text.count("[") > MAX_DEPTH and _too_deep(value):
                source.fault(f"nested deeper than {MAX_DEPTH} levels", row=number)
            elif isinstance(value, dict):
                if source.columns and (value := _renamed(value, source)) is None:
                    source.fault("two of its keys have the same name under `columns`", row=number)
                    continue
                yield SourceRow(number, source.line, value)
            else:
                source.fault(f"must be a JSON object {{…}}, not {kind_of(value)}", _A_LINE, row=number)
    for name in source.columns.keys() - source.met if number else ():
        source.fault(f"no row has the key {shown(name)}, which `columns` in the manifest names")


def _renamed(values: dict[str, Value], source: Source) -> dict[str, Value] | None:
    """The values of a row by the names that `columns` gives them; None where two get the same."""
    source.met.update(source.columns.keys() & values.keys())
    renamed = {source.columns.get(name, name): value for name, value in values.items()}
    return renamed if len(renamed) == len(values) else None


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


_READERS: dict[str, Callable[[Source], Iterator[SourceRow]]] = {
    ".csv": csv_rows,
    ".tsv": partial(csv_rows, delimiter="\t"),
    ".xlsx": xlsx_rows,
    ".jsonl": _jsonl_rows,
    ".txt": _txt_rows,
}
