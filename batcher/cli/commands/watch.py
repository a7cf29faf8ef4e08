"""`batcher watch`."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import click

from batcher.cli import options
from batcher.cli.display import display_for, progress_line
from batcher.cli.open_ledger import need_reader
from batcher.cli.signals import Signals
from batcher.cli.terminal import Terminal
from batcher.cli.watcher import Follower
from batcher.errors import Kind, Stopped, exit_code
from batcher.ledger.queries import jobs
from batcher.state import LEDGER

#: So many of the last troubles are named at the end.
_TROUBLES = 3


@click.command(short_help="Watch a run that goes on elsewhere, until it ends.")
@options.state
@click.option("--once", is_flag=True, help="Show how it stands now, and end.")
@options.as_json
@click.pass_obj
def command(terminal: Terminal, *, state: Path, once: bool, as_json: bool) -> int:
    """Watch a run that goes on elsewhere, until it ends; without one, show the last. Reads the ledger alone."""
    try:
        with Signals() as signals, closing(need_reader(state)) as read:
            run = jobs.run(read)
            follower = None if run is None else Follower(read, state, run)
            if follower and follower.look() and not once:
                stopped = anyio.run(_follow, follower, terminal, signals)
                if stopped:
                    return exit_code(stopped)
            _show(terminal, state, follower, as_json)
    except Stopped as stop:
        return exit_code(stop.kind)
    return 0


async def _follow(follower: Follower, terminal: Terminal, signals: Signals) -> Kind | None:
    """Show the run until it ends, or a signal comes: which one."""
    stopped: list[Kind] = []
    trouble: list[Exception] = []
    loop = asyncio.get_running_loop()
    if not terminal.live:
        terminal.say(_line(follower))
    display = display_for(terminal, follower.feed, quiet=False)
    with display:
        async with anyio.create_task_group() as group:

            def stop(kind: Kind) -> None:
                stopped.append(kind)
                group.cancel_scope.cancel()

            async def show() -> None:
                try:
                    await display.watch()
                except Exception as error:  # raised below, where no task group wraps it
                    trouble.append(error)
                    group.cancel_scope.cancel()

            signals.on_first = lambda kind, _: loop.call_soon_threadsafe(stop, kind)
            group.start_soon(show)
            try:
                while True:
                    if not follower.look():
                        break
                    await anyio.sleep(follower.pause)
            except Exception as error:
                trouble.append(error)
            group.cancel_scope.cancel()
    signals.on_first = None
    if trouble:
        raise trouble[0]
    return stopped[0] if stopped else None


def _line(follower: Follower) -> str:
    return f"{follower.feed.title}: {progress_line(follower.feed)}"


def _show(terminal: Terminal, state: Path, follower: Follower | None, as_json: bool) -> None:
    if follower:
        follower.feed.credits(fresh=True)  # those of a display may be a second old
    if as_json:
        terminal.document({"ledger": str((state / LEDGER).absolute()), **_document(follower)})
    elif follower is None:
        terminal.show("No run yet.")
    else:
        terminal.show(_line(follower), *follower.feed.news()[-_TROUBLES:], follower.state())


def _document(follower: Follower | None) -> dict[str, Any]:
    if follower is None:
        return dict.fromkeys(("running", "run", "work", "credits"))
    tally = follower.tally
    sums = follower.feed.meter.sums()
    return {
        "running": follower.holder._asdict() if follower.holder else None,
        "run": follower.run,
        "work": {
            "total": tally.total,
            "ended": tally.ended,
            "jobs": dict(tally.parts()),
            "in_flight": follower.feed.in_flight(),
            "per_minute": round(tally.per_minute, 1),
            "seconds_left": tally.seconds_left,
            "halted": tally.halted or None,
        },
        "credits": {"held": sums.held, "settled": sums.settled, "left": sums.left, "cap": sums.cap or None},
    }
