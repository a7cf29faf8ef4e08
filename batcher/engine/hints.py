"""Tasks that are said to have moved are asked for at once: looked for once a second, in what `batcher listen` wrote."""

from __future__ import annotations

import math
from collections.abc import Mapping

from batcher.clock import Clock
from batcher.jobs import JobId
from batcher.ledger import Store

from .backlog import WorkItem
from .scheduler import Scheduler


class Hints:
    """Hastens polls: no task is asked for more often than once in `every` seconds, nor beyond `limits.requests`."""

    def __init__(
        self, ledger: Store, clock: Clock, polls: Scheduler[WorkItem], open_jobs: Mapping[JobId, WorkItem], every: float
    ) -> None:
        self._ledger, self._clock, self._polls, self._open, self._every = ledger, clock, polls, open_jobs, every
        # What was said before this run began is no news: it asks for every task anyway.
        self._newest = max((number for number, _ in ledger.read.hints(0)), default=0)

    def look(self) -> None:
        """Take up what is new."""
        found = self._ledger.read.hints(self._newest)
        if not found:
            return
        self._newest = found[-1][0]
        now, moved = self._clock.monotonic(), {job_id for _, job_id in found if job_id in self._open}

        def latest(item: WorkItem) -> float:
            return max(0.0, item.state.asked_at + self._every - now) if item.job_id in moved else math.inf

        if moved:
            self._polls.hasten(latest)
