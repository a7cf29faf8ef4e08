"""Workbooks (.xlsx) as records of texts, one row at a time, through openpyxl (the extra `xlsx`).

A stranger's workbook is bounded before openpyxl sees it: a zip says what it unpacks to, and Python unpacks no more than
that. Then `_Sheet` goes through the sheet once by itself, for what openpyxl does not tell (formulas without a value,
merged cells, hidden rows) and for what it would take too long over (rows and columns that no sheet has).

A cell comes as the text that a CSV of the sheet would have: see `_text`.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from array import array
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from io import BytesIO
from itertools import islice
from typing import Any, TypeVar
from xml.etree.ElementTree import ParseError, XMLParser

from batcher.install import install_hint
from batcher.spelling import nfc

from .problems import did_you_mean, joined, listed
from .sources import MAX_LINE, NOT_WORKED_OUT, Source, Unreadable
from .tables import Record
from .values import shown

#: Bytes of a file; of its parts without the sheets, which openpyxl keeps in memory; of a sheet, which streams.
MAX_FILE, MAX_PARTS, MAX_SHEET = 64_000_000, 100_000_000, 500_000_000
#: No spreadsheet program has more.
MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
# Merged ranges that are told one by one.
_TOLD = 20
# Rows that openpyxl reads at a time.
_SOME = 100
_CHUNK = 1 << 16
_OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the container of .xls, and of a .xlsx that has a password
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_ROOT, _ROW, _CELL, _FORMULA, _VALUE, _MERGED = (
    _MAIN + tag for tag in ("worksheet", "row", "c", "f", "v", "mergeCell")
)
_REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
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
    page = _chosen(book.worksheets, source)
    path = page._worksheet_path  # openpyxl keeps to itself which part of the archive a sheet is
    about = _read(lambda: _Sheet(archive, path))
    page.reset_dimensions()  # what a file says of a sheet's size need not be true
    told = False
    for line, texts in _lines(page.iter_rows()):
        for column in about.not_worked_out(line):
            texts[column - 1] = NOT_WORKED_OUT
        if not any(map(str.strip, texts)):
            continue
        source.line = line
        if (size := sum(map(len, texts))) > MAX_LINE:
            raise Unreadable(f"the row has more than {MAX_LINE:,} characters")
        source.size += size
        if not told:
            about.tell(source, line, len(texts))
            told = True
        yield Record(line, texts)
        source.row += 1


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
        if len(found) > 1:
            message = f"the rows are those of the first sheet, {shown(found[0].title)}"
            source.note(message, f"`sheet:` names another: {listed([page.title for page in found[1:]])}")
    source.sheet = str(found[0].title)
    return found[0]


def _lines(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[int, list[str]]]:
    """The rows as texts, with their numbers; empty ones too."""
    line = 0
    while some := _read(lambda: [list(map(_text, row)) for row in islice(rows, _SOME)]):
        yield from enumerate(some, line + 1)
        line += len(some)


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


def _text(cell: Any) -> str:
    """A cell as a CSV of the sheet would have it, but for dates, which are written 2026-11-29 in every language.

    Numbers come as they are, to the 15 digits that spreadsheets have; where their format is nothing but zeros (000,
    0.00, 0%), they come as they are shown.
    """
    match cell.value:
        case None:
            return ""
        case str() as text:
            if "_x" in text:
                text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
            return text.replace("\r\n", "\n").replace("\r", "\n")
        case bool() as truth:
            return "TRUE" if truth else "FALSE"
        case int() | float() as number:
            return _number(number, cell.number_format)
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


class _Sheet:
    """What openpyxl does not tell of a sheet: a target of the XML parser, so that nothing is built of what it reads.

    Raises Unreadable for what no spreadsheet program writes.
    """

    def __init__(self, archive: zipfile.ZipFile, path: str) -> None:
        self.row = self.column = 0
        self.hidden, self.merged, self.more = 0, list[str](), 0
        self.formula = self.inside = self.has_value = False
        self.lacking = array("Q")  # row * MAX_COLUMNS + column of each formula without a value, ascending
        self.next = 0
        parser = XMLParser(target=self)  # noqa: S314 - what makes XML a danger stands in a DOCTYPE, which is refused
        with archive.open(path) as part:
            while chunk := part.read(_CHUNK):
                parser.feed(chunk)
        try:
            parser.close()
        except ParseError as error:
            raise Unreadable(f"cannot be read as a workbook: {error}", _SAVE) from None

    def doctype(self, *_: object) -> None:
        raise Unreadable("has a DOCTYPE, which no workbook has")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == _VALUE:
            self.inside = True
        elif tag == _CELL:
            self.begin_cell(attributes)
        elif tag == _FORMULA:
            self.formula = True
        elif tag == _ROW:
            self.begin_row(attributes)
        elif tag == _MERGED:
            if len(self.merged) < _TOLD:
                self.merged.append(attributes.get("ref", ""))
            else:
                self.more += 1
        elif tag.endswith("}worksheet") and tag != _ROOT:
            raise Unreadable("is a Strict Open XML workbook", "save it as an Excel workbook (.xlsx)")

    def begin_row(self, attributes: dict[str, str]) -> None:
        row = int(attributes.get("r") or self.row + 1)
        if not self.row < row <= MAX_ROWS:
            raise Unreadable(f"row {row} stands after row {self.row}; a sheet has rows 1 to {MAX_ROWS:,}, in order")
        self.row, self.column = row, 0
        self.hidden += attributes.get("hidden") in ("1", "true")

    def begin_cell(self, attributes: dict[str, str]) -> None:
        row, column = self.row, self.column + 1
        if name := attributes.get("r"):
            if not (found := _REFERENCE.fullmatch(name)):
                raise Unreadable(f"a cell of row {self.row} is called {shown(name)}")
            column, row = _column(found[1]), int(found[2])
        if row != self.row or not self.column < column <= MAX_COLUMNS:
            raise Unreadable(f"the cell {shown(name or '')} in row {self.row} is out of place")
        self.column = column
        self.formula, self.has_value = False, attributes.get("t") == "str"

    def data(self, _: str) -> None:
        self.has_value = self.has_value or self.inside

    def end(self, tag: str) -> None:
        if tag == _VALUE:
            self.inside = False
        elif tag == _CELL and self.formula and not self.has_value:
            self.lacking.append(self.row * MAX_COLUMNS + self.column - 1)

    def close(self) -> None:
        """There is nothing to hand back."""

    def not_worked_out(self, row: int) -> set[int]:
        """The columns of a row whose formulas have no value; rows are asked for in their order."""
        columns = set()
        while self.next < len(self.lacking) and self.lacking[self.next] // MAX_COLUMNS <= row:
            columns.add(self.lacking[self.next] % MAX_COLUMNS + 1)
            self.next += 1
        return columns

    def tell(self, source: Source, header: int, width: int) -> None:
        """Notes of what may not be meant, for a table with its header in this row, of so many columns."""
        if self.hidden:
            source.note(
                f"hidden rows count all the same, and there are {self.hidden:,}",
                "delete what is not wanted, or copy what is to a sheet of its own",
            )
        for cells in self.merged:
            found = _REFERENCE.findall(cells)
            if len(found) == 2 and int(found[1][1]) > header and (column := _column(found[0][0])) <= width:
                message = f"the cells {cells} are merged: the first has the value, the others are empty"
                source.note(message, "unmerge them, and fill in each", line=int(found[0][1]), column=column)
        if self.more:
            source.note(f"{self.more:,} more ranges of cells are merged")


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number
