"""Rich's part of the terminal: colours, wrapping, wide tables. Only imported where a page needs it, for it is slow.

Rich's markup, highlighting and emoji codes are off, so that no text from outside can style or hide anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import IO

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from batcher.text import safe

from .terminal import ReaderGone


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


def make_console(stream: IO[str], *, terminal: bool, plain: bool, width: int | None) -> Console:
    """A console on a stream; `plain` means no escapes at all, `width` None that of the terminal."""
    return _Console(
        file=stream,
        force_terminal=terminal,
        color_system=None if plain else "auto",
        markup=False,
        highlight=False,
        emoji=False,
        width=width,
        legacy_windows=False,
    )


def print_on(console: Console, part: RenderableType) -> None:
    """Print a part of a page; into a pipe or a file without the spaces that fill up lines."""
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


def rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str], total: bool) -> Table:
    """What `terminal.Grid` shows, for Rich: it folds what is too wide. Cells must be safe."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for header in headers:
        made.add_column(header, justify="right" if header in numbers else "left", overflow="fold")
    for number, row in enumerate(rows, 1):
        made.add_row(*map(Text, row), style="bold" if total and number == len(rows) else None)
    return made


def columns(*rows: Sequence[str | Text]) -> Table:
    """Cells side by side, without lines and headers; the last one of a row folds. Texts must be safe."""
    made = Table.grid(padding=(0, 2))
    for _ in rows[0][:-1] if rows else ():
        made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return made
