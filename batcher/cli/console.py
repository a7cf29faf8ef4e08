"""Rich's part of the terminal: colours, wrapping, wide tables. Only imported where a page needs it, for it is slow.

Rich's markup, highlighting and emoji codes are off, so that no text from outside can style or hide anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from typing import IO, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from batcher.text import safe

from .terminal import ReaderGone

# So long a word of a text does not break; so wide a column is at least.
_WORD, _LEAST = 20, 4


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


class Folding:
    """What `terminal.Grid` shows, where it does not fit as it is. Cells must be safe.

    Numbers never break, and words only where a column would be wider than `_WORD` for one. What still has no room goes
    into a table of its own below, with the same names in front.
    """

    def __init__(
        self, headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str], total: bool
    ) -> None:
        self._rows, self._total = rows, total
        columns = zip(headers, *rows, strict=True)
        self._columns = [_Column(header, cells, header in numbers) for header, *cells in columns]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room, columns = options.max_width, self._columns
        for gap in (3, 2):
            if sum(column.natural + gap for column in columns) - gap <= room:
                yield self._table(columns, [column.natural for column in columns], gap)
                return
        leading = list(takewhile(lambda column: not column.right, columns)) or columns[:1]
        for number, part in enumerate(_parts(leading, columns[len(leading) :], room)):
            if number:
                yield ""
            yield self._table(part, _widths(part, room), 2)

    def _table(self, columns: Sequence[_Column], widths: Sequence[int], gap: int) -> Table:
        made = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, gap - 2), header_style="bold"
        )
        for column, width in zip(columns, widths, strict=True):
            justify: Literal["right", "left"] = "right" if column.right else "left"
            made.add_column(column.header, justify=justify, overflow="fold", width=width)
        for number in range(len(self._rows)):
            style = "bold" if self._total and number == len(self._rows) - 1 else None
            made.add_row(*(Text(column.cells[number]) for column in columns), style=style)
        return made


class _Column:
    """A column with the least and the most room that it needs."""

    def __init__(self, header: str, cells: Sequence[str], right: bool) -> None:
        self.header, self.cells, self.right = header, cells, right
        widest = max(map(cell_len, cells), default=0)
        self.natural = max(cell_len(header), widest)
        longest = widest if right else min(_WORD, max(map(_longest_word, cells), default=0))
        self.least = max(_longest_word(header), longest)


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _parts(leading: list[_Column], others: Sequence[_Column], room: int) -> list[list[_Column]]:
    """The columns of each table: as many as have room beside the leading ones, which all of them have."""
    parts = [[*leading]]
    for column in others:
        if len(parts[-1]) > len(leading) and sum(each.least + 2 for each in (*parts[-1], column)) - 2 > room:
            parts.append([*leading])
        parts[-1].append(column)
    return parts


def _widths(columns: Sequence[_Column], room: int) -> list[int]:
    """The least of each, and what is left for whose texts are longest; texts give way where there is too little."""
    widths = [column.least for column in columns]
    texts = [place for place, column in enumerate(columns) if not column.right]
    left = room - sum(widths) - 2 * (len(widths) - 1)
    while left > 0 and (cut := [at for at in texts if widths[at] < columns[at].natural]):
        widths[max(cut, key=lambda at: columns[at].natural - widths[at])] += 1
        left -= 1
    while left < 0 and (wide := [at for at in texts if widths[at] > _LEAST]):
        widths[max(wide, key=widths.__getitem__)] -= 1
        left += 1
    for place, column in enumerate(columns):
        grown = max(0, min(left, column.natural - widths[place]))  # a header in one line
        widths[place] += grown
        left -= grown
    return widths


def indented(text: str) -> Padding:
    """A text that keeps its indentation in each line. It must be safe."""
    return Padding(Text(text.strip()), (0, 0, 0, len(text) - len(text.lstrip())))


def columns(*rows: Sequence[str | Text]) -> Table:
    """Cells side by side, without lines and headers; the last one of a row folds. Texts must be safe."""
    made = Table.grid(padding=(0, 2))
    for _ in rows[0][:-1] if rows else ():
        made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return made
