"""True SIGKILL: `batcher run` as a process against the simulator over a socket, killed at the simulator's nth event,
again and again until the campaign is done.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from support import KEY, PIXEL

from batcher.artifacts import Artifacts
from batcher.simulator.app import build_app
from batcher.simulator.serve import running
from batcher.simulator.switches import Switches
from batcher.simulator.world import World

MANIFEST = """
campaign: killed
model: grok-imagine-video
matrix:
  duration: [6, 7, 8, 9, 10, 11]
prompts:
  - name: plain
    prompt: A boat on a lake
    repeat: 3
  - name: pictured
    prompt: A boat like this
    references: ["refs/*.png"]
    repeat: 2
limits: {submit: 1000/second, requests: 10000/second, in_flight: 4}
polling: {first: 20ms, every: 20ms, max: 50ms}
"""
JOBS = 6 * 3 + 6 * 2


class Killer:
    """Kills the present process at an event that is counted from its start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._left = 0
        self.places: list[str] = []

    def aim(self, process: subprocess.Popen[bytes], left: int) -> None:
        with self._lock:
            self._process, self._left = process, left

    def event(self, number: int, name: str) -> None:
        with self._lock:
            if self._process is None:
                return
            self._left -= 1
            if self._left == 0 and self._process.poll() is None:
                os.kill(self._process.pid, signal.SIGKILL)
                self.places.append(name)
                self._process = None


def test_sigkill_again_and_again_until_done(tmp_path: Path) -> None:
    refs = tmp_path / "refs"
    refs.mkdir()
    (refs / "boat.png").write_bytes(PIXEL)
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(MANIFEST)
    state = tmp_path / "state"
    world = World(now=time.time, seed=5, wallet=100_000)
    world.switches = Switches(queue_seconds=(0.02, 0.05), run_seconds=(0.02, 0.05))
    killer = Killer()
    app = build_app(world, on_event=killer.event)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RIVYA_", "BATCHER_"))}

    with running(app) as base_url:

        def run(kill_at: int) -> int:
            command = [sys.executable, "-m", "batcher", "run", str(manifest), "--state", str(state), "--quiet"]
            process = subprocess.Popen(
                command,
                env=environment | {"RIVYA_API_KEY": KEY, "RIVYA_BASE_URL": base_url},
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            killer.aim(process, kill_at)
            output, _ = process.communicate(timeout=60)
            assert process.returncode in (0, -signal.SIGKILL), output.decode()
            return process.returncode

        kills = 0
        # Steps that share no factor with the handful of events a job makes: every kind of place gets its turn.
        while run(8 + kills * 7 % 19) != 0:
            kills += 1
            assert kills < 200, "the campaign makes no headway"
        finished = world.oracle()
        assert run(0) == 0
        assert len(world.oracle().requests) == len(finished.requests), "a finished campaign sends nothing"

    assert len(killer.places) >= 20, killer.places
    assert {place.partition(":")[0] for place in killer.places} >= {"create", "status", "result"}
    oracle = world.oracle()
    assert oracle.violations == []
    assert len(oracle.tasks) == JOBS
    assert set(map(len, oracle.charges.values())) == {1}
    assert sum(oracle.uploads.values()) <= 2
    with closing(sqlite3.connect(state / "ledger.db")) as ledger:
        rows = ledger.execute(
            "SELECT status, attempt, task_id, idempotency_key, final_credits, result_path, result_sha256 FROM jobs"
        ).fetchall()
        spent = ledger.execute("SELECT sum(held), sum(settled) FROM spent").fetchone()
        cut_runs = ledger.execute("SELECT count(*) FROM runs WHERE ended_at IS NULL").fetchone()[0]
    assert [row[:2] for row in rows] == [("succeeded", 1)] * JOBS
    assert {row[3]: row[2] for row in rows} == {task.key: task.id for task in oracle.tasks.values()}
    assert spent == (0, sum(task.final for task in oracle.tasks.values()))
    assert cut_runs == len(killer.places)
    artifacts = Artifacts(state)
    assert all(artifacts.holds(row[5], row[6]) for row in rows)
    assert len({row[5] for row in rows}) == JOBS
    assert list(state.glob("results/.parts/*")) == []
