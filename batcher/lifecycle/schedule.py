"""When this run asks for a task next: what is learned of each price class (`waiting`), by the task's age."""

from __future__ import annotations

from batcher.clock import Clock
from batcher.jobs import Waiting
from batcher.ledger import Ledger
from batcher.settings import Polling

from .aging import Ages
from .steps import Again, Lane, Turn
from .waiting import KEPT, Waited, Waits


class PollSchedule:
    """The polls of one account's tasks."""

    def __init__(self, ledger: Ledger, account: str, ages: Ages, clock: Clock, polling: Polling) -> None:
        self._ledger = ledger
        self._account = account
        self._ages = ages
        self._clock = clock
        self._polling = polling
        self._waits: dict[str, Waits] = {}  # by price class

    def age(self, waiting: Waiting, turn: Turn) -> float:
        """Seconds since the API had the task; on the monotonic clock, as far as this run goes back."""
        now = self._clock.monotonic()
        if turn.submitted is None:
            turn.submitted = now - self._ages.of_task(waiting)
        return now - turn.submitted

    def still_going(self, turn: Turn, age: float) -> Again:
        """A task was seen unfinished at this age: ask again."""
        turn.unfinished_for = round(age, 3)
        return self.unseen(turn, age)

    def unseen(self, turn: Turn, age: float) -> Again:
        """A task of this age was asked for: ask again, as for one that is not at its end."""
        turn.asked += 1
        return Again(Lane.POLL, self._of(turn.price_class).next_poll(age, polled=turn.asked > 1))

    def succeeded(self, turn: Turn, age: float) -> None:
        """Learn from a task that was first seen finished at this age."""
        if turn.unfinished_for is not None:
            self._of(turn.price_class).ended(Waited(turn.unfinished_for, age))

    def _of(self, price_class: str) -> Waits:
        found = self._waits.get(price_class)
        if found is None:
            newest = self._ledger.read.waits(self._account, price_class, KEPT)
            found = self._waits[price_class] = Waits(self._polling, [Waited(*each) for each in newest])
        return found
