"""What a ledger consists of (tables, indexes, triggers, views), held against what its migrations make."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import cache
from typing import NamedTuple

Step = str | Callable[[sqlite3.Connection], None]


class Made(NamedTuple):
    """Something that a CREATE statement made; `kind` is `table`, `index`, `trigger` or `view`."""

    kind: str
    name: str
    table: str
    sql: str

    def same(self, other: Made) -> bool:
        """Whether both are made by the same words: SQLite writes down white space, quotes its own names at a rename."""
        return self == other or (self[:3] == other[:3] and _words(self.sql) == _words(other.sql))


def of(connection: sqlite3.Connection) -> dict[str, Made]:
    """What the ledger consists of, by name. SQLite's own and the list of migrations are left out."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql NOTNULL ORDER BY rowid")
    made = (Made(*row) for row in rows)
    return {each.name: each for each in made if not each.table.startswith(("_", "sqlite_"))}


@cache
def made_by(steps: tuple[Step, ...]) -> Mapping[str, Made]:
    """What these migrations make of an empty file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for step in steps:
            if isinstance(step, str):
                connection.executescript(step)
            else:
                step(connection)
        return of(connection)


def digest(made: Mapping[str, Made]) -> str:
    """A SHA-256 that two ledgers share if both are made by the same words, in whatever order."""
    told = ["\n".join((*each[:3], *_words(each.sql))) for _, each in sorted(made.items())]
    return hashlib.sha256("\n\n".join(told).encode()).hexdigest()


def differences(there: Mapping[str, Made], wanted: Mapping[str, Made]) -> list[str]:
    """In words, what is missing or other than wanted, and what somebody added that acts on our tables."""
    return list(_differences(there, wanted))


def _differences(there: Mapping[str, Made], wanted: Mapping[str, Made]) -> Iterator[str]:
    for name, made in wanted.items():
        if name not in there:
            yield f"the {made.kind} {name} is missing"
        elif not made.same(there[name]):
            yield f"the {made.kind} {name} is another one{_lacking(there[name], made)}"
    for name, made in there.items():
        acts = made.kind == "trigger" or made.sql.upper().startswith("CREATE UNIQUE")
        if name not in wanted and made.table in wanted and acts:
            yield f"the {made.kind} {name} on {made.table} is none of batcher's"


def _lacking(there: Made, made: Made) -> str:
    if made.kind != "table" or there.kind != "table":
        return ""
    missing = columns_of(made) - columns_of(there)
    return f" (without {', '.join(sorted(missing))})" if missing else ""


def columns_of(table: Made) -> frozenset[str]:
    """The names of a table's columns, from the statement that made it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(table.sql)
        return columns(connection, table.name)


def columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """The names of a table's columns; empty for one that is not there."""
    return frozenset(row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,)))


def rebuild(connection: sqlite3.Connection, table: str, sql: str) -> None:
    """Make a table anew by another statement, with its rows in their order, its indexes and its triggers.

    Foreign keys are off meanwhile (see `schema.migrate`).
    """
    old = f"{table}_before"
    mine = [made.sql for made in of(connection).values() if made.table == table and made.kind != "table"]
    names = ", ".join(sorted(columns(connection, table)))
    connection.execute("PRAGMA legacy_alter_table = ON")  # else a rename changes what views and triggers say
    connection.execute(f"ALTER TABLE {table} RENAME TO {old}")
    connection.execute(sql)
    order = "" if "WITHOUT ROWID" in _sql(connection, old) else " ORDER BY rowid"
    connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {old}{order}")
    connection.execute(f"DROP TABLE {old}")
    connection.execute("PRAGMA legacy_alter_table = OFF")
    for statement in mine:
        connection.execute(statement)


def _sql(connection: sqlite3.Connection, name: str) -> str:
    return str(connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0])


@cache  # of a few hundred statements
def _words(sql: str) -> list[str]:
    return re.findall(r"'(?:[^']|'')*'|\w+|[^\w\s\"]", sql)
