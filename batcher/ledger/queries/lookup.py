"""What can be asked of a ledger before it is the chosen one: which campaigns and jobs it knows, and whose it is.

Ledgers of every version answer: the tables that are asked here have been there from the first.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from batcher.ledger.reader import LedgerReader
from batcher.ledger.store.connection import open_reader, storage_errors


class Place(StrEnum):
    """Where the API is that a ledger's purchases went to; a ledger belongs to one of them for good."""

    SIMULATOR = "simulator"
    LOOPBACK = "loopback"
    NET = "net"


class Holdings(NamedTuple):
    """What a ledger holds: for telling people about one that they may not know."""

    campaigns: tuple[str, ...]
    jobs: int
    attempts: int


def known(path: Path, campaigns: Iterable[str] = (), words: Iterable[str] = ()) -> set[str]:
    """Of these campaigns, and of these words (a campaign, or the beginning of a job's id), those that it knows.

    A database of another program knows none. Raises StorageError when it cannot be read.
    """
    found: set[str] = set()
    with closing(open_reader(path)) as connection, storage_errors(path):
        if not _is_ledger(connection):
            return found
        names = {*campaigns, *words}
        for name in names:
            if connection.execute("SELECT 1 FROM campaigns WHERE name = ?", (name,)).fetchone():
                found.add(name)
        for word in set(words) - found:
            begins = re.fullmatch(r"[0-9a-f]{1,32}", word.lower())
            if (
                begins
                and connection.execute(
                    "SELECT 1 FROM wanted WHERE id BETWEEN ? AND ?", (begins[0], begins[0].ljust(32, "f"))
                ).fetchone()
            ):
                found.add(word)
    return found


def place_in(read: LedgerReader) -> Place | None:
    """Where the API is that a ledger is for; None before its first run."""
    found = read.one("SELECT place FROM meta")["place"]
    return None if found is None else Place(found)


def place_of(path: Path) -> Place | None:
    """Whose it is; None when no run has said so. Raises StorageError when it cannot be read."""
    with closing(open_reader(path)) as connection, storage_errors(path):
        if not connection.execute("SELECT 1 FROM pragma_table_info('meta') WHERE name = 'place'").fetchone():
            return None
        row = connection.execute("SELECT place FROM meta").fetchone()
        return None if row is None or row[0] is None else Place(row[0])


def holdings(path: Path) -> Holdings:
    """What it holds. Raises StorageError when it cannot be read."""
    with closing(open_reader(path)) as connection, storage_errors(path):
        if not _is_ledger(connection):
            return Holdings((), 0, 0)
        names = tuple(row[0] for row in connection.execute("SELECT name FROM campaigns ORDER BY rowid"))
        [(jobs, attempts)] = connection.execute(
            "SELECT (SELECT count(*) FROM wanted), (SELECT count(*) FROM attempts)"
        ).fetchall()
        return Holdings(names, jobs, attempts)


def _is_ledger(connection: sqlite3.Connection) -> bool:
    tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('campaigns', 'wanted', 'attempts')"
    return bool(connection.execute(tables).fetchone()[0] == 3)
