"""What befalls a process: signals, locks of others, a lost log, a state folder that came with a clone."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cli.hostile.helpers import LEAVE, Api, Asked, Desk, desk, wait_for

NAMES = [f"boat {n}" for n in range(12)]


class Held:
    """A hook: from the second job on creates are taken at once, and answered once they are released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.api: Api | None = None

    def __call__(self, asked: Asked) -> Any:
        assert self.api
        if asked.kind != "create" or not self.api.tasks:
            return LEAVE
        return self._later(self.api.say(asked))

    async def _later(self, said: bytes) -> bytes:
        await asyncio.to_thread(self.released.wait, 60)
        return said


@contextmanager
def held_desk(folder: Path) -> Iterator[tuple[Held, Api, Desk]]:
    folder.mkdir(exist_ok=True)
    held = Held()
    with desk(folder, held) as (api, place):
        held.api = api
        try:
            yield held, api, place
        finally:
            held.released.set()


def test_a_terminal_that_closes_sends_two_signals(tmp_path: Path) -> None:
    """Neither another hangup nor a SIGTERM on its heels gives up the answers that are on their way."""
    with held_desk(tmp_path) as (held, api, place):
        place.write(NAMES[:8])
        with place.start("run", "m.yaml") as process:
            wait_for(lambda: len(api.tasks) == 8)
            for number, gap in ((signal.SIGHUP, 0.001), (signal.SIGHUP, 0.001), (signal.SIGTERM, 0.3)):
                process.send_signal(number)
                signal.sigtimedwait([], gap)
            process.send_signal(signal.SIGHUP)
            signal.sigtimedwait([], 0.1)  # for one that would leave at once
            held.released.set()
            assert process.wait(20) == 143, place.said
        attempts = place.rows("SELECT task_id, maybe_received FROM attempts")
        assert [row["maybe_received"] for row in attempts] == [0] * 8
        assert {row["task_id"] for row in attempts} == set(api.tasks)


def test_a_foreign_write_lock_is_waited_for_and_signals_are_heard(tmp_path: Path) -> None:
    with desk(tmp_path) as (api, place):
        place.write(NAMES, "retries: {times: 3, outage: 30s}", in_flight=3, submit="10/second")
        with place.start("run", "m.yaml") as process:
            wait_for(lambda: len(api.tasks) >= 3)
            with closing(sqlite3.connect(place.state / "ledger.db", isolation_level=None, timeout=10)) as other:
                other.execute("BEGIN IMMEDIATE")
                signal.sigtimedwait([], 0.5)
                other.execute("ROLLBACK")  # it goes on
                bought = len(api.tasks)
                wait_for(lambda: len(api.tasks) > bought)
                other.execute("BEGIN IMMEDIATE")
                signal.sigtimedwait([], 0.3)
                process.send_signal(signal.SIGINT)
                wait_for(lambda: "interrupted" in place.said)
                process.send_signal(signal.SIGINT)
                assert process.wait(15) == 130, place.said
        place.write(NAMES)
        assert place.run() == 0, place.said
        assert len(api.tasks) == len(api.keys) == len(NAMES)


def unlinked(place: Desk) -> Path:
    for name in ("run.lock", "batcher.lock"):
        (place.state / name).unlink(missing_ok=True)
    return place.state


def linked(place: Desk) -> Path:
    other = place.folder / "other"
    other.mkdir(mode=0o700)
    (other / "ledger.db").symlink_to(place.state / "ledger.db")
    return other


def hard_linked(place: Desk) -> Path:
    other = place.folder / "another"
    other.mkdir(mode=0o700)
    os.link(place.state / "ledger.db", other / "ledger.db")
    return other


def test_a_lock_cannot_be_parted_from_its_ledger(tmp_path: Path) -> None:
    with desk(tmp_path) as (api, place):
        place.write(NAMES, submit="1/second")
        with place.start("run", "m.yaml") as process:
            wait_for(lambda: api.tasks)
            for part, code in ((unlinked, 5), (linked, 7), (hard_linked, 7)):
                assert place.run(BATCHER_STATE=str(part(place))) == code, (part.__name__, place.said)
                assert process.poll() is None
            process.kill()


def test_a_ledger_that_lost_its_log_buys_nothing_twice(tmp_path: Path) -> None:
    with held_desk(tmp_path) as (held, api, place):
        place.write(NAMES, in_flight=4)
        with place.start("run", "m.yaml") as process:
            wait_for(lambda: len(api.tasks) == 5)
            process.kill()
        held.released.set()
        for name in ("ledger.db-wal", "ledger.db-shm"):
            (place.state / name).unlink(missing_ok=True)
        assert place.run() == 7, place.said
        assert "--accept-old-ledger" in place.said
        bought = len(api.tasks)
        assert place.run("run", "m.yaml", "--accept-old-ledger", "--no-download") == 0, place.said
        assert bought < len(api.tasks) == len(api.keys) == len(NAMES)


def test_a_state_folder_that_came_with_a_clone_writes_nothing_outside(tmp_path: Path) -> None:
    with desk(tmp_path) as (_, place):
        place.write(NAMES[:1])
        assert place.run("run", "m.yaml", "--no-download") == 0, place.said
        precious = tmp_path / "precious"
        precious.write_text("precious\n")
        precious.chmod(0o644)
        lock, parts = place.state / "run.lock", place.state / "results" / ".parts"
        lock.unlink(missing_ok=True)
        lock.symlink_to(precious)
        assert place.run() == 7, place.said
        lock.unlink()
        parts.mkdir(parents=True, mode=0o700, exist_ok=True)
        for number in range(3):
            (parts / f"{number}-0.part").symlink_to(precious)
        assert place.run() == 0, place.said
        assert precious.read_text() == "precious\n"
        assert oct(precious.stat().st_mode & 0o777) == "0o644"
