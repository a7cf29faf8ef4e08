"""What a success cost, where its first answers do not say: asked again, and settled at its hold in the end.

A success's 0 or none is no price (product.md, promise 3). Its hold stays while it is asked for at growing intervals:
for ten minutes after its end, or until the run has had nothing else to do for a minute.
"""

from __future__ import annotations

from functools import partial

from batcher.jobs import Status, Succeeded, TaskState
from batcher.providers import Fatal

from .context import Context
from .steps import Abort, Done, JobRunState, Reschedule, Stage, Step

#: Seconds after its end for which a success is asked for its price, and a run stays for nothing else.
ASKED_SECONDS = 600.0
IDLE_SECONDS = 60.0
_FIRST_SECONDS = 5.0
_GROWTH = 4.0
_HAIR = 1e-3  # what is due at the minute's end may come that much too early


class Pricer:
    """Asks for prices; may be called for many jobs at once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ledger, self._commits, self._clock = context.ledger, context.commits, context.clock

    async def step(self, phase: Succeeded, state: JobRunState) -> Step:
        """Ask once, or wait for the next time, or settle. The job's files are saved, or this run gave them up."""
        done = Done(Status.SUCCEEDED, state.left)
        if phase.settled or phase.account != self._context.account:
            return done  # another key's task would be unknown: its hold stays for a run with that key
        age = self._age(phase, state)
        if state.price_asked is None:
            state.price_asked = 0
            if age < ASKED_SECONDS:
                return Reschedule(Stage.PRICE, _FIRST_SECONDS)
        found = await self._context.poll(phase.task_id)
        if isinstance(found, Fatal):
            return Abort(found, Status.SUCCEEDED)
        if isinstance(found, TaskState):
            await self._commits(partial(self._ledger.record, phase.attempt_id, found))
            if found.final_credits:
                return done
            state.price_asked += 1  # an answer that is lost says nothing of the price: asked again soon
        left = ASKED_SECONDS - age
        if state.idle is not None:
            left = min(left, IDLE_SECONDS - state.idle)
        if left <= _HAIR:
            await self._commits(partial(self._ledger.final_unknown, phase.attempt_id))
            return done
        return Reschedule(Stage.PRICE, min(_FIRST_SECONDS * _GROWTH**state.price_asked, left))

    def _age(self, phase: Succeeded, state: JobRunState) -> float:
        """Seconds since its end; on the monotonic clock, as far as this run goes back."""
        now = self._clock.monotonic()
        if state.ended is None:
            state.ended = now - max(0.0, self._clock.wall() - phase.finished_at)
        return now - state.ended
