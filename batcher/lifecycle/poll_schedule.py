"""When this run asks for a task next: what is learned of each price class (`waiting`), by the task's age."""

from __future__ import annotations

from batcher.clock import Clock
from batcher.jobs import Waiting
from batcher.ledger import Store
from batcher.settings import Polling

from .aging import Ages
from .learned_waits import KEPT, LearnedWaits, Waited
from .steps import JobRunState, Reschedule, Stage


class PollSchedule:
    """The polls of one account's tasks."""

    def __init__(self, ledger: Store, account: str, ages: Ages, clock: Clock, polling: Polling) -> None:
        self._ledger = ledger
        self._account = account
        self._ages = ages
        self._clock = clock
        self._polling = polling
        self._waits: dict[str, LearnedWaits] = {}  # by price class

    def age(self, waiting: Waiting, state: JobRunState) -> float:
        """Seconds since the API had the task; on the monotonic clock, as far as this run goes back."""
        now = self._clock.monotonic()
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
        return Reschedule(Stage.POLL, self._of(state.price_class).next_poll(age, polled=state.asked > 1))

    def succeeded(self, state: JobRunState, age: float) -> None:
        """Learn from a task that was first seen finished at this age."""
        if state.unfinished_for is not None:
            self._of(state.price_class).ended(Waited(state.unfinished_for, age))

    def _of(self, price_class: str) -> LearnedWaits:
        found = self._waits.get(price_class)
        if found is None:
            newest = self._ledger.read.waits(self._account, price_class, KEPT)
            found = self._waits[price_class] = LearnedWaits(self._polling, [Waited(*each) for each in newest])
        return found
