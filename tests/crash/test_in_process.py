"""The run is killed at its 1st, 2nd … nth effect, and cancelled at each scheduling step; whatever happens then,
the next run ends with every job charged once and with its file.

An effect is a commit, a request, an answer, the naming of a file: each counts before and after it happens. Between
kill and restart the reference picture is renamed and its upload expires. On each paid POST the double looks into
the ledger: key, body and hold must be there already.

Whether the API takes a body whose upload has expired is not documented, so both are played. Where it refuses, one
window is left that nobody can close from this side: the intent is on disk, its POST never arrived, and the repeat of
its fixed body is refused. That attempt may have been received for all we know, so it has to end doubtful, with its
hold, uncharged and never bought again by itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import trio
from support import PIXEL, Bench

from batcher.engine import Ending, Engine
from batcher.errors import Kind
from batcher.simulator.faults import parse_all
from batcher.simulator.media import plain
from batcher.simulator.records import ApiAnswer, Call, StoredUpload
from batcher.simulator.switches import Switches
from batcher.simulator.world import World

pytestmark = pytest.mark.sweep

MANIFEST = """
campaign: crash
model: grok-imagine-video
prompts:
  - name: plain
    prompt: A boat on a lake
  - name: pictured
    prompt: A boat like this
    references: ["refs/*.png"]
budget: {campaign: 30, allowance: {name: night, total: 30}}
limits: {submit: 100/second, requests: 1000/second, in_flight: 2}
polling: {first: 1s, every: 1s, max: 2s}
"""


#: The API reserves nothing that it names, names its prices late and half as dear again as the catalogue's, and answers
#: one paid request with a redirect, one poll with nothing, one download in drops.
SWITCHES: dict[str, object] = {"price_factor": 1.5, "reserved_says": 0, "settle_seconds": [2, 2]}
FAULTS: tuple[dict[str, object], ...] = (
    {"on": "create", "do": "say", "status": 303, "location": "/api/v1/credits", "after": True, "nth": 2},
    {"on": "status", "do": "say", "nth": 2},
    {"on": "result", "do": "drip", "seconds": 0.001, "nth": 1},
)
PRICE, CAP, JOBS = 15, 30, 2


class Killed(BaseException):
    """The process is gone: every later effect raises this too."""


class Effects:
    """Counts effects and kills at one of them."""

    def __init__(self, kill_at: int = 0) -> None:
        self.kill_at = kill_at
        self.count = 0
        self.dead = False
        self.names: list[str] = []

    def tick(self, name: str) -> None:
        if self.dead:
            raise Killed
        self.count += 1
        self.names.append(name)
        if self.count == self.kill_at:
            self.dead = True
            raise Killed

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.tick(f"before {name}")
            result = call(*args, **kwargs)
            self.tick(f"after {name}")
            return result

        return wrapped


class LenientWorld(World):
    """Takes bodies whose upload has expired; only the Files API says that it is gone."""

    def _has_expired(self, upload: StoredUpload) -> bool:
        return not self.creating and super()._has_expired(upload)

    creating = False

    def _create(self, call: Call) -> ApiAnswer:
        self.creating = True
        try:
            return super()._create(call)
        finally:
            self.creating = False


class Rig(Bench):
    """A bench whose effects can kill it. `breaches` is what the oracle's eye saw; raising would look like a network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.breaches: list[str] = []
        self.api.arrived = self.look

    def arm(self, effects: Effects, monkeypatch: pytest.MonkeyPatch) -> None:
        connections = self.connections

        class Connection(sqlite3.Connection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                connections.append(self)

            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if effects.dead:
                    raise Killed
                if sql == "PRAGMA synchronous = FULL":
                    sql = "PRAGMA synchronous = OFF"  # a killed process loses no page cache
                if sql != "COMMIT":
                    return super().execute(sql, *args)
                effects.tick("before commit")
                cursor = super().execute(sql, *args)
                effects.tick("after commit")
                return cursor

        self.connection = Connection
        monkeypatch.setattr("batcher.storage.os.link", effects.around("naming", os.link))
        monkeypatch.setattr("batcher.storage.os.fsync", effects.around("fsync", os.fsync))
        self.api.before = lambda request: effects.tick("before request")
        self.api.after = lambda request: effects.tick("after answer")

    def disarm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        self.connection = sqlite3.Connection
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        self.api.before = self.api.after = lambda request: None

    def look(self, request: httpx.Request) -> None:
        """The oracle's eye: when a paid POST arrives, its key, exact body and hold are on disk."""
        if request.method != "POST" or not request.url.path.endswith("/generations"):
            return
        with closing(sqlite3.connect(self.ledger_path)) as other:
            row = other.execute(
                "SELECT a.body, a.quoted_credits, w.status, s.held FROM attempts AS a JOIN wanted AS w"
                " ON w.attempt_id = a.id JOIN spent AS s ON s.run_id = a.run_id"
                " WHERE a.idempotency_key = ? AND a.final_credits IS NULL",
                (request.headers["idempotency-key"],),
            ).fetchone()
            [committed] = other.execute("SELECT sum(held) + sum(settled) FROM spent").fetchone()
            [drawn] = other.execute("SELECT sum(held + settled) FROM spent WHERE allowance = 'night'").fetchone()
        if row is None:
            self.breaches.append("a paid POST left before its intent was committed")
        elif row[0] != request.content or row[2] != "submitting" or not row[3] >= row[1] >= 10:
            self.breaches.append(f"the ledger knows another purchase than the one that is sent: {row}")
        if drawn != committed:
            self.breaches.append(f"{committed} credits are held and settled, and only {drawn} of the allowance")
        if committed > CAP:
            self.breaches.append(f"{committed} credits are held and settled under a cap of {CAP}")

    def known(self) -> set[str]:
        """The task ids that the ledger has."""
        if not self.ledger_path.exists():
            return set()
        with closing(sqlite3.connect(self.ledger_path)) as other:
            return {row[0] for row in other.execute("SELECT task_id FROM attempts WHERE task_id IS NOT NULL")}

    def check(self, *, files: bool = True, limits: bool = True) -> None:
        assert self.breaches == []
        super().check(files=files, limits=limits)


def make_rig(folder: Path, world: type[World] = World, *, double: bool = True) -> tuple[Rig, Path]:
    folder.mkdir()
    # So quick that hardly a poll finds nothing new: killed there once is as good as killed there twenty times.
    rig = Rig(folder, world_type=world, switches=Switches(queue_seconds=(0.2, 0.4), run_seconds=(0.5, 1.5)))
    if double:
        rig.switches.set(SWITCHES)
        rig.app.media = plain(60)
        rig.app.faults.replace(parse_all(FAULTS))
    refs = folder / "refs"
    refs.mkdir()
    (refs / "boat.png").write_bytes(PIXEL)
    return rig, rig.write(MANIFEST)


def rename_and_expire(rig: Rig, number: int) -> None:
    for picture in (rig.folder / "refs").iterdir():
        picture.rename(picture.with_name(f"boat-{number}.png"))
    rig.world.expire_uploads()


def kill(rig: Rig, manifest: Path, kill_at: int) -> Effects:
    effects = Effects(kill_at)
    with pytest.MonkeyPatch.context() as monkeypatch:
        rig.arm(effects, monkeypatch)
        with suppress(Killed):
            rig.run(manifest)
        rig.disarm(monkeypatch)
    return effects


def resume(rig: Rig, manifest: Path, number: int) -> Ending:
    rename_and_expire(rig, number)
    rig.clock.start += 1000  # long enough for an upload to be vouched for again
    return rig.run(manifest)


def test_killed_at_every_effect(tmp_path: Path) -> None:
    number, effects = 0, Effects()
    while number <= effects.count:
        rig, manifest = make_rig(tmp_path / f"kill-{number}", LenientWorld)
        last = kill(rig, manifest, number)
        if number == 0:
            effects = last
            assert effects.names.count("after naming") == JOBS
        else:
            assert resume(rig, manifest, number).kind is Kind.DONE, number
        rig.check()
        jobs = rig.jobs()
        assert [(job["status"], job["attempt"]) for job in jobs] == [("succeeded", 1)] * JOBS
        oracle = rig.world.oracle()
        assert len(oracle.tasks) == JOBS
        # One upload, one more because it expired, and one more if its answer was lost.
        assert sum(oracle.uploads.values()) <= 3
        assert rig.run(manifest).kind is Kind.DONE
        assert len(rig.world.oracle().requests) == len(oracle.requests), "a finished campaign sends nothing"
        number += 1
    assert effects.count > 100


def test_killed_at_every_effect_where_expired_uploads_are_refused(tmp_path: Path) -> None:
    number, doubtful, bought = 1, 0, 0
    while bought < JOBS:  # later on, an upload is not asked for any more
        rig, manifest = make_rig(tmp_path / f"kill-{number}")
        assert kill(rig, manifest, number).dead
        bought = len(rig.known())
        number += 1
        ending = resume(rig, manifest, number)
        rig.check()
        jobs = rig.jobs()
        assert [job["attempt"] for job in jobs] == [1] * JOBS
        left = [job for job in jobs if job["status"] != "succeeded"]
        assert ending.kind is (Kind.UNFINISHED if left else Kind.DONE)
        if not left:
            continue
        # Only an intent with an uploaded reference whose POST did not arrive can end so.
        assert [(job["status"], job["name"], job["task_id"]) for job in left] == [("doubtful", "pictured", None)]
        assert left[0]["idempotency_key"] not in rig.world.oracle().charges
        with rig.reader() as reader:
            assert reader.spent().held in (10, PRICE)
        assert len(rig.world.oracle().tasks) == JOBS - 1
        rig.run(manifest)
        assert len(rig.world.oracle().tasks) == JOBS - 1, "nobody but a person may buy it again"
        doubtful += 1
    assert 0 < doubtful < number // 4


class CancelAt(trio.abc.Instrument):
    """Stops the engine, as a signal does, right before the nth scheduling step."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0
        self.engine: Engine | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.engine is None:
            return
        self.steps += 1
        if self.steps == self.at:
            self.engine.stop(Kind.INTERRUPTED, "test")


def cancel_and_resume(folder: Path, at: int) -> int:
    rig, manifest = make_rig(folder, LenientWorld, double=False)
    instrument = CancelAt(at)

    def look(engine: Engine) -> None:
        trio.lowlevel.add_instrument(instrument)
        instrument.engine = engine

    ending = rig.run(manifest, engine=look)
    assert ending.kind in (Kind.INTERRUPTED, Kind.DONE)
    assert ending.kind is Kind.DONE or at, "only a stop interrupts"
    steps = instrument.steps
    if ending.kind is Kind.INTERRUPTED:
        # What the API took is known: no answer that came was lost to the cancellation.
        assert rig.known() == set(rig.world.oracle().tasks)
        assert resume(rig, manifest, at).kind is Kind.DONE
    rig.check()
    assert len(rig.world.oracle().tasks) == JOBS
    return steps


def test_cancelled_at_every_step(tmp_path: Path) -> None:
    total = cancel_and_resume(tmp_path / "whole", 0)
    assert total > 100
    for number in range(1, total + 1):
        cancel_and_resume(tmp_path / f"cancel-{number}", number)
