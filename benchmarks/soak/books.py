"""What the ledger says, read by plain SQLite, read-only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Books:
    """The tables that the audit looks at, in row order; `faults` is what SQLite itself finds wrong."""

    jobs: list[Row]
    attempts: list[Row]
    events: list[Row]
    sends: list[Row]
    runs: list[Row]
    uploads: list[Row]
    files: list[Row]
    spent: list[Row]
    faults: list[str]


def read(state: Path) -> Books:
    """Read `<state>/ledger.db`."""
    with closing(sqlite3.connect(f"{(state / 'ledger.db').as_uri()}?mode=ro", uri=True)) as ledger:
        ledger.row_factory = sqlite3.Row

        def rows(query: str) -> list[Row]:
            return [dict(row) for row in ledger.execute(query)]

        faults = [str(row[0]) for row in ledger.execute("PRAGMA integrity_check") if row[0] != "ok"]
        faults += [f"foreign key: {tuple(row)}" for row in ledger.execute("PRAGMA foreign_key_check")]
        return Books(
            jobs=rows("SELECT * FROM jobs"),
            attempts=rows(
                "SELECT a.*, w.campaign FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id ORDER BY a.id"
            ),
            events=rows("SELECT * FROM events ORDER BY id"),
            sends=rows("SELECT * FROM sends ORDER BY id"),
            runs=rows("SELECT * FROM runs ORDER BY id"),
            uploads=rows("SELECT * FROM uploads"),
            files=rows("SELECT * FROM files"),
            spent=rows("SELECT * FROM spent"),
            faults=faults,
        )


def seconds(stamp: str) -> float:
    """A time of the ledger in seconds since the epoch."""
    return datetime.fromisoformat(stamp).timestamp()
