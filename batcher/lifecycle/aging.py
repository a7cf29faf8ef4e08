"""How old a key is, and a task, by all clocks that there are: this machine's may be wrong, or have been."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from batcher.clock import Clock, Moment, age, moment
from batcher.jobs import Intent, Waiting
from batcher.providers import Fatal, Provider, Refused, Retryable

from .steps import LONGEST_WAIT, Limiter


async def ask(
    provider: Provider,
    limiter: Limiter,
    *,
    probing: bool = False,
    before: Callable[[], object] = lambda: None,
    heeds: Callable[[object], bool] = lambda _: True,
) -> int | Fatal | Retryable | Refused:
    """One `GET /credits`, which costs nothing, within the limits; `before` is done right before it is sent.

    `heeds` says whether what came of it counts for all other requests.
    """
    async with limiter.slot("credits", probing=probing) as slot:
        before()
        await slot.stamp()
        found = await provider.credits()
        if heeds(found):
            slot.heard(found)
    return found


async def trouble(provider: Provider, limiter: Limiter) -> Retryable | None:
    """Ask the API, past all who are held; returns why nobody should ask for more, if so."""
    found = await ask(provider, limiter, probing=True)
    if isinstance(found, Retryable) and (found.outage or (found.retry_after or 0.0) > LONGEST_WAIT):
        return found
    return None


class Ages:
    """The age of what was bought, in this run or an earlier one."""

    def __init__(self, provider: Provider, limiter: Limiter, clock: Clock) -> None:
        self._provider = provider
        self._limiter = limiter
        self._clock = clock
        self._asking, self._asked = anyio.Lock(), False

    async def ask_the_time(self) -> Retryable | None:
        """Know the API's own time before a key is sent again; Later where nobody answers.

        Asked for once a run at most, and only where no answer has told it yet.
        """
        async with self._asking:
            if self._asked or self._provider.api_time() is not None:
                return None
            found = await ask(self._provider, self._limiter)
            if isinstance(found, Retryable) and found.outage and self._provider.api_time() is None:
                return found
            self._asked = True
            return None

    def is_over(self, intent: Intent, window: float) -> bool:
        """Whether the API may have forgotten the key; so it counts where nobody can tell how old it is.

        Nor can a key be trusted of an API to which a repeat is another purchase.
        """
        if self._provider.capabilities.repeat != "replay":
            return True
        passed = age(intent.intended, self._now())
        return passed is None or passed > window

    def of_task(self, waiting: Waiting) -> float:
        """Seconds since the API had a task of an earlier run, as far as anybody can tell."""
        unanswered = max(0.0, waiting.submitted_at - waiting.intended.wall)
        return max(0.0, (age(waiting.intended, self._now()) or 0.0) - unanswered)

    def _now(self) -> Moment:
        return moment(self._clock, self._provider.api_time())
