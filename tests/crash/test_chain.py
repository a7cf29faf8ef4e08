"""A chain (stills, and films that are made from them) is killed at each of its effects, and again and again.

Whatever happens then, the next runs end with every job charged once and with its file, and each film says which still
it was made from.
"""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest
from crash.test_in_process import Kept, LenientWorld, Moment, Rig
from support import PIXEL, Killed

from batcher.errors import Kind, StorageError
from batcher.simulator.media import plain
from batcher.simulator.switches import Switches

pytestmark = pytest.mark.sweep

MANIFEST = """
campaign: crash
model: grok-imagine-video
prompts:
  - name: still
    model: grok-imagine
    prompt: A still of {{ scene }}
    matrix: {scene: SCENES}
  - name: film
    prompt: The {{ scene }} moves
    matrix: {scene: SCENES, mode: MODES}
    references: [{from: still, where: {scene: "{{ scene }}"}}]
budget: {campaign: CAP, allowance: {name: night, total: CAP}}
limits: {submit: 100/second, requests: 1000/second, in_flight: 4}
polling: {first: 1s, every: 1s, max: 2s}
"""


class Chain(Rig):
    """One film (10 credits) of each still (4), under a cap that has room for these and no more."""

    cap, least = 14, 4


class Chains(Rig):
    """Two films of each of thirty stills."""

    cap, least = 30 * (4 + 2 * 10), 4


class Frames(Rig):
    """One film of two files."""

    cap, least = 90, 90


FRAMES = """
campaign: crash
model: kling-3-0
prompts: [A day passes]
references: [[first.png, last.png]]
budget: {campaign: 90, allowance: {name: night, total: 90}}
limits: {submit: 100/second, requests: 1000/second, in_flight: 4}
polling: {first: 1s, every: 1s, max: 2s}
"""


def bench(folder: Path, kind: type[Rig], at: Moment | None) -> Rig:
    """A new bench, or one as a kill has left it."""
    folder.mkdir(exist_ok=at is not None)
    switches = Switches(queue_seconds=(0.2, 0.4), run_seconds=(0.5, 1.5))
    rig = kind(folder, world_type=LenientWorld, switches=switches, journal=at.journal if at else Kept())
    rig.app.media = plain(60)
    if at:
        rig.clock.start, rig.app.faults = at.time, at.faults
    return rig


def make_rig(folder: Path, kind: type[Rig], scenes: int, modes: str, at: Moment | None = None) -> tuple[Rig, Path]:
    rig = bench(folder, kind, at)
    names = json.dumps([f"scene {n}" for n in range(scenes)])
    text = MANIFEST.replace("SCENES", names).replace("MODES", modes).replace("CAP", str(kind.cap))
    return rig, rig.write(text)


def check(rig: Rig, stills_wanted: int, films_wanted: int) -> None:
    """Everything is there, charged once, and made from what it was to be made from."""
    rig.check()
    jobs = rig.jobs()
    assert [(job["status"], job["attempt"]) for job in jobs] == [("succeeded", 1)] * (stills_wanted + films_wanted)
    stills = {job["id"]: job for job in jobs if job["name"] == "still"}
    assert len(stills) == stills_wanted
    oracle = rig.world.oracle()
    assert len(oracle.tasks) == len(jobs)
    with rig.reader() as reader:
        for job in jobs:
            if job["name"] == "film":
                [source] = reader.sources(job["id"])
                assert job["reference"] == stills[source.source_id]["result_path"]
                [item] = oracle.tasks[job["task_id"]].request["params"]["referenceMediaItems"]
                made_from = reader.rows("SELECT used FROM attempts WHERE job_id = ?", (job["id"],))[0]["used"]
                used = json.loads(made_from)[source.source_id]
                assert used["sha256"] == stills[source.source_id]["result_sha256"]
                uploads = {u.sha256 for u in oracle.files.values() if f"/{u.token}/" in item["url"]}
                assert uploads == {used["sha256"]}


def test_a_chain_killed_all_along(tmp_path: Path) -> None:
    whole, manifest = make_rig(tmp_path / "kill", Chain, 1, "[normal]")
    assert whole.record(manifest).kind is Kind.DONE
    check(whole, 1, 1)
    assert len(whole.moments) > 50
    for moment in list(whole.moments.values())[1::3]:  # what each single job goes through is swept whole elsewhere
        rig, manifest = make_rig(moment.folder, Chain, 1, "[normal]", moment)
        rig.world.expire_uploads()
        rig.clock.start += 1000
        assert rig.run(manifest).kind is Kind.DONE, moment.folder
        check(rig, 1, 1)


def test_thirty_stills_and_sixty_films_killed_thirty_times(tmp_path: Path) -> None:
    rig, manifest = make_rig(tmp_path / "many", Chains, 30, "[normal, fun]")
    chance, kills = random.Random(5), 0
    while kills < 30:
        before, left = kills % 2, chance.randrange(2, 14)

        def look(_: httpx.Request) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                rig.kill()

        rig.api.before, rig.api.after = (look, _nothing) if before else (_nothing, look)
        with suppress(Killed, StorageError):
            rig.run(manifest)
        kills += left <= 0
    rig.api.before = rig.api.after = _nothing
    assert rig.run(manifest).kind is Kind.DONE
    check(rig, 30, 60)
    assert sum(rig.world.oracle().uploads.values()) <= 30 + kills, "one upload of a still, and one more a lost answer"


def _nothing(_: httpx.Request) -> None:
    pass


def test_a_job_of_two_files_killed_at_every_effect(tmp_path: Path) -> None:
    whole = bench(tmp_path / "kill", Frames, None)
    for number, name in enumerate(("first.png", "last.png")):
        (whole.folder / name).write_bytes(PIXEL + bytes([number]))
    assert whole.record(whole.write(FRAMES)).kind is Kind.DONE
    assert len(whole.moments) > 25
    for moment in whole.moments.values():
        rig = bench(moment.folder, Frames, moment)
        assert rig.run(moment.folder / "manifest.yaml").kind is Kind.DONE, moment.folder
        rig.check()
        oracle = rig.world.oracle()
        [task] = oracle.tasks.values()
        assert [item["name"] for item in task.request["params"]["referenceMediaItems"]] == ["first.png", "last.png"]
        assert sum(oracle.uploads.values()) <= 3, "each once, and one once more if its answer was lost"
