"""A job may have several references: all of them as JSON, beside the first in the columns that there were."""

#: `reference_list` is empty for a job of one reference or none. `references` of `jobs` has the text of each.
SQL = """
ALTER TABLE wanted ADD COLUMN reference_list TEXT;
"""
