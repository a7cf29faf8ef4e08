"""Each account with its provider and the unit of its amounts, and whose request each row of the send log was.

Until now there was one provider. A row of before has no account: it counts in the windows of all.
"""

from __future__ import annotations

SQL = """
CREATE TABLE accounts (
    account TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    unit TEXT NOT NULL
) STRICT;
INSERT INTO accounts SELECT DISTINCT account, 'rivya', 'credits' FROM attempts;
ALTER TABLE sends ADD COLUMN account TEXT;
"""
