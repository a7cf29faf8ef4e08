"""Takeover: a worker is killed (-9) while others work, once one that coordinates the run and once one that does not.

Told is the time from the kill until the last of its jobs was claimed by another worker, and until the API was asked
about the last of them; and until the run had another coordinator. What is under way takes longer than the benchmark.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, at_most
from benchmarks.running import MEMORY
from benchmarks.soak.truth import read

from .machines import Cluster, Machine, cluster

LEASE = 4
JOBS, WORKERS = 20, 3
#: A takeover takes no longer than a lease and so many seconds.
MARGIN = 2.0
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 60.0
MANIFEST = f"""campaign: takeover
model: grok-imagine-video
limits: {{submit: 3000/minute, requests: 3000/minute, in_flight: {JOBS}}}
polling: {{first: 2s, every: 2s, max: 2s}}
repeat: {JOBS}
prompts: [A lighthouse at dusk]
"""
_CLAIMS = "SELECT job_id, worker FROM batcher.claims WHERE until > clock_timestamp()"
_UNDER_WAY = "SELECT count(*) FROM batcher.wanted WHERE status IN ('queued', 'processing')"
_COORDINATOR = "SELECT coordinator FROM batcher.cluster_runs WHERE until > clock_timestamp()"


@dataclass(frozen=True, slots=True)
class Takeover:
    """Seconds after a kill; `coordinated` is 0 where the run's coordinator lived on."""

    jobs: int
    claimed: float
    asked: float
    coordinated: float


def measure(full: bool) -> Iterator[Figure]:
    """The worst of some kills of each sort."""
    found: dict[bool, list[Takeover]] = {False: [], True: []}
    folder = Path(tempfile.mkdtemp(prefix="batcher-takeover-", dir=MEMORY))
    switches = ("--run-seconds", "600-600", "--queue-seconds", "0-0", "--credits", "100000")
    with cluster(folder, switches, workers=WORKERS, lease=LEASE, concurrency=JOBS, apart=False) as made:
        made.start()
        (folder / "takeover.yaml").write_text(MANIFEST)
        run = made.batcher("run", "takeover.yaml", log="runs.log")
        _until(lambda: made.database.ask(_UNDER_WAY) == [(JOBS,)], "no jobs were under way")
        for _ in range(5 if full else 2):
            for coordinates in (False, True):
                found[coordinates].append(_kill(made, coordinates))
        run.kill()
    for coordinates, takeovers in found.items():
        who = "coordinator" if coordinates else "worker"
        yield Figure(f"{who} killed: times, and its jobs in all", len(takeovers), f"({sum(t.jobs for t in takeovers)})")
        if coordinates:
            worst = max(each.coordinated for each in takeovers)
            yield at_most(f"{who} killed: the run has another, at most after", worst, LEASE + MARGIN, "s")
        worst = max(each.claimed for each in takeovers)
        yield at_most(f"{who} killed: its last job is another's, at most after", worst, LEASE + MARGIN, "s")
        worst = max(each.asked for each in takeovers)
        yield at_most(f"{who} killed: the API is asked of its last job, at most after", worst, LEASE + MARGIN, "s")


def _kill(made: Cluster, coordinates: bool) -> Takeover:
    """Kill a worker with jobs, wait until they are others', and start it anew."""
    pids = dict(made.database.ask("SELECT name, pid FROM batcher.workers"))
    [leader] = _coordinators(made)
    claims = _claims(made)
    counts = {name: sum(worker == name for worker in claims.values()) for name in set(claims.values())}
    name = leader if coordinates else max(set(counts) - {leader}, key=lambda each: counts[each])
    victim = next(each for each in made.machines if each.pid == pids[name])
    victim.kill()
    at, began = time.time(), time.monotonic()
    jobs = {job for job, worker in claims.items() if worker == name}
    coordinated = 0.0

    def taken() -> bool:
        nonlocal coordinated
        if coordinates and not coordinated and set(_coordinators(made)) - {name}:
            coordinated = time.monotonic() - began
        now = _claims(made)
        return all(now.get(job, name) != name for job in jobs) and bool(coordinated or not coordinates)

    _until(taken, "the jobs were not taken over")
    claimed = time.monotonic() - began
    asked = _asked(made, jobs, at)
    _again(made, victim)
    return Takeover(len(jobs), claimed, asked, coordinated)


def _asked(made: Cluster, jobs: set[str], at: float) -> float:
    """Seconds after `at` until the API was asked of the last of some jobs."""
    tasks = {task for job, task in made.database.ask("SELECT job_id, task_id FROM batcher.attempts") if job in jobs}
    first: dict[str, float] = {}

    def all_asked() -> bool:
        for request in read(made.folder / "api").requests:
            if request.subject in tasks and request.at > at:
                first.setdefault(request.subject, request.at)
        return first.keys() == tasks

    _until(all_asked, "the API was not asked")
    return max(first.values()) - at


def _again(made: Cluster, machine: Machine) -> None:
    before = made.database.ask("SELECT count(*) FROM batcher.workers")
    machine.start()
    _until(lambda: made.database.ask("SELECT count(*) FROM batcher.workers") != before, "no worker came back")


def _claims(made: Cluster) -> dict[str, str]:
    return dict(made.database.ask(_CLAIMS))


def _coordinators(made: Cluster) -> list[str]:
    return [name for (name,) in made.database.ask(_COORDINATOR)]


def _until(there: object, otherwise: str) -> None:
    assert callable(there)
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while not there():
        if time.monotonic() > give_up:
            raise TimeoutError(otherwise)
        time.sleep(_LOOK_SECONDS)
