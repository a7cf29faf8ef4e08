"""Statements that the server has planned once: of what a purchase takes of its time, most was planning.

They go as `EXECUTE` within the one text of a transaction's statements. They are prepared after a commit, when nobody
waits for this connection, and one that cannot be (the type of a value is not plain) goes on as before.
"""

from __future__ import annotations

import re
from typing import Any, cast

import psycopg

from .dialect import Translated

_PLACE = re.compile(r"%%|%s|%\(p(\d+)\)s")
#: Statements a connection prepares: a statement over a list has a text for each length of it.
_MOST = 200
_PREPARABLE = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


class Prepared:
    """What one connection has prepared, by its text for psycopg."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # "" where it cannot be prepared
        self._seen = set[str]()
        self._to_prepare = set[str]()  # seen twice

    def text(self, cursor: psycopg.ClientCursor[Any], made: Translated, values: Any) -> str:
        """A statement with its values, as it goes into the text of several."""
        sql = made.sql
        if name := self._names.get(sql):
            given = list(values.values() if isinstance(values, dict) else values)
            places = f" ({', '.join(['%s'] * len(given))})" if given else ""
            return cursor.mogrify(cast(Any, f"EXECUTE {name}{places}"), given or None)
        if name is None and sql.startswith(_PREPARABLE) and len(self._seen) < _MOST:
            (self._to_prepare if sql in self._seen else self._seen).add(sql)
        return cursor.mogrify(cast(Any, sql), values or None)

    def prepare(self, connection: psycopg.Connection[Any]) -> None:
        """Prepare what is sent again and again; to be called outside of any transaction."""
        while self._to_prepare and not connection.closed:
            sql = self._to_prepare.pop()
            name = f"batcher_{len(self._names)}"
            try:
                connection.execute(cast(Any, f"PREPARE {name} AS {_numbered(sql)}"))
            except psycopg.Error:
                name = ""
            self._names[sql] = name


def _numbered(sql: str) -> str:
    """psycopg's marks as PostgreSQL's own."""
    newest = 0

    def place(found: re.Match[str]) -> str:
        nonlocal newest
        if found[0] == "%%":
            return "%"
        newest += 1
        return f"${found[1] or newest}"

    return _PLACE.sub(place, sql)
