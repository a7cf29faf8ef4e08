"""The providers that are known, by the name that a model's file gives. Providers are made here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from batcher.clock import Clock
from batcher.errors import UsageError
from batcher.jobs import Account

from . import Capabilities, Provider


@dataclass(frozen=True, slots=True)
class KnownProvider:
    """How a provider is asked (the variables of key and base URL, the base URL without one), and what it can do."""

    name: str
    key_variable: str
    base_url_variable: str
    base_url: str
    capabilities: Capabilities
    key_like: str  # a pattern of its keys, in any case: for texts that may hold another key than the one that is set

    # The clients are imported where one is made: they are slow to import, and most commands ask nobody.

    def account(self, base_url: str, key: str, name: str | None = None) -> Account:
        """The account of a key; `name` stands for a base URL that changes. Raises UsageError for a wrong base URL."""
        from .rivya import account_of

        return account_of(base_url, key, name)

    def connect(
        self, base_url: str, key: str, clock: Clock, *, account_name: str | None = None, allow_net: Iterable[str] = ()
    ) -> Provider:
        """A provider for one key. Raises UsageError for a base URL, key or setting with which no request can go out."""
        from .rivya import Rivya

        return Rivya(base_url, key, clock, account_name=account_name, allow_net=allow_net)


RIVYA = KnownProvider(
    *("rivya", "RIVYA_API_KEY", "RIVYA_BASE_URL", "https://rivya.ai"),
    capabilities=Capabilities("replay", "credits"),
    key_like=r"rvya_sk_[\w.~+/=%-]+",
)
KNOWN = {known.name: known for known in (RIVYA,)}


def only(names: Iterable[str]) -> KnownProvider:
    """The one provider of a run's models (given by name); the first known one where there are none.

    Raises UsageError for a name that is not known, and for several providers: a run has one account.
    """
    found = sorted(set(names))
    if strange := [name for name in found if name not in KNOWN]:
        raise UsageError(f"unknown provider {strange[0]!r}", hint=f"Known: {', '.join(KNOWN)}.")
    if len(found) > 1:
        raise UsageError(f"models of several providers in one run: {', '.join(found)}", hint="Run them one by one.")
    return KNOWN[found[0]] if found else RIVYA
