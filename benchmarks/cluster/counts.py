"""What the simulator's log shows of a run over many workers, beyond what the soak's audit looks at."""

from __future__ import annotations

import math
from itertools import pairwise

from benchmarks.soak.audit import busiest
from benchmarks.soak.books import Books, seconds
from benchmarks.soak.truth import Truth


def over_limit(truth: Truth, submit: int, requests: int) -> int:
    """How many requests came above what is allowed in any minute."""
    creates = sorted(request.at for request in truth.requests if request.kind == "create")
    everything = sorted(request.at for request in truth.requests)
    return max(0, busiest(creates, 60.0) - submit) + max(0, busiest(everything, 60.0) - requests)


def late_creates(truth: Truth, books: Books) -> int:
    """How many creates came after the ledger knew the task of their key: only the fence keeps a worker from that."""
    keys = {(row["job_id"], row["number"]): row["idempotency_key"] for row in books.attempts}
    known: dict[str, float] = {}
    for event in books.events:
        if event["event"] in ("queued", "processing") and (key := keys.get((event["job_id"], event["attempt"]))):
            known.setdefault(key, seconds(event["at"]))
    creates = (request for request in truth.requests if request.kind == "create")
    return sum(request.at > known.get(request.key, math.inf) for request in creates)


def largest_gap(truth: Truth) -> float:
    """The longest time between two purchases or downloads, in seconds."""
    times = sorted([sold.at for sold in truth.sold] + [each.at for each in truth.requests if each.kind == "result"])
    return max((late - early for early, late in pairwise(times)), default=0.0)
