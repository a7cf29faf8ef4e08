"""The steps of a canary while a run goes on: which jobs may be bought by now, and whether the next step may begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

import anyio

from batcher.errors import Kind
from batcher.events import OwnHalt
from batcher.jobs import JobId

from .ending import Halted

#: Says of a step (its number from 0 on) why the next one must not begin; empty where it may.
Judge = Callable[[int], Awaitable[str]]


class Ramp:
    """Steps that hold each other, the last one followed by all jobs; none where there is no canary."""

    def __init__(self, steps: Sequence[Collection[str]], judge: Judge, number: int = 0) -> None:
        """`number` steps are over already."""
        self._steps = steps
        self._judge = judge
        self._lock = anyio.Lock()
        self._number = number

    @property
    def is_over(self) -> bool:
        """Whether every job may be bought, as far as this goes."""
        return self._number >= len(self._steps)

    def lets(self, job_id: JobId) -> bool:
        """Whether a job may be bought in this step."""
        return self.is_over or job_id in self._steps[self._number]

    async def go_on(self, went_on: Callable[[], None], halted: Halted) -> None:
        """Judge the step whose jobs have all come to their end; asked by several workers, it is done once."""
        number = self._number
        async with self._lock:
            if number != self._number or self.is_over:
                return
            why = await self._judge(number)
            self._number += 1
            if why:
                self._number = len(self._steps)  # nothing is judged again: the run is halted
                halted(Kind.CAPPED, why, OwnHalt.CANARY)
            else:
                went_on()
