"""Opening SQLite the way a ledger of money needs it, and its errors in our words."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path

from batcher import fs
from batcher.clock import machine_zone
from batcher.errors import BatcherError, StorageError

from . import copies, schema

#: How long to wait for another process's write, in seconds (`retry` and friends write while a run goes on); a run waits
#: as long as `retries.outage`.
BUSY_SECONDS = 30.0
#: How long SQLite waits for another program's lock in one piece, in which nothing else moves and no signal is heard.
WAIT_SECONDS = 0.05
_CANNOT_WRITE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def open_writer(
    path: Path,
    *,
    ledger_id: str,
    at: str,
    factory: type[sqlite3.Connection] = sqlite3.Connection,
    any_kind: bool = False,
) -> sqlite3.Connection:
    """A connection that commits durably: WAL, `synchronous=FULL`, explicit transactions.

    Makes the ledger where there is none, with this id, as of `at` (ISO 8601), and brings an older one up to date; then
    the caller holds the run lock. `factory` makes its connections. Raises StorageError, also for another program's
    file, which is left as it is, and unless `any_kind` is meant for a copy and for what has moved (`copies`).
    """
    with storage_errors(path):
        if not stands(path):
            _make(path, ledger_id, at, factory)
        _check_file(path)
        connection = _connect(str(path), factory)
        try:
            older = schema.pending(connection, path)
            _make_durable(connection)
            if older:
                wait_for_lock(connection)
                schema.migrate(connection, path, stamp=at.replace(":", "")[:17])
            schema.check(connection, path)
            if not any_kind:
                copies.refuse(connection, path)
            if connection.execute("SELECT timezone FROM meta").fetchone()[0] is None:
                connection.execute("UPDATE meta SET timezone = ?", (machine_zone(),))
            connection.execute(f"PRAGMA busy_timeout = {round(WAIT_SECONDS * 1000)}")
        except BaseException:
            connection.close()
            raise
        return connection


def _make(path: Path, ledger_id: str, at: str, factory: type[sqlite3.Connection]) -> None:
    """A ledger gets its name once its tables and its id are in the file itself, and on the disk.

    So an empty file of that name is one that lost its content, and no loss of the WAL takes the id, from which every
    key is derived. Of one that could not be made whole nothing is left.
    """
    new = path.with_name(f".{path.name}.new")
    _remove(new)
    try:
        with closing(_connect(str(new), factory)) as connection:
            schema.fill(connection)
            _make_durable(connection)
            connection.execute("INSERT INTO meta (id, ledger_id, created_at) VALUES (1, ?, ?)", (ledger_id, at))
            busy, in_wal, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        # The last connection takes the WAL away with it when all of it is in the file.
        if busy or in_wal or _wal(new).exists():
            raise StorageError(f"{new}: SQLite keeps it in {_wal(new).name}", hint="Run the same command again.")
        fs.sync(new)
        new.rename(path)
    except BaseException:
        with suppress(OSError):
            _remove(new)
        raise
    fs.sync(path.parent)


def _remove(ledger: Path) -> None:
    for path in (ledger, _wal(ledger), ledger.with_name(f"{ledger.name}-shm")):
        path.unlink(missing_ok=True)


def _make_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    if sys.platform == "darwin":
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk


def _connect(name: str, factory: type[sqlite3.Connection], *, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name, uri=uri, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=factory
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA temp_store = MEMORY")  # prompts and keys stay out of the folder for temporary files
    return connection


def _wal(path: Path) -> Path:
    """The file in which SQLite keeps the commits that are not in the ledger itself yet."""
    return path.with_name(f"{path.name}-wal")


def _check_file(path: Path) -> None:
    """A ledger has one name, beside which its WAL and its lock are: by a second one it would have two of each."""
    if not path.is_file():
        what = "is no file" if path.exists() else "is a link to nothing"
        raise StorageError(f"{path} {what}", hint="Put it right, or name another folder with --state.")
    if path.is_symlink():
        real = path.resolve()
        raise StorageError(f"{path} is a link to {real}", hint=f"Name that folder instead: --state {real.parent}")
    if (names := path.stat().st_nlink) > 1:
        raise StorageError(
            f"{path} has {names} names (hard links)",
            hint="While no run is going remove the others (`find / -samefile`), or put a copy in their place.",
        )


def stands(path: Path) -> bool:
    """Whether there is something of that name, be it a link to nothing. Raises OSError when nobody can tell."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, also while a run is writing, and where nothing may be written.

    Raises StorageError.
    """
    with storage_errors(path):
        if not stands(path):
            raise StorageError(f"there is no ledger at {path}", hint="`batcher run` makes one; --state names another.")
        _check_file(path)
        try:
            return _reader(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _CANNOT_WRITE:
                raise
            # SQLite wants to write `-wal` and `-shm` even to read. Without a `-wal` nobody is writing, and all is in
            # the ledger itself.
            wal = _wal(path)
            if wal.exists() and wal.stat().st_size:
                raise StorageError(
                    f"{path}: {error}; its newest changes are in {wal.name}, and SQLite has to write to read them",
                    hint=f"Make {path.parent} writable (is the disk full?), or name a copy of it with --state.",
                ) from error
            return _reader(path, "mode=ro&immutable=1")


def _reader(path: Path, how: str) -> sqlite3.Connection:
    connection = _connect(f"{path.absolute().as_uri()}?{how}", sqlite3.Connection, uri=True)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # the file is opened no earlier
    except BaseException:
        connection.close()
        raise
    return connection


class Locked(StorageError):
    """Another program holds the ledger for writing."""


class Away(Locked):
    """The ledger's database cannot be reached. Only a group of tasks' writes is held until it can be."""


class AlreadyThere(StorageError):
    """What was to be written stands there already, or contradicts what does."""


class Torn(StorageError):
    """A write that nobody had waited for failed when others had gone on: the whole group is taken back.

    Where the same is done again within `slowly`, each part waits for its own writes.
    """

    slowly: Callable[[], AbstractContextManager[None]]


class storage_errors:  # noqa: N801  (a context manager, used like a function)
    """SQLite's and the system's errors as StorageError with what to do. A class, for every statement passes here."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.DatabaseError):
            found = Locked if is_busy(error) else StorageError
            found = AlreadyThere if isinstance(error, sqlite3.IntegrityError) else found
            raise found(f"{self._path}: {error}", hint=_hint(str(error))) from error
        if isinstance(error, OSError) and not isinstance(error, BatcherError):
            hint = "Check the disk and the permissions."
            raise StorageError(f"{self._path}: {error.strerror or error}", hint=hint) from error


def wait_for_lock(connection: sqlite3.Connection) -> None:
    """Return once nobody else writes: before a migration, whose own statements wait without hearing a signal.

    Raises sqlite3.OperationalError after `BUSY_SECONDS`.
    """
    before = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout = {round(WAIT_SECONDS * 1000)}")
    for left in reversed(range(round(BUSY_SECONDS / WAIT_SECONDS))):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not (left and is_busy(error)):
                raise
        else:
            break
    connection.execute("ROLLBACK")
    connection.execute(f"PRAGMA busy_timeout = {before}")


def is_busy(error: BaseException) -> bool:
    """Whether another program's lock was in the way."""
    if isinstance(error, Locked):
        return True
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _hint(message: str) -> str:
    if "locked" in message or "busy" in message:
        return (
            "Another program holds the ledger for writing (`lsof` on it names that one); close it, then run the same"
            " command again."
        )
    if "full" in message:
        return "Free some disk space, then run the same command again; what was bought is kept."
    if "malformed" in message or "not a database" in message:
        return "The file is damaged: put back a copy, or try `sqlite3 ledger.db .recover`; keep the damaged file."
    if "readonly" in message or "unable to open" in message:
        return "Make the state folder and the ledger writable, or name another folder with --state."
    if "I/O" in message:
        return "The disk failed, is full or over its quota: look at it, then run the same command again."
    return "Run the same command again once the cause is gone; what was bought is kept."
