"""`batcher retry`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.database import named_database
from batcher.cli.job_actions import Targets, carry_out_on, decisive_ledger, find_targets, told
from batcher.cli.terminal import Terminal
from batcher.clock import iso_seconds
from batcher.errors import LedgerLocked, UsageError
from batcher.jobs import Status
from batcher.ledger import LedgerReader, hold_lock
from batcher.ledger.decisions import Retry, check_all
from batcher.ledger.queries.selectors import Condition
from batcher.text import count

_NEVER = {
    Status.PLANNED: "they are sent by the next run anyway",
    Status.SUBMITTING: "the API may have them, and the next run goes on with them",
    Status.QUEUED: "the API has them, and the next run goes on with them",
    Status.PROCESSING: "the API has them, and the next run goes on with them",
    Status.DOUBTFUL: "nobody knows whether they were charged: `batcher resolve JOB --as again`",
}


@click.command(short_help="Buy jobs again at the next run.")
@click.argument("words", metavar="CAMPAIGN|JOB...", nargs=-1, required=True)
@options.statuses("Retry jobs with this status: failed (unless said otherwise), succeeded or cancelled; repeatable.")
@click.option("--name", metavar="GLOB", help="Of a campaign only prompts with such a name.")
@click.option("--code", metavar="GLOB", help="Of a campaign only jobs with such an error code.")
@options.where
@options.ledger
def command(
    terminal: Terminal,
    *,
    words: tuple[str, ...],
    statuses: tuple[str, ...],
    name: str | None,
    code: str | None,
    conditions: tuple[str, ...],
    state: Path,
) -> int:
    """Let the next run make a new attempt, with a new key, of failed jobs: those named by the beginning of their id, or
    all of a campaign. Jobs that a person cancelled come back too when they are named one by one."""
    chosen = frozenset(map(Status, statuses or [Status.FAILED]))
    for status in sorted(chosen & set(_NEVER)):
        raise UsageError(f"jobs that are {status} cannot be retried: {_NEVER[status]}")
    named = chosen if statuses else chosen | {Status.CANCELLED}
    with decisive_ledger(state) as ledger, ExitStack() as stack:
        targets = find_targets(ledger.read, words, terminal)
        some = _some(ledger.read, targets, name, code, conditions)
        alone = Status.SUCCEEDED in chosen and not named_database()  # where others may be at work, nobody is alone
        if alone:
            # A run might be fetching the very result that is to be bought again: with the lock there is none.
            try:
                stack.enter_context(hold_lock(state, started=iso_seconds(time.time())))
            except LedgerLocked:
                alone = False
        check_all(ledger.read, Retry(named, alone), targets.jobs)
        outcome = carry_out_on(ledger, Retry(named, alone), targets, chosen, wide=Retry(chosen, alone), some=some)
    again = "The next run buys what the manifest still asks for, as a new attempt, with a new key."
    done = f"{count(len(outcome.changed), 'job')} planned again. {again}" if outcome.changed else "Nothing to retry."
    terminal.answer(outcome.json(), done, *told(outcome))
    cancelled = outcome.others[Status.CANCELLED]
    if cancelled and Status.CANCELLED not in chosen and not terminal.as_json:
        terminal.say(f"{count(cancelled, 'cancelled job')} left as it is; --status cancelled brings such back.")
    return 1 if outcome.undone else 0


def _some(
    read: LedgerReader, targets: Targets, name: str | None, code: str | None, where: Sequence[str]
) -> Sequence[Condition]:
    """Which jobs of the campaigns are meant. Raises UsageError for what no job has."""
    if name is None and code is None and not where:
        return ()
    if targets.jobs:
        raise UsageError(
            "--name, --code and --where choose among the jobs of a campaign", hint="Name no job by its id beside them."
        )
    from batcher.report.question import choose  # brings the catalogue along

    return choose(read, where, name=name, code=code)
