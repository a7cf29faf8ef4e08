"""Whose the ledger is, what a person has accepted of an old one, and a shape that DuckDB can read."""

from __future__ import annotations

import re
import sqlite3

from batcher.ledger.store import shape

_SQL = """
ALTER TABLE meta ADD COLUMN place TEXT CHECK (place IN ('simulator', 'loopback', 'net'));
UPDATE meta SET place = (
    SELECT CASE
        WHEN account LIKE 'simulator#%' THEN 'simulator'
        WHEN account LIKE 'http:%' THEN 'loopback'
        ELSE 'net'
    END
    FROM runs WHERE account <> '' ORDER BY id DESC LIMIT 1
);
CREATE TABLE accepted (
    trace TEXT PRIMARY KEY,
    at TEXT NOT NULL
) STRICT;
"""
_IIF = re.compile(r"\biif\(([^(),]+), ([^(),]+), ([^(),]+)\)")
_EXTRACT = re.compile(r"\bjson_extract\(([\w.]+), ('[^']*')\)")


def change(connection: sqlite3.Connection) -> None:
    """DuckDB counts by `rowid`, and runs a view by its own functions: without them it takes each column for a text.

    What other migrations have made of tables and view is kept.
    """
    for statement in filter(str.strip, _SQL.split(";")):
        connection.execute(statement)
    there = shape.of(connection)
    for name in ("inputs", "files", "uploads", "spent"):
        shape.rebuild(connection, name, there[name].sql.replace(", WITHOUT ROWID", ""))
    view = _IIF.sub(r"CASE WHEN \1 THEN \2 ELSE \3 END", _EXTRACT.sub(r"\1 ->> \2", there["jobs"].sql))
    connection.execute("DROP VIEW jobs")
    connection.execute(view)
