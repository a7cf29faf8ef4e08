"""Ledgers of every version that there was (`versions/`) come to the shape of today's; another shape is told."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from core_helpers import ManualClock, Shelf, make_spec, make_task

from batcher.errors import StorageError
from batcher.jobs import Status
from batcher.ledger import LedgerReader, LedgerWriter
from batcher.ledger.queries import health
from batcher.ledger.store import schema, sends, shape
from batcher.ledger.store.migrations import version_1

KEPT = sorted((Path(__file__).parent / "versions").glob("*.sql"))


def restore(text: str, path: Path) -> Path:
    with closing(sqlite3.connect(path)) as ledger:
        ledger.executescript(text)
    return path


def made(path: Path) -> dict[str, shape.Made]:
    with closing(sqlite3.connect(path)) as ledger:
        return shape.of(ledger)


def test_the_first_version_is_frozen() -> None:
    """An edit here would make two ledgers of one name: add a migration instead."""
    assert hashlib.sha256(version_1.SQL.encode()).hexdigest()[:16] == "1405f774e5cad2ea"


def test_the_shape_is_known_by_its_digest() -> None:
    """A migration needs a new one in `schema.DIGEST`: with an old one each start makes all migrations again."""
    assert shape.digest(shape.made_by(tuple(step for _, step in schema.MIGRATIONS))) == schema.DIGEST


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_a_kept_ledger_comes_to_todays_shape(kept: Path, tmp_path: Path) -> None:
    """With all that it knew, and it goes on: nothing of it is bought again."""
    path = restore(kept.read_text(), tmp_path / "ledger.db")
    with pytest.raises(StorageError, match="older version"):
        LedgerReader.open(path)
    assert health.look(path, now=2e9).older
    Shelf(tmp_path / "new.db").ledger.close()
    shelf = Shelf(path)
    assert shape.differences(made(path), made(tmp_path / "new.db")) == []
    assert made(path).keys() == made(tmp_path / "new.db").keys()
    assert shelf.rows("PRAGMA foreign_key_check") == []
    assert [row["status"] for row in shelf.rows("SELECT status FROM jobs ORDER BY position")] == [
        "succeeded",
        "queued",
        "planned",
    ]
    assert [(row["name"], row["files"]) for row in shelf.rows("SELECT name, files FROM campaigns")] == [("spring", 1)]
    assert shelf.ledger.read.spent() == (10, 12)
    assert shelf.ledger.read.ledger_id == f"{10:032x}"
    assert len(list(tmp_path.glob("ledger.before-*.db"))) == 1
    shelf.enrol([make_spec(number) for number in (1, 2, 3)])
    shelf.ledger.submitted(shelf.buy(3), make_task(3))
    shelf.ledger.record(2, make_task(2, Status.SUCCEEDED, final_credits=11, urls=("https://files.test/2.mp4",)))
    assert shelf.ledger.read.spent() == (12, 23), "an open hold is taken at its largest"
    shelf.ledger.close()
    found = health.look(path, now=2e9)
    assert (found.damage, found.wrong_sums) == ((), ())


@pytest.mark.parametrize("behind", range(1, len(schema.MIGRATIONS)))
def test_every_version_on_the_way_comes_to_todays_shape(
    behind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = restore(KEPT[-1].read_text(), tmp_path / "ledger.db")
    Shelf(tmp_path / "new.db").ledger.close()
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:-behind])
        with closing(sqlite3.connect(path, isolation_level=None)) as ledger:
            schema.migrate(ledger, path, stamp="old")
    with closing(LedgerWriter.open(path, ManualClock())) as ledger_of_today:
        assert ledger_of_today.read.spent() == (10, 12)
    assert shape.differences(made(path), made(tmp_path / "new.db")) == []


def test_what_a_sending_came_to_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before version 8, code and message of `maybe_received` were one text."""
    path = restore(KEPT[-1].read_text(), tmp_path / "ledger.db")
    with monkeypatch.context() as patch, closing(sqlite3.connect(path, isolation_level=None)) as ledger:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:7])
        schema.migrate(ledger, path, stamp="old")
        ledger.execute("DELETE FROM events")
        details = [json.dumps({"why": why}) for why in ("cut: it broke: off", "given up")] + ["no JSON", "{}"]
        ledger.executemany(
            "INSERT INTO events (at, event, detail) VALUES ('2027-01-15T08:00:00.000000Z', 'maybe_received', ?)",
            [(detail,) for detail in details],
        )
    with closing(LedgerWriter.open(path, ManualClock())) as today:
        rows = [row["detail"] for row in today.read.rows("SELECT detail FROM events ORDER BY id")]
    assert rows[2:] == ["no JSON", "{}"]
    assert [json.loads(row) for row in rows[:2]] == [
        {"code": "cut", "message": "it broke: off"},
        {"code": None, "message": "given up"},
    ]


def test_what_was_sent_before_accounts_counts_for_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before version 9 a request had no account; what had bought until then was Rivya's."""
    path = restore(KEPT[-1].read_text(), tmp_path / "ledger.db")
    with monkeypatch.context() as patch, closing(sqlite3.connect(path, isolation_level=None)) as ledger:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:8])
        schema.migrate(ledger, path, stamp="old")
        before = [row[0] for row in ledger.execute("SELECT DISTINCT account FROM attempts")]
        ledger.execute("INSERT INTO sends (at, kind) VALUES ('2027-01-15T08:00:00.000000Z', 'submit')")
        count = ledger.execute("SELECT count(*) FROM sends").fetchone()[0]
    with closing(LedgerWriter.open(path, ManualClock())) as today:
        found = [tuple(row) for row in today.read.rows("SELECT * FROM accounts")]
        assert found == [(account, "rivya", "credits") for account in before]
        assert before
        for account in ("https://api.test#one", "https://api.test#other"):
            assert len(sends.newest(today.read, 99, account=account)) == count
            assert len(sends.newest(today.read, 99, account=account, submissions=True)) >= 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP INDEX attempts_by_task", "the index attempts_by_task is missing"),
        ("DROP TRIGGER attempts_settle", "the trigger attempts_settle is missing"),
        ("DROP VIEW jobs", "the view jobs is missing"),
        ("DROP VIEW jobs; CREATE VIEW jobs AS SELECT * FROM wanted", "the view jobs is another one"),
        ("DROP TABLE sends", "the table sends is missing"),
        ("ALTER TABLE events DROP COLUMN detail", r"the table events is another one \(without detail\)"),
        ("ALTER TABLE uploads ADD COLUMN note TEXT", "the table uploads is another one"),
        ("CREATE UNIQUE INDEX mine ON wanted (name)", "the index mine on wanted is none of batcher's"),
        (
            "CREATE TRIGGER mine AFTER INSERT ON attempts BEGIN DELETE FROM attempts; END",
            "the trigger mine on attempts is none of batcher's",
        ),
    ],
)
def test_another_shape_is_told_by_all_who_open_it(shelf: Shelf, change: str, told: str) -> None:
    shelf.ledger.close()
    restore(change, shelf.path)
    for opened in (lambda: LedgerReader.open(shelf.path), lambda: LedgerWriter.open(shelf.path, shelf.clock)):
        with pytest.raises(StorageError, match=told):
            opened()
    assert any(re.fullmatch(told, damage) for damage in health.look(shelf.path, now=2e9).damage)


@pytest.mark.parametrize(
    "change", ["CREATE INDEX mine ON wanted (name)", "CREATE VIEW mine AS SELECT 1", "CREATE TABLE mine (x)", "ANALYZE"]
)
def test_what_does_no_harm_may_be_added(shelf: Shelf, change: str) -> None:
    shelf.ledger.close()
    restore(change, shelf.path)
    shelf.restart()
    assert health.look(shelf.path, now=2e9).damage == ()


def test_what_nobody_can_bring_into_shape_is_left_as_it_is(tmp_path: Path) -> None:
    path = restore(KEPT[0].read_text() + "ALTER TABLE wanted ADD COLUMN colour TEXT;", tmp_path / "ledger.db")
    before = made(path)
    with pytest.raises(StorageError, match="the table wanted has what no batcher has made: colour"):
        LedgerWriter.open(path, ManualClock())
    assert made(path) == before
