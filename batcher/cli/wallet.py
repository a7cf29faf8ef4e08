"""Asking the API for the wallet: one request, which is written into the ledger's send log before it leaves."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio

from batcher.access import Access
from batcher.clock import SystemClock
from batcher.errors import ApiUnavailable, KeyRefused, UsageError
from batcher.events import Event
from batcher.providers import Fatal, Refused, Retryable
from batcher.state import open_reader

from .database import open_decisive
from .environment import need_no_loop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wallet:
    """What the API says that an account has, in credits."""

    account: str
    credits: int


def read_wallet(access: Access, state: Path) -> Wallet:
    """Ask for the wallet, and write request and reading down in the ledger of the state folder, if there is one.

    Raises UsageError without a key, KeyRefused, ApiUnavailable, StorageError.
    """
    access.need_key()
    need_no_loop()
    account = access.account or ""
    reader = open_reader(state)  # tells what is wrong with a ledger before anything is sent
    if reader is None:
        return Wallet(account, _credits(access))
    reader.close()
    with closing(open_decisive(state)) as ledger:
        ledger.stamp("credits", account)
        found = _credits(access)
        ledger.commit_group([partial(ledger.note, Event.WALLET_READ, account=account, credits=found)])
    return Wallet(account, found)


async def ask(access: Access, *pages: str) -> list[Any]:
    """The API's answers to questions that cost nothing (`credits`, `models`). Raises UsageError without a key."""
    provider = access.provider.connect(access.base_url, access.need_key(), SystemClock())
    try:
        return [await getattr(provider, page)() for page in pages]
    finally:
        await provider.aclose()


def ask_models(access: Access) -> list[dict[str, object]]:
    """The API's own list of models. Raises UsageError without a key, KeyRefused, ApiUnavailable."""
    need_no_loop()
    return _answer(access, "models", list)


def _credits(access: Access) -> int:
    return _answer(access, "credits", int)


def _answer(access: Access, page: str, kind: type[T]) -> T:
    """The answer to one question. Raises BatcherError for any other."""
    provider, what = access.provider, {"credits": "wallet", "models": "list of models"}[page]
    match anyio.run(ask, access, page)[0]:
        case answer if isinstance(answer, kind):
            return answer
        case Fatal(code=code, message=message):
            raise KeyRefused(f"{code}: {message}", hint=f"Look at {provider.key_variable} and the scopes of that key.")
        case Retryable(code=code, message=message):
            raise ApiUnavailable(f"the API gave no {what}: {code}: {message}", hint="Try again in a while.")
        case Refused(code=code, message=message):
            raise UsageError(f"the API refused: {code}: {message}", hint=f"Is {provider.base_url_variable} right?")
        case other:  # pragma: no cover
            raise AssertionError(other)
