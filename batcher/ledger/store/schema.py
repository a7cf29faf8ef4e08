"""The tables of the ledger, and how one of another version becomes one of this (`migrations` has how).

`wanted` holds what a manifest asks for and the status of each job; `attempts` one row a purchase. The view
`jobs` shows both as the contract's table. Money stands once, in two columns of `attempts`: `hold_credits` counts until
`final_credits` is set (see `amounts`); so it cannot leak or count twice.
`spent` sums it by run, campaign, day and allowance, kept by triggers in the transaction of the change, and so is
`campaigns.files`. What an expansion came from stands in `campaigns` and `inputs` (see `expansion_cache`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from batcher import fs
from batcher.errors import StorageError

from . import shape
from .migrations import MIGRATIONS as MIGRATIONS

if TYPE_CHECKING:
    from sqlite_utils import Migrations

MIGRATION_SET = "batcher"
#: The digest of what all migrations make: by it a ledger is known to be as it should at once. To make them all again,
#: for their words, takes a third of the start of a command that only looks.
DIGEST = "ffa90235dd4769befe7c477adbd590fefb6f41c7b9c34095f3cefec256f70909"


def _migrations() -> Migrations:
    # sqlite-utils is slow to import, and only a writer that opens a ledger needs it.
    from sqlite_utils import Migrations

    migrations = Migrations(MIGRATION_SET)

    def doing(step: shape.Step) -> Callable[[Any], None]:
        def apply(db: Any) -> None:
            if not isinstance(step, str):
                step(db.conn)
                return
            # executescript() would commit the migration's transaction, so statement by statement.
            for statement in statements(step):
                db.execute(statement)

        return apply

    for name, step in MIGRATIONS:
        migrations(name=name)(doing(step))
    return migrations


def statements(script: str) -> list[str]:
    found, rest = [], ""
    for line in script.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found


def applied(connection: sqlite3.Connection) -> set[str]:
    """The names of the migrations that this ledger has been through; empty for a new file."""
    table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone()
    if not table:
        return set()
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (MIGRATION_SET,))
    return {row[0] for row in rows}


def pending(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the ledger is of an older version.

    Raises StorageError for one of a newer version, for one that lost its content, and for a stranger's database.
    """
    present, known = applied(connection), {name for name, _ in MIGRATIONS}
    if newer := present - known:
        raise StorageError(
            f"{path} was written by a newer version of batcher ({', '.join(sorted(newer))})",
            hint="Install that version, or name another folder with --state.",
        )
    if not present:
        _refuse(connection, path)
    return present != known


class LedgerTable(NamedTuple):
    """A table of the ledger; `key` are the columns of its primary key."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


@cache
def tables() -> tuple[LedgerTable, ...]:
    """The tables that every database of this version has."""
    found = []
    with closing(sqlite3.connect(":memory:")) as connection:
        fill(connection)
        for made in shape.of(connection).values():
            if made.kind == "table":
                rows = connection.execute("SELECT name, pk FROM pragma_table_info(?)", (made.name,)).fetchall()
                key = tuple(name for name, place in sorted(rows, key=lambda row: row[1]) if place)
                found.append(LedgerTable(made.name, tuple(name for name, _ in rows), key))
    return tuple(found)


def differences(connection: sqlite3.Connection) -> list[str]:
    """In words, where a ledger of this version has another shape than its migrations make."""
    return shape.differences(shape.of(connection), shape.made_by(tuple(step for _, step in MIGRATIONS)))


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StorageError for a ledger of this version that has another shape than its migrations make.

    Raises sqlite3.DatabaseError when the jobs cannot be read, though indexes may answer what is asked first.
    """
    if shape.digest(shape.of(connection)) != DIGEST and (wrong := differences(connection)):
        raise StorageError(
            f"{path} is not as batcher makes it: {'; '.join(wrong[:3])}",
            hint="Somebody has changed it, or it comes from a batcher that was never released: put back a copy, or undo"
            " that. `batcher doctor` tells all of it; nothing is bought until then.",
        )
    connection.execute("SELECT prompt FROM wanted ORDER BY seq DESC LIMIT 1").fetchone()
    if not connection.execute("SELECT 1 FROM meta WHERE length(ledger_id) > 0").fetchone():
        raise StorageError(
            f"{path} has lost its id, from which the keys of all purchases are made",
            hint="Put back a copy: under another id everything is bought again.",
        )


def _refuse(connection: sqlite3.Connection, path: Path) -> NoReturn:
    """Tables made here would hide a loss: what the old ledger knew as bought would be bought again."""
    table = connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_%' ESCAPE '\\'").fetchone()
    if table:
        raise StorageError(
            f"{path} is no ledger, but a database of another program (it has {table[0]!r})",
            hint="Move it away, or name another folder with --state.",
        )
    raise StorageError(  # for it is made whole under another name
        f"{path} is empty: it has lost what it held",
        hint="Put back a copy: without one everything is bought again. Delete it only if nothing was ever bought.",
    )


def fill(connection: sqlite3.Connection) -> None:
    """Make an empty file a ledger that has no id yet."""
    with closing(sqlite3.connect(":memory:")) as made:
        made.deserialize(_empty())
        made.backup(connection)


@cache
def _empty() -> bytes:
    """A new ledger, made in memory and once only: on the disk each of its migrations would be a commit of its own."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, Path(":memory:"), stamp="")
        return connection.serialize()


def migrate(connection: sqlite3.Connection, path: Path, *, stamp: str) -> None:
    """Bring the ledger to this version; a copy of an older one is made first, never over another copy.

    The caller holds the ledger's lock (design.md, crash windows). `stamp` goes into the copy's name.
    """
    from sqlite_utils import Database

    if applied(connection):
        numbers = chain([""], (f"-{number}" for number in count(2)))
        targets = (path.with_name(f"{path.stem}.before-{stamp}{number}{path.suffix}") for number in numbers)
        copy_ledger(connection, next(target for target in targets if not target.exists()))
    # A migration that makes a table anew moves rows that others point at.
    kept = connection.execute("PRAGMA foreign_keys").fetchone()[0]
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        _migrations().apply(Database(connection))
    finally:
        connection.execute(f"PRAGMA foreign_keys = {kept}")


def copy_ledger(connection: sqlite3.Connection, target: Path) -> None:
    """A consistent copy of the ledger, for its owner only. Raises StorageError when `target` exists.

    SQLite neither syncs what `VACUUM INTO` writes nor takes it back when it is cut off, so it has its name only then.
    """
    if target.exists():
        raise StorageError(f"{target} exists already", hint="Move it away, then run the same command again.")
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # VACUUM INTO takes an empty file
    try:
        connection.execute("VACUUM INTO ?", (str(part),))
        fs.sync(part)
        part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    fs.sync(target.parent)
