"""Another program holds the ledger for writing: tasks go on, signals are heard, and what is to be written waits."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest
from support import Bench

from batcher.events import Event
from batcher.ledger import LedgerWriter
from batcher.ledger.store import sends
from batcher.ledger.store.connection import Locked
from batcher.lifecycle import Commits


@contextmanager
def held(path: Path) -> Iterator[sqlite3.Connection]:
    """A lock of another program."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        other.close()


class Hasty(sqlite3.Connection):
    """SQLite does not wait for a lock by itself: virtual time would not see it. `busy` may stand in for another's."""

    busy: Callable[[str], None] = staticmethod(lambda sql: None)

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        self.busy(sql)
        return super().execute("PRAGMA busy_timeout = 0" if "busy_timeout" in sql else sql, *values)


@pytest.fixture
def ledger(bench: Bench) -> Iterator[LedgerWriter]:
    found = LedgerWriter.open(bench.ledger_path, bench.clock, lambda change: bench.observe(change), factory=Hasty)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("signal_at", "freed_at", "written"),
    [
        (None, 1, True),
        (None, 50, True),
        (None, 90, False),
        (0.5, 8, True),
        (0.5, 50, False),
        (40, 48, True),  # the seconds after a signal count from the signal
        (40, 58, False),
        (55, 64, False),  # and it makes no wait longer
    ],
)
def test_what_is_to_be_written_waits_for_another_program(
    bench: Bench, ledger: LedgerWriter, signal_at: float | None, freed_at: float, written: bool
) -> None:
    """As long as `retries.outage`, ten seconds after a signal; then everybody gives up at once."""
    told: list[str] = []
    ledger.wait_for_locks(60.0, told.append)
    beats = 0

    async def main() -> None:
        nonlocal beats
        commits = Commits(ledger)

        async def write() -> None:
            await commits(lambda: ledger.stamp("poll"))

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await anyio.sleep(0.1)

        with held(bench.ledger_path) as other, anyio.fail_after(400):
            async with anyio.create_task_group() as beside:
                beside.start_soon(beat)
                try:
                    async with anyio.create_task_group() as group:
                        group.start_soon(write)
                        await anyio.sleep(0.5)
                        group.start_soon(write)
                        group.cancel_scope.cancel()  # it is done even then
                        with anyio.CancelScope(shield=True):
                            if signal_at:
                                await anyio.sleep(signal_at)
                                ledger.hurry(10.0)
                            await anyio.sleep(freed_at - (signal_at or 0.0))
                            other.execute("ROLLBACK")
                finally:
                    beside.cancel_scope.cancel()

    if written:
        bench.clock.run(main)
    else:
        with pytest.raises(BaseExceptionGroup) as caught:
            bench.clock.run(main)
        assert caught.value.subgroup(lambda error: isinstance(error, Locked)) is not None
    assert len(sends.after(ledger.read, 0)) == (2 if written else 0)
    assert beats > 5, "the loop runs meanwhile"
    assert len(told) <= 1
    if freed_at > 2:
        assert "is held for writing by another program (`lsof" in told[0]
        assert "close that one" in told[0]


def test_a_signal_is_heard_between_two_waits(
    bench: Bench, ledger: LedgerWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a write has to wait here and now."""
    looks = 0

    class Heard(Exception):
        pass

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Heard

    def signalled(sql: str) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with held(bench.ledger_path):
            with monkeypatch.context() as patch:
                patch.setattr(Hasty, "busy", staticmethod(signalled))
                with pytest.raises(Heard):
                    ledger.stamp("poll")
            ledger.wait_for_locks(0.1, str)
            for _ in range(2):
                with pytest.raises(Locked, match="database is locked"):
                    ledger.stamp("poll")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ledger.stamp("poll") == 1


def test_who_has_waited_in_vain_does_not_wait_again(
    bench: Bench, ledger: LedgerWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a lock was taken again."""
    tries = 0

    def busy(sql: str) -> None:
        nonlocal tries
        tries += 1
        bench.clock.start += 0.05
        assert error is not None
        raise error

    ledger.wait_for_locks(0.0, str)
    with held(bench.ledger_path), pytest.raises(Locked) as caught:
        ledger.stamp("poll")
    error = caught.value.__cause__
    assert ledger.stamp("poll") == 1
    ledger.wait_for_locks(1.0, str)
    found = []
    with monkeypatch.context() as patch:
        patch.setattr(Hasty, "busy", staticmethod(busy))
        for _ in range(3):
            with pytest.raises(Locked):
                ledger.stamp("poll")
            found.append(tries)
    assert found == [21, 22, 23]
    assert ledger.stamp("poll") == 2
    # A lock that is met after the seconds of a signal is waited for a moment, once.
    ledger.wait_for_locks(60.0, str)
    ledger.hurry(10.0)
    bench.clock.start += 15
    tries = 0
    with monkeypatch.context() as patch:
        patch.setattr(Hasty, "busy", staticmethod(busy))
        for expected in (21, 22):
            with pytest.raises(Locked):
                ledger.stamp("poll")
            assert tries == expected


def test_a_note_does_not_wait(bench: Bench, ledger: LedgerWriter) -> None:
    """It is written with what is written next, in order, with its own time."""
    seen: list[str] = []
    bench.observe = lambda change: seen.append(change.event)
    with held(bench.ledger_path):
        for name in (Event.LOOKED, Event.OUTAGE_BEGAN):
            ledger.note(name)
            bench.clock.start += 5
        with pytest.raises(TypeError):
            ledger.note(Event.HALTED, reason=object())
        assert seen == []
    ledger.note(Event.OUTAGE_ENDED)
    assert seen == ["looked", "outage_began", "outage_ended"]
    rows = ledger.read.rows("SELECT event, at FROM events ORDER BY id")
    assert [row["event"] for row in rows] == seen
    first, second, third = (datetime.fromisoformat(row["at"]) for row in rows)
    assert (second - first).total_seconds() == 5 == (third - second).total_seconds()
    with held(bench.ledger_path):
        ledger.note(Event.LIMIT_CUT)
    ledger.end_run(exit_code=0, reason="")
    assert seen[3:] == ["limit_cut", "run_ended"]
