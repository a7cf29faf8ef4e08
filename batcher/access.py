"""How an API is asked: where it is, and with which key. Made from the environment by the command line, from arguments
by a program."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.errors import UsageError
from batcher.providers.registry import KNOWN, RIVYA, KnownProvider

if TYPE_CHECKING:
    from batcher.ledger.queries.lookup import Place

#: Every variable that may hold a key or a base URL.
VARIABLES = tuple(name for known in KNOWN.values() for name in (known.key_variable, known.base_url_variable))


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is and what it is asked with. `name` stands for the base URL in the account's name.

    `key_from` and `base_url_from` say where they were found.
    """

    base_url: str
    key: str | None = field(repr=False)
    name: str | None = None
    key_from: str = ""
    base_url_from: str = ""
    provider: KnownProvider = RIVYA

    @property
    def account(self) -> str | None:
        """The account's text in the ledger; None without a key. Raises UsageError for a wrong base URL."""
        if self.key is None:
            return None
        return self.provider.account(self.base_url, self.key, self.name).text

    @property
    def place(self) -> Place:
        """Where the API is, as a ledger has it. Raises UsageError for a wrong base URL."""
        from batcher.ledger.queries.lookup import Place

        if self.name is not None:
            return Place.SIMULATOR
        from batcher.providers.addresses import host_of, is_loopback, parse_url
        from batcher.providers.transport import check_base_url

        host = host_of(parse_url(check_base_url(self.base_url, self.provider)))
        return Place.LOOPBACK if is_loopback(host) else Place.NET

    def need_key(self, otherwise: str = "") -> str:
        """The key. Raises UsageError where there is none; `otherwise` says what can be done without one."""
        if self.key is None:
            hint = f"Set it in the environment or in .env{otherwise}."
            raise UsageError(f"{self.provider.key_variable} is not set", hint=hint)
        return self.key
