"""A plan as a table to decide by, and as JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from batcher.access import Access
from batcher.damage import find_damage
from batcher.errors import Kind, exit_code
from batcher.ledger import LedgerReader
from batcher.planning import CampaignPlan, CapLine, Plan
from batcher.planning.forecast import JobLine, Schedule, outlook
from batcher.planning.walk import CATALOGUE
from batcher.report.table import csv_lines
from batcher.settings import buying_time
from batcher.state import open_reader
from batcher.text import amount, count, duration, number, safe, what_differs
from batcher.workload import Workload

from .database import saved_files
from .left_behind import left_behind_json, left_behind_view
from .options import time_lines
from .plan_jobs import JOB_COLUMNS, chains_view, job_row, job_view, outlook_json, outlook_view
from .terminal import Terminal, table, with_total
from .wallet import read_wallet

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
    "to_fetch": "to fetch",
}


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """How a plan is told: with its jobs (the first `rows` of them), as text, CSV or JSON; `online` asks for the wallet.

    `bom` stands before the CSV, for Excel. `fail_over` is what it may cost, in credits, `until` when no job is started
    any more, in seconds since the epoch.
    """

    jobs: bool = False
    rows: int | None = None
    form: str = "text"
    bom: bool = False
    online: bool = False
    fail_over: int | None = None
    until: float | None = None
    #: where to save it, and what `run` is told of its selection then
    out: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def tell_plan(
    terminal: Terminal, workload: Workload, state: Path, access: Access, asked: PlanRequest = PlanRequest()
) -> int:
    """Show what a run would do against the ledger of the state folder, if there is one; the exit code."""
    account = access.account
    wallet = read_wallet(access, state).credits if asked.online else None
    with reading(state) as ledger:
        workload = workload.resumed(ledger)
        # What the ledger knows of an earlier expansion is not used: only expanding tells what the rows lose.
        plan = workload.plan(ledger, account, {})
        if ledger is not None:
            plan = replace(plan, campaigns=tuple(_to_fetch(c, workload, ledger, state) for c in plan.campaigns))
        if wallet is not None:
            plan = replace(plan, caps=(*plan.caps, _wallet_line(wallet, plan, workload, ledger, account or "")))
        tell_notes(plan, terminal)

        now = time.time()
        buying = buying_time(workload.settings, now, asked.until)

        def schedule() -> Schedule:
            return Schedule(workload.settings.limits, ledger, account, buying, now)

        def lines() -> Iterator[JobLine]:
            return workload.lines(plan, ledger, account, schedule())

        if asked.out is not None:
            saved = workload.save_plan(asked.out, plan, ledger, account, asked.options, time.time())
            sure = f"{count(len(saved.jobs), 'job')} for at most {amount(saved.document['total'])}"
            terminal.say(f"Saved {safe(asked.out)}: {sure}; buy exactly that: batcher run {safe(asked.out)}")
        ahead = outlook(plan, lines, schedule())
        document = plan_json(plan, workload, account) | {"buys": outlook_json(ahead)}
        at = time_lines(buying) if plan.new else ()
        how_far = (*outlook_view(ahead), *chains_view(ahead), *at)
        view = (*plan_view(plan, workload), *how_far, *left_behind_view(plan.left_behind, state))
        rows = islice(lines(), asked.rows)
        if asked.form == "csv":
            cells = (list(job_row(line).values()) for line in rows)
            terminal.records(csv_lines(JOB_COLUMNS, cells), bom=asked.bom)
        elif asked.jobs and terminal.as_json:
            terminal.document_of("jobs", map(job_row, rows), document)
        else:
            terminal.answer(document, *view)
            for text in chain.from_iterable(map(job_view, rows)) if asked.jobs else ():
                terminal.paragraph(text)
            listed = sum(campaign.jobs for campaign in plan.campaigns)
            if asked.jobs and asked.rows is not None and asked.rows < listed:
                terminal.line(f"… and {count(listed - asked.rows, 'job')} more")
    if asked.fail_over is not None and plan.credits > asked.fail_over:
        terminal.warn(f"the plan wants {amount(plan.credits)}, more than --fail-over {number(asked.fail_over)}")
        return exit_code(Kind.CAPPED)
    return 0


def reading(state: Path) -> AbstractContextManager[LedgerReader | None]:
    """The ledger of a state folder for a block; None where there is none yet."""
    reader = open_reader(state)
    return closing(reader) if reader else nullcontext()


def _to_fetch(campaign: CampaignPlan, workload: Workload, ledger: LedgerReader, state: Path) -> CampaignPlan:
    """The same with how many jobs lack a file of theirs."""
    name, settings = campaign.campaign, workload.settings
    artifacts = saved_files(state) if settings.downloads(name) else None
    if artifacts is None:
        return campaign
    missing = find_damage(ledger, artifacts, [name], settings, workload.selection, thorough=False).damage
    return replace(campaign, to_fetch=len({*ledger.unsaved(name), *missing}))


def _wallet_line(wallet: int, plan: Plan, workload: Workload, ledger: LedgerReader | None, account: str) -> CapLine:
    """What the wallet has, but for what is to be kept of it, against what it has not felt yet and the plan wants."""
    taken = ledger.taken_since(account, ledger.wallet_mark()) if ledger else 0
    return CapLine("wallet", wallet - (workload.settings.budget.keep or 0), taken, wanted=plan.credits)


def plan_view(plan: Plan, workload: Workload) -> Iterator[RenderableType]:
    """The plan for people, part by part."""
    yield _campaigns(plan)
    if plan.new:
        yield ""
        yield from prices_view(plan)
    yield ""
    yield from _notes(plan, workload)


def _campaigns(plan: Plan) -> RenderableType:
    shown = [name for name in _STANDINGS if name in ("new", "done") or any(getattr(c, name) for c in plan.campaigns)]
    headers = ["campaign", "jobs", *(_STANDINGS[name] for name in shown), "credits"]

    rows = [[c.campaign, c.jobs, *(getattr(c, name) for name in shown), c.credits] for c in plan.campaigns]
    return with_total(headers, rows)


def prices_view(plan: Plan) -> Iterator[RenderableType]:
    """The new jobs by price class, and what is known of the price of each."""
    headers = ["new jobs by price class", "jobs", "each", "credits", "price"]
    jobs: Counter[tuple[str, int, str]] = Counter()  # a class once, however many campaigns have jobs of it
    for q in plan.quotes:
        jobs[q.price_class, q.credits_each, q.source] += q.jobs
    shared, names = what_differs([price_class for price_class, _, _ in jobs])
    rows: list[list[object]] = [
        [name, n, each, n * each, source] for name, ((_, each, source), n) in zip(names, jobs.items(), strict=True)
    ]
    if len(rows) > 1:
        rows.append(["total", plan.new, "", plan.credits, ""])
    yield table(headers, rows, total=len(rows) > 1)
    if shared:
        yield f"All of them: {safe(shared)}."


def _notes(plan: Plan, workload: Workload) -> Iterator[RenderableType]:
    if plan.new == 0:
        yield "Nothing new to buy."
    else:
        limit = workload.settings.limits.submit
        time = f"; submitting them takes at least {duration(plan.seconds)} at {limit}" if plan.seconds >= 1 else ""
        yield f"{amount(plan.credits)} for {count(plan.new, 'new job')}{time}."
    if any(quote.source == CATALOGUE for quote in plan.quotes):
        yield 'Prices of the catalogue are "from": the API names the real one with the first job of each class.'
    yield from _unpriced(plan, workload)
    for cap in plan.caps:
        if cap.unpriced and workload.unpriced is None:
            continue
        free = max(0, cap.limit - cap.used)
        line = f"Cap {safe(cap.words)}: {number(cap.limit)}, {number(cap.used)} used, {number(cap.wanted)} wanted"
        if cap.bites:
            yield Text(f"{line}; it bites: {number(cap.wanted - free)} too many, the rest stays planned.", "yellow")
        else:
            yield f"{line}; {number(free - cap.wanted)} to spare."
    if plan.new and not any(not cap.unpriced for cap in plan.caps):
        yield f"No cap is set: a run of this plan stops at {amount(plan.most)}."
    gone = sum(campaign.gone for campaign in plan.campaigns)
    if gone:
        yield f"{count(gone, 'planned job')} no longer in the manifest: a run cancels them; they cost nothing."


def _unpriced(plan: Plan, workload: Workload) -> Iterator[RenderableType]:
    """What becomes of jobs without a price beforehand."""
    jobs = sum(quote.jobs for quote in plan.quotes if quote.is_unpriced)
    if not jobs:
        return
    why = "no file in the catalogue" if workload.unchecked else "billing METERED or TOKEN_BASED"
    words = f"{count(jobs, 'job')} without a price beforehand ({why})"
    if workload.unpriced is None:
        yield Text(f"{words}: a run buys none of them, unless --allow-unpriced N says what they may cost.", "yellow")
    else:
        yield f"{words}: quoted at the dearest of its class so far, at least the base; one of a class at a time."


def tell_notes(plan: Plan, terminal: Terminal) -> None:
    """Say on stderr what the manifests lose, or may not mean."""
    tell_warnings(plan, terminal)
    for note in plan.notes:
        terminal.note(str(note))


def tell_warnings(plan: Plan, terminal: Terminal) -> None:
    """Say on stderr of which models nothing is checked."""
    for warning in plan.warnings:
        terminal.warn(str(warning))


def notes_json(plan: Plan) -> list[dict[str, Any]]:
    """The warnings and notes as docs/json.md has them."""
    return [note._asdict() for note in (*plan.warnings, *plan.notes)]


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
        "caps": [{"cap": cap.words, **_some(cap, "limit", "used", "wanted", "bites")} for cap in plan.caps],
        **_some(plan, "new", "credits", "seconds"),
        "notes": notes_json(plan),
        "left_behind": left_behind_json(plan.left_behind),
    }


def _some(value: object, *names: str) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}
