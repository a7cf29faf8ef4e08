"""A night in which everything went wrong once, over the simulator on virtual time."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from core_helpers import cancel, resolve_failed
from integration.report.helpers import order_faults
from support import Bench, Killed
from virtual_time import EPOCH

from batcher.errors import exit_code
from batcher.jobs import Status
from batcher.ledger import Change, LedgerWriter, decisions
from batcher.report.question import ask
from batcher.report.timeline import Timeline, make_timeline
from batcher.settings import Settings
from batcher.simulator.faults import parse_all

NIGHT = """\
campaign: night
model: grok-imagine-video
prompts:
  - {name: boat, prompt: A boat, repeat: 14}
  - {name: storm, prompt: A storm, repeat: 3}
  - {name: rain, prompt: Rain, repeat: 2}
limits: {submit: 30/minute, in_flight: 2}
budget: {campaign: 140}
"""
DAWN = """\
campaign: dawn
model: grok-imagine-video
prompts:
  - {name: lark, prompt: A lark, repeat: 2}
limits: {in_flight: 1}
"""

#: The second create's answer is lost, and its repeat is refused: doubtful. The sixth is refused at once.
FAULTS: list[object] = [
    {"on": "create", "do": "lost", "nth": 2},
    {"on": "create", "do": "status", "status": 422, "code": "validation_error", "nth": 3},
    {"on": "create", "do": "status", "status": 400, "code": "validation_failed", "nth": 6},
]
#: The network is dead in these seconds after the beginning.
DEAD = (100.0, 2000.0)


def night(folder: Path) -> Bench:
    """A run with 429s, an outage, failures and a kill; one that meets a cap; a refused key; two that find nothing."""
    # From 22:40 on, so that midnight comes in between.
    bench = Bench(folder, wallet=1000)
    bench.clock.start = EPOCH + 13.67 * 3600
    began = bench.clock.start
    bench.switches.set({"queue_seconds": 0.5, "run_seconds": 20, "limits": ["create=4/60"], "fail_prompt": "storm"})
    order_faults(bench, FAULTS)
    path = bench.write(NIGHT)

    def dead(_: httpx.Request) -> None:
        bench.switches.outage = "cut" if DEAD[0] <= bench.clock.wall() - began < DEAD[1] else "none"

    bench.api.before = dead
    saved = []

    def kill(change: Change) -> None:
        saved.extend([1] * (change.event == "saved"))
        if len(saved) == 9:
            bench.kill()

    bench.observe = kill
    with pytest.raises(Killed):
        bench.run(path)
    note_settings(bench, path)
    bench.observe = lambda _: None
    bench.switches.set({"limits": []})
    order_faults(bench, [])
    bench.clock.start += 6.5 * 3600
    ran(bench, path)
    bench.clock.start += 60
    with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as ledger:
        [doubtful] = decisions.select(ledger.read, statuses=[Status.DOUBTFUL])
        resolve_failed(ledger, doubtful.id, charged=10)
        for job in decisions.select(ledger.read, statuses=[Status.PLANNED]):
            cancel(ledger, job.id)
    # Between the look at the wallet and the first purchase: so there is an attempt that is closed at no cost.
    revoked = {"on": "create", "do": "status", "status": 401, "code": "api_key_revoked"}
    bench.app.faults.replace(parse_all([revoked]))
    dawn = bench.write(DAWN, "dawn.yaml")
    ran(bench, dawn)
    bench.clock.start += 30
    bench.app.faults.replace([])
    ran(bench, dawn)
    for _ in range(2):
        bench.clock.start += 3600
        ran(bench, dawn)
    return bench


def ran(bench: Bench, path: Path) -> None:
    """A run whose row is as the command writes it."""
    ending = bench.run(path)
    bench.edit("UPDATE runs SET exit_code = ? WHERE id = (SELECT max(id) FROM runs)", exit_code(ending.kind))
    note_settings(bench, path)


def note_settings(bench: Bench, path: Path) -> None:
    settings: Settings = bench.workload(path).settings
    bench.edit(
        "UPDATE runs SET settings = ? WHERE id = (SELECT max(id) FROM runs)",
        json.dumps({"limits": asdict(settings.limits)}),
    )


def timeline_of(bench: Bench, *, running: bool = False, **words: Any) -> Timeline:
    """The post-mortem over a ledger, as of the bench's clock."""
    now = bench.clock.wall()
    with bench.reader() as read:
        return make_timeline(read, ask(read, now=now, **words), now=now, running=running)
