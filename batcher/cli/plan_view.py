"""A plan as a table to decide by, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from batcher.planning import Plan, Quote
from batcher.text import amount, count, duration, number, safe
from batcher.workload import Workload, offline_plan

from .left_behind import left_behind_json, left_behind_view
from .terminal import Terminal, table, with_total

#: The parts of a campaign's jobs, as the plan counts them and as its table says them.
_STANDINGS = {
    "new": "new",
    "unselected": "not selected",
    "done": "done",
    "under_way": "under way",
    "failed": "failed",
    "doubtful": "doubtful",
    "cancelled": "cancelled",
    "gone": "no longer wanted",
    "duplicates": "duplicates",
}


def tell_plan(terminal: Terminal, workload: Workload, state: Path, account: str | None) -> None:
    """Show what a run would do against the ledger of the state folder, if there is one; asks nobody."""
    plan = offline_plan(workload, state, account)
    tell_notes(plan, terminal)
    shown = (*plan_view(plan, workload), *left_behind_view(plan.left_behind, state))
    terminal.answer(plan_json(plan, workload, account), *shown)


def plan_view(plan: Plan, workload: Workload) -> Iterator[RenderableType]:
    """The plan for people, part by part."""
    yield _campaigns(plan)
    quotes = [quote for campaign in plan.campaigns for quote in campaign.quotes]
    if quotes:
        yield ""
        yield _prices(quotes, plan)
    yield ""
    yield from _notes(plan, workload, quotes)


def _campaigns(plan: Plan) -> RenderableType:
    shown = [name for name in _STANDINGS if name in ("new", "done") or any(getattr(c, name) for c in plan.campaigns)]
    headers = ["campaign", "jobs", *(_STANDINGS[name] for name in shown), "credits"]

    rows = [[c.campaign, c.jobs, *(getattr(c, name) for name in shown), c.credits] for c in plan.campaigns]
    return with_total(headers, rows)


def _prices(quotes: list[Quote], plan: Plan) -> RenderableType:
    headers = ["new jobs by price class", "jobs", "each", "credits", "price"]
    jobs: Counter[tuple[str, int, str]] = Counter()  # a class once, however many campaigns have jobs of it
    for q in quotes:
        jobs[q.price_class, q.credits_each, q.source] += q.jobs
    rows: list[list[object]] = [[name, n, each, n * each, source] for (name, each, source), n in jobs.items()]
    if len(rows) > 1:
        rows.append(["total", plan.new, "", plan.credits, ""])
    return table(headers, rows, total=len(rows) > 1)


def _notes(plan: Plan, workload: Workload, quotes: list[Quote]) -> Iterator[RenderableType]:
    if plan.new == 0:
        yield "Nothing new to buy."
    else:
        limit = workload.settings.limits.submit
        time = f"; submitting them takes at least {duration(plan.seconds)} at {limit}" if plan.seconds >= 1 else ""
        yield f"{amount(plan.credits)} for {count(plan.new, 'new job')}{time}."
    if any(quote.source.startswith("catalogue") for quote in quotes):
        yield 'Prices of the catalogue are "from": the API names the real one with the first job of each class.'
    for cap in plan.caps:
        free = max(0, cap.limit - cap.used)
        line = f"Cap {safe(cap.cap)}: {number(cap.limit)}, {number(cap.used)} used, {number(cap.wanted)} wanted"
        if cap.bites:
            yield Text(f"{line}; it bites: {number(cap.wanted - free)} too many, the rest stays planned.", "yellow")
        else:
            yield f"{line}; {number(free - cap.wanted)} to spare."
    if not plan.caps and plan.new:
        yield f"No cap is set: a run of this plan stops at its {amount(plan.credits)}."
    gone = sum(campaign.gone for campaign in plan.campaigns)
    if gone:
        yield f"{count(gone, 'planned job')} no longer in the manifest: a run cancels them; they cost nothing."


def tell_notes(plan: Plan, terminal: Terminal) -> None:
    """Say on stderr what the manifests lose, or may not mean."""
    for note in plan.notes:
        terminal.note(str(note))


def notes_json(plan: Plan) -> list[dict[str, Any]]:
    """The notes as docs/json.md has them."""
    return [note._asdict() for note in plan.notes]


def plan_json(plan: Plan, workload: Workload, account: str | None) -> dict[str, Any]:
    """The plan as docs/json.md has it."""
    return {
        "account": account,
        "unit": workload.provider.capabilities.unit,
        "campaigns": [
            {
                **_some(c, "campaign", "manifest"),
                "model": manifest.model.id,
                **_some(c, "jobs", *_STANDINGS, "credits"),
                "prices": [
                    _some(quote, "price_class", "jobs", "credits_each", "credits", "source") for quote in c.quotes
                ],
            }
            for c, manifest in zip(plan.campaigns, workload.manifests, strict=True)
        ],
        "caps": [_some(cap, "cap", "limit", "used", "wanted", "bites") for cap in plan.caps],
        **_some(plan, "new", "credits", "seconds"),
        "notes": notes_json(plan),
        "left_behind": left_behind_json(plan.left_behind),
    }


def _some(value: object, *names: str) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}
