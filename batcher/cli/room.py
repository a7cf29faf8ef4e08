"""For how many of the jobs that a run may still start its caps have room, by the prices that are known now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from batcher.ledger import LedgerReader, expected_price
from batcher.ledger.queries.budgets import rest


class Room(NamedTuple):
    """Credits that are left under a cap (`cap` names it) for these campaigns together; for all where none is named."""

    credits: int
    cap: str
    campaigns: tuple[str, ...] = ()


class StillPlanned(NamedTuple):
    """Planned jobs of a campaign, and what they cost in all, in credits."""

    campaign: str
    jobs: int
    credits: int


def waiting_jobs(read: LedgerReader, campaigns: Sequence[str], account: str) -> list[StillPlanned]:
    """What the campaigns' newest expansions still have to buy, at the prices that are known now."""
    found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for part in rest(read, campaigns):
        price = expected_price(read, account, part.price_class, part.catalog_credits)
        found[part.campaign].append((part.jobs, part.jobs * price))
    return [StillPlanned(name, *map(sum, zip(*parts, strict=True))) for name, parts in found.items()]


def jobs_with_room(waiting: Sequence[StillPlanned], rooms: Sequence[Room]) -> int:
    """For how many of these jobs there is room, each campaign's taken at their mean price."""
    left, fit = [max(0, room.credits) for room in rooms], 0
    for each in waiting:
        under = [n for n, room in enumerate(rooms) if not room.campaigns or each.campaign in room.campaigns]
        jobs = min([each.jobs, *(left[n] * each.jobs // each.credits for n in under if each.credits)])
        for n in under:
            left[n] -= jobs * each.credits // each.jobs
        fit += jobs
    return fit
