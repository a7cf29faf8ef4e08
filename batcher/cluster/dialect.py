"""The ledger's SQL for PostgreSQL: the store's statements are written once, for SQLite, and translated here.

A statement of the write side is common SQL but for what stands in `_WORDS`; functions that PostgreSQL lacks are made
with the tables (`schema`). What is not covered fails loudly in the contract suite, which runs on both.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_TEXT = r"'(?:[^']|'')*'"
_PLACE = re.compile(rf"({_TEXT})|\?(\d*)|%")
#: What SQLite says otherwise, outside of texts. A hint to its planner has no counterpart, and needs none.
_OF_MAXIMUM = r"max(\1)\2, (array_agg(\3 ORDER BY \1 DESC NULLS LAST))[1]"
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\bIS NOT (?=['?])", "IS DISTINCT FROM "),
        (r"\bIS (?=['?])", "IS NOT DISTINCT FROM "),
        (r" INDEXED BY \w+| ORDER BY rowid", ""),
        (r"\bCROSS JOIN (?=(?:\w+ AS \w+|\([^()]*(?:\([^()]*\)[^()]*)*\) AS \w+)\s+ON\b)", "JOIN "),
        (r"\bGLOB '\*([^'*?\[]*)'", r"LIKE '%\1'"),
        (r"\bGLOB '([^'*?\[]*)\*'", r"LIKE '\1%'"),
        (r"\bGLOB 'results/\?\*'", "LIKE 'results/_%'"),
        (r"\b(NOT |AND |WHERE )((?:\w+\.)?(?:begun|gate|clock_jumped))\b(?! *[=<>])", r"\1\2 = 1"),
        # With max() SQLite takes the other columns from the row that has the maximum.
        (r"(?<=[T,] )max\(((?:\w+|coalesce\([^()]*\)))\)((?: AS \w+)?), (coalesce\([^()]*\)|[a-z]\w+)", _OF_MAXIMUM),
        (r"(?<=[ (])\+(?=[a-z]\w+)", ""),
        (r"\bINSERT OR IGNORE INTO (\w+)(.*)$", r"INSERT INTO \1\2 ON CONFLICT DO NOTHING"),
        (r"\b(\w+\.\w+) ->> \('\$\.\"' \|\| (\w+\([^()]*\)) \|\| '\"\.(\w+)'\)", r"CAST(\1 AS jsonb) -> \2 ->> '\3'"),
        (r"\b(\w+(?:\.\w+)?) ->> ", r"CAST(\1 AS jsonb) ->> "),
    )
)


class Translated(NamedTuple):
    """A statement as psycopg takes it; `numbered`: its values are named p1, p2, … for it takes some twice."""

    sql: str
    numbered: bool


@lru_cache(maxsize=1000)
def translate(sql: str) -> Translated:
    """A statement of SQLite in PostgreSQL's words."""
    for pattern, replacement in _WORDS:
        sql = pattern.sub(replacement, sql)
    numbered = bool(re.search(r"\?\d", re.sub(_TEXT, "''", sql)))

    newest = 0  # a mark without a number is the next one after the highest so far

    def place(found: re.Match[str]) -> str:
        nonlocal newest
        if found[1] is not None:
            return found[1].replace("%", "%%")
        if found[0] == "%":
            return "%%"
        if not numbered:
            return "%s"
        number = int(found[2] or newest + 1)
        newest = max(newest, number)
        return f"%(p{number})s"

    return Translated(_PLACE.sub(place, sql), numbered)
