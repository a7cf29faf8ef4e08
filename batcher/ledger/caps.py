"""What a run may commit, and why a job is not admitted: one question, asked in the transaction that takes the hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from batcher.clock import local_day, local_time

from .reader import LedgerReader


@dataclass(frozen=True, slots=True)
class Caps:
    """What this run may commit, in credits, and until when (seconds since the epoch); None means no cap.

    `wallet` is the last reading and `wallet_mark` the newest attempt (row id) before it was asked for.
    """

    run: int | None = None
    campaigns: dict[str, int] = field(default_factory=dict)
    day: int | None = None
    keep: int | None = None
    until: float | None = None
    wallet: int = 0
    wallet_mark: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a job was not admitted: `cap` is `until`, `price`, `run`, `campaign`, `day` or `keep`.

    `quote` is what the job was thought to cost.
    """

    cap: str
    message: str
    quote: int


def quote(
    read: LedgerReader,
    caps: Caps,
    *,
    run_id: int | None,
    account: str,
    campaign: str,
    now: float,
    price_class: str,
    catalog_credits: int,
) -> int | Refusal:
    """What a job of this class is expected to cost, if every cap has room for it at `now` (seconds, wall clock)."""
    if caps.until is not None and now >= caps.until:
        return Refusal("until", f"no job is started after {local_time(caps.until)}", catalog_credits)
    day = local_day(now, read.zone)
    seen = read.seen_price(account, price_class)
    if seen is None and read.class_is_open(account, price_class):
        return Refusal("price", "waits until the API has named this price", catalog_credits)
    wanted = seen.credits if seen else catalog_credits
    checks: list[tuple[str, int | None, Callable[[], int]]] = [
        ("run", caps.run, lambda: read.spent(run_id=run_id).committed),
        ("campaign", caps.campaigns.get(campaign), lambda: read.spent(campaign=campaign).committed),
        ("day", caps.day, lambda: read.spent(day=day).committed),
    ]
    for cap, limit, committed in checks:
        if limit is not None and (used := committed()) + wanted > limit:
            return Refusal(cap, f"{cap} cap of {limit}: {used} held or settled, {wanted} more wanted", wanted)
    if caps.keep is not None:
        left = caps.wallet - read.taken_since(account, caps.wallet_mark)
        if left - wanted < caps.keep:
            return Refusal("keep", f"{left} in the wallet, {caps.keep} to keep, {wanted} wanted", wanted)
    return wanted
