"""`batcher resolve`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

import click

from batcher.cli import options
from batcher.cli.job_actions import carry_out, decisive_ledger, find_job, told
from batcher.cli.terminal import Terminal, table
from batcher.errors import UsageError
from batcher.jobs import JobId, Status
from batcher.ledger import LedgerWriter
from batcher.ledger.decisions import SHOWN, Closed, JobReview, Submitted, check_all, has_campaign, select
from batcher.ledger.queries.selectors import Condition, own
from batcher.text import amount, count, number

#: No purchase costs more than this; a slip of the finger may.
_MOST_CREDITS = 1_000_000_000


@click.command(short_help="Decide what became of doubtful jobs.")
@click.argument("words", metavar="JOB...", nargs=-1)
@click.option(
    "--as",
    "verdict",
    type=click.Choice(["submitted", "failed", "again"]),
    required=True,
    help="submitted: the API has it, as the task of --task. failed: it came to nothing. again: so, and buy it again.",
)
@click.option("--task", metavar="ID", help="With --as submitted: the id of the task that the API has made of it.")
@click.option(
    "--charged",
    type=click.IntRange(0, _MOST_CREDITS),
    metavar="N",
    help="With --as failed or again: what the API took for it; 0 unless said otherwise.",
)
@click.option("--campaign", metavar="NAME", help="In place of JOB: every doubtful job of this campaign …")
@click.option("--code", metavar="CODE", help="… or every one that is doubtful for this error code; both narrow it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.ledger
def command(
    terminal: Terminal,
    *,
    words: tuple[str, ...],
    verdict: str,
    task: str | None,
    charged: int | None,
    campaign: str | None,
    code: str | None,
    yes: bool,
    state: Path,
) -> int:
    """Decide what became of doubtful jobs, which are named by the beginning of their id. Shows what will change, and
    asks, before it changes anything."""
    decision = _decision(verdict, task, charged)
    by_filter = campaign is not None or code is not None
    if bool(words) is by_filter:
        raise UsageError("name either jobs or --campaign and --code")
    with decisive_ledger(state) as ledger:
        jobs = _filtered(ledger, campaign, code) if by_filter else _named(ledger, words)
        if isinstance(decision, Submitted) and len(jobs) > 1:
            raise UsageError("one task is one job: name just one with --as submitted")
        check_all(ledger.read, decision, jobs)
        if jobs and not yes:
            if not terminal.can_ask:
                raise UsageError(
                    f"this changes {count(len(jobs), 'job')} and would ask first, but there is no terminal",
                    hint="Look at them with `batcher show JOB`, then add --yes.",
                )
            _explain(terminal, decision, jobs)
            if not terminal.ask("Is that so?"):
                terminal.say("Nothing was changed.")
                return 1
        outcome = carry_out(ledger, decision, [job.id for job in jobs])
    done = f"{count(len(outcome.changed), 'job')} resolved. {_then(decision)}"
    terminal.answer(outcome.json(), done if jobs else "No doubtful job is like that.", *told(outcome))
    return 1 if outcome.undone else 0


def _decision(verdict: str, task: str | None, charged: int | None) -> Submitted | Closed:
    if verdict == "submitted":
        if task is None:
            raise UsageError("--as submitted needs --task ID", hint="The API's own list of tasks has it.")
        if charged is not None:
            raise UsageError("--charged goes with --as failed and again; the API names the price of what it has")
        return Submitted(task.strip())
    if task is not None:
        raise UsageError("--task goes with --as submitted")
    return Closed(charged or 0, again=verdict == "again")


def _named(ledger: LedgerWriter, words: Sequence[str]) -> list[JobReview]:
    found: dict[JobId, JobReview] = {}
    for word in words:
        job = find_job(ledger.read, word)
        found[job.id] = job
    return list(found.values())


def _filtered(ledger: LedgerWriter, campaign: str | None, code: str | None) -> list[JobReview]:
    if campaign is not None and not has_campaign(ledger.read, campaign):
        raise UsageError(f"there is no campaign {campaign!r} in {ledger.path}", hint="`batcher status` lists them.")
    conditions = [] if code is None else [Condition(own("error_code"), code)]
    return list(select(ledger.read, campaign=campaign, statuses=[Status.DOUBTFUL], conditions=conditions))


def _explain(terminal: Terminal, decision: Submitted | Closed, jobs: list[JobReview]) -> None:
    """Which jobs, why they are doubtful, what they hold, and what the decision does."""
    rows = [(c.short, c.campaign, c.name, c.hold, c.task_id or "", c.reason) for c in jobs[:SHOWN]]
    terminal.say(table(("job", "campaign", "name", "held", "task", "doubtful because"), rows))
    if len(jobs) > SHOWN:
        terminal.say(f"… and {number(len(jobs) - SHOWN)} more")
    hold = amount(sum(job.hold for job in jobs))
    match decision:
        case Submitted(task_id):
            terminal.say(f"The API has made task {task_id} of it. {_then(decision)} {hold} stay held until it ends.")
        case Closed(charged):
            each = "each " if len(jobs) > 1 else ""
            terminal.say(f"{hold} held are freed, and {amount(charged)} {each}settled for good. {_then(decision)}")
        case _:
            assert_never(decision)


def _then(decision: Submitted | Closed) -> str:
    if isinstance(decision, Submitted):
        return "The next run asks for the task and fetches its result."
    if decision.again:
        return "The next run buys what the manifest still asks for, as a new attempt, with a new key."
    return "Failed; `batcher retry` would buy again."
