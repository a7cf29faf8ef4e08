"""A mirror holds what the database does, row by row, whatever changes there; nobody buys with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from core_helpers import ManualClock, StoreShelf, job_name, make_spec, make_task

from batcher.clock import SystemClock
from batcher.cluster import mirror
from batcher.cluster.store import PostgresLedger
from batcher.errors import StorageError
from batcher.jobs import Status
from batcher.ledger import LedgerReader, LedgerWriter, decisions
from batcher.ledger.queries import export, health
from batcher.ledger.store import copies, schema


@pytest.fixture
def shelf(postgres: str) -> Iterator[StoreShelf[PostgresLedger]]:
    made = StoreShelf(lambda clock, observe: PostgresLedger.connect(postgres, clock, observe))
    yield made
    made.ledger.close()


def rows_of(execute: Any, schema_name: str = "") -> dict[str, list[tuple[Any, ...]]]:
    return {
        table.name: sorted(
            map(tuple, execute(f"SELECT {', '.join(table.columns)} FROM {schema_name}{table.name}").fetchall()), key=str
        )
        for table in schema.tables()
        if table.name != "meta"
    }


def same(conninfo: str, path: Path) -> None:
    with psycopg.connect(conninfo) as there, closing(sqlite3.connect(path)) as here:
        assert rows_of(here.execute) == rows_of(there.execute, "batcher.")


def test_a_mirror_follows_purchases_files_and_deleted_rows(
    shelf: StoreShelf[PostgresLedger], postgres: str, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    shelf.name_price()
    shelf.enrol([make_spec(n) for n in range(1, 4)])
    intents = [shelf.buy(n) for n in (1, 2)]
    shelf.ledger.stamp("submit")
    first = mirror.pull(postgres, path)
    same(postgres, path)
    assert mirror.pull(postgres, path) == (0, first.rev)
    done = make_task(1, Status.SUCCEEDED, final_credits=9, urls=("https://x/1", "https://x/2"))
    shelf.ledger.submitted(intents[0], done)
    shelf.ledger.claim_file(intents[0].attempt_id, 0, target="results/a", sha256="0" * 64, size=1)
    shelf.ledger.file_saved(job_name(1), intents[0].attempt_id, 0)
    shelf.clock.now += 40 * 3600.0
    shelf.restart()  # forgets old requests
    assert mirror.pull(postgres, path).rev > first.rev
    same(postgres, path)
    with closing(LedgerReader.open(path)) as read:
        assert read.spent() == shelf.ledger.read.spent()
        assert read.ledger_id == shelf.ledger.read.ledger_id
    found = health.look(path, now=2e9)
    assert (found.damage, found.wrong_sums) == ((), ())


def test_a_mirror_that_somebody_has_changed_is_left_as_it_is(
    shelf: StoreShelf[PostgresLedger], postgres: str, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    shelf.enrol([make_spec(1)])
    mirror.pull(postgres, path)
    shelf.buy(1)
    with closing(sqlite3.connect(path)) as other:  # a program that is in the way
        other.execute("CREATE TRIGGER mine BEFORE UPDATE ON wanted BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(StorageError):
        mirror.pull(postgres, path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TRIGGER mine")
    assert health.look(path, now=2e9).damage == ()
    mirror.pull(postgres, path)
    same(postgres, path)


@pytest.mark.parametrize("kind", ["mirror", "export"])
def test_copies_do_not_buy_until_a_person_promotes_them(
    shelf: StoreShelf[PostgresLedger], postgres: str, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "ledger.db"
    shelf.enrol([make_spec(1)])
    mirror.pull(postgres, tmp_path / "mirror.db")
    with closing(LedgerReader.open(tmp_path / "mirror.db")) as read:
        if kind == "export":
            export.copy(read, path)
    path = path if kind == "export" else tmp_path / "mirror.db"
    for opened in (LedgerWriter.open, decisions.open_ledger):
        with pytest.raises(StorageError, match="of the ledger in postgresql://"):
            opened(path, SystemClock())
    copies.promote(path, "2027-01-15T08:00:00.000000Z")
    with closing(LedgerWriter.open(path, ManualClock())) as ledger:
        assert ledger.read.ledger_id == shelf.ledger.read.ledger_id


def test_a_mirror_is_of_one_ledger(shelf: StoreShelf[PostgresLedger], postgres: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    LedgerWriter.open(path, ManualClock()).close()
    with pytest.raises(StorageError, match="is no mirror of the ledger in"):
        mirror.pull(postgres, path)
