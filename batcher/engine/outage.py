"""A dead network or API is one pause for all; creates that are dead alone are one pause for those.

Seconds count on the monotonic clock, which stands still while the machine sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import anyio

from batcher.errors import Kind
from batcher.events import Event
from batcher.lifecycle import Context, Lifecycle
from batcher.providers import Retryable

from .ending import Halted

#: Seconds to the first question, and between the later ones at most.
_ASK_SECONDS = 1.0
_ASK_SECONDS_MAX = 60.0
#: A certificate that is not to be trusted does not mend itself while somebody waits: so many seconds are enough.
CERTIFICATE_SECONDS = 60.0


class Outages:
    """Sits out what keeps the API from answering, `retries.outage` at most."""

    def __init__(self, context: Context, lifecycle: Lifecycle, halted: Halted) -> None:
        self._ledger, self._limiter, self._clock = context.ledger, context.limiter, context.clock
        self._lifecycle = lifecycle
        self._longest = context.settings.retries.outage
        self._halted = halted
        self._creates_since: float | None = None

    async def watch(self, over: Callable[[], None]) -> None:
        """Sit out each time in which nothing is let in, and call `over` after it: no job's repeats are burnt."""
        while True:
            await self._limiter.trouble_came.wait()
            began = self._clock.monotonic()
            if trouble := await self._lifecycle.ask_api():
                await self._sit_out(began, trouble)
                over()
            self._limiter.release()

    async def _sit_out(self, began: float, trouble: Retryable) -> None:
        self._note_began("api", trouble)
        for interval in _intervals():
            lasted = self._clock.monotonic() - began
            longest = min(self._longest, CERTIFICATE_SECONDS) if trouble.cause == "certificate" else self._longest
            if lasted >= longest:
                words = "asks to wait" if trouble.throttled else "could not be reached"
                self._halted(Kind.UNREACHABLE, f"the API {words} for {lasted:.0f} s (retries.outage): {why(trouble)}")
            await anyio.sleep(min(interval, max(1.0, longest - lasted)))
            found = await self._lifecycle.ask_api()
            if found is None:
                break
            trouble = found
        self._note_ended("api", self._clock.monotonic() - began)

    async def sit_out_creates(self, ask: Callable[[], None]) -> None:
        """Call `ask` at growing intervals, to have an intent sent again, until this task is cancelled."""
        for interval in _intervals():
            await self._limiter.calm()
            lasted = self._limiter.creates.lasted(self._clock.monotonic())
            if lasted >= self._longest:
                reason = f"no create was answered for {lasted:.0f} s (retries.outage): {why(self._limiter.unanswered)}"
                self._halted(Kind.UNREACHABLE, reason)
            await anyio.sleep(min(interval, max(1.0, self._longest - lasted)))
            await self._limiter.calm()
            ask()

    def creates_fail(self) -> None:
        """Write down, once, that creates alone have no answer: the one that asked had none either."""
        if self._creates_since is None:
            self._creates_since = self._clock.monotonic()
            self._note_began("creates", self._limiter.unanswered)

    def creates_work(self) -> None:
        """Write down that creates are answered again, if it was told that they were not."""
        if self._creates_since is not None:
            self._note_ended("creates", self._clock.monotonic() - self._creates_since)
            self._creates_since = None

    def _note_began(self, what: str, trouble: Retryable | None) -> None:
        cause, words = trouble.cause if trouble else "", why(trouble)
        message = words if what == "api" else f"of creates only: {words}"
        self._ledger.note(Event.OUTAGE_BEGAN, of=what, cause=cause, message=message)

    def _note_ended(self, what: str, seconds: float) -> None:
        self._ledger.note(Event.OUTAGE_ENDED, of=what, seconds=round(seconds, 3))


def why(trouble: Retryable | None) -> str:
    """What keeps answers from coming, in one line."""
    if trouble is None:
        return "no answer"
    return f"{trouble.cause or trouble.code}: {trouble.message}"


def _intervals() -> Iterator[float]:
    for doubling in count():
        yield min(_ASK_SECONDS * 2 ** min(doubling, 16), _ASK_SECONDS_MAX)
