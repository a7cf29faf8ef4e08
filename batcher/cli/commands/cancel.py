"""`batcher cancel`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.job_actions import carry_out_on, decisive_ledger, find_targets, told
from batcher.cli.terminal import Terminal
from batcher.jobs import UNSETTLED, Status
from batcher.ledger.decisions import Cancel
from batcher.text import count


@click.command(short_help="Do not send planned jobs, until a retry.")
@click.argument("words", metavar="CAMPAIGN|JOB...", nargs=-1, required=True)
@options.ledger
def command(terminal: Terminal, *, words: tuple[str, ...], state: Path) -> int:
    """Do not send planned jobs: those named by the beginning of their id, or all of a campaign. What is bought goes on,
    for the API cannot cancel what it has. `batcher retry` takes it back."""
    with decisive_ledger(state) as ledger:
        targets = find_targets(ledger.read, words, terminal)
        outcome = carry_out_on(ledger, Cancel(), targets, [Status.PLANNED])
    until = "No run sends them until `batcher retry … --status cancelled`."
    done = f"{count(len(outcome.changed), 'job')} cancelled. {until}" if outcome.changed else "Nothing to cancel."
    terminal.answer(outcome.json(), done, *told(outcome))
    if (under_way := sum(outcome.others[status] for status in UNSETTLED)) and not terminal.as_json:
        terminal.say(f"{count(under_way, 'job')} under way: bought already, and the API cannot cancel what it has.")
    return 1 if outcome.undone else 0
