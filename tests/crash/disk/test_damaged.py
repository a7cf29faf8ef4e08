"""A ledger that is damaged, emptied, replaced: every command says so with exit 7, and changes nothing about it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cli.helpers import Site
from crash.disk.conftest import Give
from crash.disk.helpers import DECIDING, LOOKING, Desk, charged_once

LEDGER = Path("state/ledger.db")
PAGE = 4096


def overwrite(start: int, length: int) -> None:
    with LEDGER.open("r+b") as file:
        file.seek(start)
        file.write(b"\x55" * length)


def header() -> None:
    overwrite(0, 16)


def first_page() -> None:
    overwrite(100, PAGE - 100)


def table() -> None:
    with closing(sqlite3.connect(LEDGER)) as ledger:
        [(page,)] = ledger.execute("SELECT rootpage FROM sqlite_master WHERE name = 'wanted'")
    overwrite((page - 1) * PAGE, PAGE)


def cut_short() -> None:
    os.truncate(LEDGER, 5 * PAGE + 17)


def cut_to_nothing() -> None:
    os.truncate(LEDGER, 0)


def cut_to_a_few_bytes() -> None:
    os.truncate(LEDGER, 50)


def a_text() -> None:
    LEDGER.write_text("campaign: tiny\n" * 300)


def a_folder() -> None:
    LEDGER.unlink()
    LEDGER.mkdir()


def a_link_to_nothing() -> None:
    LEDGER.unlink()
    LEDGER.symlink_to("unplugged/ledger.db")


def of_another_program() -> None:
    LEDGER.unlink()
    with closing(sqlite3.connect(LEDGER)) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")


def without_tables() -> None:
    LEDGER.unlink()
    with closing(sqlite3.connect(LEDGER)) as other:
        other.execute("PRAGMA journal_mode = WAL")


def content() -> bytes | None:
    return LEDGER.read_bytes() if LEDGER.is_file() else None


def beside() -> set[str]:
    """What is in the folder, without what SQLite makes there to read."""
    return {path.name for path in LEDGER.parent.iterdir()} - {"ledger.db-wal", "ledger.db-shm"}


DAMAGES = {
    header: "not a database|keep the damaged file",
    first_page: "malformed|keep the damaged file",
    table: "malformed|keep the damaged file",
    cut_short: "malformed|keep the damaged file",
    cut_to_a_few_bytes: "malformed|keep the damaged file",
    a_text: "not a database|keep the damaged file",
    cut_to_nothing: "it has lost what it held|Put back a copy",
    without_tables: "it has lost what it held|Put back a copy",
    a_folder: "is no file|--state",
    a_link_to_nothing: "is a link to nothing|--state",
    of_another_program: "a database of another program (it has 'recipes')|--state",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_command_says_so_and_leaves_it(give: Give, place: Site, damage: Callable[[], None]) -> None:
    assert give("run", "m.yaml", "--quiet").code == 0
    damage()
    before, names = content(), beside()
    asked = len(place.world.oracle().requests)
    what, hint = DAMAGES[damage].split("|")
    others = [("run", "m.yaml", "--quiet")] + [("credits",)] * (damage is not table)  # which asks for the sums only
    for words in (*LOOKING, *DECIDING, *others):
        ran = give(*words)
        assert ran.code == 7, (words, ran)
        assert ran.out == ""
        assert f"error: {LEDGER}" in ran.err, (words, ran.err)
        assert what in ran.err, (words, ran.err)
        assert hint in ran.err, (words, ran.err)
    assert len(place.world.oracle().requests) == asked, "nothing was sent"
    assert content() == before
    assert beside() == names
    if damage is not a_link_to_nothing:  # there it says that there is none yet
        doctor = give("doctor")
        assert doctor.code == 7
        assert "unusable  ledger" in doctor.out
        assert content() == before
    charged_once(place, 2)


def test_a_damage_in_rows_that_few_look_at_is_found_by_doctor_and_by_a_run(give: Give, place: Site) -> None:
    assert give("run", "m.yaml", "--limit", "1", "--quiet").code == 0
    whole = LEDGER.read_bytes()
    with closing(sqlite3.connect(LEDGER)) as ledger:
        [(page,)] = ledger.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'")
    LEDGER.write_bytes(whole)
    overwrite((page - 1) * PAGE, PAGE)
    assert give("status").code == 0, "what can be read is shown"
    doctor = give("doctor")
    assert (doctor.code, "damaged" in doctor.out) == (7, True)
    assert "keep the damaged file" in " ".join(doctor.out.split())
    ran = give("run", "m.yaml", "--quiet")
    assert (ran.code, "malformed" in ran.err) == (7, True)
    charged_once(place, 1)
    LEDGER.write_bytes(whole)  # a copy is put back, and the run goes on
    for left in LEDGER.parent.glob("ledger.db-*"):
        left.unlink()
    assert give("run", "m.yaml", "--quiet").code == 0
    charged_once(place, 2)


def test_what_a_lost_wal_knew_is_asked_for_again_not_bought_again(desk: Desk, place: Site) -> None:
    """Keys are derived from what the rest of the ledger knows, so a purchase that is forgotten has the same key."""
    assert desk.run(place, "--limit", "0").code == 0
    place.app.on_event = lambda _, name: kill(desk) if name == "result:arrived" else None
    assert desk.run(place).code == -9
    place.app.on_event = None
    charged_once(place, len(place.world.oracle().tasks))
    assert place.world.oracle().tasks
    (desk.state / "ledger.db-wal").unlink()
    assert desk.rows("SELECT count(*) FROM attempts") == [(0,)], "this ledger has forgotten a purchase"
    noticed = desk.run(place)
    assert (noticed.code, "--accept-old-ledger" in noticed.err) == (7, True), "the run's log has its name"
    assert desk.run(place, "--accept-old-ledger").code == 0
    charged_once(place, 2)
    assert desk.rows("SELECT sum(settled), sum(held) FROM spent") == [(20, 0)]


def kill(desk: Desk) -> None:
    if desk.running:
        desk.running.kill()
        desk.running.wait(30)


def test_a_ledger_that_was_being_made_when_the_power_went_is_made_anew(desk: Desk, place: Site) -> None:
    """Until a ledger is whole it has another name; what is left there is nobody's."""
    desk.state.mkdir(mode=0o700)
    (desk.state / ".ledger.db.new").write_bytes(b"SQLite for")
    (desk.state / ".ledger.db.new-wal").write_bytes(b"\x55" * 5000)
    (desk.state / "run.lock").touch()
    assert desk.run(place).code == 0
    charged_once(place, 2)
    assert sorted(path.name for path in desk.state.iterdir()) == ["ledger.db", "logs", "results", "run.lock"]


def test_a_copied_state_folder_is_as_good_as_the_first(desk: Desk, place: Site) -> None:
    """Also one that was copied after a kill, with what SQLite keeps beside the ledger."""
    place.app.on_event = lambda _, name: kill(desk) if name == "create:processed" else None
    assert desk.run(place).code == -9
    place.app.on_event = None
    shutil.move(desk.state, desk.folder / "moved")
    desk.state = desk.folder / "moved"
    assert desk.run(place).code == 0
    charged_once(place, 2)
