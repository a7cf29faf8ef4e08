"""`batcher results`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.database import RESULTS_VARIABLE, results_root, saved_files
from batcher.cli.open_ledger import need_reader
from batcher.cli.terminal import Terminal
from batcher.errors import UsageError
from batcher.fs import leads_inside
from batcher.jobs import Status
from batcher.ledger.queries import export
from batcher.ledger.queries.export import Saved
from batcher.report.question import ask
from batcher.storage import Artifacts, Sidecar
from batcher.text import count, safe


@click.command(short_help="Print the paths of saved files, for scripts.")
@click.argument("campaigns", metavar="CAMPAIGN...", nargs=-1, required=True)
@options.statuses("Files of jobs with this status; repeatable. Default: succeeded.", Status.SUCCEEDED)
@options.where
@options.marked
@click.option("-0", "--null", is_flag=True, help="End each path with a NUL instead of a new line, as for xargs -0.")
@click.option("--sidecars", is_flag=True, help="Write a JSON file beside each, or bring it up to date.")
@options.ledger
def command(
    terminal: Terminal,
    *,
    campaigns: tuple[str, ...],
    statuses: tuple[str, ...],
    conditions: tuple[str, ...],
    marked: Path | None,
    null: bool,
    sidecars: bool,
    state: Path,
) -> int:
    """Print the paths of the saved files of each CAMPAIGN, in the order of its manifest. From the ledger alone: whether
    somebody has moved a file away is not looked at."""
    if null and terminal.as_json:
        raise UsageError("--null and --json do not go together")
    with closing(need_reader(state)) as read:
        scope = ask(read, now=time.time(), campaigns=campaigns, where=conditions, marked=marked).scope
        outcomes = Counter[Sidecar]()
        each = (replace(scope, campaigns=(name,)) for name in scope.campaigns)
        every = (file for one in each for file in export.saved(read, one, statuses))
        found = _inside(every, state, terminal)
        if sidecars:
            artifacts = saved_files(state)
            if artifacts is None:
                raise UsageError(f"{RESULTS_VARIABLE} is not set", hint="It names where the files are.")
            found = _with_sidecars(found, artifacts, outcomes)
        root = results_root(state)
        with closing(found):  # also when nobody reads to the end
            if terminal.as_json:
                terminal.document_of("results", ({"path": root + file.target, **file.plain} for file in found))
            else:
                _print(terminal, (root + file.target for file in found), null)
    if sidecars:
        terminal.flush()
        terminal.say(_told(outcomes))
        return int(outcomes[Sidecar.FOREIGN] > 0)
    return 0


def _inside(files: Iterable[Saved], state: Path, terminal: Terminal) -> Generator[Saved, None, None]:
    """Leave out, and tell, what a link takes out of the state folder."""
    for file in files:
        if leads_inside(state, file.target):
            yield file
        else:
            terminal.warn(f"left out, for a link leads out of the state folder: {safe(state / file.target)}")


# Telling


def _print(terminal: Terminal, paths: Iterable[str], null: bool) -> None:
    for path in paths:
        if null:
            terminal.data(os.fsencode(path) + b"\0")
        elif terminal.room is not None:
            terminal.line(safe(path))
        else:
            terminal.data(os.fsencode(path) + b"\n")


def _with_sidecars(
    files: Iterable[Saved], artifacts: Artifacts, outcomes: Counter[Sidecar]
) -> Generator[Saved, None, None]:
    for file in files:
        outcomes[artifacts.beside(file.target, file.sidecar)] += 1
        yield file


def _told(outcomes: Counter[Sidecar]) -> str:
    parts = [f"{count(outcomes[Sidecar.WRITTEN], 'sidecar')} written"]
    parts += [f"{outcomes[kind]:,} {kind.value}" for kind in Sidecar if kind is not Sidecar.WRITTEN and outcomes[kind]]
    return "; ".join(parts) + "."
