"""Opening SQLite the way a ledger of money needs it, and its errors in our words."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batcher.errors import BatcherError, StorageError

#: How long to wait for another process's write, in seconds (`retry` and friends write while a run goes on).
BUSY_SECONDS = 30.0


def open_writer(path: Path) -> sqlite3.Connection:
    """A connection that commits durably: WAL, `synchronous=FULL`, explicit transactions."""
    with storage_errors(path):
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            if sys.platform == "darwin":
                connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk
        except BaseException:
            connection.close()
            raise
        return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, also while a run is writing."""
    with storage_errors(path):
        if not path.exists():
            raise StorageError(f"there is no ledger at {path}", hint="`batcher run` makes one; --state names another.")
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA query_only = ON")
        return connection


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as StorageError with what to do."""
    try:
        yield
    except BatcherError:
        raise
    except sqlite3.DatabaseError as error:
        raise StorageError(f"{path}: {error}", hint=_hint(str(error))) from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}", hint="Check the disk and the permissions.") from error


def _hint(message: str) -> str:
    if "locked" in message or "busy" in message:
        return "Another program holds the ledger for writing; close it, then run the same command again."
    if "full" in message:
        return "Free some disk space, then run the same command again; what was bought is kept."
    if "malformed" in message or "not a database" in message:
        return "The file is damaged: put back a copy, or try `sqlite3 ledger.db .recover`; keep the damaged file."
    if "readonly" in message or "unable to open" in message:
        return "Make the state folder and the ledger writable, or name another folder with --state."
    return "Run the same command again once the cause is gone; what was bought is kept."
