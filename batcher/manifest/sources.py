"""A file of prompts while it is read: its rows, its lines as bounded texts, and where its faults stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from batcher.errors import Problem

from .problems import Fault, Problems
from .values import Value, shown

MAX_LINE = 1_000_000
MAX_COLUMNS = 500
#: Stands in the cell of a workbook for the value of a formula that nobody has worked out.
NOT_WORKED_OUT = "#FORMULA!"
_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"
_AS_UTF_8 = "save it as UTF-8 (in Excel: CSV UTF-8), or name the .xlsx itself"


class Header(NamedTuple):
    """The head of a table: line, sheet (empty for a CSV), and of each column where it stands, from 1, and as typed."""

    line: int
    sheet: str
    columns: dict[str, int]
    typed: dict[str, str]


class SourceRow(NamedTuple):
    """One row: its number among the rows from 1, the line it begins in, and its columns.

    An empty cell is None. `header` is None where each row names its own columns.
    """

    number: int
    line: int
    values: dict[str, Value]
    header: Header | None = None

    def problem(self, file: str, fault: Fault, column: str = "") -> Problem:
        """A fault of this row, in a workbook also at the cell of a column."""
        message, header = fault.message, self.header
        if header and (typed := header.typed.get(column, column)) != column:
            message += f" (the column {shown(typed)})"
        if header is None or not header.sheet:
            return Problem(file, message, self.line, row=self.number, hint=fault.hint)
        return Problem(file, message, self.line, header.columns.get(column, 0), self.number, fault.hint, header.sheet)

    def header_problem(self, file: str, fault: Fault, column: str = "") -> Problem:
        """A fault of a column's name: in the header, or in this row where it names its own columns."""
        if self.header is None:
            return self.problem(file, fault)
        return self._replace(number=0, line=self.header.line).problem(file, fault, column)


class Unreadable(Exception):
    """The source cannot be read on."""

    def __init__(self, message: str, hint: str = "", *, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.hint, self.line, self.column = message, hint, line, column


@dataclass
class Source:
    """An open file of prompts: `shown` is its name in problems, `columns` what its columns are to be called.

    `sheet` is the sheet of a workbook: the one that is asked for, then the one that is read.
    """

    file: BinaryIO
    shown: str
    problems: Problems
    columns: Mapping[str, str] = field(default_factory=dict)
    sheet: str = ""
    #: where the reader is: the line, and the row, which is 0 before the first; and what stands above a header
    line: int = 0
    row: int = 0
    above: int = 0
    #: bytes or characters that were read, for who bounds what is kept
    size: int = 0
    #: keys of `columns` that some row has had
    met: set[str] = field(default_factory=set)

    def fault(self, message: str, hint: str = "", *, row: int = 0, line: int = 0, column: int = 0) -> None:
        """Tell a fault at a place, by itself the line that is being read."""
        self.problems.add(Problem(self.shown, message, line or self.line, column, row, hint, self.sheet))

    def note(self, message: str, hint: str = "", *, line: int = 0, column: int = 0) -> None:
        """Tell what is no fault and may not be meant."""
        self.problems.notes.add(Problem(self.shown, message, line, column, hint=hint, sheet=self.sheet))


class Lines:
    """The lines of a UTF-8 file as texts, each bounded; counts them. Raises Unreadable at what is no text."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.taken = 0
        self.first = 1

    def begin_row(self, row: int) -> None:
        """What comes now is a row of its own, of `MAX_LINE` bytes at most; in a CSV it may go over many lines."""
        self.source.row = row
        self.taken = 0
        self.first = self.source.line + 1

    def __iter__(self) -> Iterator[str]:
        source = self.source
        for data in _split(source.file):
            source.line += 1
            if source.line == 1:
                if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:2].count(b"\0") == 1:
                    raise Unreadable("is UTF-16", _AS_UTF_8)
                while data.startswith(_BOM):  # some programs put a second one before the first
                    data = data[len(_BOM) :]
            if len(data) > MAX_LINE:
                raise Unreadable(f"the line is longer than {MAX_LINE:,} bytes")
            source.size += len(data)
            self.taken += len(data)
            if self.taken > MAX_LINE:
                message = f"the row goes on over more than {MAX_LINE:,} bytes; is a quote left open?"
                raise Unreadable(message, line=self.first)
            try:
                yield data.decode("utf-8")
            except UnicodeDecodeError as error:
                column = len(data[: error.start].decode("utf-8", "replace")) + 1
                message = f"the byte 0x{data[error.start]:02X} is not UTF-8"
                raise Unreadable(message, _AS_UTF_8, column=column) from None


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
