"""Saved plans that a person lets a program buy, each once."""

from __future__ import annotations

#: `plan` is the id of the plan, which is the hash of all that stands in it; `used_at` is null until it is bought.
SQL = """
CREATE TABLE approvals (
    plan TEXT NOT NULL PRIMARY KEY,
    path TEXT NOT NULL,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    used_at TEXT
) STRICT;
"""
