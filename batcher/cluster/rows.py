"""Rows and values of PostgreSQL, as the ledger's store takes those of SQLite."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader


class Row(tuple[Any, ...]):
    """A row that is read by number and by name, as `sqlite3.Row` is."""

    __slots__ = ()
    names: dict[str, int] = {}  # noqa: RUF012  (each query makes a class of its own)

    def keys(self) -> list[str]:
        return list(self.names)

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self.names[key] if isinstance(key, str) else key)


def rows(cursor: psycopg.Cursor[Any]) -> Any:
    """The rows of a query as `Row`: a factory of psycopg's."""
    return _row_class(tuple(column.name for column in cursor.description or ()))


@lru_cache(maxsize=1000)
def _row_class(names: tuple[str, ...]) -> Any:
    return type("Row", (Row,), {"__slots__": (), "names": {name: place for place, name in enumerate(names)}})


class Sum(Loader):
    """A sum of whole numbers is one; PostgreSQL gives it as `numeric`."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return float(text) if "." in text or text == "NaN" else int(text)


class RowCursor(psycopg.Cursor[Row]):
    """A statement without rows has none to fetch, as with SQLite."""

    def fetchall(self) -> list[Row]:
        return super().fetchall() if self.description is not None else []
