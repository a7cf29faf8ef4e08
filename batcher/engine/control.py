"""What people ask of a run while it goes on, taken up by the engine: looked for once a second."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from batcher.controls import DRAINING, PAUSED
from batcher.ledger import Store
from batcher.limits import RateLimiter
from batcher.settings import Limits

#: Seconds between two looks, each a question for the newest event.
LOOK_SECONDS = 1.0


class Control:
    """The run's limits and state as they are now. Caps need no word here: they are read where a job is admitted."""

    def __init__(
        self,
        ledger: Store,
        limiter: RateLimiter,
        own: Limits,
        *,
        changed: Callable[[], None],
        drain: Callable[[str], None],
    ) -> None:
        """`own` are the run's limits. `changed` is called when more or less may be started, `drain` with who
        asks that the run comes to its end."""
        self._ledger = ledger
        self._limiter = limiter
        self._own = self.limits = own
        self._changed = changed
        self._drain = drain
        self.paused = False

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await anyio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Take up what is asked, if anything is new."""
        if (asked := self._ledger.commanded()) is None:
            return
        limits = asked.limits(self._own)
        if limits != self.limits:
            self.limits = limits
            self._limiter.restate(limits)
        self.paused = asked.state == PAUSED
        if asked.state == DRAINING:
            self._drain(asked.who)
        self._changed()
