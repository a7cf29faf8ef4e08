"""The caps that hold for campaigns, each with what counts against it: one list for admission, plan and display."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from batcher.statuses import is_unpriced

from .reader import CreditSum

if TYPE_CHECKING:
    from batcher.controls import Controls
    from batcher.settings import Allowance


#: Refusals that only say that it is too late, and what a run says that ended for them.
TIMES = {
    "until": "the time of --until has come",
    "window": "the window has closed",
    "ready_by": "nothing more would be done in time (ready_by)",
}
#: Refusals that are over some time, without any job of this run.
HELD = frozenset({"paused", "opening"})


class StatedCaps(Protocol):
    """What a run may commit, in credits; None means no cap (of jobs without a price: none is bought)."""

    @property
    def run(self) -> int | None: ...
    @property
    def campaigns(self) -> Mapping[str, int]: ...
    @property
    def allowances(self) -> Mapping[str, Allowance]: ...
    @property
    def day(self) -> int | None: ...
    @property
    def unpriced(self) -> int | None: ...
    @property
    def quoted(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class _AskedCaps:
    run: int | None
    campaigns: Mapping[str, int]
    allowances: Mapping[str, Allowance]
    day: int | None
    unpriced: int | None
    quoted: int | None


def asked_caps(own: StatedCaps, asked: Controls, *, tightens: bool = False) -> StatedCaps:
    """A run's own caps with those that people gave instead; `tightens`: of its total only a lower one counts."""
    if not asked.values:
        return own
    campaigns = {
        name: cap
        for name in dict.fromkeys([*own.campaigns, *asked.named("campaign")])
        if (cap := asked.cap(f"campaign:{name}", own.campaigns.get(name))) is not None
    }
    allowances = {
        campaign: replace(each, total=total)
        for campaign, each in own.allowances.items()
        if (total := asked.cap(f"allowance:{each.name}", each.total)) is not None
    }
    run = asked.cap("run", own.run, tightens=tightens)
    quoted = own.quoted if run is not None and run <= (own.run or 0) else None  # a plan's total that was raised is none
    return _AskedCaps(run, campaigns, allowances, asked.cap("day", own.day), own.unpriced, quoted)


#: `LedgerReader.spent`, or what stands for it where there is no ledger yet.
Spent = Callable[..., CreditSum]


@dataclass(frozen=True, slots=True)
class CapRoom:
    """One cap and what is held or settled under it, in credits; `name` says which campaign or allowance.

    It holds for these campaigns together; for all where none is named. `unpriced`: only for jobs without a price
    beforehand; False: only for the others.
    """

    cap: str
    limit: int
    used: int
    name: str = ""
    campaigns: tuple[str, ...] = ()
    unpriced: bool | None = None

    @property
    def words(self) -> str:
        """The cap with its name."""
        return f"{self.cap} {self.name}" if self.name else self.cap

    @property
    def left(self) -> int:
        """Credits that are left under it; less than 0 where the API took more than was held."""
        return self.limit - self.used

    def covers(self, campaign: str, price_class: str) -> bool:
        """Whether a job of this class counts under it."""
        fits = self.unpriced is None or self.unpriced == is_unpriced(price_class)
        return fits and (not self.campaigns or campaign in self.campaigns)


def room_under(
    caps: StatedCaps, campaigns: Sequence[str], spent: Spent, *, run_id: int | None, day: str, unpriced: bool = True
) -> Iterator[CapRoom]:
    """Every cap but `keep` under which jobs of these campaigns count; `unpriced`: some have no price beforehand.

    In this order a cap is named where several have no room. `day` is the local date; without a `run_id` all that was
    ever bought counts as the run's.
    """
    for each in campaigns if unpriced else ():
        used = spent(campaign=each, unpriced=True).committed
        yield CapRoom("unpriced", caps.unpriced or 0, used, campaigns=(each,), unpriced=True)
    if caps.quoted is not None:
        yield CapRoom("run", caps.quoted, spent(run_id=run_id, unpriced=False).committed, unpriced=False)
    if caps.run is not None:
        yield CapRoom("run", caps.run, spent(run_id=run_id).committed)
    for each in campaigns:
        if each in caps.campaigns:
            yield CapRoom("campaign", caps.campaigns[each], spent(campaign=each).committed, each, (each,))
    for allowance in dict.fromkeys(caps.allowances[each] for each in campaigns if each in caps.allowances):
        drawing = tuple(each for each in campaigns if caps.allowances.get(each) == allowance)
        used = spent(allowance=allowance.name).committed
        yield CapRoom("allowance", allowance.total, used, allowance.name, drawing)
    if caps.day is not None:
        yield CapRoom("day", caps.day, spent(day=day).committed)
