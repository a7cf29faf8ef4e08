"""For how many of the jobs that a run may still start its caps have room, by the prices that are known now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from batcher.ledger import LedgerReader, expected_price
from batcher.ledger.cap_room import CapRoom
from batcher.ledger.queries.budgets import rest
from batcher.statuses import is_unpriced


class StillPlanned(NamedTuple):
    """Planned jobs of a campaign that count under the same caps, and what they cost in all, in credits.

    `price_class` is that of one of them: they all have a price beforehand, or none has.
    """

    campaign: str
    price_class: str
    jobs: int
    credits: int


def waiting_jobs(read: LedgerReader, campaigns: Sequence[str], account: str) -> list[StillPlanned]:
    """What the campaigns' newest expansions still have to buy, at the prices that are known now."""
    found: dict[tuple[str, bool], StillPlanned] = {}
    for part in rest(read, campaigns):
        price = expected_price(read, account, part.price_class, part.catalog_credits)
        key = part.campaign, is_unpriced(part.price_class)
        before = found.get(key, StillPlanned(part.campaign, part.price_class, 0, 0))
        jobs, credits_ = before.jobs + part.jobs, before.credits + part.jobs * price
        found[key] = before._replace(jobs=jobs, credits=credits_)
    return list(found.values())


def jobs_with_room(waiting: Sequence[StillPlanned], rooms: Sequence[CapRoom]) -> int:
    """For how many of these jobs there is room, those of a kind taken at their mean price."""
    left, fit = [max(0, room.left) for room in rooms], 0
    for each in waiting:
        under = [n for n, room in enumerate(rooms) if room.covers(each.campaign, each.price_class)]
        jobs = min([each.jobs, *(left[n] * each.jobs // each.credits for n in under if each.credits)])
        for n in under:
            left[n] -= jobs * each.credits // each.jobs
        fit += jobs
    return fit
