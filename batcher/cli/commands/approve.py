"""`batcher approve`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.reviews import judge
from batcher.cli.terminal import Terminal


@click.command(short_help="Say that files will do for what is made from them.")
@click.argument("words", metavar="CAMPAIGN|JOB...", nargs=-1, required=True)
@options.reviews
@options.ledger
def command(terminal: Terminal, *, words: tuple[str, ...], name: str | None, marked: Path | None, state: Path) -> int:
    """Say that the files of these jobs will do for what is made from them (`gate: review`): those named by the
    beginning of their id, or all of a campaign that wait for it. It holds for the bytes: another take is looked at
    anew."""
    return judge(terminal, state, words, "approved", name, marked)
