"""A ledger may be a copy of one that lives in a database, or have moved there; then nobody buys with it."""

from __future__ import annotations

#: `copy_kind` is null for a ledger of its own. `copy_of` names the database, without a password; `copy_rev` is how far
#: a mirror has got.
SQL = """
ALTER TABLE meta ADD COLUMN copy_kind TEXT CHECK (copy_kind IN ('mirror', 'export', 'moved'));
ALTER TABLE meta ADD COLUMN copy_of TEXT;
ALTER TABLE meta ADD COLUMN copy_rev INTEGER;
"""
