"""`batcher watch`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from batcher.cli import options
from batcher.cli.display import display_for
from batcher.cli.open_ledger import need_reader
from batcher.cli.signals import Signals
from batcher.cli.terminal import Terminal
from batcher.cli.watcher import Follower
from batcher.errors import Stopped, exit_code
from batcher.ledger.queries import jobs
from batcher.state import LEDGER

#: How many of the last troubles are named at the end.
_TROUBLES = 3


@click.command(short_help="Watch a run that goes on elsewhere, until it ends.")
@click.option("--once", is_flag=True, help="Show how it stands now, and end.")
@options.ledger
def command(terminal: Terminal, *, state: Path, once: bool) -> int:
    """Watch a run that goes on elsewhere, until it ends; without one, show the last. Reads the ledger alone."""
    try:
        with Signals(), closing(need_reader(state)) as read:
            run = jobs.run(read)
            follower = None if run is None else Follower(read, state, run)
            if follower and follower.look() and not once:
                _follow(follower, terminal)
            show(terminal, state, follower)
    except Stopped as stop:
        return exit_code(stop.kind)
    return 0


def _follow(follower: Follower, terminal: Terminal) -> None:
    """Show the run until it ends."""
    if not terminal.live:
        terminal.say(_line(follower))
    with display_for(terminal, follower.feed, quiet=False) as display:
        while follower.look():
            display.tick_for(follower.pause)


def _line(follower: Follower) -> str:
    return f"{follower.feed.title}: {follower.feed.line()}"


def show(terminal: Terminal, state: Path, follower: Follower | None) -> None:
    if follower:
        follower.feed.sums(fresh=True)  # those of a display may be a second old
    shown = [_line(follower), *follower.feed.news()[-_TROUBLES:], follower.state()] if follower else ["No run yet."]
    terminal.answer({"ledger": str((state / LEDGER).absolute()), **_document(follower)}, *shown)


def _document(follower: Follower | None) -> dict[str, Any]:
    if follower is None:
        return dict.fromkeys(("running", "run", "work", "credits"))
    tally = follower.tally
    sums = follower.feed.sums()
    return {
        "running": follower.holder._asdict() if follower.holder else None,
        "run": follower.run,
        "work": {
            "total": follower.feed.total,
            "ended": tally.ended,
            "jobs": dict(tally.parts()),
            "in_flight": tally.in_flight,
            "per_minute": round(tally.per_minute, 1),
            "seconds_left": follower.feed.seconds_left,
            "halted": tally.halted or None,
        },
        "credits": {"held": sums.held, "settled": sums.settled, "left": sums.left, "cap": sums.cap or None},
    }
