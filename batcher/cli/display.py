"""A run while it goes on: a live display on a terminal, plain lines elsewhere, or nothing.

Whatever happens to the display, the run goes on.
"""

from __future__ import annotations

import math
import time
from collections import deque
from datetime import datetime
from typing import Self

import anyio
from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batcher.text import duration, number, short

from .console import print_on
from .progress import Feed
from .terminal import Terminal

_REFRESH_SECONDS = 0.25
_LINE_SECONDS = 5.0
_ERRORS_SHOWN = 3
_BAR_WIDTH, _LEAST_BAR = 40, 5
_STYLES = {"done": "green", "failed": "red", "doubtful": "yellow", "processing": "cyan", "downloading": "cyan"}


class Quiet:
    """Shows nothing but messages that matter to the person who stops the run; the other displays show more.

    `tick` shows what is new. A run calls `watch` beside the engine and cancels it at its end.
    """

    def __init__(self, terminal: Terminal, feed: Feed) -> None:
        self._terminal = terminal
        self._feed = feed
        self.hint = ""  # which keys mean something

    def say(self, text: str) -> None:
        self._terminal.say(text)

    def tick(self) -> None:
        return

    async def watch(self) -> None:
        await anyio.sleep_forever()  # nothing to show: the process sleeps for as long as the run waits

    def tick_for(self, seconds: float) -> None:
        """Show the run for so long, for one who only looks on."""
        for _ in range(math.ceil(seconds / _REFRESH_SECONDS)):
            time.sleep(_REFRESH_SECONDS)
            self.tick()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class _Ticking(Quiet):
    """Shows what is new several times a second."""

    async def watch(self) -> None:
        while True:
            await anyio.sleep(_REFRESH_SECONDS)
            self.tick()


class Plain(_Ticking):
    """A line every few seconds when something moved, and one for each failure at once."""

    def __init__(self, terminal: Terminal, feed: Feed) -> None:
        super().__init__(terminal, feed)
        self._notice = ""
        self._seen, self._waited = feed.tally.moves, 0.0

    def tick(self) -> None:
        tally = self._feed.tally
        self._tell_news()
        if tally.notice != self._notice:
            self._notice = tally.notice
            self._line(self._notice or "the run goes on as before")
        self._waited += _REFRESH_SECONDS
        if self._waited >= _LINE_SECONDS and tally.moves != self._seen:
            self._seen, self._waited = tally.moves, 0.0
            self._line(self._feed.line())

    def _tell_news(self) -> None:
        for text in self._feed.told() + self._feed.news():
            self._line(text)

    def _line(self, text: str) -> None:
        self.say(f"{datetime.now().astimezone():%H:%M:%S} {text}")

    def __exit__(self, *_: object) -> None:
        self._tell_news()


class Moving(_Ticking):
    """Bar, states, credits, rate, time left and the last errors, redrawn four times a second."""

    def __init__(self, terminal: Terminal, feed: Feed) -> None:
        super().__init__(terminal, feed)
        self._errors: deque[str] = deque(maxlen=_ERRORS_SHOWN)
        self._message = ""
        self._live = Live(
            console=terminal.err,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def say(self, text: str) -> None:
        self._message = text
        self.tick()

    def tick(self) -> None:
        for line in self._feed.told():
            print_on(self._terminal.err, line)  # above what moves; there it stays
        self._errors.extend(self._feed.news())
        message = self._message or self._feed.tally.notice
        picture = frame(self._feed, list(self._errors), message, self._terminal.err.width, self.hint)
        self._live.update(picture, refresh=True)

    def __enter__(self) -> Self:
        self._live.start(refresh=False)
        self.tick()
        return self

    def __exit__(self, *_: object) -> None:
        self._errors.extend(self._feed.news())
        self._live.stop()
        for line in [*self._feed.told(), *self._errors]:
            self._terminal.say(line)


def display_for(terminal: Terminal, feed: Feed, *, quiet: bool) -> Quiet:
    """The display that fits the terminal."""
    if quiet:
        return Quiet(terminal, feed)
    return Moving(terminal, feed) if terminal.live else Plain(terminal, feed)


def frame(feed: Feed, errors: list[str], message: str, width: int, hint: str = "") -> RenderableType:
    """One picture of the live display."""
    lines: list[RenderableType] = [_top(feed, width)]
    states = Text()
    for place, (name, jobs) in enumerate(feed.states()):
        # one that does not fit goes into the next line, as a whole
        states.append(("  " if place else "") + f"{number(jobs)}\u00a0{name}", _STYLES.get(name, ""))
    credits_ = Text(f"credits: {feed.credits()}; {number(feed.tally.in_flight)} in flight{feed.done_by()}", "dim")
    lines += [Padding(states, (0, 0, 0, 2)), Padding(credits_, (0, 0, 0, 2))]
    lines += [_one_line(Text(f"  {line}", "red")) for line in errors]
    if message:
        lines.append(_one_line(Text(f"  {message}", "bold yellow")))
    if hint:
        lines.append(_one_line(Text(f"  {hint}", "dim")))
    return Group(*lines)


def _top(feed: Feed, width: int) -> RenderableType:
    """Title, bar, share, rate and time left; the bar takes the room that the others leave. Rate and share go first."""
    tally = feed.tally
    left, all_ = feed.seconds_left, feed.total
    title = short(feed.title, max(12, width // 4))
    share = f"{100 * tally.ended // all_ if all_ else 100} %"
    rate = f"{tally.per_minute:.0f}/min" if left is not None else ""
    cells = [f"{number(tally.ended)}/{number(all_)}", share, rate, f"{duration(left)} left" if left else ""]
    room = 0
    for spare in ("", rate, share):
        cells = [cell for cell in cells if cell and (cell != spare or room >= _LEAST_BAR)]
        room = width - len(title) - sum(len(cell) + 2 for cell in cells) - 2
    bar = ProgressBar(
        total=max(1, all_),
        completed=tally.ended if all_ else 1,
        width=min(_BAR_WIDTH, room),
        complete_style="green",
        finished_style="green",
    )
    row: list[RenderableType] = [Text(title, "bold"), *([bar] if room >= _LEAST_BAR else []), *cells]
    top = Table.grid(padding=(0, 2))
    for _ in row:
        top.add_column(no_wrap=True)
    top.add_row(*row)
    return top


def _one_line(text: Text) -> Text:
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text
