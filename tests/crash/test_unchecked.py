"""Jobs of a model without a file, whose price nobody knows, are killed all along: charged once, within their bound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from crash.test_in_process import Kept, Moment, Rig

from batcher.errors import Kind
from batcher.simulator.media import plain
from batcher.simulator.switches import Switches

pytestmark = pytest.mark.sweep

MANIFEST = """
campaign: crash
model: new-film
params: {seconds: 6, loop: true}
matrix: {seconds: [6, 8]}
prompts: [A boat on a lake]
budget: {allowance: {name: night, total: 18}}
limits: {submit: 100/second, requests: 1000/second}
polling: {first: 1s, every: 1s, max: 2s}
"""


class Unknown(Rig):
    """Two jobs at 9 credits each, which nobody knows beforehand."""

    cap, least = 18, 1


def bench(folder: Path, at: Moment | None = None) -> Rig:
    folder.mkdir(exist_ok=at is not None)
    switches = Switches(queue_seconds=(0.2, 0.4), run_seconds=(0.5, 1.5), unknown_model="image", price_factor=9)
    rig = Unknown(folder, switches=switches, journal=at.journal if at else Kept(), unpriced=18, unchecked=True)
    rig.app.media = plain(60)
    if at:
        rig.clock.start, rig.app.faults = at.time, at.faults
    return rig


def check(rig: Rig) -> None:
    rig.check()
    assert [(job["status"], job["attempt"], job["final_credits"]) for job in rig.jobs()] == [("succeeded", 1, 9)] * 2
    sent = [task.request["params"] for task in rig.world.oracle().tasks.values()]
    assert [json.dumps(each, sort_keys=True) for each in sent] == [f'{{"loop": true, "seconds": {n}}}' for n in (6, 8)]


def test_killed_all_along(tmp_path: Path) -> None:
    whole = bench(tmp_path / "kill")
    assert whole.record(whole.write(MANIFEST)).kind is Kind.DONE
    check(whole)
    assert len(whole.moments) > 40
    for moment in list(whole.moments.values())[::9]:  # what each single job goes through is swept whole elsewhere
        rig = bench(moment.folder, moment)
        rig.clock.start += 1000
        assert rig.run(moment.folder / "manifest.yaml").kind is Kind.DONE, moment.folder
        check(rig)
