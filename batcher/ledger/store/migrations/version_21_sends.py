"""The send log is searched for submissions alone: the stamp of a poll touches no index, half the pages of a commit."""

from __future__ import annotations

SQL = """
DROP INDEX sends_by_kind;
CREATE INDEX sends_of_submissions ON sends (kind, id) WHERE kind = 'submit';
"""
