"""When a run has nothing else to do than to wait for prices: then they are not waited for long."""

from __future__ import annotations

from batcher.clock import Clock
from batcher.jobs import JobId
from batcher.lifecycle.pricing import IDLE_SECONDS

from .backlog import WorkItem
from .scheduler import Scheduler


class Lull:
    """Which jobs only wait for their price, and for how long nothing else has been under way."""

    def __init__(self, clock: Clock, prices: Scheduler[WorkItem]) -> None:
        """`prices` has what waits for a price; it is hastened when nothing else is left."""
        self._clock = clock
        self._prices = prices
        self._since: float | None = None
        self._jobs: set[JobId] = set()

    def note(self, job_id: JobId, *, prices: bool) -> None:
        """Whether a job only waits for its price from now on."""
        (self._jobs.add if prices else self._jobs.discard)(job_id)

    def seconds(self, under_way: int) -> float | None:
        """For how long all of so many jobs under way have waited for prices; None where one does something else."""
        if under_way > len(self._jobs):
            self._since = None
        elif self._since is None:
            self._since = self._clock.monotonic()
            self._prices.hasten(lambda _: IDLE_SECONDS)
        return None if self._since is None else self._clock.monotonic() - self._since
