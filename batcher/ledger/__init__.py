"""The ledger: one SQLite file that knows every job, purchase, price, upload and request. All SQL lives here."""

from .caps import Caps, Refusal
from .connection import storage_errors
from .enrolment import NOT_IN_MANIFEST, Enrolled
from .lock import hold_lock
from .reader import Known, LedgerReader, Outcome, Pending, Price, Send, Sum
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
    "Send",
    "Stale",
    "Sum",
    "hold_lock",
    "storage_errors",
]
