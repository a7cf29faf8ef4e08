"""A ledger of a newer version is refused by every command; one of an older is copied, then brought up to date.

There is one version so far, so a second migration is added here.
"""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from cli.helpers import Site, site
from core_helpers import ManualClock, Shelf, make_spec, make_task
from crash.disk.conftest import Give
from crash.disk.helpers import DECIDING, LOOKING, Desk, charged_once, clean

from batcher.errors import StorageError
from batcher.ledger import LedgerReader, LedgerWriter, hold_lock
from batcher.ledger.store import schema
from batcher.ledger.store.schema import copy_ledger

MORE = (
    "CREATE TABLE more (x TEXT) STRICT;\nINSERT INTO more SELECT id FROM attempts;\n"
    "ALTER TABLE runs ADD COLUMN host TEXT;\nUPDATE runs SET host = 'here';\n"
)
NEXT = (*schema.MIGRATIONS, ("version_next", MORE))
#: Makes the command one of the next version.
NEWER = f"from batcher.ledger.store import schema; schema.MIGRATIONS += {NEXT[-1:]!r}"
OURS = tuple(name for name, _ in schema.MIGRATIONS)


def query(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as ledger:
        return ledger.execute(sql).fetchall()


def copies(state: Path) -> list[Path]:
    return sorted(state.glob("ledger.before-*.db"))


def test_a_migration_waits_for_another_writer_in_short_looks(older: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal is heard between two looks only; SQLite's own wait would keep it out for half a minute."""
    older.ledger.close()
    other = sqlite3.connect(older.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    looks = 0

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            nonlocal looks
            if sql.startswith("BEGIN IMMEDIATE"):
                looks += 1
                if looks == 3:
                    other.execute("COMMIT")
            return super().execute(sql, *values)

    monkeypatch.setattr(schema, "MIGRATIONS", NEXT)
    LedgerWriter.open(older.path, ManualClock(), factory=Watched).close()
    other.close()
    assert looks == 3
    assert {row[0] for row in query(older.path, "SELECT host FROM runs")} == {"here"}


def test_a_newer_ledger_is_refused_by_every_command(give: Give, place: Site, tmp_path: Path) -> None:
    assert give("run", "m.yaml", "--limit", "1", "--quiet").code == 0
    ledger = tmp_path / "state/ledger.db"
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('batcher', 'version_99', 'x')"
        )
    before, asked = ledger.read_bytes(), len(place.world.oracle().requests)
    for words in (*LOOKING, *DECIDING, ("credits",), ("run", "m.yaml"), ("run", "m.yaml", "--dry-run")):
        ran = give(*words)
        assert ran.code == 7, (words, ran)
        assert "error: state/ledger.db was written by a newer version of batcher (version_99)\n" in ran.err
        assert "Install that version, or name another folder with --state." in ran.err
    doctor = give("doctor", "--online")
    assert (doctor.code, "newer version" in doctor.out) == (7, True)
    assert [seen.kind for seen in place.world.oracle().requests[asked:]] in ([], ["credits", "models"]), (
        "doctor --online"
    )
    assert ledger.read_bytes() == before
    assert copies(ledger.parent) == []
    charged_once(place, 1)


def test_an_older_ledger_with_the_real_command(desk: Desk) -> None:
    """Who only looks or decides says that a run has to bring it up to date; the run does, and goes on."""
    with site() as place:
        assert desk.run(place, "--limit", "1").code == 0
        desk.first = NEWER
        for words in (("status",), ("cancel", "tiny")):
            ran = desk.give(*words, place=place)
            assert ran.code == 7, ran
            assert "was written by an older version of batcher" in ran.err
            assert "The next `batcher run` brings it up to date, after a copy." in ran.err
        assert copies(desk.state) == []
        assert desk.run(place).code == 0
        charged_once(place, 2)
        [copy] = copies(desk.state)
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert stat.S_IMODE(desk.state.stat().st_mode) == 0o700
        assert query(copy, "PRAGMA integrity_check") == [("ok",)]
        assert query(copy, "SELECT count(*), sum(final_credits) FROM attempts") == [(1, 10)]
        assert desk.rows("SELECT count(*) FROM more") == [(1,)]
        # The old version refuses what the new one has made; the copy is good for it.
        desk.first = ""
        assert "newer version" in desk.give("status").err
        desk.ledger.unlink()
        copy.rename(desk.ledger)
        assert desk.give("status").code == 0


def test_no_migration_while_a_run_is_going(give: Give, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock comes first."""
    assert give("run", "m.yaml", "--limit", "1", "--quiet").code == 0
    monkeypatch.setattr(schema, "MIGRATIONS", NEXT)
    with hold_lock(Path("state"), started="2027-01-15T08:00:00Z"):
        ran = give("run", "m.yaml")
    assert (ran.code, "pid" in ran.err) == (5, True)
    assert copies(Path("state")) == []
    assert query(Path("state/ledger.db"), "SELECT count(*) FROM sqlite_master WHERE name = 'more'") == [(0,)]


# Cut off in the middle


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Shelf]:
    """A ledger with a purchase that is open and one that is settled."""
    (tmp_path / "state").mkdir(mode=0o700)
    shelf = Shelf(tmp_path / "state/ledger.db")
    shelf.enrol([make_spec(number) for number in range(1, 200)])
    shelf.ledger.submitted(shelf.buy(1), make_task(1))
    shelf.ledger.submitted(shelf.buy(2), make_task(2))
    yield shelf
    with suppress(sqlite3.ProgrammingError):
        shelf.ledger.close()


#: Opens copies of a ledger with the next version, one after the other, in a process each that kills itself right before
#: its 1st, 2nd … nth effect, until one comes to its end.
DYING = f"""
import os, sqlite3, sys
from pathlib import Path
from batcher.clock import SystemClock
from batcher.ledger import LedgerWriter
from batcher.ledger.store import schema
import sqlite_utils
schema.MIGRATIONS += {NEXT[-1:]!r}
before, left = Path(sys.argv[1]).read_bytes(), 0
warm = Path(sys.argv[2], "warm.db")
warm.write_bytes(before)
LedgerWriter.open(warm, SystemClock()).close()  # what each of them would work out anew
def effect():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
class Connection(sqlite3.Connection):
    def execute(self, *words):
        effect()
        return super().execute(*words)
connect = sqlite3.connect
sqlite3.connect = lambda *a, **k: connect(*a, **dict(k, factory=Connection))
def around(call):
    def wrapped(*words):
        effect()
        return call(*words)
    return wrapped
os.fsync, os.rename, os.open = map(around, (os.fsync, os.rename, os.open))
for number in range(1, 1000):
    folder = Path(sys.argv[2], f"kill-{{number}}")
    folder.mkdir(mode=0o700)
    (folder / "ledger.db").write_bytes(before)
    left = number
    child = os.fork()
    if not child:
        LedgerWriter.open(folder / "ledger.db", SystemClock()).close()
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def test_killed_at_every_statement_of_a_migration(older: Shelf, tmp_path: Path) -> None:
    """Before and after each: the ledger is of one version or the other, whole; no copy that has its name is torn."""
    older.ledger.close()
    command = [sys.executable, "-c", DYING, str(older.path), str(tmp_path)]
    subprocess.run(command, env=clean(), timeout=120, check=True)
    folders = sorted(tmp_path.glob("kill-*"), key=lambda folder: int(folder.name[5:]))
    assert len(folders) > 20
    found = [after_the_kill(folder) for folder in folders]
    assert set(found) == {(False, 0), (False, 1), (True, 1)}
    assert found == sorted(found), "the copy first, then the migration"


def after_the_kill(folder: Path) -> tuple[bool, int]:
    """Whether it has been migrated, and how many copies there were; the next run brings it to its end."""
    ledger = folder / "ledger.db"
    assert query(ledger, "PRAGMA integrity_check") == [("ok",)]
    names = {name for (name,) in query(ledger, "SELECT name FROM _sqlite_migrations")}
    assert names in ({*OURS}, {*OURS, "version_next"})
    done = "version_next" in names
    assert query(ledger, "SELECT count(*) FROM sqlite_master WHERE name = 'more'") == [(int(done),)]
    assert query(ledger, "SELECT sum(held) FROM spent") == [(20,)]
    kept = {copy: copy.read_bytes() for copy in copies(folder)}
    for copy in kept:
        assert query(copy, "PRAGMA integrity_check") == [("ok",)]
        assert query(copy, "SELECT count(*) FROM attempts") == [(2,)]
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", NEXT)
        with closing(LedgerWriter.open(ledger, ManualClock())) as again:
            assert [row[0] for row in again.read.rows("SELECT count(*) FROM more")] == [2]
    assert {copy: copy.read_bytes() for copy in kept} == kept, "a copy is never overwritten"
    return done, len(kept)


# The copy


def test_a_copy_that_is_cut_off_has_no_name(older: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    target = older.path.with_name("ledger.before-x.db")
    target.with_name(f".{target.name}.part").write_text("half of an earlier one")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    connection = sqlite3.connect(older.path)
    with monkeypatch.context() as patch:
        patch.setattr("batcher.ledger.store.schema.os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            copy_ledger(connection, target)
    assert [path.name for path in older.path.parent.iterdir() if "before" in path.name] == []
    copy_ledger(connection, target)
    connection.close()
    assert [path.name for path in older.path.parent.iterdir() if "before" in path.name] == [target.name]
    assert query(target, "SELECT count(*) FROM attempts") == [(2,)]


def test_two_copies_of_one_second_have_two_names(older: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (*schema.MIGRATIONS, ("version_next", "INSERT INTO nowhere VALUES (1);"))
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    for _ in range(3):
        with pytest.raises(StorageError, match="nowhere"):
            LedgerWriter.open(older.path, ManualClock())
    names = [copy.name for copy in copies(older.path.parent)]
    stem = "ledger.before-2027-01-15T080000"
    assert names == [f"{stem}-2.db", f"{stem}-3.db", f"{stem}.db"]


def test_readers_while_a_migration_is_going(older: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """They see the old ledger whole until it is committed, and then say that they are too old."""
    seen: list[str] = []
    statements: Callable[[str], list[str]] = schema.statements

    def look(script: str) -> Iterator[str]:
        for statement in statements(script):
            yield statement
            with monkeypatch.context() as patch:
                patch.setattr(schema, "MIGRATIONS", NEXT[:-1])
                with closing(LedgerReader.open(older.path)) as reader:
                    seen.append(str(reader.counts()["spring"]["queued"]))

    monkeypatch.setattr(schema, "statements", look)
    monkeypatch.setattr(schema, "MIGRATIONS", NEXT)
    LedgerWriter.open(older.path, ManualClock()).close()
    assert seen == ["2"] * 4
    monkeypatch.setattr(schema, "MIGRATIONS", NEXT[:-1])
    with pytest.raises(StorageError, match="newer version"):
        LedgerReader.open(older.path)
