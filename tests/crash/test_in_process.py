"""The run is killed at its 1st, 2nd … nth effect, and cancelled at each scheduling step; whatever happens then,
the next run ends with every job charged once and with its file.

An effect is a commit, a request, an answer, the naming of a file: each counts before and after it happens. One run is
made, and what a kill would leave at each effect is kept: the files as they are, and what the API knows. Between kill
and restart the reference picture is renamed and its upload expires. On each paid POST the double looks into
the ledger: key, body and hold must be there already.

Whether the API takes a body whose upload has expired is not documented, so both are played. Where it refuses, one
window is left that nobody can close from this side: the intent is on disk, its POST never arrived, and the repeat of
its fixed body is refused. That attempt may have been received for all we know, so it has to end doubtful, with its
hold, uncharged and never bought again by itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from support import PIXEL, Bench
from virtual_time import VirtualClock

from batcher.engine import Ending, Engine
from batcher.errors import Kind
from batcher.simulator.faults import Faults, parse_all
from batcher.simulator.journal import Journal
from batcher.simulator.media import plain
from batcher.simulator.records import ApiAnswer, Call, Json, StoredUpload
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


class Kept(Journal):
    """What the API remembers, for a world that starts where another one stood."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Json] = []

    def records(self) -> Iterator[Json]:
        return iter(tuple(self.lines))

    def append(self, record: Json) -> None:
        self.lines.append(record)

    def copy(self) -> Kept:
        found = copy(self)
        found.lines = list(self.lines)
        return found


@dataclass(frozen=True)
class Moment:
    """What a kill leaves: files, what the API knows, which faults are still to come, the time."""

    folder: Path
    journal: Kept
    faults: Faults
    time: float


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
    """A bench that can be left at any effect: `moments` are those of its first run that differ in anything at all.

    `effects` names all of them. `breaches` is what the oracle's eye saw; raising would look like a network. No job
    costs less than `least` credits, and all together no more than `cap`.
    """

    cap, least = CAP, 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.breaches: list[str] = []
        self.effects: list[str] = []
        self.moments: dict[str, Moment] = {}
        self.api.arrived = self.look

    def record(self, manifest: Path) -> Ending:
        """A run of which each effect is kept, before and after it happens."""
        with self.watching(), pytest.MonkeyPatch.context() as patch:
            patch.setattr("batcher.ledger.store.enrolment.BATCH", 1)  # the second job comes while the first is bought
            patch.setattr("batcher.enrolling.STEPS_BEFORE", 2)
            return self.run(manifest)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Tell `keep` of each effect, before and after it happens."""
        rig = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql == "PRAGMA synchronous = FULL":
                    sql = "PRAGMA synchronous = OFF"  # a killed process loses no page cache
                return (
                    rig.around("commit", super().execute)(sql, *args)
                    if sql == "COMMIT"
                    else super().execute(sql, *args)
                )

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("batcher.storage.os.link", self.around("naming", os.link))
            patch.setattr("batcher.storage.os.fsync", self.around("fsync", os.fsync))
            self.connection = Connection
            self.api.before = lambda request: self.keep("before request")
            self.api.after = lambda request: self.keep("after answer")
            yield
        self.connection = sqlite3.Connection
        self.api.before = self.api.after = lambda request: None

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.keep(f"before {name}")
            result = call(*args, **kwargs)
            self.keep(f"after {name}")
            return result

        return wrapped

    def keep(self, effect: str) -> None:
        assert isinstance(self.journal, Kept)
        self.effects.append(effect)
        if (state := self.fingerprint()) in self.moments:
            return  # what comes of it follows from this, and from nothing else
        folder = self.folder.with_name(f"{self.folder.name}-{len(self.effects)}")
        # The index of the WAL is made anew by who comes first after a kill.
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("*-shm"))
        time = self.clock.monotonic()
        self.moments[state] = Moment(folder, self.journal.copy(), deepcopy(self.app.faults), time)

    def fingerprint(self) -> str:
        """A hash of all that a next run begins with."""
        assert isinstance(self.journal, Kept)
        found = hashlib.sha256(repr((self.journal.lines, vars(self.app.faults), self.clock.monotonic())).encode())
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".db-shm"):
            found.update(f"\n{path.relative_to(self.folder)} {path.stat().st_size}\n".encode() + path.read_bytes())
        return found.hexdigest()

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
        elif row[0] != request.content or row[2] != "submitting" or not row[3] >= row[1] >= self.least:
            self.breaches.append(f"the ledger knows another purchase than the one that is sent: {row}")
        if drawn != committed:
            self.breaches.append(f"{committed} credits are held and settled, and only {drawn} of the allowance")
        if committed > self.cap:
            self.breaches.append(f"{committed} credits are held and settled under a cap of {self.cap}")

    def known(self) -> set[str]:
        """The task ids that the ledger has."""
        if not self.ledger_path.exists():
            return set()
        with closing(sqlite3.connect(self.ledger_path)) as other:
            return {row[0] for row in other.execute("SELECT task_id FROM attempts WHERE task_id IS NOT NULL")}

    def check(self, *, files: bool = True, limits: bool = True) -> None:
        assert self.breaches == []
        super().check(files=files, limits=limits)


class Counted(Rig):
    """Only names the effects."""

    def keep(self, effect: str) -> None:
        self.effects.append(effect)


def make_rig(
    folder: Path, world: type[World] = World, *, double: bool = True, at: Moment | None = None, kind: type[Rig] = Rig
) -> tuple[Rig, Path]:
    """A new bench with its manifest, or one as a kill has left it."""
    folder.mkdir(exist_ok=at is not None)
    # So quick that hardly a poll finds nothing new: killed there once is as good as killed there twenty times.
    switches = Switches(queue_seconds=(0.2, 0.4), run_seconds=(0.5, 1.5))
    rig = kind(folder, world_type=world, switches=switches, journal=at.journal if at else Kept())
    if double:
        rig.switches.set(SWITCHES)
        rig.app.media = plain(60)
        rig.app.faults.replace(parse_all(FAULTS))
    if at:
        rig.clock.start, rig.app.faults = at.time, at.faults
        return rig, folder / "manifest.yaml"
    refs = folder / "refs"
    refs.mkdir()
    (refs / "boat.png").write_bytes(PIXEL)
    return rig, rig.write(MANIFEST)


def rename_and_expire(rig: Rig, number: int) -> None:
    for picture in (rig.folder / "refs").iterdir():
        picture.rename(picture.with_name(f"boat-{number}.png"))
    rig.world.expire_uploads()


def resume(rig: Rig, manifest: Path, number: int) -> Ending:
    rename_and_expire(rig, number)
    rig.clock.start += 1000  # long enough for an upload to be vouched for again
    return rig.run(manifest)


_END = (
    "SELECT j.status, j.attempt, j.result_path, j.error_code, a.maybe_received, a.hold_credits, a.final_credits,"
    " (SELECT count(*) FROM uploads) FROM jobs AS j JOIN attempts AS a ON a.job_id = j.id ORDER BY a.id"
)


def check_done(rig: Rig, manifest: Path, seen: set[str]) -> None:
    """All is bought once and saved. One more run sends nothing, which is tried once for each end: `seen` has them."""
    rig.check()
    assert [(job["status"], job["attempt"]) for job in rig.jobs()] == [("succeeded", 1)] * JOBS
    assert len(list((rig.state / "results" / "crash").iterdir())) == JOBS, "a file that was named is no stranger's"
    oracle = rig.world.oracle()
    assert len(oracle.tasks) == JOBS
    # One upload, one more because it expired, and one more if its answer was lost.
    assert sum(oracle.uploads.values()) <= 3
    with rig.reader() as reader:  # names of pictures and of requests apart, what the next run finds
        end = repr([tuple(row) for row in reader.rows(_END)])
    if end not in seen:
        seen.add(end)
        assert rig.run(manifest).kind is Kind.DONE
        assert len(rig.world.oracle().requests) == len(oracle.requests), "a finished campaign sends nothing"


def test_killed_at_every_effect(tmp_path: Path) -> None:
    whole, manifest = make_rig(tmp_path / "kill", LenientWorld)
    assert whole.record(manifest).kind is Kind.DONE
    check_done(whole, manifest, ends := set[str]())
    assert whole.effects.count("after naming") == JOBS
    assert len(whole.effects) > 100
    assert len(whole.moments) > 50
    for number, moment in enumerate(whole.moments.values()):
        rig, manifest = make_rig(moment.folder, LenientWorld, at=moment)
        assert resume(rig, manifest, number).kind is Kind.DONE, moment.folder
        check_done(rig, manifest, ends)


def test_killed_at_every_effect_where_expired_uploads_are_refused(tmp_path: Path) -> None:
    whole, manifest = make_rig(tmp_path / "kill")
    whole.record(manifest)
    doubtful = number = 0
    for number, moment in enumerate(whole.moments.values(), 1):
        rig, manifest = make_rig(moment.folder, at=moment)
        if len(rig.known()) == JOBS:
            break  # an upload is not asked for any more
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


class CancelAt:
    """Stops the engine, as a signal does, right before the nth scheduling step; `steps` has what `look` saw at each."""

    def __init__(self, clock: VirtualClock, at: int, look: Callable[[], object]) -> None:
        self.clock, self.at, self.look = clock, at, look
        self.steps: list[object] = []

    def start(self, engine: Engine) -> None:
        def step() -> None:
            self.steps.append(self.look())
            if len(self.steps) == self.at:
                engine.stop(Kind.INTERRUPTED, "test")

        assert self.clock.loop is not None
        self.clock.loop.before_step = step


def steps_between_effects(folder: Path) -> tuple[int, list[int]]:
    """How many steps a run takes, and which are the first and the last between two effects or two moments.

    To be stopped before any other leaves what these leave, as a run of all of them has shown.
    """
    rig, manifest = make_rig(folder, LenientWorld, double=False, kind=Counted)
    instrument = CancelAt(rig.clock, 0, lambda: (len(rig.effects), rig.clock.monotonic()))
    with rig.watching():
        assert rig.run(manifest, engine=instrument.start).kind is Kind.DONE
    around = [None, *instrument.steps, None]
    total = len(instrument.steps)
    return total, [n for n in range(1, total + 1) if around[n] != around[n - 1] or around[n] != around[n + 1]]


def cancel_and_resume(folder: Path, at: int, seen: set[str]) -> None:
    """A run is stopped before one of its steps. What `seen` has not been left before goes on."""
    rig, manifest = make_rig(folder, LenientWorld, double=False)
    ending = rig.run(manifest, engine=CancelAt(rig.clock, at, lambda: None).start)
    assert ending.kind in (Kind.INTERRUPTED, Kind.DONE)
    if ending.kind is Kind.INTERRUPTED:
        # What the API took is known: no answer that came was lost to the cancellation.
        assert rig.known() == set(rig.world.oracle().tasks)
        assert rig.breaches == []
        if (state := rig.fingerprint()) in seen:
            return
        seen.add(state)
        assert resume(rig, manifest, at).kind is Kind.DONE
    rig.check()
    assert len(rig.world.oracle().tasks) == JOBS


def test_cancelled_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The ledger's id says how long each task takes: it is the same run that is stopped.
    monkeypatch.setattr("batcher.ledger.store.writer.secrets.token_hex", lambda size: "5" * 2 * size)
    seen: set[str] = set()
    total, steps = steps_between_effects(tmp_path / "run")
    assert total > 200
    for number in steps:
        shutil.rmtree(tmp_path / "run")  # the same name each time: the ledger knows where its manifest lies
        cancel_and_resume(tmp_path / "run", number, seen)
    assert len(seen) > 40
