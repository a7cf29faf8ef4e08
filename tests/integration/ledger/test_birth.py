"""A ledger has its name once its id is in the file: what fails before leaves nothing, and no lost WAL takes the id."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from core_helpers import ManualClock, Shelf, make_spec

from batcher.errors import LedgerLocked, StorageError
from batcher.jobs import Intent
from batcher.ledger import LedgerReader, LedgerWriter, hold_lock
from batcher.ledger.queries import health


class Effects:
    """Counts statements, syncs and renames; the one with the number `fatal` fails as on a full disk."""

    def __init__(self, patch: pytest.MonkeyPatch, fatal: int = 0) -> None:
        self.seen, self.fatal = 0, fatal
        effects = self

        class Connection(sqlite3.Connection):
            def execute(self, *words: Any) -> sqlite3.Cursor:
                effects.happen(sqlite3.OperationalError("database or disk is full"))
                return super().execute(*words)

        self.connection = Connection
        for name in ("fsync", "rename"):
            patch.setattr(os, name, self._around(getattr(os, name)))

    def happen(self, error: Exception) -> None:
        self.seen += 1
        if self.seen == self.fatal:
            raise error

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*words: Any, **named: Any) -> Any:
            self.happen(OSError(28, "No space left on device"))
            return call(*words, **named)

        return wrapped


def ids(ledger: Path) -> list[str]:
    """The ids in a copy of the file alone."""
    with closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?immutable=1", uri=True)) as alone:
        return [row[0] for row in alone.execute("SELECT ledger_id FROM meta")]


def test_a_disk_that_is_full_at_any_step_leaves_nothing_malformed(tmp_path: Path) -> None:
    LedgerWriter.open(tmp_path / "first.db", ManualClock()).close()  # what is kept in memory is made
    with pytest.MonkeyPatch.context() as patch:
        effects = Effects(patch)
        LedgerWriter.open(tmp_path / "ledger.db", ManualClock(), factory=effects.connection).close()
    assert effects.seen > 10
    for fatal in range(1, effects.seen + 1):
        folder = tmp_path / str(fatal)
        folder.mkdir()
        path = folder / "ledger.db"
        with pytest.MonkeyPatch.context() as patch:
            fatally = Effects(patch, fatal)
            with pytest.raises(StorageError):
                LedgerWriter.open(path, ManualClock(), factory=fatally.connection)
        left = {name.name for name in folder.iterdir()}
        if "ledger.db" in left:
            assert ids(path), "what has its name is whole"
        else:
            assert left == set()
        LedgerWriter.open(path, ManualClock()).close()
        assert len(ids(path)) == 1


def test_a_checkpoint_that_did_not_come_through_is_no_ledger(tmp_path: Path) -> None:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *words: Any) -> sqlite3.Cursor:
            return super().execute("SELECT 1, 9, 3" if "wal_checkpoint" in sql else sql, *words)

    with pytest.raises(StorageError, match="SQLite keeps it in"):
        LedgerWriter.open(tmp_path / "ledger.db", ManualClock(), factory=Connection)
    assert list(tmp_path.iterdir()) == []


def test_the_keys_outlive_the_loss_of_the_wal(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    shelf = Shelf(tmp_path / "old/ledger.db")
    shelf.enrol([make_spec(1)])
    first = shelf.buy(1)
    (tmp_path / "new").mkdir()
    shutil.copy(tmp_path / "old/ledger.db", tmp_path / "new/ledger.db")
    shelf.ledger.close()
    again = Shelf(tmp_path / "new/ledger.db")
    again.enrol([make_spec(1)])
    second = again.intend(1)
    assert isinstance(second, Intent)
    assert second.key == first.key
    again.ledger.close()


@pytest.mark.parametrize("loss", ["DELETE FROM meta", "UPDATE meta SET ledger_id = ''"])
def test_a_ledger_without_its_id_is_damaged(shelf: Shelf, loss: str) -> None:
    shelf.edit(loss)
    shelf.ledger.close()
    for opened in (lambda: LedgerReader.open(shelf.path), lambda: LedgerWriter.open(shelf.path, shelf.clock)):
        with pytest.raises(StorageError, match="has lost its id"):
            opened()


def test_the_lock_is_the_folder_s_own(tmp_path: Path) -> None:
    """Whatever becomes of `run.lock`, and by whatever name the folder is known."""
    link = tmp_path.with_name(f"{tmp_path.name}-link")
    link.symlink_to(tmp_path)
    with hold_lock(tmp_path, started="now"):
        (tmp_path / "run.lock").unlink()
        for name in (tmp_path, link):
            with pytest.raises(LedgerLocked, match="just starting"), hold_lock(name, started="later"):
                raise AssertionError("two runs at one ledger")


@pytest.mark.parametrize(("make", "told"), [(os.symlink, "is a link"), (os.link, "a hard link")])
def test_the_lock_s_words_overwrite_no_other_file(tmp_path: Path, make: Callable[..., None], told: str) -> None:
    victim, state = tmp_path / "precious.txt", tmp_path / "state"
    victim.write_text("precious content, a lot of it\n")
    state.mkdir()
    make(victim, state / "run.lock")
    with pytest.raises(StorageError, match=told), hold_lock(state, started="now"):
        raise AssertionError("it went on")
    assert victim.read_text() == "precious content, a lot of it\n"


@pytest.mark.parametrize(("make", "told"), [(os.symlink, "is a link to"), (os.link, "has 2 names")])
def test_a_ledger_with_two_names_is_refused(shelf: Shelf, make: Callable[..., None], told: str) -> None:
    """By the second name it would have another WAL and another lock."""
    other = shelf.path.parent / "other"
    other.mkdir()
    make(shelf.path, other / "ledger.db")
    for opened in (
        LedgerReader.open,
        lambda path: LedgerWriter.open(path, shelf.clock),
        lambda p: health.look(p, now=0),
    ):
        with pytest.raises(StorageError, match=told):
            opened(other / "ledger.db")
