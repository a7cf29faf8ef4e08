"""A SQLite ledger moves into a database with its keys, and buys no more; what stands in both is the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from core_helpers import ManualClock, Shelf, StoreShelf, job_name, make_spec, make_task
from integration.cluster.test_mirror import same

from batcher.cluster import importing, mirror
from batcher.cluster.importing import import_ledger
from batcher.cluster.store import PostgresLedger, create
from batcher.errors import LedgerLocked, StorageError
from batcher.jobs import Status, Submitting
from batcher.ledger import LedgerReader, LedgerWriter, hold_lock
from batcher.ledger.queries.jobs import holder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with a purchase that succeeded, one on its way, and a job that is planned."""
    (tmp_path / "state").mkdir()
    shelf = Shelf(tmp_path / "state" / "ledger.db")
    shelf.name_price()
    shelf.enrol([make_spec(n) for n in range(1, 4)])
    done = make_task(1, Status.SUCCEEDED, final_credits=9, urls=("https://x/1",))
    intent = shelf.buy(1)
    shelf.ledger.submitted(intent, done)
    shelf.ledger.claim_file(intent.attempt_id, 0, target="results/a", sha256="0" * 64, size=1)
    shelf.ledger.file_saved(job_name(1), intent.attempt_id, 0)
    shelf.buy(2)
    shelf.ledger.close()
    return shelf.path


def open_there(postgres: str) -> StoreShelf[PostgresLedger]:
    return StoreShelf(lambda clock, observe: PostgresLedger.connect(postgres, clock, observe))


def test_a_ledger_moves_with_its_ids_and_goes_on_there(path: Path, postgres: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as here:
        [ledger_id] = here.execute("SELECT ledger_id FROM meta").fetchone()
    assert import_ledger(postgres, path, ManualClock()) == (4, 3, 1)
    same(postgres, path)
    mirror.pull(postgres, tmp_path / "mirror.db")
    same(postgres, tmp_path / "mirror.db")
    # Its run was killed: nobody takes it for going on.
    with closing(LedgerReader.open(tmp_path / "mirror.db")) as read:
        assert holder(tmp_path, read) is None
        assert [tuple(row) for row in read.rows("SELECT exit_code, reason, ended_at IS NULL FROM runs")] == [
            (1, "it was cut off before its ledger moved", 0)
        ]
    shelf = open_there(postgres)
    assert shelf.ledger.read.ledger_id == ledger_id
    phase = shelf.ledger.read.load(job_name(2)).phase
    assert isinstance(phase, Submitting)
    assert phase.intent.maybe_received
    bought = shelf.buy(3)
    assert bought.attempt_id > phase.intent.attempt_id
    assert shelf.ledger.read.spent() == (20, 9)
    shelf.ledger.close()
    with pytest.raises(StorageError, match="has moved to postgresql://"):
        LedgerWriter.open(path, ManualClock())
    with pytest.raises(StorageError, match="already"):
        import_ledger(postgres, path, ManualClock())


def test_no_ledger_moves_whose_run_lives_nor_into_one_that_holds_anything(path: Path, postgres: str) -> None:
    with hold_lock(path.parent, started="now"), pytest.raises(LedgerLocked):
        import_ledger(postgres, path, ManualClock())
    shelf = open_there(postgres)
    shelf.ledger.close()
    with pytest.raises(StorageError, match="holds a ledger already"):
        import_ledger(postgres, path, ManualClock())
    LedgerWriter.open(path, ManualClock()).close()


def test_a_move_that_was_cut_off_leaves_nobody_who_buys_and_goes_on(
    path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its worst moment: the SQLite ledger says so already, the database has nothing yet."""

    def cut(here: sqlite3.Connection, there: object) -> None:
        here.execute("COMMIT")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "_copy", cut)
        with pytest.raises(KeyboardInterrupt):
            import_ledger(postgres, path, ManualClock())
    with pytest.raises(StorageError, match="has moved"):
        LedgerWriter.open(path, ManualClock())
    with psycopg.connect(postgres) as there:
        assert there.execute("SELECT count(*) FROM batcher.wanted").fetchall() == [(0,)]
    assert import_ledger(postgres, path, ManualClock()).jobs == 4
    same(postgres, path)


def test_a_copy_does_not_move(path: Path, postgres: str, tmp_path: Path, bare_postgres: str) -> None:
    from batcher.cluster.store import create

    create(bare_postgres, ManualClock())
    import_ledger(postgres, path, ManualClock())
    (tmp_path / "m").mkdir()
    mirror.pull(postgres, tmp_path / "m" / "ledger.db")
    for other in (tmp_path / "m" / "ledger.db", path):
        with pytest.raises(StorageError, match=r"is a mirror of|has moved to"):
            import_ledger(bare_postgres, other, ManualClock())


def test_a_copy_of_a_lost_database_moves_into_another_if_a_person_accepts_it(
    path: Path, postgres: str, bare_postgres: str, tmp_path: Path
) -> None:
    import_ledger(postgres, path, ManualClock())
    copy = tmp_path / "copy" / "ledger.db"
    copy.parent.mkdir()
    mirror.pull(postgres, copy)
    create(bare_postgres, ManualClock())
    for accept_old in (True, False):
        with pytest.raises(StorageError, match="already" if accept_old else "is a mirror of"):
            import_ledger(postgres if accept_old else bare_postgres, copy, ManualClock(), accept_old=accept_old)
    with pytest.raises(StorageError, match="is a mirror of"):  # it is not a ledger of its own by that
        LedgerWriter.open(copy, ManualClock())
    assert import_ledger(bare_postgres, copy, ManualClock(), accept_old=True).jobs == 4
    with pytest.raises(StorageError, match="has moved to"):
        LedgerWriter.open(copy, ManualClock())
    with psycopg.connect(bare_postgres) as connection:
        [[detail]] = connection.execute(
            "SELECT detail FROM batcher.events WHERE event = 'old_ledger_accepted'"
        ).fetchall()
    assert "mirror of postgresql://" in detail
