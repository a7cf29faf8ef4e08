"""What a run of a plan buys job by job, which cap stops the others, and how long it takes. Reads only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from statistics import median

from batcher.jobs import JobSpec
from batcher.ledger import NEWEST_WAITS, LedgerReader, slow_wait
from batcher.settings import ANY_TIME, BuyingTime, Limits, Selection

from . import CapLine, Plan
from .chains import Step, whole_chains
from .walk import CampaignInput, Chooser, ClassPrices, JobWalk, in_turn


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job as a plan lists it: where it stands, and for a new one its quote and hold (credits) and what stops it.

    `stopped_by` is the name of the first cap without room for it. `ends_chain`: it is made from results of others, and
    nothing from its own.
    """

    spec: JobSpec
    standing: str
    credits: int | None = None
    source: str = ""
    hold: int = 0
    stopped_by: str = ""
    ends_chain: bool = False

    @property
    def is_bought(self) -> bool:
        """Whether a run of the plan buys it."""
        return self.standing == "new" and not self.stopped_by


class Schedule:
    """When jobs are sent, and done, at the earliest: by the limits, and how long tasks of their classes took before."""

    def __init__(
        self,
        limits: Limits,
        ledger: LedgerReader | None,
        account: str | None,
        time: BuyingTime = ANY_TIME,
        now: float = 0.0,
    ) -> None:
        """`time` is when new jobs may start, `now` the present, both in seconds since the epoch."""
        self._begin = max(0.0, (time.since or now) - now)
        self._until = math.inf if time.until is None else time.until - now
        self._ready_by = math.inf if time.ready_by is None else time.ready_by - now
        self._closed_by = time.closed_by
        self._limits = limits
        self._ledger = ledger
        self._account = account
        self._places = [self._begin] * limits.in_flight  # when each is free again
        self._waits: dict[str, float] = {}
        self._slow: dict[str, float] = {}
        self._sent = 0
        self.last = self.done = 0.0  # when the newest job is sent, and all are done, in seconds

    @property
    def next(self) -> float:
        """In how many seconds the next job is sent."""
        return max(self._places[0], self._begin + self._sent // self._limits.submit.count * self._limits.submit.seconds)

    @property
    def ends(self) -> bool:
        """Whether there is a time after which no job is started."""
        return min(self._until, self._ready_by) < math.inf

    def late(self, price_class: str) -> str:
        """Why the next job would come too late, if it is of this class: a key of `TIMES`."""
        if self.next > self._until:
            return self._closed_by
        if self._ready_by == math.inf:
            return ""
        if price_class not in self._slow:
            read, account = self._ledger, self._account
            self._slow[price_class] = slow_wait(read, account, price_class) if read and account else 0.0
        return "ready_by" if self.next + self._slow[price_class] >= self._ready_by else ""

    @property
    def known(self) -> bool:
        """Whether anything is known of how long tasks take."""
        return any(self._waits.values())

    def send(self, price_class: str, jobs: int = 1) -> None:
        """Add jobs of a class."""
        if price_class not in self._waits:
            self._waits[price_class] = self._wait(price_class)
        # one of which nothing is known takes as long as the longest of the others
        wait = self._waits[price_class] or max(self._waits.values())
        for _ in range(jobs):
            self.last = self.next
            heapreplace(self._places, self.last + wait)
            self._sent += 1
            self.done = max(self.done, self.last + wait)

    def _wait(self, price_class: str) -> float:
        if self._ledger is None or self._account is None:
            return 0.0
        return median([done for _, done in self._ledger.waits(self._account, price_class, NEWEST_WAITS)] or [0.0])


def job_lines(
    inputs: Sequence[CampaignInput],
    caps: Sequence[CapLine],
    *,
    ledger: LedgerReader | None,
    account: str | None,
    selection: Selection,
    max_jobs: int,
    schedule: Schedule | None = None,
) -> Iterator[JobLine]:
    """Every job that the manifests ask for, once, in the order of buying, under these caps.

    With a `schedule`, none is bought that it sends too late.
    """
    chooser, prices = Chooser(selection), ClassPrices(ledger, account)
    used = [cap.used for cap in caps]

    def hold_of(spec: JobSpec) -> int:
        return prices.hold(spec.price_class, spec.catalog_credits)

    def no_room(specs: Sequence[JobSpec]) -> str:
        """The first cap that has no room for all of these, or what makes it too late for them."""
        for n, cap in enumerate(caps):
            needed = sum(hold_of(spec) for spec in specs if cap.covers(spec.campaign, spec.price_class))
            if needed and used[n] + needed > cap.limit:
                return cap.words
        late = (schedule.late(spec.price_class) for spec in specs) if schedule is not None else ()
        return next(filter(None, late), "")

    def take(spec: JobSpec) -> None:
        for n, cap in enumerate(caps):
            used[n] += hold_of(spec) if cap.covers(spec.campaign, spec.price_class) else 0
        if schedule is not None:
            schedule.send(spec.price_class)

    def steps(each: CampaignInput) -> Iterator[Step]:
        found = ((spec, chooser.standing(spec, there)) for spec, there in JobWalk(each, ledger, max_jobs))
        if each.has_chains:
            yield from whole_chains(list(found), no_room, take)
            return
        for spec, standing in found:
            stopped_by = no_room([spec]) if standing == "new" else ""
            if standing == "new" and not stopped_by:
                take(spec)
            yield Step(spec, standing, stopped_by, ends_chain=False)

    def of(each: CampaignInput) -> Iterator[JobLine]:
        for spec, standing, stopped_by, ends_chain in steps(each):
            if standing != "new":
                yield JobLine(spec, standing, ends_chain=ends_chain)
                continue
            quote = prices.quote(spec.price_class, spec.catalog_credits)
            yield JobLine(spec, standing, quote.credits_each, quote.source, hold_of(spec), stopped_by, ends_chain)

    yield from in_turn([of(each) for each in inputs], lambda line: line.hold * line.is_bought, fair=selection.fair)


@dataclass(frozen=True, slots=True)
class Outlook:
    """How far a run of a plan comes: what it buys, for how many credits, and after which job which caps stop it.

    `seconds` is how long that takes by limits and learned waits; where nothing is known of how long tasks take
    (`seconds_known` is false), only until the last job is sent.
    """

    jobs: int
    of: int
    credits: int
    stops_after: str = ""
    stopped_by: tuple[str, ...] = ()
    seconds: float = 0.0
    seconds_known: bool = False
    #: chains that are bought whole, of so many that are wanted
    chains: int = 0
    chains_of: int = 0


def outlook(plan: Plan, lines: Callable[[], Iterable[JobLine]], schedule: Schedule) -> Outlook:
    """How far a run of the plan comes; `lines` are gone through only where a cap bites, or the time.

    `schedule` is a new one.
    """
    jobs, credits_, last, stopped = 0, 0, "", dict[str, None]()
    chains: Counter[bool] = Counter()
    if schedule.ends or plan.has_chains or any(cap.bites for cap in plan.caps):
        for line in lines():
            chains[line.is_bought] += line.ends_chain and line.standing == "new"
            if line.is_bought:
                schedule.send(line.spec.price_class)
                jobs, credits_, last = jobs + 1, credits_ + (line.credits or 0), line.spec.name
            elif line.stopped_by:
                stopped[line.stopped_by] = None
    else:
        jobs, credits_ = plan.new, plan.credits
        for quote in plan.quotes:
            schedule.send(quote.price_class, quote.jobs)
    return Outlook(
        jobs=jobs,
        of=plan.new,
        credits=credits_,
        stops_after=last if stopped else "",
        stopped_by=tuple(stopped),
        seconds=schedule.done if schedule.known else schedule.last,
        seconds_known=schedule.known,
        chains=chains[True],
        chains_of=chains.total(),
    )
