"""What a run of a plan buys job by job, which cap stops the others, and how long it takes. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from batcher.jobs import JobSpec
from batcher.ledger import LedgerReader
from batcher.settings import Limits, Selection

from . import CapLine, Plan
from .walk import CampaignInput, Chooser, ClassPrices, JobWalk, in_turn

#: So many of the newest tasks of a class say how long the next ones take.
_WAITS = 48


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


def job_lines(
    wanted: Sequence[CampaignInput],
    caps: Sequence[CapLine],
    *,
    ledger: LedgerReader | None,
    account: str | None,
    selection: Selection,
    max_jobs: int,
) -> Iterator[JobLine]:
    """Every job that the manifests ask for, once, in the order of buying, under these caps."""
    chooser, prices = Chooser(selection), ClassPrices(ledger, account)
    used = [cap.used for cap in caps]

    def of(each: CampaignInput) -> Iterator[JobLine]:
        under = [(n, cap) for n, cap in enumerate(caps) if not cap.campaigns or each.campaign in cap.campaigns]
        for spec, there in JobWalk(each, ledger, max_jobs):
            standing = chooser.standing(spec, there)
            if standing != "new":
                yield JobLine(spec, standing)
                continue
            quote = prices.quote(spec.price_class, spec.catalog_credits)
            hold = prices.hold(spec.price_class, spec.catalog_credits)
            stopped_by = next((cap.cap for n, cap in under if used[n] + hold > cap.limit), "")
            if not stopped_by:
                for n, _ in under:
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
    plan: Plan, lines: Callable[[], Iterable[JobLine]], ledger: LedgerReader | None, account: str | None, limits: Limits
) -> Outlook:
    """How far a run of the plan comes; `lines` are gone through only where a cap bites."""
    classes: Counter[str] = Counter()
    credits_, last, stopped = 0, "", dict[str, None]()
    if any(cap.bites for cap in plan.caps):
        for line in lines():
            if line.is_bought:
                classes[line.spec.price_class] += 1
                credits_, last = credits_ + (line.credits or 0), line.spec.name
            elif line.stopped_by:
                stopped[line.stopped_by] = None
    else:
        credits_ = plan.credits
        for quote in (quote for campaign in plan.campaigns for quote in campaign.quotes):
            classes[quote.price_class] += quote.jobs
    sent, done = _times(classes, ledger, account, limits)
    return Outlook(
        jobs=classes.total(),
        of=plan.new,
        credits=credits_,
        stops_after=last if stopped else "",
        stopped_by=tuple(stopped),
        seconds=sent if done is None else done,
        seconds_known=done is not None,
    )


def _times(
    classes: Mapping[str, int], ledger: LedgerReader | None, account: str | None, limits: Limits
) -> tuple[float, float | None]:
    """When the last job is sent at the earliest, and when all are done (None: nothing is known of it), in seconds."""
    jobs = sum(classes.values())
    sent = max(0, jobs - 1) // limits.submit.count * limits.submit.seconds
    if not jobs or ledger is None or account is None:
        return sent, None
    known = {name: median(done for _, done in waits) for name in classes if (waits := _waits(ledger, account, name))}
    if not known:
        return sent, None
    longest = max(known.values())
    work = sum(n * known.get(name, longest) for name, n in classes.items())
    return sent, max(sent + longest, work / limits.in_flight)


def _waits(ledger: LedgerReader, account: str, price_class: str) -> list[tuple[float, float]]:
    return ledger.waits(account, price_class, _WAITS)
