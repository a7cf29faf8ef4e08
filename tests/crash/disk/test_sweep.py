"""The disk is full at the 1st, 2nd … nth commit of a run: for good, or for that moment only.

Whatever the API has taken and the ledger could not write down is named in the error; the next run ends with every
job charged once.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from support import PIXEL, Bench

from batcher.errors import Kind, StorageError
from batcher.simulator.switches import Switches

pytestmark = pytest.mark.sweep

MANIFEST = """
campaign: sweep
model: grok-imagine-video
prompts:
  - name: plain
    prompt: A boat on a lake
  - name: pictured
    prompt: A boat like this
    references: [boat.png]
limits: {submit: 100/second, requests: 1000/second}
polling: {first: 1s, every: 1s, max: 2s}
budget: {keep: 1}
"""


class Full:
    """Lets the nth commit fail, and all later ones if it is `for_good`."""

    def __init__(self, at: int, for_good: bool) -> None:
        self.at = at
        self.for_good = for_good
        self.commits = 0

    def arm(self, bench: Bench, connections: list[sqlite3.Connection]) -> None:
        outer = self

        class Connection(sqlite3.Connection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                connections.append(self)

            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql == "PRAGMA synchronous = FULL":
                    sql = "PRAGMA synchronous = OFF"  # nobody pulls the plug here
                if sql == "COMMIT":
                    outer.commits += 1
                    if outer.commits == outer.at or (outer.for_good and outer.commits > outer.at > 0):
                        super().execute("ROLLBACK")  # as SQLite does by itself
                        raise sqlite3.OperationalError("database or disk is full")
                return super().execute(sql, *args)

        bench.connection = Connection


def run_into(folder: Path, full: Full) -> tuple[Bench, Path, StorageError | None]:
    folder.mkdir()
    # So quick that hardly a poll finds nothing new: one such commit is as good as twenty.
    bench = Bench(folder, switches=Switches(queue_seconds=(0.2, 0.4), run_seconds=(0.5, 1.5)))
    (folder / "boat.png").write_bytes(PIXEL)
    path = bench.write(MANIFEST)
    connections: list[sqlite3.Connection] = []
    error = None
    full.arm(bench, connections)
    try:
        bench.run(path)
    except StorageError as caught:
        error = caught
    finally:
        bench.connection = sqlite3.Connection
        for connection in connections:
            connection.close()
    return bench, path, error


@pytest.mark.parametrize("for_good", [True, False], ids=["for good", "for a moment"])
def test_full_at_every_commit(tmp_path: Path, for_good: bool) -> None:
    _, _, error = run_into(tmp_path / "whole", whole := Full(0, for_good))
    assert error is None
    assert whole.commits > 20
    told = 0
    for number in range(1, whole.commits + 1):
        bench, path, error = run_into(tmp_path / f"full-{number}", full := Full(number, for_good))
        if error is None:
            assert full.commits < number, f"commit {number} failed and nobody was told"
            continue
        assert "database or disk is full" in error.message
        assert "Free some disk space" in error.hint
        taken = set(bench.world.oracle().tasks)
        known = {job["task_id"] for job in bench.jobs()} if bench.ledger_path.exists() else set()
        for task in taken - known:
            assert task in error.message, f"at commit {number} nobody was told of {task}"
            told += 1
        assert bench.run(path).kind is Kind.DONE, number
        bench.check()
        assert [(job["status"], job["attempt"]) for job in bench.jobs()] == [("succeeded", 1)] * 2
    assert told, "there is a moment at which an id cannot be written down"
