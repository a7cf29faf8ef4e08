"""A ledger's mirror: what has changed in the database, in a local ledger that every reader and export works on.

It is as of one moment of the database, and says in `meta` what it is and up to which `rev` it has come. Writers are
serial, so what has come up to there is whole; rows that went have left a mark (`deleted`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from batcher.clock import SystemClock, iso
from batcher.errors import StorageError
from batcher.ledger.store import copies
from batcher.ledger.store import schema as sqlite_schema
from batcher.ledger.store.connection import open_writer, storage_errors
from batcher.ledger.store.copies import DeletedRow

from . import schema
from .postgres import PostgresConnection, postgres_errors

_PAGE = 2000


class Pulled(NamedTuple):
    """What a mirror has taken in: how many rows, and up to which `rev` it is whole."""

    rows: int
    rev: int


def pull(conninfo: str, path: Path) -> Pulled:
    """Bring a mirror up to date, or make it. Raises StorageError, also where `path` is no mirror of this database."""
    with PostgresConnection(conninfo, name="batcher mirror", idle_seconds=60) as there, storage_errors(path):
        schema.check(there)
        with postgres_errors(there.place), there.snapshot():
            [meta] = there.query("SELECT ledger_id, created_at, place, timezone FROM meta")
            old = os.umask(0o077)
            try:
                opened = open_writer(path, ledger_id=meta["ledger_id"], at=iso(SystemClock().wall()), any_kind=True)
            finally:
                os.umask(old)
            with closing(opened) as here:
                here.execute("PRAGMA foreign_keys = OFF")
                here.execute("PRAGMA busy_timeout = 30000")
                here.execute("BEGIN IMMEDIATE")
                try:
                    since = _check(here, path, meta["ledger_id"], there.place)
                    here.execute(
                        "UPDATE meta SET created_at = ?, place = ?, timezone = ?, copy_kind = ?, copy_of = ?",
                        (meta["created_at"], meta["place"], meta["timezone"], "mirror", there.place),
                    )
                    newest = _newest(there)
                    rev = max([since, *newest.values()])
                    gone = [
                        DeletedRow(row["tab"], tuple(row["key"]))
                        for row in there.query("SELECT tab, key FROM deleted WHERE rev > %s ORDER BY rev", (since,))
                    ]
                    changed = {name for name, last in newest.items() if last > since}
                    rows = copies.take_over(
                        here, lambda table: _pages(there, table, since) if table.name in changed else (), gone, rev
                    )
                    here.execute("COMMIT")
                except BaseException:
                    if here.in_transaction:
                        here.execute("ROLLBACK")
                    raise
    return Pulled(rows, rev)


def _check(here: Any, path: Path, ledger_id: str, of: str) -> int:
    """How far the mirror has got. Raises StorageError when it is none of this ledger."""
    own = here.execute("SELECT ledger_id, (SELECT count(*) FROM wanted) AS jobs FROM meta").fetchone()
    found = copies.copy_mark(here)
    fresh = found.kind is None and not own["jobs"]
    if own["ledger_id"] != ledger_id or not (fresh or found.kind == "mirror"):
        raise StorageError(f"{path} is no mirror of the ledger in {of}", hint="Move it away: it is made anew.")
    return found.rev


def _newest(there: PostgresConnection) -> dict[str, int]:
    """The newest `rev` of each table, and of what was deleted."""
    names = [*(table.name for table in sqlite_schema.tables()), "deleted"]
    asked = " UNION ALL ".join(f"SELECT '{name}' AS name, max(rev) AS rev FROM {name}" for name in names)
    return {row["name"]: row["rev"] for row in there.query(asked) if row["rev"] is not None}


def _pages(
    there: PostgresConnection, table: sqlite_schema.LedgerTable, since: int
) -> Iterator[Sequence[Sequence[Any]]]:
    """The rows of a table that have changed since, in the order in which they did."""
    sql = f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE rev > {since:d} ORDER BY rev"
    with there.raw.cursor(name="pages") as cursor:
        cursor.execute(sql.encode())
        while page := cursor.fetchmany(_PAGE):
            yield page
