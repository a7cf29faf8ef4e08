"""The only place that prints: results to stdout, everything else to stderr.

Rich's markup, highlighting and emoji codes are off, so that no text from outside can style or hide anything.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Literal, cast

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from .text import safe

#: So wide is a table that goes into a pipe or a file: nothing is cut or wrapped there.
_PIPE_WIDTH = 4000
Justify = Literal["left", "right"]


class ReaderGone(Exception):
    """Nobody reads stdout any more (`batcher jobs | head`). No OSError, for which click has plans of its own."""


class _Console(Console):
    """Rich's console, which lets nothing but Rich itself give orders to a terminal.

    Texts come here safe; this is the net below that, for one that somebody forgot (a ledger can be edited by hand).
    """

    def on_broken_pipe(self) -> None:
        """Rich would end the process."""
        raise ReaderGone

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(safe(segment.text, lines=True), segment.style)


class _Unbreakable(io.TextIOBase):
    """A stream whose end nobody may feel: a closed terminal must not end a run that has money under way."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
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


class Terminal:
    """Stdout and stderr of one command."""

    def __init__(self, argv: Sequence[str] = ()) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self._stdout = sys.stdout
        self.out = _console(self._stdout)
        self.err = _console(cast("IO[str]", _Unbreakable(sys.stderr)))
        #: The command line as it can be typed again.
        self.typed = safe(shlex.join(["batcher", *argv]))

    @property
    def live(self) -> bool:
        """Whether stderr can show a display that moves."""
        return self.err.is_terminal and not self.err.is_dumb_terminal

    def show(self, *parts: RenderableType) -> None:
        """Print a command's result. Raises ReaderGone."""
        with _reader():
            for part in parts:
                _print(self.out, part)

    def line(self, text: str) -> None:
        """Print a text of a result, not wrapped, not cut; makes it safe. Raises ReaderGone."""
        with _reader():
            self._stdout.write(safe(text, lines=True) + "\n")

    def data(self, chunk: bytes) -> None:
        """Write a part of a result as it is, for a file or another program. Raises ReaderGone."""
        with _reader():
            self._stdout.buffer.write(chunk)

    def flush(self) -> None:
        """Bring out what was printed. Raises ReaderGone."""
        with _reader():
            self._stdout.flush()

    def say(self, *parts: RenderableType, style: str = "") -> None:
        """Print a message to stderr. Texts must be safe."""
        for part in parts:
            _print(self.err, Text(part, style) if isinstance(part, str) else part)

    def warn(self, message: str) -> None:
        """Print a warning; makes the message safe."""
        self.say(Text.assemble(("warning: ", "bold yellow"), safe(message, lines=True)))

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there who reads stderr and can type an answer."""
        try:
            return self.err.is_terminal and sys.stdin is not None and sys.stdin.isatty()
        except ValueError:  # closed
            return False

    def ask(self, question: str) -> bool:
        """Ask a question on stderr; anything but a yes is a no. `question` must be safe."""
        self.err.print(Text(f"{question} [y/N] ", "bold"), end="")
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            self.say("")  # Ctrl-D leaves the cursor behind the question
        return answer.strip().lower() in ("y", "yes")

    def document(self, value: Mapping[str, Any]) -> None:
        """The one JSON document of `--json`, with its version. Raises ReaderGone."""
        self.line(dumps({"version": 1, **value}))
        self.flush()


def dumps(value: object) -> str:
    """JSON in ASCII, so that a terminal may show it: every other character is escaped."""
    return json.dumps(value, ensure_ascii=True, indent=2).replace("\x7f", "\\u007f")


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = (), total: bool = False
) -> Table:
    """A plain table: no lines but one under the headers. Cells are made safe; `right` names columns of numbers.

    With `total` the last row is a sum.
    """
    numbers = set(right)
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for header in headers:
        made.add_column(header, justify="right" if header in numbers else "left", overflow="fold")
    listed = list(rows)
    for number, row in enumerate(listed, 1):
        style = "bold" if total and number == len(listed) else None
        made.add_row(*(Text(safe(cell)) for cell in row), style=style)
    return made


def _console(stream: IO[str]) -> Console:
    terminal = _is_terminal(stream)
    # Rich takes NO_COLOR to mean "no colours, but bold"; who sets it expects no escapes at all.
    plain = bool(os.environ.get("NO_COLOR")) or not terminal
    return _Console(
        file=stream,
        force_terminal=terminal,
        color_system=None if plain else "auto",
        markup=False,
        highlight=False,
        emoji=False,
        width=None if terminal else _PIPE_WIDTH,
        legacy_windows=False,
    )


@contextmanager
def _reader() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone from error


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _print(console: Console, part: RenderableType) -> None:
    if isinstance(part, str | Text):
        # Wrapped between words; a path that is longer than a line stays in one piece for copying.
        words = str(part).split()
        console.print(part, soft_wrap=max(map(len, words), default=0) >= console.width)
    elif console.is_terminal:
        console.print(part)
    else:
        with console.capture() as captured:
            console.print(part)
        for line in captured.get().splitlines():
            console.file.write(line.rstrip() + "\n")
