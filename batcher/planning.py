"""What a run would do and cost: manifests compared with the ledger. Reads only; the value it returns is what runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

from batcher.errors import Problem, UsageError
from batcher.jobs import SHORT_ID, UNSETTLED, JobId, JobSpec, Status, job_id
from batcher.ledger import NOT_IN_MANIFEST, Caps, KnownJob, LedgerReader, Price, seen_price
from batcher.ledger.expansion_cache import CachedExpansion, first_planned
from batcher.ledger.queries.left_behind import LeftBehind
from batcher.settings import Budget, Selection, Settings
from batcher.spelling import spellings

_BATCH = 500
#: More jobs than this in one manifest have to be allowed by `--max-jobs`.
MAX_JOBS = 100_000


@dataclass(frozen=True, slots=True)
class Quote:
    """What the new jobs of one price class are expected to cost; `source` says who named the price."""

    price_class: str
    jobs: int
    credits_each: int
    source: str

    @property
    def credits(self) -> int:
        return self.jobs * self.credits_each


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """The jobs of one manifest by where they stand; counts of distinct jobs.

    `new` will be bought, `unselected` would be but for `--only` or `--limit`, `gone` are planned in the ledger and no
    longer wanted. `duplicates` are entries that come to a job that another entry asks for.
    """

    campaign: str
    manifest: str
    jobs: int
    duplicates: int
    new: int
    unselected: int
    done: int
    under_way: int
    failed: int
    doubtful: int
    cancelled: int
    gone: int
    quotes: tuple[Quote, ...]
    notes: tuple[Problem, ...] = ()

    @property
    def credits(self) -> int:
        return sum(quote.credits for quote in self.quotes)


@dataclass(frozen=True, slots=True)
class CapLine:
    """One cap against what is committed already and what the plan wants, in credits."""

    cap: str
    limit: int
    used: int
    wanted: int

    @property
    def bites(self) -> bool:
        return self.used + self.wanted > self.limit


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next run would do. `seconds` is the least time that the limits allow for its submissions."""

    campaigns: tuple[CampaignPlan, ...]
    caps: tuple[CapLine, ...]
    seconds: float
    notes: tuple[Problem, ...] = ()  # what is right by the rules and may not be what was meant
    #: other campaigns of the ledger with something paid under way
    left_behind: tuple[LeftBehind, ...] = ()
    #: every job that the manifests ask for, bought already or not, once, in their order: expanded as it is read
    jobs: Iterable[JobSpec] = field(default=(), repr=False, compare=False)

    @property
    def new(self) -> int:
        return sum(campaign.new for campaign in self.campaigns)

    @property
    def credits(self) -> int:
        return sum(campaign.credits for campaign in self.campaigns)


@dataclass(frozen=True, slots=True)
class CampaignInput:
    """One manifest's part of a plan: its name, its jobs as a stream, its caps.

    Names of specs matter only where some are selected. With `standing` the ledger holds this very expansion, and says
    how it stands; then `specs` is not looked at.
    """

    campaign: str
    manifest: str
    specs: Iterable[JobSpec]
    budget: Budget
    standing: CachedExpansion | None = None


def make_plan(
    wanted: Sequence[CampaignInput],
    *,
    ledger: LedgerReader | None,
    account: str | None,
    selection: Selection,
    settings: Settings,
    run_budget: int | None = None,
    day: str,
    max_jobs: int = MAX_JOBS,
) -> Plan:
    """Compare what is wanted with the ledger (None: there is none yet).

    `account` finds prices that the API has named; without one the catalogue's count. `day` is the local date.
    Raises UsageError when `--only` matches no prompt or there are more than `max_jobs` jobs.
    """
    chooser = _Chooser(selection)
    plans = [_one(each, ledger, account, chooser, max_jobs) for each in wanted]
    if selection.only and not chooser.matched:
        some = ", ".join(chooser.some)
        raise UsageError(
            f"--only {' '.join(selection.only)} matches no prompt", hint=f"There are {some} …" if some else ""
        )
    caps = list(_caps(wanted, plans, ledger, settings, run_budget, day))
    new = sum(plan.new for plan in plans)
    submit = settings.limits.submit
    seconds = max(0, new - 1) // submit.count * submit.seconds
    return Plan(tuple(plans), tuple(caps), seconds, tuple(note for plan in plans for note in plan.notes))


#: So many names are told where none was meant.
_NAMES_TOLD = 10
_TWINS_TOLD = 10
_LEFT_OUT = KnownJob(Status.CANCELLED, NOT_IN_MANIFEST)
_UNBOUGHT = (Status.PLANNED, Status.CANCELLED)


_STANDINGS = ("unselected", "done", "under_way", "failed", "doubtful", "cancelled")


class _Chooser:
    """What `--only` and `--limit` take of the jobs that would be bought, in their order."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self.by_name = bool(selection.only)
        self.left = math.inf if selection.limit is None else selection.limit
        self.matched = False
        self.some: dict[str, None] = {}  # the first few names

    def means(self, name: str) -> bool:
        """Whether prompts of that name are meant."""
        if not self.by_name:
            return True
        if len(self.some) < _NAMES_TOLD:
            self.some[name] = None
        taken = self._selection.takes(name)
        self.matched = self.matched or taken
        return taken

    def take(self, count: int = 1) -> bool:
        """Take so many, if all of them are left."""
        if self.left < count:
            return False
        self.left -= count
        return True


def _one(
    wanted: CampaignInput, ledger: LedgerReader | None, account: str | None, chooser: _Chooser, max_jobs: int
) -> CampaignPlan:
    if wanted.standing is not None and ledger is not None:
        return _standing_plan(wanted, wanted.standing, ledger, account, chooser, max_jobs)
    # half the memory of the ids as texts; with a hash of what is kept beside each job
    seen: dict[bytes, int] = {}
    entries = jobs = planned = 0
    found: Counter[str] = Counter()
    classes: Counter[tuple[str, int]] = Counter()
    notes: list[Problem] = []
    for batch in _batches(wanted.specs):
        entries += len(batch)
        twins = {spec.id: _twins(spec) for spec in batch if not spec.prompt.isascii()}
        asked = [spec.id for spec in batch] + [twin for ids in twins.values() for twin in ids]
        known = ledger.known(asked) if ledger else {}
        for spec in batch:
            kept = _hash_of_kept(spec)
            first = seen.setdefault(bytes.fromhex(spec.id), kept)
            if len(seen) == jobs:
                if first != kept and len(notes) < _TWINS_TOLD:
                    notes.append(_kept_note(spec, wanted))
                continue
            jobs += 1
            if jobs > max_jobs:
                raise _too_many(wanted, max_jobs)
            there = known.get(spec.id)
            planned += there is not None and there.status is Status.PLANNED
            meant = chooser.means(spec.name)
            standing = "new" if there is None or there == _LEFT_OUT else _standing(there.status)
            for twin in twins.get(spec.id, ()) if standing == "new" and len(notes) < _TWINS_TOLD else ():
                if bytes.fromhex(twin) in seen or (twin in known and known[twin].status not in _UNBOUGHT):
                    notes.append(_twin_note(spec, twin, wanted))
            if standing != "new":
                found[standing] += 1
            elif meant and chooser.take():
                classes[spec.price_class, spec.catalog_credits] += 1
            else:
                found["unselected"] += 1
    gone = ledger.counts([wanted.campaign])[wanted.campaign].get(Status.PLANNED, 0) - planned if ledger else 0
    quotes = [_quote(name, n, price, ledger, account) for (name, price), n in sorted(classes.items())]
    return _campaign_plan(wanted, jobs, entries, found, quotes, gone, notes)


def _campaign_plan(
    wanted: CampaignInput,
    jobs: int,
    entries: int,
    found: Mapping[str, int],
    quotes: Sequence[Quote],
    gone: int,
    notes: Sequence[Problem] = (),
) -> CampaignPlan:
    return CampaignPlan(
        campaign=wanted.campaign,
        manifest=wanted.manifest,
        jobs=jobs,
        duplicates=entries - jobs,
        new=sum(quote.jobs for quote in quotes),
        gone=gone,
        quotes=tuple(quotes),
        notes=tuple(notes),
        **{name: found.get(name, 0) for name in _STANDINGS},
    )


def _twins(spec: JobSpec) -> list[JobId]:
    """The ids that the job would have, were its prompt spelled in another way (NFC, NFD) that looks the same."""
    return [
        job_id(
            campaign=spec.campaign,
            model=spec.model,
            prompt=text,
            params=spec.params,
            reference=spec.reference,
            take=spec.take,
        )
        for text in spellings(spec.prompt)
    ]


def _twin_note(spec: JobSpec, twin: JobId, wanted: CampaignInput) -> Problem:
    text = spec.prompt if len(spec.prompt) <= 60 else spec.prompt[:59] + "…"
    ids = f"{spec.id[:SHORT_ID]} and {twin[:SHORT_ID]}"
    message = f"two jobs ({ids}) differ only in how their letters are spelled (NFC, NFD), and both are bought: {text!r}"
    return Problem(wanted.manifest, message, hint="if one is enough, copy the text from the other")


def _hash_of_kept(spec: JobSpec) -> int:
    if not (spec.vars or spec.tags):
        return 0
    return hash(repr((sorted(spec.vars.items()), sorted(spec.tags.items()))))


def _kept_note(spec: JobSpec, wanted: CampaignInput) -> Problem:
    message = f"job {spec.id[:SHORT_ID]} ({spec.name}) is asked for again with other variables or tags"
    return Problem(wanted.manifest, message, hint="it is bought once, and keeps those of its first entry")


def _too_many(wanted: CampaignInput, max_jobs: int) -> UsageError:
    return UsageError(
        f"{wanted.manifest} makes more than {max_jobs:,} jobs", hint="If that is meant, allow it with --max-jobs."
    )


def _standing_plan(
    wanted: CampaignInput,
    standing: CachedExpansion,
    ledger: LedgerReader,
    account: str | None,
    chooser: _Chooser,
    max_jobs: int,
) -> CampaignPlan:
    """What expanding `wanted` would come to, from the ledger that holds the same expansion."""
    jobs = standing.statuses.total()
    if jobs > max_jobs:
        raise _too_many(wanted, max_jobs)
    chosen = _chosen(wanted.campaign, standing, ledger, chooser)
    found: Counter[str] = Counter()
    for status, count in standing.statuses.items():
        found[_standing(status)] += count
    found["unselected"] = found["new"] - chosen.total()
    quotes = [_quote(name, n, standing.prices[name], ledger, account) for name, n in sorted(chosen.items())]
    return _campaign_plan(wanted, jobs, standing.entries, found, quotes, standing.gone)


def _chosen(campaign: str, standing: CachedExpansion, ledger: LedgerReader, chooser: _Chooser) -> Counter[str]:
    """How many of the planned jobs are selected, by price class."""
    if not chooser.by_name and chooser.take(standing.planned.total()):
        return standing.planned
    found: Counter[str] = Counter()
    with closing(first_planned(ledger, campaign, standing, named=chooser.by_name)) as in_order:
        while chooser.left > 0 and (job := next(in_order, None)):
            price_class, name = job
            if chooser.means(name) and chooser.take():
                found[price_class] += 1
    return found


def _batches(specs: Iterable[JobSpec]) -> Iterator[list[JobSpec]]:
    stream = iter(specs)
    while batch := list(islice(stream, _BATCH)):
        yield batch


def _standing(status: Status) -> str:
    """Where a wanted job stands, in the plan's words."""
    if status in UNSETTLED:
        return "under_way"
    return {Status.PLANNED: "new", Status.SUCCEEDED: "done"}.get(status, str(status))


def _quote(price_class: str, jobs: int, catalog: int, ledger: LedgerReader | None, account: str | None) -> Quote:
    seen = seen_price(ledger, account, price_class) if ledger and account else None
    return quote_of(price_class, jobs, catalog, seen)


def quote_of(price_class: str, jobs: int, catalog: int, seen: Price | None) -> Quote:
    """What so many jobs of a class are expected to cost, and where that price is from; `catalog` in credits each."""
    if seen and (credits_each := seen.quote(catalog)) == seen.credits:
        return Quote(price_class, jobs, credits_each, f"seen {seen.at[:10]}")
    return Quote(price_class, jobs, catalog, "catalogue, from")


def _caps(
    wanted: Sequence[CampaignInput],
    plans: Sequence[CampaignPlan],
    ledger: LedgerReader | None,
    settings: Settings,
    run_budget: int | None,
    day: str,
) -> Iterator[CapLine]:
    def used(campaign: str | None = None, day: str | None = None) -> int:
        return ledger.spent(campaign=campaign, day=day).committed if ledger else 0

    total = sum(plan.credits for plan in plans)
    if run_budget is not None:
        yield CapLine("run", run_budget, 0, total)
    for each, plan in zip(wanted, plans, strict=True):
        if each.budget.campaign is not None:
            yield CapLine(f"campaign {plan.campaign}", each.budget.campaign, used(plan.campaign), plan.credits)
    if settings.budget.day is not None:
        yield CapLine(f"day {day}", settings.budget.day, used(day=day), total)


def caps_for(
    plan: Plan, wanted: Sequence[CampaignInput], settings: Settings, run_budget: int | None, until: float | None = None
) -> Caps:
    """The caps that a run of this plan obeys. Without any, its cap is the total that the plan quotes.

    `until` is when it starts no new job any more, in seconds since the epoch.
    """
    campaigns = {each.campaign: each.budget.campaign for each in wanted if each.budget.campaign is not None}
    none = run_budget is None and not campaigns and settings.budget.day is None
    return Caps(
        run=plan.credits if none else run_budget,
        campaigns=campaigns,
        day=settings.budget.day,
        keep=settings.budget.keep,
        until=until,
    )
