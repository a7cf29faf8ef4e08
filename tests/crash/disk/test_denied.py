"""A state folder or ledger that may only be read, or not even that. Also for root, whose rights are taken away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cli.helpers import Ran, Site, site
from crash.disk.conftest import Give
from crash.disk.helpers import DECIDING, LOOKING, Desk, bound, charged_once


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode & 0o777
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


@pytest.fixture
def bought(desk: Desk) -> Iterator[Site]:
    """One of two jobs is bought and done; from now on permissions bind."""
    with site() as place:
        desk.before = bound()
        assert desk.run(place, "--limit", "1").code == 0
        yield place


def refused(desk: Desk, ran: Ran, what: str) -> None:
    assert ran.code == 7, ran
    assert f"error: {desk.state}" in ran.err
    assert what in ran.err
    assert "writable" in ran.err or "permissions" in ran.err, "what to do"
    assert "crash" not in ran.err, "that is no surprise"


def test_a_folder_that_may_only_be_read(desk: Desk, bought: Site) -> None:
    """One may look; who wants to write is told. SQLite alone would refuse even to read there."""
    with mode(desk.state, 0o500):
        for words in LOOKING:
            ran = desk.give(*words)
            assert (ran.code, ran.err) == (0, ""), ran
        assert "1" in desk.give("status").out
        doctor = desk.give("doctor")
        assert (doctor.code, "SQLite finds it whole" in doctor.out) == (7, True)
        refused(desk, desk.give(*DECIDING[1]), "readonly")
        refused(desk, desk.run(bought), "readonly")
        assert sorted(path.name for path in desk.state.iterdir()) == ["ledger.db", "logs", "results", "run.lock"]
    charged_once(bought, 1)
    assert desk.run(bought).code == 0
    charged_once(bought, 2)


def test_a_folder_that_may_only_be_read_after_a_kill(desk: Desk, bought: Site) -> None:
    """The newest commits stand beside the ledger. They are shown if SQLite can, else nothing older is told instead."""
    bought.app.on_event = lambda _, name: kill(desk) if name == "create:processed" else None
    assert desk.run(bought).code == -9
    bought.app.on_event = None
    with mode(desk.state, 0o500):
        assert "submitting" in desk.give("status").out
    (desk.state / "ledger.db-shm").unlink()
    with mode(desk.state, 0o500):
        refused(desk, desk.give("status"), "its newest changes are in ledger.db-wal")
    assert desk.run(bought).code == 0
    charged_once(bought, 2)


def kill(desk: Desk) -> None:
    if desk.running:
        desk.running.kill()
        desk.running.wait(30)


def test_a_ledger_that_may_only_be_read(desk: Desk, bought: Site) -> None:
    with mode(desk.ledger, 0o400):
        assert desk.give("status").code == 0
        refused(desk, desk.give(*DECIDING[1]), "readonly")
        refused(desk, desk.run(bought), "readonly")
    charged_once(bought, 1)


def test_what_may_not_even_be_read(desk: Desk, bought: Site) -> None:
    with mode(desk.ledger, 0):
        refused(desk, desk.give("status"), "unable to open")
        refused(desk, desk.run(bought), "unable to open")
    with mode(desk.state, 0):
        for words in (("status",), ("plan", "m.yaml"), ("cancel", "tiny")):
            refused(desk, desk.give(*words), "Permission denied")
        for words in (("doctor",), ("run", "m.yaml")):
            ran = desk.give(*words, place=bought)
            assert ran.code == 7, ran
            assert f"error: {desk.ledger}: Permission denied\n" in ran.err
    charged_once(bought, 1)


def test_a_lock_that_may_not_be_taken(desk: Desk, bought: Site) -> None:
    with mode(desk.state / "run.lock", 0o400):
        refused(desk, desk.run(bought), "run.lock: Permission denied")
    charged_once(bought, 1)


def test_results_that_may_not_be_written(desk: Desk, bought: Site) -> None:
    """What is bought is bought; its file is fetched once there is a place for it."""
    with mode(desk.state / "results", 0o500), mode(desk.state / "results/.parts", 0o500):
        refused(desk, desk.run(bought), ".part: Permission denied")
    assert desk.run(bought).code == 0
    charged_once(bought, 2)
    assert len(list((desk.state / "results/tiny").iterdir())) == 2


def test_a_state_folder_that_cannot_be_made(desk: Desk) -> None:
    desk.before = bound()
    closed = desk.folder / "closed"
    closed.mkdir()
    desk.state = closed / "state"
    with site() as place, mode(closed, 0o500):
        refused(desk, desk.run(place), "Permission denied")
        assert place.world.oracle().requests == []


@pytest.mark.parametrize(("state", "code"), [("file", 2), ("file/below", 7), ("loop", 7)])
def test_a_state_folder_that_is_none(give: Give, place: Site, tmp_path: Path, state: str, code: int) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "loop").symlink_to("loop")
    for words in (*LOOKING[:3], *DECIDING, ("run", "m.yaml")):
        ran = give(*words, "--state", state)
        assert ran.code == code, (words, ran)
        assert state in ran.err
        assert "--state" in ran.err or "permissions" in ran.err, "what to do"
    assert (tmp_path / "file").read_text() == "precious"
    assert place.world.oracle().requests == []


def test_a_copy_of_the_ledger_alone_is_read(desk: Desk, bought: Site) -> None:
    """On a read-only medium, say; a process that writes nowhere near it."""
    medium = desk.folder / "medium"
    medium.mkdir()
    (medium / "ledger.db").write_bytes(desk.ledger.read_bytes())
    desk.state = medium
    with mode(medium / "ledger.db", 0o400), mode(medium, 0o500), closing(desk.ledger.open("rb")):
        assert "662bf6ad6116" in desk.give("jobs").out
        assert [path.name for path in medium.iterdir()] == ["ledger.db"]
