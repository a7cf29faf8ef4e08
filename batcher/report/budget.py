"""Caps and what is left of them, and what the rest of the plan will cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from batcher.clock import day_begins, from_iso, iso
from batcher.ledger import CreditSum, LedgerReader, Price
from batcher.ledger.queries import budgets
from batcher.ledger.queries.budgets import AllowanceInUse, Burst, RunCaps
from batcher.planning import Quote, quote_of

#: Work that took less time than this says nothing about a rate: a run begins with many jobs at once.
_LEAST_SECONDS = 60.0

#: The price that the API named last, by account and class.
Seen = Callable[[str, str], Price | None]


@dataclass(frozen=True, slots=True)
class Cap:
    """A cap as run `run_id` obeyed it. `cap` is `run`, `campaign`, `allowance`, `day` or `keep`, `name` which one.

    Credits; for `keep` `settled` and `held` are what the account took since the last wallet reading, and `free` is None
    when no reading is known. `per_hour` is None when nothing was bought under the cap in the last hour of work.
    """

    cap: str
    name: str
    run_id: int
    limit: int
    settled: int
    held: int
    free: int | None
    per_hour: float | None
    runs_out_at: str | None

    @property
    def used(self) -> int:
        return self.settled + self.held

    @property
    def hours_left(self) -> float | None:
        """Hours of work until nothing is free, at that rate."""
        return None if self.free is None or not self.per_hour else round(self.free / self.per_hour, 4)


@dataclass(frozen=True, slots=True)
class CampaignForecast:
    """What a campaign's planned jobs will cost; `committed` is settled or held already."""

    campaign: str
    committed: int
    quotes: tuple[Quote, ...]

    @property
    def jobs(self) -> int:
        return sum(quote.jobs for quote in self.quotes)

    @property
    def credits(self) -> int:
        return sum(quote.credits for quote in self.quotes)


@dataclass(frozen=True, slots=True)
class Bite:
    """A cap that does not let the rest of the plan through, and by how many credits it is short."""

    cap: str
    name: str
    short: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """The rest of the plan: jobs that are planned and still wanted, at the prices known now."""

    campaigns: tuple[CampaignForecast, ...]
    bites: tuple[Bite, ...]

    @property
    def jobs(self) -> int:
        return sum(each.jobs for each in self.campaigns)

    @property
    def credits(self) -> int:
        return sum(each.credits for each in self.campaigns)


def budget(
    read: LedgerReader,
    runs: Sequence[RunCaps],
    allowances: Sequence[AllowanceInUse],
    *,
    now: float,
    today: str,
    running: bool,
) -> tuple[Cap, ...]:
    """Every cap that the newest runs obeyed (of the newest run its own, of each campaign, of today, of the wallet), and
    every allowance."""
    bursts = budgets.last_hour(read)
    found: dict[tuple[str, str, int], Cap] = {}
    going = now if running else None
    for cap in (*_caps(read, runs, bursts, today, going), *_allowances(read, allowances, bursts, going)):
        found.setdefault((cap.cap, cap.name, cap.limit), cap)
    return tuple(found.values())


def _caps(
    read: LedgerReader, runs: Sequence[RunCaps], bursts: Sequence[Burst], today: str, now: float | None
) -> Iterator[Cap]:
    tomorrow = date.fromisoformat(today) + timedelta(days=1)
    midnight = day_begins(tomorrow.isoformat(), read.zone)
    for run in runs[:1]:
        if run.caps.run is not None:
            mine = [burst for burst in bursts if burst.run_id == run.run_id]
            going = None if run.ended else now
            yield _cap("run", str(run.run_id), run.run_id, run.caps.run, read.spent(run_id=run.run_id), mine, going)
    for run in runs:
        for name in run.campaigns:
            if name in run.caps.campaigns:
                mine = [burst for burst in bursts if burst.campaign == name]
                yield _cap("campaign", name, run.run_id, run.caps.campaigns[name], read.spent(campaign=name), mine, now)
    for run in runs:
        if run.caps.day is not None:
            yield _cap("day", today, run.run_id, run.caps.day, read.spent(day=today), bursts, now, ends=midnight)
    keeps = {(run.account, run.caps.keep): run for run in reversed(runs) if run.caps.keep is not None}
    for (_, keep), run in reversed(keeps.items()):
        reading = budgets.last_reading(read, run.account)
        if reading is None:
            yield Cap("keep", run.account, run.run_id, keep, 0, 0, None, _per_hour(bursts), None)
        else:
            taken = budgets.taken_after(read, run.account, reading.at)
            yield _cap("keep", run.account, run.run_id, keep, taken, bursts, now, room=reading.credits - keep)


def _allowances(
    read: LedgerReader, allowances: Sequence[AllowanceInUse], bursts: Sequence[Burst], now: float | None
) -> Iterator[Cap]:
    for each in allowances:
        mine = [burst for burst in bursts if burst.allowance == each.name]
        yield _cap("allowance", each.name, each.run_id, each.total, read.spent(allowance=each.name), mine, now)


def _cap(
    cap: str,
    name: str,
    run_id: int,
    limit: int,
    used: CreditSum,
    bursts: Sequence[Burst],
    now: float | None,
    *,
    room: int | None = None,
    ends: float | None = None,
) -> Cap:
    """`now` is None when no run is going: then there is no present rate. A cap that `ends` first does not run out."""
    free = max(0, (limit if room is None else room) - used.committed)
    rate = _per_hour(bursts)
    at = None if now is None or not rate else now + free / rate * 3600
    runs_out_at = None if at is None or (ends is not None and at >= ends) else iso(at)
    return Cap(cap, name, run_id, limit, used.settled, used.held, free, rate, runs_out_at)


def _per_hour(bursts: Sequence[Burst]) -> float | None:
    """Credits an hour over the last hour of work, or over the part of it in which something was bought."""
    if not bursts:
        return None
    first, last = min(burst.first for burst in bursts), max(burst.last for burst in bursts)
    seconds = max(_LEAST_SECONDS, from_iso(last) - from_iso(first))
    return round(sum(burst.credits for burst in bursts) * 3600 / seconds, 1)


def forecast(
    read: LedgerReader, campaigns: Collection[str], runs: Sequence[RunCaps], caps: Sequence[Cap], seen: Seen
) -> Forecast:
    """What the planned jobs of these campaigns will cost, and which of the caps are in the way.

    The cap of a run that has ended is in nobody's way.
    """
    accounts = {name: run.account for run in runs for name in run.campaigns}
    drawn = {name: each.name for run in runs for name, each in run.caps.allowances.items() if name in run.campaigns}
    quotes: dict[str, list[Quote]] = {}
    for part in budgets.rest(read, campaigns):
        quotes.setdefault(part.campaign, []).append(
            quote_of(
                part.price_class,
                part.jobs,
                part.catalog_credits,
                seen(accounts.get(part.campaign, ""), part.price_class),
            )
        )
    parts = tuple(CampaignForecast(name, read.spent(campaign=name).committed, tuple(q)) for name, q in quotes.items())
    going = {str(run.run_id) for run in runs if not run.ended}
    wanted = {part.campaign: part.credits for part in parts}
    bites = []
    for cap in caps:
        if cap.free is None or (cap.cap == "run" and cap.name not in going):
            continue
        under = [cost for name, cost in wanted.items() if _covers(cap, name, accounts.get(name, ""), drawn.get(name))]
        if sum(under) > cap.free:
            bites.append(Bite(cap.cap, cap.name, sum(under) - cap.free))
    return Forecast(parts, tuple(bites))


def _covers(cap: Cap, campaign: str, account: str, allowance: str | None) -> bool:
    whose = {"campaign": campaign, "keep": account, "allowance": allowance}
    return cap.cap not in whose or cap.name == whose[cap.cap]
