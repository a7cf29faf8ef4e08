"""A run as it stands in the database, so that any worker can go on with it: its numbers, and what it may buy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from batcher import __version__
from batcher.errors import StorageError
from batcher.jobs import Account, JobId
from batcher.ledger import Caps
from batcher.settings import Selection, Settings


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What workers obey; `results` is where files go (BATCHER_RESULTS), `damage` the saved files to bring back.
    `followed` are targets of alerts, with their kinds, which are told by who follows the run.

    No key is in it: each worker has those of its own environment.
    """

    campaigns: tuple[str, ...]
    account: Account
    settings: Settings
    caps: Caps
    selection: Selection
    results: str
    allow_net: tuple[str, ...] = ()
    #: of a canary: what has to hold of a step, and whether the command that follows the run is asked
    then: str = ""
    decides: bool = False
    followed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    run_cap_stated: bool = False
    damage: Mapping[JobId, Mapping[int, str]] = field(default_factory=dict)
    version: str = __version__

    @property
    def kind(self) -> str:
        """Which workers can work at it."""
        return kind_of(self.account, self.version, buys=self.selection.buys)

    def dump(self) -> str:
        return _SPEC.dump_json(self).decode()

    @classmethod
    def load(cls, text: str) -> RunSpec:
        """Raises StorageError for what another version has written and this one cannot read."""
        try:
            return _SPEC.validate_json(text)
        except ValidationError as error:
            raise StorageError(f"a run of the database cannot be read: {error.error_count()} fields") from error


_SPEC = TypeAdapter(RunSpec)


def kind_of(account: Account, version: str = __version__, *, buys: bool = True) -> str:
    """Which workers can work at a run, in words: those of its account (never the key) and version.

    What buys nothing has a kind of its own, which `batcher fetch` works at and nothing else.
    """
    return f"{account.text} batcher {version}" + ("" if buys else " fetch")


def queue_of(kind: str) -> str:
    """The queue of such workers; a channel of PostgreSQL has its name, which may not be long."""
    return hashlib.sha256(kind.encode()).hexdigest()[:32]
