"""Workbooks (.xlsx) as records of texts, one row at a time, through openpyxl (the extra `xlsx`).

A stranger's workbook is bounded before openpyxl sees it: a zip says what it unpacks to, and Python unpacks no more than
that. Rows are taken from the sheet's XML here and worked out by openpyxl's parser: its own loop does not tell formulas
without a value, merged cells and hidden rows, makes up rows that are not there, and fails over filters and the like.

A cell comes as the text that a CSV of the sheet would have: see `_Sheet.text`.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from io import BytesIO
from itertools import islice
from typing import Any, TypeVar
from xml.etree.ElementTree import Element, iterparse

from batcher.install import install_hint
from batcher.spelling import nfc
from batcher.text import did_you_mean

from .problems import joined, listed
from .sources import MAX_LINE, NOT_WORKED_OUT, Source, Unreadable
from .tables import Record
from .values import shown

#: Bytes of a file; of its parts without the sheets, which openpyxl keeps in memory; of a sheet, which streams.
MAX_FILE, MAX_PARTS, MAX_SHEET = 64_000_000, 100_000_000, 500_000_000
#: No spreadsheet program has more.
MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
# Merged ranges that are told one by one.
_TOLD = 20
# Rows that are read at a time.
_SOME = 100
_OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the container of .xls, and of a .xlsx that has a password
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_SHEET, _LINE, _FORMULA, _VALUE, _MERGED = (_MAIN + tag for tag in ("worksheet", "row", "f", "v", "mergeCell"))
# Number formats whose look is part of what was typed: 007, 1.50, 50%.
_PLAIN = re.compile(r"(0+)(?:\.(0+))?(%?)")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_SAVE = "open it in Excel or LibreOffice, and save it as .xlsx"
_T = TypeVar("_T")


def records(source: Source) -> Iterator[Record]:
    """What is not empty in the sheet that a source asks for, else in the first that is to be seen.

    Raises Unreadable where it is no workbook, is too large, has no such sheet, or where openpyxl is not installed.
    """
    try:
        import openpyxl
    except ImportError:
        raise Unreadable("a .xlsx needs what is not installed (openpyxl)", install_hint("xlsx")) from None
    data = source.file.read(MAX_FILE + 1)
    archive = _archive(data)
    book = _read(lambda: openpyxl.load_workbook(BytesIO(data), read_only=True, data_only=True, keep_links=False))
    sheet = _Sheet(archive, book, _chosen(book.worksheets, source))
    rows = sheet.rows()
    header = width = 0
    while some := _read(lambda: list(islice(rows, _SOME))):
        for line, cells in some:
            source.line = line
            if (size := sum(map(len, cells))) > MAX_LINE:
                raise Unreadable(f"the row has more than {MAX_LINE:,} characters")
            source.size += size
            if not header:
                header, width = line, len(cells)
            yield Record(line, cells)
            source.row += 1
    sheet.tell(source, header, width)


def _archive(data: bytes) -> zipfile.ZipFile:
    """The parts of a workbook, within bounds. Raises Unreadable."""
    if len(data) > MAX_FILE:
        raise Unreadable(f"is larger than {MAX_FILE:,} bytes", "put the rows into a .csv")
    if data.startswith(_OLD):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise Unreadable("has a password", "save it without one")
        raise Unreadable("is an old Excel file, whatever its name says", _SAVE)
    try:
        archive = zipfile.ZipFile(BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        hint = "is it a .csv?" if data[:500].isascii() and data.strip() else _SAVE
        raise Unreadable("is no .xlsx, whatever its name says" if data else "is empty", hint) from None
    parts = archive.infolist()
    if any(part.flag_bits & 1 for part in parts):
        raise Unreadable("has a password", "save it without one")
    if "[Content_Types].xml" not in archive.namelist():
        raise Unreadable("is no .xlsx, whatever its name says", _SAVE)
    sheets = [part.file_size for part in parts if "/worksheets/" in part.filename]
    if sum(part.file_size for part in parts) - sum(sheets) > MAX_PARTS or max(sheets, default=0) > MAX_SHEET:
        raise Unreadable(f"unpacks to more than {MAX_PARTS:,} bytes, or a sheet of it to more than {MAX_SHEET:,}")
    return archive


def _chosen(pages: list[Any], source: Source) -> Any:
    """The sheet that a source asks for; a note where nobody asks and there are several. Raises Unreadable."""
    names = [str(page.title) for page in pages]
    if asked := source.sheet:
        source.sheet = ""  # until it is known to be there
        found = [page for page in pages if nfc(page.title) == nfc(asked)]
        if len(found) != 1:
            hint = joined(did_you_mean(asked, names), f"it has {listed(names)}" if names else "")
            raise Unreadable(f"has {'no' if not found else len(found)} sheet{'s' * bool(found)} {shown(asked)}", hint)
    else:
        found = [page for page in pages if page.sheet_state == "visible"]
        if not found:
            raise Unreadable("has no sheet that is to be seen", joined("", f"it has {listed(names)}" if names else ""))
        others = [page.title for page in found[1:] if page.max_row != 1]  # one row or none is no table
        if others:
            message = f"the rows are those of the first sheet, {shown(found[0].title)}"
            source.note(message, f"`sheet:` names another: {listed(others)}")
    source.sheet = str(found[0].title)
    return found[0]


def _read(work: Callable[[], _T]) -> _T:
    """What some work on a stranger's workbook comes to, without warnings of the library. Raises Unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()
    except Unreadable:
        raise
    except Exception as error:  # there is no end to what a damaged workbook makes a reader raise
        raise Unreadable(f"cannot be read as a workbook: {type(error).__name__}: {error}", _SAVE) from None


class _Sheet:
    """A sheet while it is read, and what is to be told of it at its end."""

    def __init__(self, archive: zipfile.ZipFile, book: Any, page: Any) -> None:
        from openpyxl.worksheet._reader import WorkSheetParser

        self.archive, self.page = archive, page
        self.parser = WorkSheetParser(
            None,
            page._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        # a program that does not calculate writes 0, or what was there before, and asks the next one to do it
        self.stale = bool(book.calculation and book.calculation.fullCalcOnLoad)
        self.looks: dict[int, str] = {}
        self.hidden, self.merged, self.more = 0, list[str](), 0

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows with something in them, and their numbers. Raises what the sheet's XML makes a parser raise."""
        last = 0
        with self.archive.open(self.page._worksheet_path) as part:
            for _, element in iterparse(part):  # noqa: S314 - expat bounds what entities grow to
                if element.tag == _LINE:
                    empty = not any(map(len, element))  # formatted down to the last row, as many are
                    line, cells = (int(element.get("r", last + 1)), []) if empty else self.row(element)
                    if not last < line <= MAX_ROWS:
                        message = f"row {line} stands after row {last}; a sheet has rows 1 to {MAX_ROWS:,}, in order"
                        raise Unreadable(message)
                    last = self.parser.row_counter = line
                    if any(map(str.strip, cells)):
                        self.hidden += element.get("hidden") in ("1", "true")
                        yield line, cells
                    element.clear()
                elif element.tag == _MERGED:
                    self.more += len(self.merged) >= _TOLD
                    self.merged += [element.get("ref", "")] if len(self.merged) < _TOLD else []
                elif element.tag.endswith("}worksheet") and element.tag != _SHEET:
                    raise Unreadable("is a Strict Open XML workbook", "save it as an Excel workbook (.xlsx)")

    def row(self, element: Element) -> tuple[int, list[str]]:
        line, cells = self.parser.parse_row(element)
        self.parser.row_dimensions.clear()
        texts: list[str] = []
        for cell, made in zip(cells, element, strict=True):
            if cell["row"] != line or not len(texts) < cell["column"] <= MAX_COLUMNS:
                raise Unreadable(f"the cell {shown(made.get('r', ''))} in row {line} is out of place")
            texts += [""] * (cell["column"] - len(texts) - 1)
            known = made.find(_FORMULA) is None or (
                not self.stale and (made.get("t") == "str" or made.findtext(_VALUE))
            )
            texts.append(self.text(cell) if known else NOT_WORKED_OUT)
        return line, texts

    def text(self, cell: dict[str, Any]) -> str:
        """A cell as a CSV of the sheet would have it, but for dates, which are written 2026-11-29 in every language.

        Numbers come as they are, to the 15 digits that spreadsheets have; where their format is nothing but zeros (000,
        0.00, 0%), they come as they are shown.
        """
        match cell["value"]:
            case None:
                return ""
            case str() as text:
                if "_x" in text:
                    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
                return text.replace("\r\n", "\n").replace("\r", "\n")
            case bool() as truth:
                return "TRUE" if truth else "FALSE"
            case int() | float() as number:
                return _number(number, self.look(cell))
            case datetime() as moment:
                clock = _clock(moment.time())
                return f"{moment:%Y-%m-%d}" + ("" if clock == "00:00" else f" {clock}")
            case date() as day:
                return day.isoformat()
            case time() as clock:
                return _clock(clock)
            case timedelta() as span:
                minutes, seconds = divmod(round(span.total_seconds()), 60)
                return f"{minutes // 60}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")
            case other:
                raise Unreadable(f"a cell holds {type(other).__name__}")

    def look(self, cell: dict[str, Any]) -> str:
        """The number format of a cell."""
        from openpyxl.cell.read_only import ReadOnlyCell

        style = cell["style_id"]
        if style not in self.looks:
            self.looks[style] = ReadOnlyCell(self.page, **cell).number_format
        return self.looks[style]

    def tell(self, source: Source, header: int, width: int) -> None:
        """Notes of what may not be meant, for a table with its header in this row, of so many columns."""
        from openpyxl.utils import range_boundaries

        if self.hidden:
            hint = "delete what is not wanted, or copy what is to a sheet of its own"
            source.note(f"hidden rows count all the same, and there are {self.hidden:,}", hint)
        for cells in self.merged:
            # Whole columns (A:B) have no lines, whole rows (1:2) no columns.
            column, line, _, last = _read(partial(range_boundaries, cells)) if cells else (None, None, None, 0)
            column, line = column or 1, line or 1
            if (last is None or last > header) and column <= width:
                message = f"the cells {cells} are merged: the first has the value, the others are empty"
                source.note(message, "unmerge them, and fill in each", line=line, column=column)
        if self.more:
            source.note(f"{self.more:,} more ranges of cells are merged")


def _clock(clock: time) -> str:
    return f"{clock:%H:%M:%S}" if clock.second else f"{clock:%H:%M}"


def _number(number: int | float, look: str) -> str:
    if found := _PLAIN.fullmatch(look):
        whole, decimals, percent = found[1], found[2] or "", found[3]
        exact = Decimal(repr(number)) * (100 if percent else 1)
        rounded = exact.quantize(Decimal(1).scaleb(-len(decimals)), ROUND_HALF_UP)
        width = len(whole) + (len(decimals) + 1 if decimals else 0)
        return f"{'-' if rounded < 0 else ''}{abs(rounded):0{width}f}{percent}"
    return str(number) if isinstance(number, int) else f"{number:.15g}"
