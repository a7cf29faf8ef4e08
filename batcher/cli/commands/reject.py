"""`batcher reject`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.reviews import judge
from batcher.cli.terminal import Terminal


@click.command(short_help="Say that files will not do for what is made from them.")
@click.argument("words", metavar="CAMPAIGN|JOB...", nargs=-1, required=True)
@options.reviews
@options.ledger
def command(terminal: Terminal, *, words: tuple[str, ...], name: str | None, marked: Path | None, state: Path) -> int:
    """Say that the files of these jobs will not do for what is made from them (`gate: review`): what waits for them is
    cancelled, until another take of them is approved. Nothing that was bought changes."""
    return judge(terminal, state, words, "rejected", name, marked)
