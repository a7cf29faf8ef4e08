"""What a run asks before it buys: the wallet and the models. Both cost nothing, and neither stands in the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from batcher.catalog import find_model
from batcher.catalog.drift import differences
from batcher.providers import Cause, Fatal, Refused, Retryable

from .context import Context

#: A machine that is not reached answers nothing at all; any other trouble may be that of the one page that was asked.
_NOT_REACHED = frozenset(get_args(Cause)) - {"", "timeout", "cut", "page", "server"}


class FreeQuestions:
    """Asks within the limits; trouble of a single page holds nobody."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.account = context.account

    async def wallet(self) -> int | Fatal | Retryable | Refused:
        """One `GET /credits`, which also tells the API's time."""
        return await self._context.ask("credits", self._context.provider.credits, heeds=_speaks_of_all)

    async def drift(self, models: Iterable[str]) -> list[str]:
        """One `GET /models`: where these models are served otherwise than the catalogue says. Nothing if unanswered."""
        found = await self._context.ask("models", self._context.provider.models, heeds=_speaks_of_all)
        if not isinstance(found, list) or not found:
            return []
        served = {name: entry for entry in found if isinstance(name := entry.get("id"), str)}
        told = []
        for name in models:
            model = find_model(name)
            if name not in served:
                words = ["the API does not list it"]
            elif model is None:
                words = ["the API lists it: `batcher models --sync` writes a file for it"]
            else:
                words = differences(model, served[name])
            if words:
                told.append(f"{name}: {'; '.join(words)}")
        return told


def _speaks_of_all(found: object) -> bool:
    """Whether what came of a request that is not needed says something of all others."""
    if not isinstance(found, Retryable) or not found.outage:
        return True
    return found.cause in _NOT_REACHED or found.code == "public_api_disabled"
