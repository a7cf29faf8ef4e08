"""The ledger of a state folder, for the commands that only look."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from batcher.errors import StorageError
from batcher.ledger import LedgerReader, storage_errors
from batcher.state import LEDGER, SIMULATED
from batcher.text import safe

from .database import LEDGER_VARIABLE

#: The state folder of the working folder, which need not be named.
DEFAULT_STATE = "state"


def need_reader(state: Path) -> LedgerReader:
    """The ledger of a state folder. Raises StorageError when there is none, or when it cannot be read."""
    with storage_errors(state):
        only_simulated = (state / SIMULATED / LEDGER).exists() and not (state / LEDGER).exists()
    if only_simulated:
        raise StorageError(
            f"there is no ledger in {state}, but that of a simulated run",
            hint=f"To look at it: --state {state / SIMULATED}",
        )
    return LedgerReader.open(state / LEDGER)


def state_words(state: Path) -> str:
    """What a command line that is shown to be typed needs to find this state folder; empty for the default one.

    A mirror of a ledger on PostgreSQL needs nothing: the environment names that ledger.
    """
    usual = str(state) == DEFAULT_STATE or os.environ.get(LEDGER_VARIABLE, "").strip()
    return "" if usual else f" --state {shlex.quote(safe(state))}"
