"""True SIGKILL: `batcher run` as a process against the simulator over a socket, killed at the simulator's nth event,
again and again until the campaign is done.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

from forking import Command, started
from support import KEY, PIXEL

from batcher.simulator.app import Simulator
from batcher.simulator.faults import Faults, parse_all
from batcher.simulator.media import plain
from batcher.simulator.serve import running
from batcher.simulator.world import World
from batcher.storage import Artifacts

MANIFEST = """
campaign: killed
model: grok-imagine-video
matrix:
  duration: [6, 8, 10, 12]
prompts:
  - name: pictured
    prompt: A boat like this
    references: ["refs/*.png"]
    repeat: 2
  - name: plain
    prompt: A boat on a lake
    repeat: 3
budget: {campaign: 300}
limits: {submit: 1000/second, requests: 10000/second, in_flight: 4}
polling: {first: 20ms, every: 20ms, max: 50ms}
"""
JOBS = 4 * 2 + 4 * 3


# Where the processes are killed, in turn: the nth event of that name, but at the latest at the LAST event of any.
PLACES = (
    ("upload:processed", 1),
    ("status:answered", 1),
    ("create:processed", 1),
    ("create:arrived", 2),
    ("result:half", 1),
    ("create:answered", 2),
    ("status:arrived", 2),
    ("result:answered", 2),
    ("result:arrived", 3),
)
LAST = 25
KILLS = 12

# The API names no reserve and settles late, at another price than the catalogue's; some paid requests are answered by a
# redirect, some polls by nothing, some downloads drip.
PRICE = 15
SWITCHES: dict[str, object] = {
    "price_factor": PRICE / 10,
    "reserved_says": 0,
    "settle_seconds": [0.02, 0.1],
    "queue_seconds": [0.02, 0.05],
    "run_seconds": [0.02, 0.05],
}
FAULTS: tuple[dict[str, object], ...] = (
    {"on": "create", "do": "say", "status": 303, "location": "/api/v1/credits", "after": True, "every": 9},
    {"on": "status", "do": "say", "every": 7},
    {"on": "result", "do": "drip", "seconds": 0.001, "every": 8},
)


class Killer:
    """Kills the present process at an event of the simulator."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Command | None = None
        self._place = ("", 0)
        self._seen: list[str] = []
        self.places: list[str] = []

    def aim(self, process: Command, place: tuple[str, int]) -> None:
        with self._lock:
            self._process, self._place, self._seen = process, place, []

    def event(self, number: int, name: str) -> None:
        with self._lock:
            if self._process is None or self._place == ("", 0):
                return
            self._seen.append(name)
            wanted, nth = self._place
            if (name == wanted and self._seen.count(name) == nth) or len(self._seen) == LAST:
                if self._process.poll() is None:
                    self._process.kill()
                    self._process.wait()  # the answer is held back: nobody is there any more to read it
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
    world.switches.set(SWITCHES)
    killer = Killer()
    app = Simulator(world, Faults(parse_all(FAULTS)), plain(400), killer.event)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RIVYA_", "BATCHER_"))}

    with running(app) as base_url:

        def run(place: tuple[str, int]) -> int:
            env = environment | {"RIVYA_API_KEY": KEY, "RIVYA_BASE_URL": base_url}
            words = ("run", str(manifest), "--state", str(state), "--quiet")
            with started(*words, cwd=tmp_path, env=env, stderr=subprocess.STDOUT) as process:
                killer.aim(process, place)
                output, _ = process.communicate()
            assert process.returncode in (0, -signal.SIGKILL), output
            return process.returncode

        kills = 0
        while run(PLACES[kills % len(PLACES)] if kills < KILLS else ("", 0)) != 0:
            kills += 1
        finished = world.oracle()
        assert run(("", 0)) == 0
        assert len(world.oracle().requests) == len(finished.requests), "a finished campaign sends nothing"

    assert len(killer.places) == kills >= 11, killer.places
    assert {place.partition(":")[0] for place in killer.places} >= {"create", "upload", "status", "result"}
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
    assert spent == (0, PRICE * JOBS), "the cap is spent to the last credit, and no further"
    assert 11 <= cut_runs <= kills  # a run may be killed after its last word
    artifacts = Artifacts(state)
    assert all(artifacts.holds(row[5], row[6]) for row in rows)
    assert len({row[5] for row in rows}) == JOBS
    assert list(state.glob("results/.parts/*")) == []
