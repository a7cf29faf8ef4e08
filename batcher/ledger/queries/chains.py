"""What a report asks of chains: how many there are, and how far each has come. Reads only."""

from __future__ import annotations

from typing import NamedTuple

from batcher.ledger.reader import LedgerReader

from .spend import AT, Scope, where_of
from .sql import LATEST, SOURCE_STATES

_BLOCKED = f"SELECT 1 FROM {SOURCE_STATES} WHERE job_id = w.id AND ready IS NOT 1 AND has_file IS NOT 1"
_STATE = (
    "CASE WHEN w.status = 'succeeded' THEN 'whole'"
    " WHEN w.status = 'cancelled' THEN iif(w.error_code GLOB 'source_*', w.error_code, 'cancelled')"
    " WHEN w.status IN ('failed', 'doubtful') THEN w.status"
    " WHEN w.status <> 'planned' THEN 'under_way'"
    f" WHEN w.waiting = 0 THEN 'ready' WHEN EXISTS ({_BLOCKED}) THEN 'waiting' ELSE 'review' END"
)


class ChainCounts(NamedTuple):
    """The chains of a campaign by how far each has come.

    A chain is a job that is made from results of others and from which nothing else is made. It is `whole` once the
    API has its result; `ready` to be bought; it is `waiting` for its sources, for a person's `review` of their files,
    or in vain: a source came to no file, or was rejected.
    """

    campaign: str
    whole: int = 0
    under_way: int = 0
    ready: int = 0
    review: int = 0
    waiting: int = 0
    source_rejected: int = 0
    source_failed: int = 0
    failed: int = 0
    doubtful: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return sum(self[1:])


def counts(read: LedgerReader, scope: Scope) -> list[ChainCounts]:
    """The chains among the jobs that a report counts, by campaign; none where no job is made from another."""
    if not read.has_chains():
        return []
    where, values = where_of(scope, AT)
    found: dict[str, ChainCounts] = {}
    for campaign, state, jobs in read.rows(
        f"SELECT w.campaign, {_STATE} AS state, count(*) {LATEST} WHERE {where} AND w.waiting IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM sources WHERE source_id = w.id) GROUP BY 1, 2 ORDER BY 1",
        values,
    ):
        found[campaign] = found.get(campaign, ChainCounts(campaign))._replace(**{state: jobs})
    return list(found.values())
