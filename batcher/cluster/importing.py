"""A SQLite ledger moves into a database, with its id (so its keys) and all row ids; it refuses from then on.

Two that buy from one state would buy twice, so the order is: the SQLite ledger says that it has moved, on the disk, and
only then the database has it. A crash between the two leaves neither buying; the same command goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from batcher.clock import Clock, iso, iso_seconds
from batcher.errors import StorageError
from batcher.ledger import hold_lock
from batcher.ledger.store import copies
from batcher.ledger.store import schema as sqlite_schema
from batcher.ledger.store.connection import open_writer, storage_errors
from batcher.ledger.store.copies import CopyMark
from batcher.ledger.store.schema import LedgerTable

from . import schema
from .postgres import PostgresConnection, postgres_errors

_PAGE = 2000
#: The lock is held, so a run that has not ended was cut off. In a database no lock says so: there it would be going on.
_END_RUNS = (
    "UPDATE runs SET exit_code = 1, reason = 'it was cut off before its ledger moved',"
    " ended_at = coalesce((SELECT max(at) FROM events WHERE run_id = runs.id), started_at) WHERE ended_at IS NULL"
)


class Imported(NamedTuple):
    """What came along: jobs and purchases; `doubted` purchases were on their way and may have been received."""

    jobs: int
    attempts: int
    doubted: int


def import_ledger(conninfo: str, path: Path, clock: Clock, *, accept_old: bool = False) -> Imported:
    """Move the ledger at `path` into a database whose own ledger is empty; a copy of one in a database, if a person
    accepts that it may not know of all that was bought (`accept_old`).

    Raises LedgerLocked while a run works with it; StorageError for a copy, for one that has moved elsewhere, and where
    the database has a ledger with anything in it.
    """
    with storage_errors(path), hold_lock(path.parent, started=iso_seconds(clock.wall())):
        if not path.exists():
            raise StorageError(f"there is no ledger at {path}", hint="Name the file: batcher cluster import ledger.db")
        with (
            PostgresConnection(conninfo, idle_seconds=600) as there,
            closing(open_writer(path, ledger_id="", at=iso(clock.wall()), any_kind=True)) as here,
        ):
            schema.check(there)
            with there.writing():
                found = _check(here, path, there, accept_old=accept_old)
                here.execute("BEGIN IMMEDIATE")
                try:
                    doubted = here.execute(
                        "UPDATE attempts SET maybe_received = 1 WHERE maybe_received = 0 AND id IN"
                        " (SELECT attempt_id FROM wanted WHERE status = 'submitting')"
                    ).rowcount
                    here.execute(_END_RUNS)
                    if found.kind in ("mirror", "export"):
                        copies.accept(here, found, iso(clock.wall()))
                    copies.mark(here, "moved", there.place)
                    _copy(here, there)
                    here.execute("COMMIT")
                except BaseException:
                    if here.in_transaction:
                        here.execute("ROLLBACK")
                    raise
            jobs, attempts = here.execute(
                "SELECT (SELECT count(*) FROM wanted), (SELECT count(*) FROM attempts)"
            ).fetchone()
    return Imported(jobs, attempts, doubted)


def _check(here: Any, path: Path, there: PostgresConnection, *, accept_old: bool) -> CopyMark:
    rows = "(SELECT count(*) FROM wanted) + (SELECT count(*) FROM runs) AS rows"
    [own] = there.query(f"SELECT ledger_id, {rows} FROM meta")
    found = copies.copy_mark(here)
    mine = here.execute("SELECT ledger_id FROM meta").fetchone()[0]
    if own["ledger_id"] == mine:
        raise StorageError(f"{path} is in {there.place} already", hint="Set BATCHER_LEDGER to that database.")
    accepted = accept_old and found.kind != "moved"
    if found.kind is not None and not accepted and (found.kind, found.of) != ("moved", there.place):
        copies.refuse(here, path)
    if own["rows"]:
        raise StorageError(
            f"{there.place} holds a ledger already, in which something is planned or bought",
            hint="Two ledgers cannot become one: name an empty database.",
        )
    return found


def _copy(here: Any, there: PostgresConnection) -> None:
    names = [table.name for table in sqlite_schema.tables()]
    with postgres_errors(there.place):
        for name in names:
            there.raw.execute(f"ALTER TABLE {name} DISABLE TRIGGER USER".encode())
        there.raw.execute("SET CONSTRAINTS ALL DEFERRED")
        there.raw.execute("DELETE FROM meta")
        for table in sqlite_schema.tables():
            columns = ", ".join(table.columns)
            with there.raw.cursor().copy(f"COPY {table.name} ({columns}) FROM STDIN".encode()) as copy:
                for row in _rows(here, table):
                    copy.write_row(row)
        there.raw.execute("UPDATE meta SET copy_kind = NULL, copy_of = NULL, copy_rev = NULL")
        there.raw.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in sqlite_schema.tables():
            there.raw.execute(f"ALTER TABLE {table.name} ENABLE TRIGGER USER".encode())
            if table.key in (("id",), ("seq",)) and table.name != "meta":
                [key] = table.key
                there.raw.execute(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', '{key}'),"
                    f" coalesce((SELECT max({key}) FROM {table.name}), 0) + 1, false)".encode()
                )


def _rows(here: Any, table: LedgerTable) -> Iterator[Sequence[Any]]:
    found = here.execute(f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY rowid")
    while page := found.fetchmany(_PAGE):
        yield from map(tuple, page)
