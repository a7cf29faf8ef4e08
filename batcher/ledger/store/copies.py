"""Ledgers that are copies of one in a database, or have moved there: nobody buys with them; and filling a mirror.

Two that buy from one ledger's state do not know of each other's purchases, so a copy says in `meta` what it is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from batcher.errors import StorageError
from batcher.events import Event

from . import schema, shape

if TYPE_CHECKING:
    from pathlib import Path

CopyKind = Literal["mirror", "export", "moved"]
_PROMOTE = "To go on with this one, knowing that what the other has bought since may be bought again: "
_WHAT = {
    "mirror": ("is a mirror of the ledger in {}", "Set BATCHER_LEDGER to that database. " + _PROMOTE),
    "export": ("is a copy of the ledger in {}", "Use that one. " + _PROMOTE),
    "moved": (
        "has moved to {}, where its jobs go on",
        "Set BATCHER_LEDGER to that database; `batcher export sqlite` brings a copy of it back.",
    ),
}


class CopyMark(NamedTuple):
    """What a ledger says of itself: what kind of copy it is, of which database, how far (`rev`) a mirror has got."""

    kind: CopyKind | None
    of: str
    rev: int


#: What `CopyMark` has.
_MARK = "SELECT copy_kind, copy_of, copy_rev FROM meta"


def copy_mark(connection: sqlite3.Connection) -> CopyMark:
    """What a ledger is."""
    return _marked(connection.execute(_MARK).fetchone())


def is_mirror(ask: Callable[[str], sqlite3.Row]) -> bool:
    """Whether a ledger, by its answer, is the mirror of one in a database: no files and no run's lock lie beside it."""
    return _marked(ask(_MARK)).kind == "mirror"


def _marked(row: sqlite3.Row) -> CopyMark:
    kind, of, rev = row
    return CopyMark(kind, of or "", rev or 0)


def refuse(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StorageError for a ledger that is a copy, or has moved."""
    found = copy_mark(connection)
    if found.kind is not None:
        what, hint = _WHAT[found.kind]
        hint += "`run --accept-old-ledger`." if hint.endswith(_PROMOTE) else ""
        raise StorageError(f"{path} {what.format(found.of)}", hint=hint)


def promote(path: Path, at: str) -> None:
    """A person makes a copy a ledger of its own, as of `at`, which is an event. What has moved stays where it is."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if not shape.columns(connection, "meta") >= {"copy_kind", "copy_of"}:
            return  # of an older version, which knows of no copies
        connection.execute("BEGIN IMMEDIATE")
        found = copy_mark(connection)
        if found.kind in ("mirror", "export"):
            connection.execute("UPDATE meta SET copy_kind = NULL, copy_of = NULL, copy_rev = NULL")
            accept(connection, found, at)
        connection.execute("COMMIT")


def accept(connection: sqlite3.Connection, copy: CopyMark, at: str) -> None:
    """Write down that a person goes on with a copy, though it may not know of all that was bought."""
    detail = json.dumps({"traces": 1, "first": [f"{copy.kind} of {copy.of}"]})
    connection.execute(
        "INSERT INTO events (at, event, detail) VALUES (?, ?, ?)", (at, Event.OLD_LEDGER_ACCEPTED, detail)
    )


def mark(connection: sqlite3.Connection, kind: CopyKind, of: str) -> None:
    """Say what a ledger is from now on."""
    connection.execute("UPDATE meta SET copy_kind = ?, copy_of = ?", (kind, of))


def mark_export(path: Path, of: str) -> None:
    """Say of a fresh copy that it is one, of the ledger at `of` or of what that is a mirror of."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        own = copy_mark(connection)
        if own.kind != "moved":  # that buys as little
            mark(connection, "export", own.of or of)


class DeletedRow(NamedTuple):
    """A row that is not there any more: its table and primary key."""

    table: str
    key: tuple[Any, ...]


#: The rows of a table, as its columns stand in `schema.tables()`, in pages.
Pages = Callable[[schema.LedgerTable], Iterable[Sequence[Sequence[Any]]]]


def take_over(connection: sqlite3.Connection, changed: Pages, gone: Iterable[DeletedRow], rev: int | None) -> int:
    """Bring rows into a ledger as they stand elsewhere, in the transaction of the caller; how many these were.

    Sums come along as they are, so no trigger may count them again; foreign keys are off meanwhile. `rev` is kept.
    """
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    keys = {table.name: " AND ".join(f"{column} = ?" for column in table.key) for table in schema.tables()}
    for table, key in gone:
        connection.execute(f"DELETE FROM {table} WHERE {keys[table]}", key)
    count = 0
    for each in schema.tables():
        for page in changed(each) if each.name != "meta" else ():
            count += len(page)
            if each.name == "files":  # a name may have passed from one to another
                places = [each.columns.index(column) for column in each.key]
                free = f"UPDATE files SET target = NULL WHERE {keys['files']}"
                connection.executemany(free, [tuple(row[place] for place in places) for row in page])
            connection.executemany(_put(each), page)
    for _, sql in triggers:
        connection.execute(sql)
    if rev is not None:
        connection.execute("UPDATE meta SET copy_rev = ?", (rev,))
    return count


def _put(table: schema.LedgerTable) -> str:
    """The statement for a row that may be there already: it keeps its place then."""
    rest = ", ".join(f"{column} = excluded.{column}" for column in table.columns if column not in table.key)
    placeholders = ", ".join("?" * len(table.columns))
    names = ", ".join(table.columns)
    does = f"UPDATE SET {rest}" if rest else "NOTHING"
    return f"INSERT INTO {table.name} ({names}) VALUES ({placeholders}) ON CONFLICT ({', '.join(table.key)}) DO {does}"
