"""What a run may commit, and why a job is not admitted: one question, asked in the transaction that takes the hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from batcher.clock import local_day, local_time
from batcher.ledger.reader import LedgerReader
from batcher.settings import Allowance
from batcher.statuses import JobId, is_unpriced

from . import chains
from .prices import class_waits, last_final, seen_price

#: A wallet reading that is older, in seconds, lets nothing through (product.md, promise 3).
READING_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Caps:
    """What this run may commit, in credits, and until when (seconds since the epoch); None means no cap.

    `campaigns` and `allowances` are by campaign; campaigns that name one allowance draw on it together.
    `wallet` is the reading that counts and `wallet_mark` the newest attempt (row id) that it has felt for certain;
    `wallet_at` (seconds since the epoch) when the newest reading was taken, None before the first; `wallet_most` the
    highest one. It lets `room` credits through beyond the attempt `room_mark` (None: no bound), one job at least.
    """

    run: int | None = None
    campaigns: dict[str, int] = field(default_factory=dict)
    allowances: dict[str, Allowance] = field(default_factory=dict)
    day: int | None = None
    keep: int | None = None
    until: float | None = None
    wallet: int = 0
    wallet_mark: int = 0
    wallet_at: float | None = None
    wallet_most: int = 0
    wallet_told: tuple[str, ...] = ()
    room: int | None = None
    room_mark: int = 0
    #: What a job of a price class may cost at most, by a saved plan.
    ceilings: dict[str, int] = field(default_factory=dict)
    #: Whether a job from whose result others are made leaves room for them (all of a campaign are wanted).
    whole_chains: bool = True
    #: What jobs without a price beforehand may hold and cost of each campaign, over all runs; None: none is bought.
    unpriced: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a job was not admitted.

    `cap` is `until`, `unpriced`, `price`, `ceiling`, `run`, `campaign`, `allowance`, `day`, `keep` or `reading`;
    `name` says which campaign or allowance. `quote` is what would have been held for the job.
    """

    cap: str
    message: str
    quote: int
    name: str = ""

    @property
    def words(self) -> str:
        """The cap with its name."""
        return f"{self.cap} {self.name}" if self.name else self.cap


class Admission(NamedTuple):
    """What a job is expected to cost, and what is held for it: the class's newest final, if that is more."""

    quote: int
    hold: int


def admission(
    read: LedgerReader,
    caps: Caps,
    *,
    run_id: int | None,
    account: str,
    campaign: str,
    now: float,
    price_class: str,
    catalog_credits: int,
    job_id: JobId,
) -> Admission | Refusal:
    """What a job of this class costs and holds, if every cap has room for that at `now` (seconds, wall clock)."""
    if caps.until is not None and now >= caps.until:
        return Refusal("until", f"no job is started after {local_time(caps.until)}", catalog_credits)
    unpriced = is_unpriced(price_class)
    if unpriced and caps.unpriced is None:
        words = "the API names no price of such a job beforehand; --allow-unpriced N lets them cost N together"
        return Refusal("unpriced", words, catalog_credits)
    day = local_day(now, read.zone)
    if class_waits(read, account, price_class):
        return Refusal("price", "waits until the API has named this price", catalog_credits)
    quote = _quote(read, account, price_class, catalog_credits)
    hold = max(quote, last_final(read, account, price_class))
    if hold > (ceiling := caps.ceilings.get(price_class, hold)):
        return Refusal("ceiling", f"{price_class} costs {hold} now, above the plan's ceiling of {ceiling}", hold)
    checks: list[tuple[str, str, int | None, dict[str, Any]]] = [
        ("run", "", caps.run, {"run_id": run_id}),
        ("campaign", campaign, caps.campaigns.get(campaign), {"campaign": campaign}),
        ("day", "", caps.day, {"day": day}),
    ]
    if allowance := caps.allowances.get(campaign):
        checks.append(("allowance", allowance.name, allowance.total, {"allowance": allowance.name}))
    kept = 0
    if caps.whole_chains and any(limit is not None for _, _, limit, _ in checks):
        kept = chains.kept_room(read, campaign, job_id, lambda *of: _quote(read, account, *of))
    if unpriced:
        checks.insert(0, ("unpriced", "", caps.unpriced, {"campaign": campaign, "unpriced": True}))
    for cap, name, limit, counted in checks:
        if limit is not None and (used := read.spent(**counted).committed) + hold + kept > limit:
            words = f"{cap} {name}" if name else f"{cap} cap"
            rest = f", {kept} kept for what is made from results" if kept else ""
            return Refusal(cap, f"{words} of {limit}: {used} held or settled, {hold} more wanted{rest}", hold, name)
    if caps.keep is not None:
        left = caps.wallet - read.taken_since(account, caps.wallet_mark)
        if left - hold < caps.keep:
            return Refusal("keep", f"{left} in the wallet, {caps.keep} to keep, {hold} wanted", hold)
        if caps.wallet_at is not None and abs(now - caps.wallet_at) > READING_SECONDS:
            return Refusal("reading", "the last reading of the wallet is older than five minutes", hold)
        taken = read.taken_since(account, caps.room_mark) if caps.room is not None else 0
        if caps.room is not None and taken and taken + hold > caps.room:
            return Refusal("reading", "waits for the next reading of the wallet", hold)
    return Admission(quote, hold)


def _quote(read: LedgerReader, account: str, price_class: str, catalog_credits: int) -> int:
    """What a job of a class is expected to cost, in credits."""
    seen = seen_price(read, account, price_class)
    return seen.quote(catalog_credits) if seen else catalog_credits
