"""A run while it goes on: a live display on a terminal, plain lines elsewhere, or nothing.

Whatever happens to the display, the run goes on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

import anyio
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batcher.jobs import SHORT_ID, JobId
from batcher.text import duration, number, safe, short

from .progress import CreditMeter, JobTrouble, Tally
from .terminal import Terminal

_REFRESH_SECONDS = 0.25
_LINE_SECONDS = 5.0
_ERRORS_SHOWN = 3
_BAR_WIDTH = 40
_STYLES = {"done": "green", "failed": "red", "doubtful": "yellow", "processing": "cyan", "downloading": "cyan"}

NameOf = Callable[[JobId], str]


class Display(Protocol):
    """Shows a run. `say` is for messages; `watch` runs beside the engine and is cancelled at its end."""

    def say(self, text: str) -> None: ...

    async def watch(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Feed:
    """What a display shows: counts, credits, how many are in flight, and the names of jobs in trouble."""

    def __init__(
        self, title: str, tally: Tally, meter: CreditMeter, in_flight: Callable[[], int], name_of: NameOf
    ) -> None:
        self.title = safe(title)
        self.tally = tally
        self.meter = meter
        self.in_flight = in_flight
        self._name_of = name_of

    def news(self) -> list[str]:
        """Troubles since the last call, a line each."""
        found = []
        while self.tally.troubles:
            found.append(self._line(self.tally.troubles.popleft()))
        return found

    def told(self) -> list[str]:
        """What the run was told of the wallet and the models since the last call."""
        found = list(self.tally.told)
        self.tally.told.clear()
        return found

    def _line(self, trouble: JobTrouble) -> str:
        name = short(self._name_of(trouble.job_id), 40)
        return f"{trouble.what} {trouble.job_id[:SHORT_ID]} {name}: {trouble.text}"

    def credits(self, *, fresh: bool = False) -> str:
        """`this run 130 settled, 120 held; 250 left (campaign x)`."""
        sums = self.meter.sums(fresh=fresh)
        left = "" if sums.left is None else f"; {number(sums.left)} left ({sums.cap})"
        return f"this run {number(sums.settled)} settled, {number(sums.held)} held{left}"

    def states(self) -> list[tuple[str, int]]:
        """The states that have jobs."""
        return [(name, jobs) for name, jobs in self.tally.parts() if jobs]


class Quiet:
    """No display: messages only when they matter to the person who stops the run."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def say(self, text: str) -> None:
        self._terminal.say(text)

    async def watch(self) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class Plain(Quiet):
    """A line every few seconds when something moved, and one for each failure at once."""

    def __init__(self, terminal: Terminal, feed: Feed) -> None:
        super().__init__(terminal)
        self._feed = feed

    async def watch(self) -> None:
        tally, notice = self._feed.tally, ""
        seen, waited = tally.moves, 0.0
        while True:
            await anyio.sleep(_REFRESH_SECONDS)
            waited += _REFRESH_SECONDS
            self._tell_news()
            if tally.notice != notice:
                notice = tally.notice
                self.say(f"{_clock()} {notice or 'the run goes on as before'}")
            if waited >= _LINE_SECONDS and tally.moves != seen:
                seen, waited = tally.moves, 0.0
                self.say(f"{_clock()} {progress_line(self._feed)}")

    def _tell_news(self) -> None:
        for line in self._feed.told() + self._feed.news():
            self.say(f"{_clock()} {line}")

    def __exit__(self, *_: object) -> None:
        self._tell_news()


class Moving(Quiet):
    """Bar, states, credits, rate, time left and the last errors, redrawn four times a second."""

    def __init__(self, terminal: Terminal, feed: Feed) -> None:
        super().__init__(terminal)
        self._feed = feed
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
        self._draw()

    async def watch(self) -> None:
        while True:
            self._draw()
            await anyio.sleep(_REFRESH_SECONDS)

    def _draw(self) -> None:
        for line in self._feed.told():
            self._terminal.say(line)  # above what moves; there it stays
        self._errors.extend(self._feed.news())
        message = self._message or self._feed.tally.notice
        self._live.update(frame(self._feed, list(self._errors), message, self._terminal.err.width), refresh=True)

    def __enter__(self) -> Self:
        self._live.start(refresh=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._errors.extend(self._feed.news())
        self._live.stop()
        for line in [*self._feed.told(), *self._errors]:
            self._terminal.say(line)


def display_for(terminal: Terminal, feed: Feed, *, quiet: bool) -> Display:
    """The display that fits the terminal."""
    if quiet:
        return Quiet(terminal)
    return Moving(terminal, feed) if terminal.live else Plain(terminal, feed)


def frame(feed: Feed, errors: list[str], message: str, width: int) -> RenderableType:
    """One picture of the live display."""
    lines: list[RenderableType] = [_top(feed, width)]
    states = Text("  ")
    for place, (name, jobs) in enumerate(feed.states()):
        states.append(("  " if place else "") + f"{number(jobs)} {name}", _STYLES.get(name, ""))
    lines.append(_one_line(states))
    lines.append(_one_line(Text(f"  credits: {feed.credits()}; {number(feed.in_flight())} in flight", "dim")))
    lines += [_one_line(Text(f"  {line}", "red")) for line in errors]
    if message:
        lines.append(_one_line(Text(f"  {message}", "bold yellow")))
    return Group(*lines)


def _top(feed: Feed, width: int) -> RenderableType:
    """Title, bar, share, rate and time left; the bar takes the room that the others leave."""
    tally = feed.tally
    left = tally.seconds_left
    cells = [f"{number(tally.ended)}/{number(tally.total)}"]
    cells.append(f"{100 * tally.ended // tally.total if tally.total else 100} %")
    cells.append(f"{tally.per_minute:.0f}/min" if left is not None else "")
    cells.append(f"{duration(left)} left" if left else "")
    title = short(feed.title, max(12, width // 4))
    room = width - len(title) - sum(len(cell) + 2 for cell in cells) - 2
    bar = ProgressBar(
        total=max(1, tally.total),
        completed=tally.ended if tally.total else 1,
        width=max(5, min(_BAR_WIDTH, room)),
        complete_style="green",
        finished_style="green",
    )
    top = Table.grid(padding=(0, 2))
    for _ in range(2 + len(cells)):
        top.add_column(no_wrap=True)
    top.add_row(Text(title, "bold"), bar, *cells)
    return top


def progress_line(feed: Feed) -> str:
    """Where the run stands, in one line."""
    tally = feed.tally
    states = ", ".join(f"{number(jobs)} {name}" for name, jobs in feed.states())
    left = tally.seconds_left
    pace = f"; {tally.per_minute:.0f}/min, {duration(math.ceil(left))} left" if left else ""
    return f"{number(tally.ended)}/{number(tally.total)} ({states}); credits: {feed.credits()}{pace}"


def _one_line(text: Text) -> Text:
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
