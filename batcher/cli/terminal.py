"""The only place that prints: results to stdout, everything else to stderr.

Most pages are texts and tables that fit; these are written as they are. Rich, whose import takes as long as all the
rest of a command that only looks, is called where something has to be coloured, wrapped or folded (`console`).
"""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, cast

from batcher.text import number, safe

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

#: So wide is a table that goes into a pipe or a file: nothing is cut or wrapped there.
_PIPE_WIDTH = 4000
_BETWEEN = "   "

#: What a pipe without a reader says, and a terminal that is gone.
_NOBODY_READS = (errno.EPIPE, errno.EIO, errno.ENXIO, errno.ECONNRESET)


class ReaderGone(Exception):
    """Nobody reads stdout any more (`batcher jobs | head`). No OSError, for which click has plans of its own."""


class OutputLost(ReaderGone):
    """Stdout cannot be written though somebody may read it: the disk behind it is full. The message says why."""


class _Unbreakable(io.TextIOBase):
    """A stream whose end nobody may feel: a closed terminal must not end a run that has money under way."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            hush(self._stream)
        except ValueError:  # closed
            pass
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            hush(self._stream)
        except ValueError:  # closed
            return

    def isatty(self) -> bool:
        try:
            return self._stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(getattr(self._stream, "encoding", None) or "utf-8")


class Styled:
    """A text in parts, each with its style in Rich's words; Rich itself is only called where styles are shown."""

    def __init__(self, *parts: tuple[str, str]) -> None:
        self._parts = parts

    def __str__(self) -> str:
        return "".join(text for text, _ in self._parts)

    def __rich__(self) -> Text:
        from rich.text import Text

        return Text.assemble(*self._parts)


class Grid:
    """A plain table: no lines but one under the headers. Cells are safe; `numbers` are the columns set to the right.

    With `total` the last row is a sum.
    """

    def __init__(
        self, headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: frozenset[str], total: bool
    ) -> None:
        self._headers = headers
        self._rows = rows
        self._numbers = numbers
        self._total = total

    def __rich__(self) -> RenderableType:
        from .console import Folding

        return Folding(self._headers, self._rows, self._numbers, self._total)

    def lines(self, width: int, bold: tuple[str, str]) -> list[str] | None:
        """The same lines as Rich's, if they fit into `width` and are in ASCII; `bold` stands around bold ones."""
        listed = [list(self._headers), *self._rows]
        if not all(cell.isascii() and cell.isprintable() for row in listed for cell in row):
            return None
        widths = [max(map(len, column)) for column in zip(*listed, strict=True)]
        whole = sum(widths) + len(_BETWEEN) * (len(widths) - 1)
        if whole > width:
            return None
        right = [header in self._numbers for header in self._headers]
        made = [
            _BETWEEN.join(
                cell.rjust(room) if to_right else cell.ljust(room)
                for cell, room, to_right in zip(row, widths, right, strict=True)
            ).rstrip()
            for row in listed
        ]
        for place in {0, len(self._rows)} if self._total else {0}:
            made[place] = f"{bold[0]}{made[place]}{bold[1]}"
        return [made[0], "─" * whole, *made[1:]]


class _Side:
    """One of the two streams."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.is_terminal = _is_terminal(stream)
        # Rich takes NO_COLOR to mean "no colours, but bold"; who sets it expects no escapes at all.
        self.plain = bool(os.environ.get("NO_COLOR")) or not self.is_terminal

    @cached_property
    def console(self) -> Console:
        from .console import make_console

        width = None if self.is_terminal else _PIPE_WIDTH
        return make_console(self.stream, terminal=self.is_terminal, plain=self.plain, width=width)

    @property
    def width(self) -> int:
        """In columns."""
        return _columns() if self.is_terminal else _PIPE_WIDTH

    def print(self, part: RenderableType) -> None:
        lines = self._as_they_are(part)
        if lines is not None:
            self.stream.write("".join(f"{line}\n" for line in lines))
            self.stream.flush()
            return
        from .console import print_on

        print_on(self.console, part.__rich__() if isinstance(part, Styled) else part)

    def _as_they_are(self, part: RenderableType) -> list[str] | None:
        """The lines of a part that needs no colours, wrapping or cleaning; None for another one."""
        if isinstance(part, Grid):
            return part.lines(self.width, ("", "") if self.plain or _is_dumb() else ("\x1b[1m", "\x1b[0m"))
        if isinstance(part, Styled) and self.plain:
            part = str(part)
        if not isinstance(part, str):
            return None
        lines, width = part.split("\n"), self.width
        if not all(map(str.isprintable, lines)):
            return None
        if all(len(line) * (1 if line.isascii() else 2) <= width for line in lines):
            return lines
        return _wrapped(lines, width) if part.isascii() else None


class Terminal:
    """Stdout and stderr of one command."""

    def __init__(self, argv: Sequence[str] = ()) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self._stdout = sys.stdout
        self._out = _Side(self._stdout)
        self._err = _Side(cast("IO[str]", _Unbreakable(sys.stderr)))
        #: Whether results are documents (`--json`).
        self.as_json = False
        #: The command line as it can be typed again.
        self.typed = safe(shlex.join(["batcher", *argv]))

    @property
    def err(self) -> Console:
        """Rich's console on stderr, for a display that moves."""
        return self._err.console

    @property
    def room(self) -> int | None:
        """How many columns stdout's terminal has; None where it is a pipe or a file."""
        return self._out.width if self._out.is_terminal else None

    @property
    def live(self) -> bool:
        """Whether stderr can show a display that moves."""
        return self._err.is_terminal and not _is_dumb()

    def show(self, *parts: RenderableType) -> None:
        """Print a command's result. Raises ReaderGone."""
        with _reader():
            for part in parts:
                self._out.print(part)

    def line(self, text: str) -> None:
        """Print a text of a result, not wrapped, not cut; makes it safe. Raises ReaderGone."""
        with _reader():
            self._stdout.write(safe(text, lines=True) + "\n")

    def paragraph(self, text: str) -> None:
        """Print a text of a result, on a terminal wrapped between words; makes it safe. Raises ReaderGone."""
        if self.room is None or len(text) * (1 if text.isascii() else 2) <= self.room:
            return self.line(text)
        from .console import indented

        return self.show(indented(safe(text)))

    def data(self, chunk: bytes) -> None:
        """Write a part of a result as it is, for a file or another program. Raises ReaderGone."""
        with _reader():
            self._stdout.buffer.write(chunk)

    def records(self, lines: Iterable[str], *, bom: bool = False) -> None:
        """Write lines for other programs as they are; made safe where a person reads them. Raises ReaderGone."""
        if bom:
            self.data(codecs.BOM_UTF8)
        for line in lines:
            if self.room is not None:
                self.line(line)
            else:
                self.data(f"{line}\n".encode())

    def flush(self) -> None:
        """Bring out what was printed. Raises ReaderGone."""
        with _reader():
            self._stdout.flush()

    def say(self, *parts: RenderableType, style: str = "") -> None:
        """Print a message to stderr. Texts must be safe."""
        for part in parts:
            self._err.print(Styled((part, style)) if style and isinstance(part, str) else part)

    def warn(self, message: str) -> None:
        """Print a warning; makes the message safe."""
        self.say(Styled(("warning: ", "bold yellow"), (safe(message, lines=True), "")))

    def note(self, message: str) -> None:
        """Print what is worth a look; makes the message safe."""
        self.say(Styled(("note: ", "bold"), (safe(message, lines=True), "")))

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there who reads stderr and can type an answer."""
        try:
            return self._err.is_terminal and sys.stdin is not None and sys.stdin.isatty()
        except ValueError:  # closed
            return False

    def ask(self, question: str) -> bool:
        """Ask a question on stderr; anything but a yes is a no. `question` must be safe."""
        self.err.print(f"{question} [y/N] ", style="bold", end="")
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            self.say("")  # Ctrl-D leaves the cursor behind the question
        return answer.strip().lower() in ("y", "yes")

    def answer(self, document: Mapping[str, Any], *parts: RenderableType) -> None:
        """Print a command's result: the document under `--json`, else its parts. Raises ReaderGone."""
        if self.as_json:
            self.document(document)
        else:
            self.show(*parts)

    def document(self, value: Mapping[str, Any]) -> None:
        """The one JSON document of `--json`, with its version. Raises ReaderGone."""
        self.line(dumps({"version": 1, **value}))
        self.flush()

    def document_of(
        self,
        name: str,
        rows: Iterable[Mapping[str, Any]],
        head: Mapping[str, Any] | None = None,
        *,
        short: bool = False,
    ) -> None:
        """A document that ends with a list, row by row, for it may be long; `short` rows are a line each.

        Raises ReaderGone.
        """
        stream = iter(rows)
        row = next(stream, None)  # an error comes before anything is written
        self.line(dumps({"version": 1, **(head or {})}).removesuffix("\n}") + f',\n  "{name}": [')
        while row is not None:
            following = next(stream, None)
            text = dumps(row, indent=None if short else 2).replace("\n", "\n    ")
            self.line(f"    {text}{'' if following is None else ','}")
            row = following
        self.line("  ]\n}")


def dumps(value: object, *, indent: int | None = 2) -> str:
    """JSON in ASCII, so that a terminal may show it: every other character is escaped."""
    return json.dumps(value, ensure_ascii=True, indent=indent).replace("\x7f", "\\u007f")


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = (), total: bool = False
) -> Grid:
    """A plain table. Cells are made safe; columns of numbers, and those of `right`, are set to the right.

    With `total` the last row is a sum.
    """
    listed = [list(row) for row in rows]
    columns = zip(headers, *listed, strict=True)
    numbers = {name for name, *cells in columns if {type(cell) for cell in cells if cell != ""} == {int}}
    shown = [[number(cell) if isinstance(cell, int) else safe(cell) for cell in row] for row in listed]
    return Grid(headers, shown, frozenset({*right, *numbers}), total)


def with_total(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> Grid:
    """A plain table of names with their figures, and a last row of sums where there are several."""
    sums = [sum(column) for column in list(zip(*rows, strict=True))[1:]]
    several = len(rows) > 1
    return table(headers, [*rows, ["total", *sums]] if several else rows, right=headers[1:], total=several)


def _wrapped(lines: list[str], width: int) -> list[str]:
    """ASCII text wrapped between words as Rich does; as it is if it has a path that is longer than a line."""
    words = [re.findall(r"\s*\S+\s*", line) for line in lines]
    if max(len(word.strip()) for line in words for word in line) >= width:
        return lines
    made = []
    for line in words:
        made.append("")
        for word in line:
            if made[-1] and len(made[-1]) + len(word.rstrip()) > width:
                made.append("")
            made[-1] += word
    return [line.rstrip() for line in made]


@contextmanager
def _reader() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hush(sys.stdout)
        if error.errno in _NOBODY_READS:
            raise ReaderGone from error
        raise OutputLost(error.strerror or str(error)) from error


def hush(stream: IO[str]) -> None:
    """Nothing more is written there, also not by the interpreter's last flush, which would change the exit code."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):  # no real file: nothing to hush
        return


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _is_dumb() -> bool:
    """Whether the terminal takes no orders at all; as Rich asks it."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _columns() -> int:
    """The terminal's width; as Rich finds it."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit():
        return int(given)
    for descriptor in () if _is_dumb() else (0, 1, 2):
        try:
            return os.get_terminal_size(descriptor).columns or 80
        except OSError:
            continue
    return 80
