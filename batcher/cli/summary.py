"""The end of a run: what happened, what it cost, where the files are, what to type next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from batcher.errors import Kind, exit_code
from batcher.jobs import Status
from batcher.ledger.queries.lookup import Place
from batcher.state import LEDGER, SAMPLE
from batcher.text import count, duration, number, safe

from .doubtful_jobs import doubtful_json, doubtful_view
from .left_behind import left_behind_json, left_behind_view
from .open_ledger import state_words
from .price_probe import learned_json, learned_view
from .terminal import Styled

if TYPE_CHECKING:
    from batcher.run import RunOutcome, RunRequest

_HEADINGS = {
    Kind.DONE: ("Done", "bold green"),
    Kind.UNFINISHED: ("Ended", "bold yellow"),
    Kind.INTERRUPTED: ("Stopped", "bold yellow"),
    Kind.TERMINATED: ("Stopped", "bold yellow"),
}


def summary_view(result: RunOutcome, request: RunRequest, command: str) -> Iterator[RenderableType]:
    """The summary for people. `command` is what was typed."""
    ending = result.ending
    heading, style = _HEADINGS.get(ending.kind, ("Stopped", "bold red"))
    told = f" in {duration(result.seconds)}: {safe(ending.reason)}."
    yield Text.assemble((heading, style), told)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, text in _rows(result, request):
        grid.add_row(Text(f"  {name}"), Text(text))
    yield grid
    yield from learned_view(result, request)
    for reason, jobs in result.ending.left.items():
        yield f"  {count(jobs, 'job')} left: {safe(reason)}"
    for refusal in ending.blocked:
        yield f"  {safe(refusal)}"
    yield from map(Styled.__rich__, doubtful_view(result.doubtful, request.state))
    yield from map(Styled.__rich__, left_behind_view(result.plan.left_behind, request.state) if request.buys else ())
    for advice, typed in _next(result, request, command):
        yield Text.assemble(f"  {advice}: ", (typed, "bold cyan"))


def _rows(result: RunOutcome, request: RunRequest) -> Iterator[tuple[str, str]]:
    for state in result.campaigns:
        jobs = ", ".join(f"{number(state.statuses[s])} {s}" for s in map(str, Status) if state.statuses.get(s))
        superseded = f"{number(state.superseded)} failed and superseded" if state.superseded else ""
        yield safe(state.campaign), ", ".join(filter(None, (jobs, superseded))) or "no jobs"
    sums = [sum(getattr(state, name) for state in result.campaigns) for name in ("settled", "held", "doubtful")]
    yield "credits", _credits(*sums)
    bill = result.bill
    refused = f", {number(bill.refused)} refused at no cost" if bill.refused else ""
    if bill.attempts:
        bought = f"{count(bill.attempts, 'job')} bought, {number(bill.quoted)} quoted"
        yield "this run", f"{bought}, {_credits(bill.settled, bill.held, bill.doubtful)}{refused}{_budget(request)}"
    else:
        yield "this run", f"nothing bought{refused}{_budget(request)}"
    for state in result.campaigns:
        if state.files:
            folder = f"{request.results or request.state / 'results'}/{state.campaign}"
            yield "files", f"{number(state.files)} in {safe(folder)}"


def _budget(request: RunRequest) -> str:
    return "" if request.workload.budget is None else f", of a budget of {number(request.workload.budget)}"


def _credits(settled: int, held: int, doubtful: int) -> str:
    return f"{number(settled)} settled, {number(held)} held" + (f" ({number(doubtful)} doubtful)" if doubtful else "")


def _next(result: RunOutcome, request: RunRequest, command: str) -> Iterator[tuple[str, str]]:
    ending = result.ending
    found = {status: sum(s.statuses.get(status, 0) for s in result.campaigns) for status in Status}
    if ending.kind is not Kind.DONE and (ending.kind is not Kind.UNFINISHED or _resumable(result)):
        yield _onward(result, request, command)
    state = state_words(request.state)
    if found[Status.FAILED]:
        yield "what failed", f"batcher jobs{state} --status failed"
    if found[Status.DOUBTFUL]:
        yield "what is doubtful, and why", f"batcher jobs{state} --status doubtful; batcher show{state} JOB"
    if request.workload.is_canary and (page := request.state / SAMPLE).exists():
        yield "see the sample", safe(page.absolute())
    if ending.kind is Kind.DONE:
        yield "see every job", f"batcher jobs{state}"


def _onward(result: RunOutcome, request: RunRequest, command: str) -> tuple[str, str]:
    """What to do next, and the command for it: one that spends no more than the ended one was given.

    `--budget`, `--limit` and the plan's total count from nothing in each run, all other caps hold on.
    """
    ending, budget, limit = result.ending, request.workload.budget, request.workload.selection.limit
    if budget is None and "run" in ending.caps:
        return "the plan's total is used up; see first what the rest costs now", f"{command} --dry-run"
    if "unpriced" in ending.caps and request.workload.unpriced is None:
        words = "some jobs have no price beforehand; say what those of a campaign may cost together"
        return words, f"{command} --allow-unpriced N"
    first = "when there is room again, go on with" if ending.caps else "go on with"
    if ending.kind is Kind.KEY:
        first = "with a key that the API takes, go on with"
    if request.workload.selection.probe:
        command = re.sub(r" --(probe|yes)\b", "", command)  # the prices are known now
    if request.workload.saved:
        return first, command  # what its earlier runs took is known by the plan
    if limit is not None:
        command = re.sub(r"(--limit[ =])\S+", rf"\g<1>{max(0, limit - result.bill.attempts)}", command)
    if budget is None or not (used := result.used_before + _spent(result)):
        return first, command
    left = max(0, budget - used)
    command = re.sub(r"(--budget[ =])\S+", rf"\g<1>{left}", command)
    if not left:
        return f"the budget of {number(budget)} is used up; go on with what is bought", command
    return f"{first} (--budget counts anew in each run: {number(used)} are used)", command


def _spent(result: RunOutcome) -> int:
    return result.bill.settled + result.bill.held


def _resumable(result: RunOutcome) -> bool:
    """Whether the same command would find something to do."""
    return bool(result.ending.left) or any(
        state.statuses.get(status)
        for state in result.campaigns
        for status in (Status.PLANNED, Status.SUBMITTING, Status.QUEUED, Status.PROCESSING)
    )


def summary_json(result: RunOutcome, request: RunRequest) -> dict[str, Any]:
    """The summary as docs/json.md has it."""
    ending = result.ending
    return {
        "run_id": result.run_id,
        "exit_code": exit_code(ending.kind),
        "kind": ending.kind.value,
        "reason": ending.reason,
        "seconds": round(result.seconds, 3),
        "simulated": request.place is Place.SIMULATOR,
        "ledger": str(Path(request.state / LEDGER).absolute()),
        "results": request.results or str((request.state / "results").absolute()),
        "campaigns": [state._asdict() for state in result.campaigns],
        "credits": result.bill._asdict(),
        "budget": request.workload.budget,
        "used_before": result.used_before,
        "learned": learned_json(result, request),
        "doubtful_jobs": doubtful_json(result.doubtful),
        "files": result.fetched,
        "left": result.ending.left,
        "blocked": list(ending.blocked),
        "left_behind": left_behind_json(result.plan.left_behind) if request.buys else [],
    }
