"""Others at the ledger's file, and its lock."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from core_helpers import Shelf, job_name, make_spec
from sqlite_utils import Database

from batcher.errors import Kind, LedgerLocked, StorageError
from batcher.ledger import LedgerReader, LedgerWriter, hold_lock
from batcher.ledger.store import sends

# Others at the same file


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's transaction, committed at the end of the block."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        other.execute("COMMIT")


def test_a_reader_cannot_write_and_reads_while_a_transaction_is_open(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    reader = LedgerReader.open(shelf.path)
    with writing(shelf.path) as other:
        other.execute("UPDATE wanted SET name = 'new'")
        row = reader.row("SELECT name FROM wanted")
        assert row is not None
        assert row["name"] == "prompt-1"
    row = reader.row("SELECT name FROM wanted")
    assert row is not None
    assert row["name"] == "new"
    with pytest.raises(StorageError):
        reader.rows("DELETE FROM wanted")
    with pytest.raises(StorageError):
        list(reader.stream("SELECT * FROM nowhere"))
    with pytest.raises(StorageError):
        reader.row("SELECT * FROM nowhere")
    reader.close()


def test_another_process_may_write_meanwhile(shelf: Shelf) -> None:
    """`retry` and friends write while a run goes on: each waits for the other's transaction."""
    shelf.enrol([make_spec(n) for n in range(50)])
    other = LedgerWriter.open(shelf.path, shelf.clock)
    for n in range(50):
        (shelf.ledger if n % 2 else other).stamp("poll")
    assert len(sends.after(shelf.ledger.read, 0)) == 50

    def write() -> None:
        for _ in range(50):
            other.stamp("poll")

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(50):
        shelf.ledger.stamp("submit")
    thread.join(30)
    assert len(sends.after(shelf.ledger.read, 0)) == 150
    other.close()


def test_sqlite_utils_reads_it_while_it_is_written(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    with writing(shelf.path) as other:
        other.execute("UPDATE wanted SET name = 'new'")
        done = subprocess.run(
            [sys.executable, "-m", "sqlite_utils", "query", str(shelf.path), "SELECT id, status, params FROM jobs"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert json.loads(done.stdout) == [{"id": job_name(1), "status": "planned", "params": "{}"}]
    assert Database(shelf.path).view_names() == ["jobs"]


# The lock

HOLDER = """
import sys
from pathlib import Path
from batcher.ledger import hold_lock
with hold_lock(Path(sys.argv[1]), started="2027-01-15T08:00:00Z"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_of_another_process_names_it_and_dies_with_it(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdin is not None
    assert other.stdout.readline() == "held\n"
    whose = f"pid {other.pid}, started 2027-01-15T08:00:00Z"
    with pytest.raises(LedgerLocked, match=whose) as caught, hold_lock(tmp_path, started="now"):
        raise AssertionError("two runs at one ledger")
    assert caught.value.kind is Kind.LOCKED
    other.kill()
    other.wait(30)
    other.stdin.close()
    other.stdout.close()
    with hold_lock(tmp_path, started="now"):
        assert (tmp_path / "run.lock").read_text() == f"pid {os.getpid()}, started now\n"
        with pytest.raises(LedgerLocked), hold_lock(tmp_path, started="now"):
            raise AssertionError("two runs at one ledger")
    with hold_lock(tmp_path, started="again"):
        assert "again" in (tmp_path / "run.lock").read_text()
    assert stat.S_IMODE((tmp_path / "run.lock").stat().st_mode) == 0o600


def test_a_holder_that_has_not_signed_yet(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(LedgerLocked, match="just starting"), hold_lock(tmp_path, started="now"):
        raise AssertionError("two runs at one ledger")
    os.close(descriptor)


def test_a_folder_that_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError), hold_lock(tmp_path / "nowhere", started="now"):
        raise AssertionError

    def no_locks(descriptor: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StorageError, match="No locks available") as caught, hold_lock(tmp_path, started="now"):
        raise AssertionError
    assert "local disk" in caught.value.hint
    monkeypatch.undo()

    def full(descriptor: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(StorageError, match="No space left"), hold_lock(tmp_path, started="now"):
        raise AssertionError
