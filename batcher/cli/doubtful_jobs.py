"""Doubtful jobs, by name, with the reason and what to type: `status`, `jobs`, `show` and the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from batcher.ledger.queries.jobs import JobReview
from batcher.text import amount, count, number, safe, short

from .open_ledger import state_words
from .terminal import Styled

#: Jobs that are named; `batcher jobs --status doubtful` lists the others.
SHOWN = 10


def doubtful_view(jobs: Sequence[JobReview], state: Path) -> Iterator[Styled]:
    """Nothing when there are none; else each with its reason, and the command that decides."""
    if not jobs:
        return
    one = len(jobs) == 1
    are = f"{count(len(jobs), 'job')} {'is' if one else 'are'} doubtful"
    held = f"{amount(sum(job.hold for job in jobs))} stay held"
    charged = f"nobody here can know whether the API charged {'it' if one else 'them'}"
    yield Styled((f"  {are}: {charged}; {held}.", "yellow"))
    for job in jobs[:SHOWN]:
        why = safe(job.reason) or "no reason is known"
        yield Styled((f"    {job.short}  {short(job.name, 40)}: {why}", "yellow"))
    if len(jobs) > SHOWN:
        more = number(len(jobs) - SHOWN)
        yield Styled((f"    … and {more} more: batcher jobs{state_words(state)} --status doubtful", "yellow"))
    yield Styled(("  decide: ", ""), (resolve_command(jobs[0].short if one else "JOB", state), "bold cyan"))


def resolve_command(job: str, state: Path) -> str:
    """What to type to decide about a doubtful job."""
    return f"batcher resolve{state_words(state)} {job} --as submitted --task ID | --as failed | --as again"


def doubtful_advice(job: str, state: Path) -> str:
    """What can be done about a doubtful job, up to the decision."""
    return (
        "Find out whether the API has it: the history on the vendor's site shows model, prompt, status, cost and refund"
        " of each generation; its support can look up the last request id"
        f" (`batcher show{state_words(state)} {job}`). Then: {resolve_command(job, state)}"
    )


def doubtful_json(jobs: Sequence[JobReview]) -> list[dict[str, Any]]:
    """The same as docs/json.md has it."""
    return [
        {
            "id": job.id,
            "campaign": job.campaign,
            "name": job.name,
            "error_code": job.code,
            "error_message": job.message,
            "held_credits": job.hold,
            "task_id": job.task_id,
        }
        for job in jobs
    ]
