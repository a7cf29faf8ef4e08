"""The file itself: opening, versions, damage, a full disk, other readers, the run lock, queries that do not scan."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from core_helpers import ManualClock, Shelf, make_spec, make_task

from batcher.errors import Kind, StorageError, UsageError
from batcher.jobs import Status
from batcher.ledger import LedgerReader, LedgerWriter, storage_errors
from batcher.ledger.store import schema
from batcher.ledger.store.schema import copy_ledger

# Opening


def test_a_new_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = LedgerWriter.open(path, ManualClock())
    first = ledger.read.ledger_id
    assert len(first) == 32
    pragma = {
        name: ledger.read.rows(f"PRAGMA {name}")[0][0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "temp_store")
    }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "temp_store": 2}
    with closing(LedgerReader.open(path)) as reader:  # temporary files would hold prompts and keys, outside the folder
        assert reader.rows("PRAGMA temp_store")[0][0] == 2
    ledger.close()
    ledger = LedgerWriter.open(path, ManualClock())
    assert ledger.read.ledger_id == first, "the keys of what was bought are derived from it"
    ledger.close()
    assert [p.name for p in tmp_path.iterdir()] == ["ledger.db"], "nothing is copied where nothing changes"


def test_every_table_is_strict(shelf: Shelf) -> None:
    for row in shelf.rows(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
        " AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ):
        assert "STRICT" in row["sql"], row["name"]


def test_the_columns_of_the_contract(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    assert {
        *("id", "campaign", "name", "model", "prompt", "params", "reference", "take", "status", "attempt"),
        *("client_request_id", "idempotency_key", "task_id", "quoted_credits", "reserved_credits", "final_credits"),
        *("result_url", "result_path", "result_sha256", "error_code", "error_message", "created_at", "submitted_at"),
        *("finished_at", "updated_at"),
    } <= set(shelf.job(1))
    tables = {row["name"] for row in shelf.rows("SELECT name FROM sqlite_master")}
    assert {"attempts", "events", "uploads", "runs", "jobs"} <= tables


@pytest.mark.parametrize("opened", [lambda p: LedgerWriter.open(p, ManualClock()), LedgerReader.open])
def test_a_newer_version_is_left_alone(shelf: Shelf, opened: Callable[[Path], Any]) -> None:
    shelf.edit("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('batcher', 'version_99', 'x')")
    with pytest.raises(StorageError, match=r"newer version of batcher \(version_99\)") as caught:
        opened(shelf.path)
    assert "--state" in caught.value.hint


def test_an_empty_file_has_lost_what_it_held(tmp_path: Path) -> None:
    """A ledger has its name only once it is whole, so no crash leaves one: tables made here would hide a loss."""
    path = tmp_path / "ledger.db"
    path.touch()
    for opened in (lambda: LedgerReader.open(path), lambda: LedgerWriter.open(path, ManualClock())):
        with pytest.raises(StorageError, match="it has lost what it held"):
            opened()
    assert path.stat().st_size == 0


def test_no_file_is_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no ledger"):
        LedgerReader.open(tmp_path / "ledger.db")
    with pytest.raises(StorageError) as caught:
        LedgerWriter.open(tmp_path / "no" / "ledger.db", ManualClock())
    assert "writable" in caught.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("opened", [lambda p: LedgerWriter.open(p, ManualClock()), LedgerReader.open])
def test_what_is_no_database(tmp_path: Path, opened: Callable[[Path], Any]) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"campaign: spring\n" * 100)
    with pytest.raises(StorageError, match="not a database") as caught:
        opened(path)
    assert "damaged" in caught.value.hint
    assert caught.value.kind is Kind.STORAGE
    assert path.read_bytes() == b"campaign: spring\n" * 100


def test_a_damaged_ledger(shelf: Shelf) -> None:
    shelf.enrol([make_spec(n) for n in range(500)])
    shelf.ledger.close()
    content = bytearray(shelf.path.read_bytes())
    content[4096 * 3 :] = b"\x55" * (len(content) - 4096 * 3)
    shelf.path.write_bytes(content)

    def use() -> None:
        with closing(LedgerWriter.open(shelf.path, shelf.clock)) as ledger:
            ledger.enrol("spring", "m", [make_spec(n) for n in range(2000)])

    with pytest.raises(StorageError) as caught:
        use()
    assert "damaged" in caught.value.hint


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (sqlite3.OperationalError("database is locked"), "Another program"),
        (sqlite3.OperationalError("database or disk is full"), "Free some disk space"),
        (sqlite3.DatabaseError("database disk image is malformed"), "damaged"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "writable"),
        (sqlite3.OperationalError("unable to open database file"), "writable"),
        (sqlite3.OperationalError("no such table: x"), "Run the same command again"),
        (PermissionError(13, "Permission denied"), "permissions"),
        (OSError("odd"), "permissions"),
    ],
)
def test_what_went_wrong_and_what_to_do(error: Exception, hint: str) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(Path("ledger.db")):
        raise error
    assert hint in caught.value.hint
    assert caught.value.message.startswith("ledger.db: ")
    assert caught.value.__cause__ is error


def test_our_own_errors_pass_through() -> None:
    with pytest.raises(UsageError), storage_errors(Path("ledger.db")):
        raise UsageError("x")


# Migrations


def test_an_older_ledger_is_copied_and_brought_up_to_date(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.enrol([make_spec(1)])
    shelf.buy(1)
    shelf.ledger.close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("version_2", "CREATE TABLE more (x TEXT) STRICT;")))
    with pytest.raises(StorageError, match="older version"):
        LedgerReader.open(shelf.path)
    ledger = LedgerWriter.open(shelf.path, shelf.clock)
    assert ledger.read.rows("SELECT * FROM more") == []
    assert ledger.read.spent().held == 10
    ledger.close()
    copies = [p for p in shelf.path.parent.iterdir() if "before" in p.name]
    assert [p.name for p in copies] == ["ledger.before-2027-01-15T080000.db"]
    with closing(sqlite3.connect(copies[0])) as copy:
        assert copy.execute("SELECT count(*) FROM attempts").fetchone() == (1,)
        with pytest.raises(sqlite3.OperationalError):
            copy.execute("SELECT * FROM more")
    shelf.ledger = LedgerWriter.open(shelf.path, shelf.clock)


def test_a_migration_that_fails_leaves_everything_as_it_was(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.enrol([make_spec(1)])
    broken = "CREATE TABLE more (x TEXT) STRICT;\nINSERT INTO nowhere VALUES (1);"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("version_2", broken)))
    with pytest.raises(StorageError, match="nowhere"):
        LedgerWriter.open(shelf.path, shelf.clock)
    monkeypatch.undo()
    ledger = LedgerWriter.open(shelf.path, shelf.clock)
    assert ledger.read.counts() == {"spring": {"planned": 1}}
    assert ledger.read.rows("SELECT name FROM sqlite_master WHERE name = 'more'") == []
    ledger.close()


def test_a_copy_is_never_made_over_another(shelf: Shelf) -> None:
    target = shelf.path.with_name("copy.db")
    target.write_text("precious")
    with pytest.raises(StorageError, match="exists already"), closing(sqlite3.connect(shelf.path)) as connection:
        copy_ledger(connection, target)
    assert target.read_text() == "precious"


# Whole or not at all


def test_a_full_disk_says_so_and_the_ledger_goes_on_afterwards(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(1), make_spec(2)])
    intent = shelf.buy(1)
    pages = shelf.ledger.read.figure("PRAGMA page_count")
    shelf.ledger.read.figure(f"PRAGMA max_page_count = {pages}")
    long = make_task(7, urls=("https://m/" + "x" * 50_000,))
    with pytest.raises(StorageError, match="full") as caught:
        shelf.ledger.submitted(intent, long)
    assert "Free some disk space" in caught.value.hint
    assert shelf.job(1)["status"] == "submitting"
    shelf.ledger.read.figure("PRAGMA max_page_count = 1000000")
    shelf.ledger.submitted(intent, long)
    assert shelf.job(1)["task_id"] == "task_7"


def test_a_commit_that_fails_is_rolled_back_and_nobody_is_told(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])

    class Failing(sqlite3.Connection):
        """A connection whose commits fail, as on a disk that is full or gone."""

        fails = False

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and self.fails:
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *values)

    shelf.reopen(Failing)
    del shelf.changes[:]
    Failing.fails = True
    with pytest.raises(StorageError, match="disk I/O error"):
        shelf.buy(1)
    Failing.fails = False
    assert shelf.changes == []
    assert shelf.attempts(1) == []
    shelf.buy(1)


# What a purchase costs (tests/integration/engine/test_query_plans.py looks at each query)


def steps_of_a_purchase(path: Path, jobs: int) -> int:
    """How many instructions SQLite needs for one purchase among so many jobs, half of them bought already."""
    shelf = Shelf(path)
    shelf.name_price()
    shelf.enrol([make_spec(n) for n in range(jobs)])
    for number in range(jobs // 2):
        shelf.ledger.submitted(shelf.buy(number), make_task(number, Status.FAILED, reserved_credits=10))
    count = 0

    class Stepping(sqlite3.Connection):
        def __init__(self, *words: Any, **named: Any) -> None:
            super().__init__(*words, **named)
            self.set_progress_handler(self.tick, 1)

        def tick(self) -> int:
            nonlocal count
            count += 1
            return 0

    shelf.reopen(Stepping)
    count = 0
    [first] = shelf.ledger.read.pending("spring", "small", after=jobs - 2, limit=200)
    intent = shelf.buy(int(first.id, 16), run=10**6, campaigns={"spring": 10**6}, day=10**6)
    shelf.ledger.maybe_received(intent, "x", "")
    shelf.ledger.submitted(intent, make_task(jobs))
    shelf.ledger.record(intent.attempt_id, make_task(jobs, Status.SUCCEEDED, final_credits=10))
    shelf.ledger.claim_file(intent.attempt_id, 0, target="x", sha256="ab", size=1)
    shelf.ledger.file_saved(intent.job_id, intent.attempt_id, 0)
    found = count
    shelf.ledger.close()
    return found


def test_a_purchase_costs_no_more_among_many(tmp_path: Path) -> None:
    few, many = (steps_of_a_purchase(tmp_path / f"{jobs}.db", jobs) for jobs in (20, 2000))
    assert many < 1.5 * few
