"""What people ask of a run while it goes on, and when its time to buy begins and ends: looked for once a second."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

from batcher.clock import local_day, local_time
from batcher.controls import DRAINING, PAUSED
from batcher.events import Event
from batcher.ledger import Caps
from batcher.lifecycle import Context

#: Seconds between two looks, each a question for the newest event.
LOOK_SECONDS = 1.0


class Control:
    """The run's limits and state as they are now. Caps need no word here: they are read where a job is admitted."""

    def __init__(
        self,
        context: Context,
        caps: Caps,
        *,
        changed: Callable[[], None],
        drain: Callable[[str], None],
        beside: tuple[Callable[[], None], ...],
    ) -> None:
        """`changed` is called when more or less may be started, `drain` with who asks that the run comes to its end.

        `beside` are asked as often as what this looks for, so that an idle run wakes once for all."""
        self._ledger, self._limiter, self._clock = context.ledger, context.limiter, context.clock
        self._own = self.limits = context.settings.limits
        self._changed = changed
        self._drain, self._beside = drain, beside
        self._since, self._until = caps.since or -math.inf, caps.until or math.inf
        self._turns = [at for at in (caps.since, caps.until, caps.ready_by) if at is not None]
        self.paused = False

    @property
    def holds(self) -> bool:
        """Whether jobs wait for nothing but a word, or the hour."""
        return self.paused or self._clock.wall() < self._since

    def begin(self, *, to_buy: bool) -> None:
        """Take up what an earlier run left, and say when buying begins, if that is not now."""
        self.look()
        if to_buy and self._clock.wall() < self._since < self._until:
            until = "" if self._until == math.inf else f", until {local_time(self._until)}"
            begins = f"{local_day(self._since, None)} {local_time(self._since)}"
            message = f"new jobs start at {begins}{until} (window); what is bought goes on meanwhile"
            self._ledger.note(Event.LOOKED, of="window", message=message)

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await anyio.sleep(LOOK_SECONDS)
            self.look()
            for look in self._beside:
                look()

    def look(self) -> None:
        """Take up what is new: what is asked, and what time it is."""
        past = [at for at in self._turns if at <= self._clock.wall()]
        if past:
            self._turns = [at for at in self._turns if at not in past]
            self._changed()
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
