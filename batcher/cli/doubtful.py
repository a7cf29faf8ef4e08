"""Doubtful jobs, by name, with the reason and what to type: `status`, `jobs`, `show` and the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from batcher.ledger.queries.jobs import JobReview
from batcher.text import amount, count, number, safe, short

from .open_ledger import state_words
from .terminal import Styled

#: So many are named; `batcher jobs --status doubtful` lists the others.
SHOWN = 10


def doubtful_view(cases: Sequence[JobReview], state: Path) -> Iterator[Styled]:
    """Nothing when there are none; else each with its reason, and the command that decides."""
    if not cases:
        return
    one = len(cases) == 1
    jobs = f"{count(len(cases), 'job')} {'is' if one else 'are'} doubtful"
    held = f"{amount(sum(case.hold for case in cases))} stay held"
    charged = f"nobody here can know whether the API charged {'it' if one else 'them'}"
    yield Styled((f"  {jobs}: {charged}; {held}.", "yellow"))
    for case in cases[:SHOWN]:
        why = safe(case.reason) or "no reason is known"
        yield Styled((f"    {case.short}  {short(case.name, 40)}: {why}", "yellow"))
    if len(cases) > SHOWN:
        more = number(len(cases) - SHOWN)
        yield Styled((f"    … and {more} more: batcher jobs{state_words(state)} --status doubtful", "yellow"))
    yield Styled(("  decide: ", ""), (resolve_command(cases[0].short if one else "JOB", state), "bold cyan"))


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


def doubtful_json(cases: Sequence[JobReview]) -> list[dict[str, Any]]:
    """The same as docs/json.md has it."""
    return [
        {
            "id": case.id,
            "campaign": case.campaign,
            "name": case.name,
            "error_code": case.code,
            "error_message": case.message,
            "held_credits": case.hold,
            "task_id": case.task_id,
        }
        for case in cases
    ]
