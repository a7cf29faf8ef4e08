"""What a run would do and cost: manifests compared with the ledger. Reads only; the value it returns is what runs."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from batcher.errors import Problem, UsageError
from batcher.jobs import JobSpec, Status
from batcher.ledger import Caps, CreditSum, LedgerReader
from batcher.ledger.cap_room import CapRoom, room_under
from batcher.ledger.expansion_cache import CachedExpansion, first_planned
from batcher.ledger.queries.left_behind import LeftBehind
from batcher.settings import ANY_TIME, BuyingTime, Selection, Settings

from .walk import CampaignInput as CampaignInput
from .walk import Chooser, ClassPrices, JobWalk, in_turn, standing_of, too_many
from .walk import Quote as Quote
from .walk import quote_of as quote_of

#: More jobs than this in one manifest have to be allowed by `--max-jobs`.
MAX_JOBS = 100_000


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
    #: jobs with a result that is still to be fetched, or whose file is missing
    to_fetch: int = 0

    @property
    def credits(self) -> int:
        return sum(quote.credits for quote in self.quotes)


@dataclass(frozen=True, slots=True)
class CapLine(CapRoom):
    """One cap against what is committed already and what the plan wants, in credits."""

    wanted: int = 0

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
    warnings: tuple[Problem, ...] = ()  # models without a file, which `unchecked` lets in
    #: other campaigns of the ledger with something paid under way
    left_behind: tuple[LeftBehind, ...] = ()
    has_chains: bool = False
    #: every job that the manifests ask for, bought already or not, once, in their order: expanded as it is read
    jobs: Iterable[JobSpec] = field(default=(), repr=False, compare=False)

    @property
    def quotes(self) -> list[Quote]:
        """What the new jobs are expected to cost: by campaign, and in it by class."""
        return [quote for campaign in self.campaigns for quote in campaign.quotes]

    @property
    def new(self) -> int:
        return sum(campaign.new for campaign in self.campaigns)

    @property
    def credits(self) -> int:
        return sum(campaign.credits for campaign in self.campaigns)

    @property
    def most(self) -> int:
        """What a run may take where nothing else caps it: the quotes, and what jobs without a price may cost."""
        return self.quoted + sum(max(0, cap.limit - cap.used) for cap in self.caps if cap.unpriced)

    @property
    def quoted(self) -> int:
        """What the new jobs with a price beforehand are expected to cost."""
        return sum(quote.credits for quote in self.quotes if not quote.is_unpriced)


def make_plan(
    inputs: Sequence[CampaignInput],
    *,
    ledger: LedgerReader | None,
    account: str | None,
    selection: Selection,
    settings: Settings,
    run_budget: int | None = None,
    unpriced: int | None = None,
    day: str,
    max_jobs: int = MAX_JOBS,
) -> Plan:
    """Compare what manifests ask for with the ledger (None: there is none yet).

    `account` finds prices that the API has named; without one the catalogue's count. `day` is the local date.
    `unpriced` is what jobs without a price beforehand may cost of each campaign (None: none is bought).
    Raises UsageError when `--only` matches no prompt or there are more than `max_jobs` jobs.
    """
    chooser, prices = Chooser(selection), ClassPrices(ledger, account)
    tallies = [_Tally(each, ledger, prices, chooser, max_jobs) for each in inputs]
    # whose turn it is matters only where not all are taken
    fair = selection.fair and selection.limit is not None
    deque(in_turn([tally.take_up() for tally in tallies], lambda credits_: credits_, fair=fair), maxlen=0)
    plans = [tally.plan() for tally in tallies]
    if selection.only and not chooser.matched:
        some = ", ".join(chooser.some)
        raise UsageError(
            f"--only {' '.join(selection.only)} matches no prompt", hint=f"There are {some} …" if some else ""
        )
    stated = replace(_stated(inputs, settings, run_budget), unpriced=unpriced)
    caps = list(_cap_lines(stated, plans, ledger, day))
    new = sum(plan.new for plan in plans)
    submit = settings.limits.submit
    seconds = max(0, new - 1) // submit.count * submit.seconds
    notes = tuple(note for plan in plans for note in plan.notes)
    return Plan(tuple(plans), tuple(caps), seconds, notes, has_chains=any(each.has_chains for each in inputs))


_STANDINGS = ("unselected", "done", "under_way", "failed", "doubtful", "cancelled")


class _Tally:
    """One campaign's part of a plan, counted job by job: `take_up` yields the quote of each job that is taken."""

    def __init__(
        self,
        given: CampaignInput,
        ledger: LedgerReader | None,
        prices: ClassPrices,
        chooser: Chooser,
        max_jobs: int,
    ) -> None:
        self._given = given
        self._ledger = ledger
        self._prices = prices
        self._chooser = chooser
        self._max_jobs = max_jobs
        self._walk = JobWalk(given, ledger, max_jobs)
        self._found: Counter[str] = Counter()
        self._classes: Counter[tuple[str, int]] = Counter()

    def take_up(self) -> Iterator[int]:
        """Go through the jobs of the manifest, or of the ledger where it holds the same expansion."""
        if self._given.cached is not None and self._ledger is not None:
            yield from self._take_known(self._given.cached, self._ledger)
            return
        for spec, there in self._walk:
            standing = self._chooser.standing(spec, there)
            if standing == "new":
                price = spec.price_class, spec.catalog_credits
                self._classes[price] += 1
                yield self._prices.quote(*price).credits_each
            else:
                self._found[standing] += 1

    def _take_known(self, cached: CachedExpansion, ledger: LedgerReader) -> Iterator[int]:
        if cached.statuses.total() > self._max_jobs:
            raise too_many(self._given, self._max_jobs)
        for status, count in cached.statuses.items():
            self._found[standing_of(status)] += count
        chooser, campaign = self._chooser, self._given.campaign
        if not chooser.by_name and math.isinf(chooser.left):
            self._classes.update({(name, cached.prices[name]): n for name, n in cached.planned.items()})
        else:
            with closing(first_planned(ledger, campaign, cached, named=chooser.by_name)) as in_order:
                while chooser.left > 0 and (job := next(in_order, None)):
                    price_class, name = job
                    if chooser.means(name) and chooser.take():
                        catalog = cached.prices[price_class]
                        self._classes[price_class, catalog] += 1
                        yield self._prices.quote(price_class, catalog).credits_each
        self._found["unselected"] = self._found.pop("new", 0) - self._classes.total()

    def plan(self) -> CampaignPlan:
        """What was counted."""
        given, walk, ledger = self._given, self._walk, self._ledger
        jobs, entries = walk.jobs, walk.entries
        if given.cached is not None and ledger is not None:
            jobs, entries, gone = given.cached.statuses.total(), given.cached.entries, given.cached.gone
        elif ledger is not None:
            gone = ledger.counts([given.campaign])[given.campaign].get(Status.PLANNED, 0) - walk.planned
        else:
            gone = 0
        quotes = [replace(self._prices.quote(*each), jobs=n) for each, n in sorted(self._classes.items())]
        return CampaignPlan(
            campaign=given.campaign,
            manifest=given.manifest,
            jobs=jobs,
            duplicates=entries - jobs,
            new=sum(quote.jobs for quote in quotes),
            gone=gone,
            quotes=tuple(quotes),
            notes=tuple(walk.notes),
            **{name: self._found.get(name, 0) for name in _STANDINGS},
        )


def _cap_lines(caps: Caps, plans: Sequence[CampaignPlan], ledger: LedgerReader | None, day: str) -> Iterator[CapLine]:
    def spent(**counted: Any) -> CreditSum:
        return ledger.spent(**counted) if ledger else CreditSum(0, 0)

    def quoted(room: CapRoom) -> int:
        taken = ((plan.campaign, quote) for plan in plans for quote in plan.quotes)
        return sum(quote.credits for campaign, quote in taken if room.covers(campaign, quote.price_class))

    campaigns = [plan.campaign for plan in plans]
    for room in room_under(caps, campaigns, spent, run_id=0, day=day):  # no run has this id: nothing is taken yet
        line = CapLine(**asdict(room), wanted=quoted(room))
        if line.wanted or not line.unpriced:
            yield replace(line, name=day) if line.cap == "day" else line


def caps_for(
    plan: Plan,
    inputs: Sequence[CampaignInput],
    settings: Settings,
    run_budget: int | None,
    time: BuyingTime = ANY_TIME,
) -> Caps:
    """The caps that a run of this plan obeys. Without any (an allowance is one), its cap is the plan's total.

    `time` is when it may start new jobs.
    """
    caps = _stated(inputs, settings, run_budget)
    if run_budget is None and not caps.campaigns and not caps.allowances and caps.day is None:
        caps = replace(caps, run=plan.most, quoted=plan.quoted if plan.most > plan.quoted else None)
    return replace(caps, keep=settings.budget.keep, price_above=settings.price_above, **time._asdict())


def _stated(inputs: Sequence[CampaignInput], settings: Settings, run_budget: int | None) -> Caps:
    """The caps that manifests and options state."""
    return Caps(
        run=run_budget,
        campaigns={each.campaign: each.budget.campaign for each in inputs if each.budget.campaign is not None},
        allowances={each.campaign: each.budget.allowance for each in inputs if each.budget.allowance is not None},
        day=settings.budget.day,
    )
