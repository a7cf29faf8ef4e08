"""The ledger: one SQLite file that knows every job, purchase, price, upload and request. All SQL lives here.

What writes is imported when its name is asked for (PEP 562): a command that only looks starts in half the time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .connection import storage_errors
from .lock import hold_lock
from .prices import Price, seen_price
from .reader import Known, LedgerReader, Outcome, Pending, Sum

if TYPE_CHECKING:
    from .caps import Caps, Refusal
    from .enrolment import NOT_IN_MANIFEST, Enrolled
    from .transaction import Change, Observer, Stale
    from .writer import Ledger

__all__ = [
    "NOT_IN_MANIFEST",
    "Caps",
    "Change",
    "Enrolled",
    "Known",
    "Ledger",
    "LedgerReader",
    "Observer",
    "Outcome",
    "Pending",
    "Price",
    "Refusal",
    "Stale",
    "Sum",
    "hold_lock",
    "seen_price",
    "storage_errors",
]

_WRITING = {
    "Caps": "caps",
    "Refusal": "caps",
    "Enrolled": "enrolment",
    "NOT_IN_MANIFEST": "enrolment",
    "Change": "transaction",
    "Stale": "transaction",
    "Ledger": "writer",
    "Observer": "transaction",
}


def __getattr__(name: str) -> object:
    if name not in _WRITING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f".{_WRITING[name]}", __name__), name)
    globals()[name] = found
    return found
