"""Another program holds the ledger for writing: tasks go on, signals are heard, and what is to be written waits."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import anyio
import pytest
from support import Bench

from batcher.ledger import Ledger, sends
from batcher.ledger.connection import Locked
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


@pytest.fixture
def ledger(bench: Bench) -> Iterator[Ledger]:
    found = Ledger.open(bench.ledger_path, bench.clock)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("seconds", "hurry", "written"),
    [(1, None, True), (50, None, True), (90, None, False), (8, 10.0, True), (50, 10.0, False)],
)
def test_what_is_to_be_written_waits_for_another_program(
    bench: Bench, ledger: Ledger, seconds: float, hurry: float | None, written: bool
) -> None:
    """As long as `retries.outage`, some seconds after a signal; then everybody gives up at once."""
    told: list[str] = []
    ledger.wait_for_locks(60.0, told.append)
    ledger._connection.execute("PRAGMA busy_timeout = 0")  # virtual time does not wait for SQLite
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
                        if hurry:
                            ledger.hurry(hurry)
                        with anyio.CancelScope(shield=True):
                            await anyio.sleep(seconds)
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
    assert len(told) <= 2
    if seconds > 2:
        assert "is held for writing by another program (`lsof" in told[0]
        assert "close that one" in told[0]


def test_a_signal_is_heard_between_two_waits(bench: Bench, ledger: Ledger) -> None:
    """Where a write has to wait here and now."""

    class Heard(Exception):
        pass

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Heard

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with held(bench.ledger_path):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            with pytest.raises(Heard):
                ledger.stamp("poll")
            ledger.hurry(0.1)
            for _ in range(2):
                with pytest.raises(Locked, match="database is locked"):
                    ledger.stamp("poll")
            assert ledger.patience == 0.0, "nobody waits again"
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ledger.stamp("poll") == 1
