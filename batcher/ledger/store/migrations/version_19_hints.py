"""What is said to have happened to a task, from outside: the run that waits for it asks the API at once."""

from __future__ import annotations

#: `id` grows with each hint, also with one for a job that had one.
SQL = """
CREATE TABLE hints (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    at TEXT NOT NULL
) STRICT;
"""
