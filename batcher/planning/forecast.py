"""What a run of a plan buys job by job, which cap stops the others, and how long it takes. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from statistics import median

from batcher.jobs import JobSpec
from batcher.ledger import LedgerReader
from batcher.settings import Limits, Selection

from . import CapLine, Plan
from .walk import CampaignInput, Chooser, ClassPrices, JobWalk, in_turn

#: So many of the newest tasks of a class say how long the next ones take.
_WAITS = 48
#: What stops a job that would be sent too late, beside the names of caps.
UNTIL = "until"


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job as a plan lists it: where it stands, and for a new one its quote and hold (credits) and what stops it.

    `stopped_by` is the name of the first cap without room for it.
    """

    spec: JobSpec
    standing: str
    credits: int | None = None
    source: str = ""
    hold: int = 0
    stopped_by: str = ""

    @property
    def is_bought(self) -> bool:
        """Whether a run of the plan buys it."""
        return self.standing == "new" and not self.stopped_by


class Schedule:
    """When jobs are sent, and done, at the earliest: by the limits, and how long tasks of their classes took before."""

    def __init__(self, limits: Limits, ledger: LedgerReader | None, account: str | None) -> None:
        self._limits = limits
        self._ledger = ledger
        self._account = account
        self._places = [0.0] * limits.in_flight  # when each is free again
        self._waits: dict[str, float] = {}
        self._sent = 0
        self.last = self.done = 0.0  # when the newest job is sent, and all are done, in seconds

    @property
    def next(self) -> float:
        """In how many seconds the next job is sent."""
        return max(self._places[0], self._sent // self._limits.submit.count * self._limits.submit.seconds)

    @property
    def known(self) -> bool:
        """Whether anything is known of how long tasks take."""
        return any(self._waits.values())

    def send(self, price_class: str) -> None:
        """One more job, of that class."""
        if price_class not in self._waits:
            self._waits[price_class] = self._wait(price_class)
        self.last = self.next
        # one of which nothing is known takes as long as the longest of the others
        end = self.last + (self._waits[price_class] or max(self._waits.values()))
        heapreplace(self._places, end)
        self._sent, self.done = self._sent + 1, max(self.done, end)

    def _wait(self, price_class: str) -> float:
        if self._ledger is None or self._account is None:
            return 0.0
        return median([done for _, done in self._ledger.waits(self._account, price_class, _WAITS)] or [0.0])


def job_lines(
    wanted: Sequence[CampaignInput],
    caps: Sequence[CapLine],
    *,
    ledger: LedgerReader | None,
    account: str | None,
    selection: Selection,
    max_jobs: int,
    schedule: Schedule | None = None,
    seconds: float = 0.0,
) -> Iterator[JobLine]:
    """Every job that the manifests ask for, once, in the order of buying, under these caps.

    With a `schedule`, none is bought that it sends after so many seconds; `until` stops it.
    """
    chooser, prices = Chooser(selection), ClassPrices(ledger, account)
    used = [cap.used for cap in caps]

    def of(each: CampaignInput) -> Iterator[JobLine]:
        for spec, there in JobWalk(each, ledger, max_jobs):
            standing = chooser.standing(spec, there)
            if standing != "new":
                yield JobLine(spec, standing)
                continue
            quote = prices.quote(spec.price_class, spec.catalog_credits)
            hold = prices.hold(spec.price_class, spec.catalog_credits)
            under = [n for n, cap in enumerate(caps) if cap.covers(each.campaign, spec.price_class)]
            stopped_by = next((caps[n].cap for n in under if used[n] + hold > caps[n].limit), "")
            if schedule is not None and not stopped_by:
                if schedule.next > seconds:
                    stopped_by = UNTIL
                else:
                    schedule.send(spec.price_class)
            if not stopped_by:
                for n in under:
                    used[n] += hold
            yield JobLine(spec, standing, quote.credits_each, quote.source, hold, stopped_by)

    yield from in_turn([of(each) for each in wanted], lambda line: line.hold * line.is_bought, fair=selection.fair)


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


def outlook(
    plan: Plan, lines: Callable[[], Iterable[JobLine]], schedule: Schedule, *, seconds: float | None = None
) -> Outlook:
    """How far a run of the plan comes; `lines` are gone through only where a cap bites.

    `schedule` is a new one; after so many `seconds` (None: never) no job is started any more.
    """
    jobs, credits_, last, stopped = 0, 0, "", dict[str, None]()
    if seconds is not None or any(cap.bites for cap in plan.caps):
        for line in lines():
            if line.is_bought:
                schedule.send(line.spec.price_class)
                jobs, credits_, last = jobs + 1, credits_ + (line.credits or 0), line.spec.name
            elif line.stopped_by:
                stopped[line.stopped_by] = None
    else:
        jobs, credits_ = plan.new, plan.credits
        for quote in plan.quotes:
            for _ in range(quote.jobs):
                schedule.send(quote.price_class)
    return Outlook(
        jobs=jobs,
        of=plan.new,
        credits=credits_,
        stops_after=last if stopped else "",
        stopped_by=tuple(stopped),
        seconds=schedule.done if schedule.known else schedule.last,
        seconds_known=schedule.known,
    )
