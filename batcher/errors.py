"""One tree of errors. Each has a kind (which decides the exit code), what happened, and what to do now.

    BatcherError
    ├── UsageError          2  wrong arguments, an unknown campaign, a missing key
    │   ├── UnknownJob      2  no job has that id
    │   └── AmbiguousJob    2  several jobs have an id that begins so
    ├── ManifestError       2  every problem of the manifests at once
    ├── KeyRefused          4  the API refused the key or its scope
    ├── LedgerLocked        5  another run holds the ledger
    ├── ApiUnavailable      6  the API could not be reached for too long
    └── StorageError        7  ledger or disk unusable

The library raises; only `batcher.cli` prints and exits. Nobody else knows exit codes: see `exit_code`.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """Why a run or a command ended; `exit_code` maps it to the contract's numbers."""

    DONE = "done"
    UNFINISHED = "unfinished"
    USAGE = "usage"
    CAPPED = "capped"
    KEY = "key"
    LOCKED = "locked"
    UNREACHABLE = "unreachable"
    STORAGE = "storage"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"


_EXIT_CODES = {
    Kind.DONE: 0,
    Kind.UNFINISHED: 1,
    Kind.USAGE: 2,
    Kind.CAPPED: 3,
    Kind.KEY: 4,
    Kind.LOCKED: 5,
    Kind.UNREACHABLE: 6,
    Kind.STORAGE: 7,
    Kind.INTERRUPTED: 130,
    Kind.TERMINATED: 143,
}

#: Where several reasons hold, the first of these is the one that is told.
PRECEDENCE = (
    Kind.INTERRUPTED,
    Kind.TERMINATED,
    Kind.STORAGE,
    Kind.KEY,
    Kind.UNREACHABLE,
    Kind.CAPPED,
    Kind.UNFINISHED,
    Kind.DONE,
)


def exit_code(kind: Kind) -> int:
    """The process exit code of a kind, as the contract's table has it."""
    return _EXIT_CODES[kind]


def first_of(kinds: list[Kind]) -> Kind:
    """The kind that is told when several hold; `DONE` when none does."""
    return min(kinds, key=PRECEDENCE.index, default=Kind.DONE)


class BatcherError(Exception):
    """Something a user can understand and act on.

    `message` says what happened and where; `hint` says what to do now.
    """

    kind: Kind = Kind.USAGE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(BatcherError):
    """Wrong arguments, an unknown campaign, a missing key."""


class Problem(NamedTuple):
    """One fault of a manifest or of a file that it names.

    `line` and `column` count from 1; 0 means that the fault has no place in the file. `row` is the data row of a source
    of prompts, counted from 1; 0 means none. In a workbook's `sheet`, they are its row and its column.
    """

    file: str
    message: str
    line: int = 0
    column: int = 0
    row: int = 0
    hint: str = ""
    sheet: str = ""

    def __str__(self) -> str:
        place = self.file
        if self.sheet:
            parts = [f"sheet {self.sheet!r}"]
            parts += [f"row {self.line}"] if self.line else []
            parts += [f"column {column_letters(self.column)}"] if self.column else []
            place += f" ({', '.join(parts)})"
        elif self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        if self.row and not self.sheet:
            place += f" (row {self.row})"
        return f"{place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


def column_letters(number: int) -> str:
    """A spreadsheet's name of a column, counted from 1: `A`, `Z`, `AA`."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


class ManifestError(BatcherError):
    """Every problem of the manifests, in one go; nothing was sent."""

    def __init__(self, problems: list[Problem], *, more: int = 0) -> None:
        self.problems = problems
        self.more = more
        count = len(problems) + more
        lines = [str(p) for p in problems]
        if more:
            lines.append(f"… and {more} more")
        super().__init__("\n".join(lines), hint=f"{count} error{'s' * (count != 1)}; nothing was sent.")


class UnknownJob(UsageError):
    """No job has an id that begins so."""


class AmbiguousJob(UsageError):
    """Several jobs have an id that begins so."""


class KeyRefused(BatcherError):
    """The API refused the key or its scope; nothing is lost."""

    kind = Kind.KEY


class LedgerLocked(BatcherError):
    """Another run holds this ledger."""

    kind = Kind.LOCKED


class ApiUnavailable(BatcherError):
    """The API could not be reached, is switched off, or asked to wait for too long."""

    kind = Kind.UNREACHABLE


class StorageError(BatcherError):
    """The ledger or the disk cannot be used."""

    kind = Kind.STORAGE


class Stopped(BaseException):
    """A run was asked to end while nothing was under way that had to be ended politely."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
