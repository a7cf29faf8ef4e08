"""What a saved file measures, and where it is not what was asked for."""

from __future__ import annotations

#: `seconds`, `width` and `height` are what the file says of itself, in seconds and pixels. `differs` is a JSON list of
#: `{of, wanted, found}`; null where nothing was found to differ.
SQL = """
ALTER TABLE files ADD COLUMN seconds REAL;
ALTER TABLE files ADD COLUMN width INTEGER;
ALTER TABLE files ADD COLUMN height INTEGER;
ALTER TABLE files ADD COLUMN differs TEXT;
"""
