"""What came of some jobs, for a canary's judgement. Reads only."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from batcher.canary import CanaryStep
from batcher.jobs import JobId
from batcher.ledger.reader import LedgerReader
from batcher.ledger.store.amounts import COMMITTED
from batcher.statuses import Status

from .sql import placeholders

_PAGE = 500


def step(read: LedgerReader, jobs: Collection[JobId], number: int, of: int) -> CanaryStep:
    """The figures of a step's jobs, by their latest attempts."""
    counts = dict.fromkeys(("succeeded", "failed", "doubtful", "unfinished", "credits", "above_quote", "differs"), 0)
    price, stream = 0, iter(sorted(jobs))
    while page := list(islice(stream, _PAGE)):
        for row in read.rows(
            f"SELECT w.status, a.quoted_credits, a.reserved_credits, {COMMITTED} AS credits, CASE WHEN"
            " f.saved_at IS NOT NULL AND f.forgotten_at IS NULL THEN f.differs END AS differs FROM wanted AS w"
            " LEFT JOIN attempts AS a ON a.id = w.attempt_id LEFT JOIN files AS f ON f.attempt_id = a.id"
            f" AND f.number = 0 WHERE w.id IN ({placeholders(page)})",
            page,
        ):
            status = row["status"]
            counts[status if status in (Status.SUCCEEDED, Status.FAILED, Status.DOUBTFUL) else "unfinished"] += 1
            cost = row["credits"] or 0
            asked = max(cost, row["reserved_credits"] or 0)
            counts["credits"] += cost
            counts["above_quote"] += asked > (row["quoted_credits"] or 0)
            counts["differs"] += row["differs"] is not None
            price = max(price, asked)
    return CanaryStep(number, of, len(jobs), price=price, **counts)
