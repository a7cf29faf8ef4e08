"""When this run asks for a task next: what is learned of each price class, by the task's age, and as there is room.

Where many tasks wait, the stamps of those that are due within a quarter of a second are written at one moment, and so
in one commit; each request leaves when it is due.
"""

from __future__ import annotations

import math

from batcher.jobs import Waiting
from batcher.limits import AHEAD_SECONDS

from .aging import Ages
from .context import Context
from .learned_waits import KEPT, LearnedWaits, Waited
from .steps import JobRunState, Reschedule, Stage

#: From so many tasks on stamps are written together.
_MANY = 50


class PollSchedule:
    """The polls of one account's tasks."""

    def __init__(self, context: Context, ages: Ages) -> None:
        self._context = context
        self._ages = ages
        self._waits: dict[str, LearnedWaits] = {}  # by price class

    def age(self, waiting: Waiting, state: JobRunState) -> float:
        """Seconds since the API had the task; on the monotonic clock, as far as this run goes back."""
        now = self._context.clock.monotonic()
        if state.submitted is None:
            state.submitted = now - self._ages.of_task(waiting)
        return now - state.submitted

    def still_going(self, state: JobRunState, age: float) -> Reschedule:
        """A task was seen unfinished at this age: ask again."""
        state.unfinished_for = round(age, 3)
        return self.unseen(state, age)

    def unseen(self, state: JobRunState, age: float) -> Reschedule:
        """A task of this age was asked for: ask again, as for one that is not at its end."""
        state.asked += 1
        room = self._context.limiter.poll_interval(state.under_way)
        seconds = self._of(state.price_class).next_poll(age, polled=state.asked > 1, room=room)
        now = state.asked_at = self._context.clock.monotonic()
        state.poll_at = now + seconds
        if state.under_way < _MANY:
            return Reschedule(Stage.POLL, seconds)
        together = math.floor(state.poll_at / AHEAD_SECONDS) * AHEAD_SECONDS
        return Reschedule(Stage.POLL, max(0.0, together - now))

    def succeeded(self, state: JobRunState, age: float) -> None:
        """Learn from a task that was first seen finished at this age."""
        if state.unfinished_for is not None:
            self._of(state.price_class).ended(Waited(state.unfinished_for, age))

    def _of(self, price_class: str) -> LearnedWaits:
        found = self._waits.get(price_class)
        if found is None:
            newest = self._context.ledger.read.waits(self._context.account, price_class, KEPT)
            found = LearnedWaits(self._context.settings.polling, [Waited(*each) for each in newest])
            self._waits[price_class] = found
        return found
