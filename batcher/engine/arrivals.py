"""What a run has to buy, and the jobs that are on their way into the ledger while the first are bought already."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import anyio

from batcher.clock import Clock
from batcher.errors import ManifestError, Stopped

#: Between two steps, at least.
PAUSE_SECONDS = 0.001
_STEPS_AT_ONCE = 8
#: Brings some jobs into the ledger, in a transaction.
EnrolmentStep = Callable[[], object]


class ToBuy(NamedTuple):
    """Jobs of one model and price; `quote` in credits each."""

    model: str
    jobs: int
    quote: int


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What the plan has to buy; by campaign, the steps that bring jobs into the ledger that are not there yet."""

    to_buy: Sequence[ToBuy] = ()
    steps: Mapping[str, Iterator[EnrolmentStep]] = field(default_factory=dict)

    @property
    def has_jobs(self) -> bool:
        """Whether the plan has anything to buy."""
        return any(each.jobs for each in self.to_buy)

    async def bring(
        self, commit: Callable[[EnrolmentStep], Awaitable[object]], clock: Clock, came: Callable[[str, bool], None]
    ) -> None:
        """Do the steps beside other tasks, which have half of the time, and three quarters where there is much to do.

        `came` hears after each one of what campaign jobs came, and whether it is whole. Raises ManifestError for what
        has become faulty since the plan.
        """
        waited = 0.0
        for campaign, steps in self.steps.items():
            whole = False
            while not whole:
                began = clock.monotonic()
                for _ in range(_STEPS_AT_ONCE):
                    try:
                        step = next(steps, None)
                    except Stopped:  # the run is about to be cancelled
                        return
                    if step is not None:
                        await commit(step)
                    came(campaign, whole := step is None)
                    took = clock.monotonic() - began
                    if whole or not took or took >= waited / 3:  # virtual time takes none
                        break
                await anyio.sleep(max(PAUSE_SECONDS, took))
                waited = clock.monotonic() - began - took

    def finish(self) -> None:
        """Do all that is left, where nothing else goes on; what has become faulty since the plan stays out."""
        with suppress(ManifestError):
            for steps in self.steps.values():
                for step in steps:
                    step()
