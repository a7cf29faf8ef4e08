"""What people ask of the run that goes on: one row a value, as long as that run has not ended."""

from __future__ import annotations

#: `what` is a word of `batcher.controls`, `value` its value as JSON; `run_id` is the run that it was given for.
SQL = """
CREATE TABLE commands (
    what TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    who TEXT NOT NULL,
    at TEXT NOT NULL,
    run_id INTEGER NOT NULL
) STRICT;
"""
