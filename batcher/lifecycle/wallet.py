"""Readings of the wallet, for `budget.keep`: none is believed more than what we have bought since an earlier one."""

from __future__ import annotations

from dataclasses import replace

from batcher.clock import iso
from batcher.events import Event
from batcher.ledger import Caps
from batcher.providers import Fatal, Refused, Retryable

from .context import Context

#: A reading may lag behind what was answered in the last so many seconds, also by another run.
_LAG_SECONDS = 600.0
#: One reading lets this part of what it leaves through (one job at least): others may spend from the wallet too.
_PART = 4


async def read_wallet(context: Context, caps: Caps) -> Caps | Fatal | Retryable | Refused:
    """Take a reading; the caps with it, or what kept it from being taken.

    Each reading is held against the one that counted before, less what was bought since: a wallet that does not fall as
    we buy may be read late, so the lower of both counts; only more than was ever read is a top-up. One that falls
    faster is somebody else's doing, or a price that we do not know; both are told (`wallet_odd`), once each.
    """
    account, ledger, read = context.account, context.ledger, context.ledger.read
    mark = 0

    async def reading() -> int | Fatal | Retryable | Refused:
        nonlocal mark
        mark = read.wallet_mark()
        return await context.provider.credits()

    found = await context.ask("credits", reading)
    if not isinstance(found, int):
        return found
    now = context.clock.wall()
    if caps.wallet_at is None and (last := ledger.counted(account, iso(now - _LAG_SECONDS))):
        caps = replace(caps, wallet=last.credits, wallet_mark=last.mark, wallet_most=last.most, wallet_at=now)
    counts, told = (found, mark), caps.wallet_told
    if caps.wallet_at is not None:
        expected = caps.wallet - read.taken_since(account, caps.wallet_mark)
        odd = ""
        if found > caps.wallet_most:
            counts = (found, caps.wallet_mark)  # what we bought since may not show in it yet
        elif found >= expected:
            counts = (caps.wallet, caps.wallet_mark)
            # More than what has no answer yet, and so may still be taken from it.
            odd = "lags" if found - read.taken_since(account, mark) > expected else ""
        else:
            odd = "fell"
        if odd and odd not in told:
            words = {
                "lags": "does not fall as we buy: it may be read late, so what we have bought counts as taken from it",
                "fell": "falls faster than we buy: somebody else spends from it, or prices are higher than known",
            }[odd]
            message = f"the wallet reads {found} where {expected} is expected: it {words}"
            ledger.note(Event.WALLET_ODD, what=odd, message=message)
            told = (*told, odd)
    most = max(found, caps.wallet_most)
    ledger.note(Event.WALLET_READ, account=account, credits=found, counted=counts[0], mark=counts[1], most=most)
    left = counts[0] - read.taken_since(account, counts[1])
    return replace(
        caps,
        wallet=counts[0],
        wallet_mark=counts[1],
        wallet_most=most,
        wallet_at=now,
        wallet_told=told,
        room=max(0, left - (caps.keep or 0)) // _PART,
        room_mark=read.newest_attempt(),
    )
