"""How old a key is, and a task, by all clocks that there are: this machine's may be wrong, or have been."""

from __future__ import annotations

import anyio

from batcher.clock import Moment, age, moment
from batcher.jobs import Intent, Waiting
from batcher.providers import Retryable

from .context import Context


class Ages:
    """The age of what was bought, in this run or an earlier one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._provider = context.provider
        self._asking, self._asked = anyio.Lock(), False

    async def ask_the_time(self) -> Retryable | None:
        """Know the API's own time before a key is sent again; Retryable where nobody answers.

        Asked for once a run at most, and only where no answer has told it yet.
        """
        async with self._asking:
            if self._asked or self._provider.api_time() is not None:
                return None
            found = await self._context.ask("credits", self._provider.credits)
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
        return moment(self._context.clock, self._provider.api_time())
