"""The ledger: one SQLite file that knows every job, purchase, price, upload and request.

All SQL lives here, but for what only PostgreSQL needs (`batcher.cluster`).

What writes is imported when its name is asked for (PEP 562): a command that only looks starts in half the time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .lock import hold_lock
from .reader import CreditSum, KnownJob, LedgerReader, PlannedJob, PromptOutcome
from .store.connection import Locked, storage_errors
from .store.prices import NEWEST_WAITS, Price, expected_price, last_final, seen_price, slow_wait

if TYPE_CHECKING:
    from .cap_room import HELD, TIMES
    from .port import Store, StoreReader
    from .store.caps import Caps, NotAdmitted
    from .store.enrolment import NOT_IN_MANIFEST, Enrolled
    from .store.sends import Send
    from .store.transaction import Buying, Change, Observer, Stale
    from .store.writer import LedgerWriter

__all__ = [
    "HELD",
    "NEWEST_WAITS",
    "NOT_IN_MANIFEST",
    "TIMES",
    "Buying",
    "Caps",
    "Change",
    "CreditSum",
    "Enrolled",
    "KnownJob",
    "LedgerReader",
    "LedgerWriter",
    "Locked",
    "NotAdmitted",
    "Observer",
    "PlannedJob",
    "Price",
    "PromptOutcome",
    "Send",
    "Stale",
    "Store",
    "StoreReader",
    "expected_price",
    "hold_lock",
    "last_final",
    "seen_price",
    "slow_wait",
    "storage_errors",
]

_WRITING = {
    "Buying": "store.transaction",
    "Caps": "store.caps",
    "NotAdmitted": "store.caps",
    "Enrolled": "store.enrolment",
    "NOT_IN_MANIFEST": "store.enrolment",
    "Change": "store.transaction",
    "Stale": "store.transaction",
    "HELD": "cap_room",
    "TIMES": "cap_room",
    "LedgerWriter": "store.writer",
    "Observer": "store.transaction",
    "Send": "store.sends",
    "Store": "port",
    "StoreReader": "port",
}


def __getattr__(name: str) -> object:
    if name not in _WRITING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f".{_WRITING[name]}", __name__), name)
    globals()[name] = found
    return found
