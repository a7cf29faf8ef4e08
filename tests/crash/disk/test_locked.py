"""Somebody else writes into the ledger, and a second run."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli.helpers import Site, site
from crash.disk.conftest import Give
from crash.disk.helpers import MANIFEST, Desk, charged_once

from batcher.ledger.store import connection

#: Has the command wait for another writer for a tenth of a second only.
IMPATIENT = "from batcher.ledger.store import connection; connection.BUSY_SECONDS = 0.1"


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that has begun to write and does not come to an end."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE runs SET reason = reason")
        yield other
    finally:
        other.close()


def at(place: Site, event: str, do: object) -> None:
    def happened(_: int, name: str) -> None:
        if name == event:
            place.app.on_event = None
            do()  # type: ignore[operator]

    place.app.on_event = happened


def test_a_ledger_that_is_locked_from_the_start(desk: Desk) -> None:
    desk.first = IMPATIENT
    with site() as place:
        assert desk.run(place, "--limit", "0").code == 0
        with writing(desk.ledger):
            desk.write(MANIFEST + "retries: {outage: 1s}\n")
            for words in (("run", "m.yaml"), ("cancel", "tiny")):
                ran = desk.give(*words, place=place)
                assert ran.code == 7, ran
                assert f"error: {desk.ledger}: database is locked\n" in ran.err
                assert "Another program holds the ledger for writing (`lsof`" in ran.err
                assert "close it, then run the same command again" in " ".join(ran.err.split())
            assert place.world.oracle().requests == []
            assert desk.give("status").code == 0, "who only looks does not mind"
        assert desk.run(place).code == 0
        charged_once(place, 2)


def test_a_ledger_that_is_locked_when_a_paid_answer_comes(desk: Desk) -> None:
    """Its id is told, and the same key asks for it again."""
    desk.write(MANIFEST + "retries: {outage: 1s}\n")
    with site() as place:
        held: list[object] = []

        def hold() -> None:
            holding = writing(desk.ledger)
            held.append((holding, holding.__enter__()))

        at(place, "create:processed", hold)
        ran = desk.run(place)
        [task] = place.world.oracle().tasks
        assert ran.code == 7
        assert "database is locked" in ran.err
        assert task in ran.err
        held[0][0].__exit__(None, None, None)  # type: ignore[index]
        assert desk.rows("SELECT status, task_id FROM jobs ORDER BY position")[0] == ("submitting", None)
        assert desk.run(place).code == 0
        charged_once(place, 2)
        first, second, _ = (seen for seen in place.world.oracle().requests if seen.kind == "create")
        assert (first.key, first.body) == (second.key, second.body)


def test_a_signal_while_another_program_holds_the_ledger(desk: Desk) -> None:
    """It comes before the storage error in the order of exit codes; what could not be written down is told."""
    desk.first = "from batcher.engine import engine; engine.GRACE_SECONDS = 0.3"
    with site() as place:
        held: list[object] = []

        def hold() -> None:
            holding = writing(desk.ledger)
            held.append((holding, holding.__enter__()))
            assert desk.running
            desk.running.send_signal(signal.SIGTERM)

        at(place, "create:processed", hold)
        ran = desk.run(place, "--json")
        assert ran.code == 143, ran
        assert json.loads(ran.out)["error"]["kind"] == "terminated"
        assert "Another program holds the ledger for writing" in ran.err
        [task] = place.world.oracle().tasks
        assert task in ran.err
        held[0][0].__exit__(None, None, None)  # type: ignore[index]
        desk.first = ""
        assert desk.run(place).code == 0
        charged_once(place, 2)


def test_a_short_lock_is_waited_out(give: Give, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other program ends its transaction once a command has been seen to wait for it."""
    assert give("run", "m.yaml", "--limit", "0", "--quiet").code == 0
    waits = threading.Event()
    real = sqlite3.connect

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            if sql.startswith(("BEGIN IMMEDIATE", "INSERT")):
                waits.set()
            return super().execute(sql, *values)  # type: ignore[arg-type]

    with writing(Path("state/ledger.db")) as other:
        monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **k | {"factory": Watched}))

        def end() -> None:
            waits.wait(30)
            other.execute("COMMIT")

        thread = threading.Thread(target=end)
        thread.start()
        ran = give("cancel", "tiny")
        thread.join(30)
    assert ran.code == 0, ran
    assert waits.is_set()
    assert connection.BUSY_SECONDS >= 10, "a person's `sqlite-utils` may write for a while"


def test_a_second_run(desk: Desk) -> None:
    """It is turned away with the first one's pid and start; looking and deciding go on; a killed one leaves no lock."""
    arrived = threading.Event()
    with site() as place:

        def happened(_: int, name: str) -> None:
            if name == "status:arrived":
                arrived.set()

        place.world.switches.run_seconds = (600, 600)
        place.app.on_event = happened
        with desk.started("run", "m.yaml", "--quiet", place=place) as first:
            assert arrived.wait(30)
            other = Desk(desk.folder, desk.state)
            second = other.run(place)
            assert second.code == 5, second
            assert re.search(
                rf"another run holds \S+ledger\.db: pid {first.pid}, started \d{{4}}-\d\d-\d\dT", second.err
            )
            assert "Wait for it, or stop it by that pid" in second.err
            assert f"pid {first.pid}" in other.give("status").out
            assert other.give("cancel", "tiny").code == 0
            asked = {seen.kind for seen in place.world.oracle().requests}
            assert first.poll() is None, "the first goes on"
            first.kill()
            first.wait(30)
        assert "was cut off" in other.give("status").out
        place.clock.ahead = 3600
        assert other.run(place).code == 0, "the lock of a dead process is free at once"
        charged_once(place, 2)
        assert asked - {"models"} == {"credits", "create", "status"}
