"""The wall clock may be set: what stands beside its stamps, and the zone in which days are counted.

`boot_id` and `boot_seconds` are the machine's uptime and the boot that it belongs to, `api_at` is the API's own time,
all of the intent; `clock_jumped` marks an attempt between whose intent and end the wall clock was set. `timezone` is a
name of the IANA's list ("": that of the machine at hand).
"""

from __future__ import annotations

SQL = """
ALTER TABLE meta ADD COLUMN timezone TEXT;
ALTER TABLE attempts ADD COLUMN boot_id TEXT;
ALTER TABLE attempts ADD COLUMN boot_seconds REAL;
ALTER TABLE attempts ADD COLUMN api_at TEXT;
ALTER TABLE attempts ADD COLUMN clock_jumped INTEGER NOT NULL DEFAULT 0 CHECK (clock_jumped IN (0, 1));
ALTER TABLE sends ADD COLUMN boot_id TEXT;
ALTER TABLE sends ADD COLUMN boot_seconds REAL;
"""
