"""What a run tells before it buys: how far the wallet goes, and where the API's models differ from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from batcher.errors import Kind
from batcher.events import Event
from batcher.ledger import Store
from batcher.lifecycle import Lifecycle
from batcher.providers import Fatal

from .arrivals import ToBuy
from .ending import halt_reason

#: The models are asked for when the first job is out already, in seconds after the wallet.
_MODELS_AFTER_SECONDS = 1.0


class Preflight:
    """Looks once, and tells it in events `looked`."""

    def __init__(self, ledger: Store, lifecycle: Lifecycle, to_buy: Sequence[ToBuy]) -> None:
        self._ledger = ledger
        self._lifecycle = lifecycle
        self._to_buy = to_buy
        self._done = anyio.Event()

    def done(self) -> None:
        """The wallet is known, or cannot be: buying begins, and the models have time."""
        self._done.set()

    async def at_wallet(self) -> tuple[Kind, str, str] | None:
        """Ask for the wallet, once; kind, message and code of the halt if nothing may be bought.

        What cannot be read stops nobody: it is told.
        """
        if not self._to_buy:
            return None
        found = await self._lifecycle.looks.wallet()
        if isinstance(found, int):
            return self._tell(found, 0)
        if isinstance(found, Fatal) and found.code != "api_scope_denied":
            return (Kind.KEY if found.reason == "key" else Kind.CAPPED), found.message, found.code
        why = halt_reason(found.message, found.code)
        self._note(
            "wallet", f"the wallet could not be read ({why}); buying goes on until the API says that it is short"
        )
        return None

    def tell_kept(self, keep: int) -> None:
        """Tell it by the reading that counts where some of the wallet is to be kept."""
        caps = self._lifecycle.caps
        taken = self._ledger.read.taken_since(self._lifecycle.looks.account, caps.wallet_mark)
        self._tell(caps.wallet - taken, keep)

    def _tell(self, wallet: int, keep: int) -> tuple[Kind, str, str] | None:
        """Tell for how many of the jobs a wallet pays; why nothing may be bought, if it pays for none."""
        to_buy = self._to_buy
        jobs = sum(each.jobs for each in to_buy)
        pays, left = 0, wallet - keep
        for each in sorted(to_buy, key=lambda each: each.quote):
            here = min(each.jobs, jobs - pays, max(0, left) // each.quote if each.quote else each.jobs)
            pays, left = pays + here, left - here * each.quote
        several = "at most " if 0 < pays < jobs and len({each.quote for each in to_buy}) > 1 else ""
        kept = f" ({keep:,} to be kept)" if keep else ""
        message = f"wallet {wallet:,}{kept}: pays for {several}{pays:,} of {jobs:,} job{'s' * (jobs != 1)}"
        self._note("wallet", message)
        if pays or not jobs:
            return None
        cheapest = min(each.quote for each in to_buy)
        why = f"insufficient credits: the wallet has {wallet:,}, and no job costs less than {cheapest:,}"
        return Kind.CAPPED, why, ""

    async def at_models(self) -> None:
        """Compare the API's models with the catalogue, beside the buying."""
        await self._done.wait()
        await anyio.sleep(_MODELS_AFTER_SECONDS)
        for message in await self._lifecycle.looks.drift(dict.fromkeys(each.model for each in self._to_buy)):
            self._note("models", message)

    def _note(self, of: str, message: str) -> None:
        self._ledger.note(Event.LOOKED, of=of, message=message)
