"""What people ask holds for the run of its row: several runs may go on at once where the ledger is on PostgreSQL."""

from __future__ import annotations

#: `run_id` is the run that obeys, `given_for` the one that it was given for: an earlier one where that was cut off.
SQL = """
CREATE TEMP TABLE asked AS SELECT * FROM commands;
DROP TABLE commands;
CREATE TABLE commands (
    what TEXT NOT NULL,
    value TEXT NOT NULL,
    who TEXT NOT NULL,
    at TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    given_for INTEGER NOT NULL,
    PRIMARY KEY (run_id, what)
) STRICT;
INSERT INTO commands SELECT what, value, who, at, run_id, run_id FROM asked;
DROP TABLE asked;
"""
