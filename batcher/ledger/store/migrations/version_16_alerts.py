"""Alerts are written down before they are sent, each once by its cause."""

from __future__ import annotations

#: `alerts.targets` says of each target what became of it: `waiting`, `sent` or why it was given up. `seen` is the event
#: up to which the run's events had been looked at by then.
SQL = """
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    cause TEXT NOT NULL UNIQUE,
    event TEXT NOT NULL,
    document TEXT NOT NULL,
    targets TEXT NOT NULL,
    seen INTEGER NOT NULL
) STRICT;
"""
