"""A job keeps its variables and tags, to group and filter by."""

from __future__ import annotations

#: JSON objects, empty where an older version of batcher has planned the job: the next expansion fills them in.
SQL = """
ALTER TABLE wanted ADD COLUMN vars TEXT NOT NULL DEFAULT '{}';
ALTER TABLE wanted ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';
"""
