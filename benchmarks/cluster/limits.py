"""How much of `limits.submit` three workers use together, and whether they ever go over it, by the simulator's log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, at_least, at_most
from benchmarks.limits import TOLERANCE, made, violations
from benchmarks.running import scratch

from .machines import cluster

WORKERS = 3
#: Requests, in so many seconds, and how long that is watched; a busy machine can only keep up with the first.
RATES = ((60, "minute", 60.0, 125.0), (10, "second", 1.0, 30.0))
#: Nothing is asked for again within the time measured: what counts is the way to the first request.
_MANIFEST = """campaign: limits
model: grok-imagine-video
limits: {{submit: {count}/{unit}, requests: 100/second, in_flight: {jobs}}}
polling: {{first: 10m, every: 10m, max: 10m}}
repeat: {jobs}
prompts: [A ring on a dune]
"""


def arrivals(log: Path, kind: str) -> list[float]:
    """When requests of a kind came, in seconds since the epoch."""
    records = (json.loads(line) for line in log.read_bytes().splitlines())
    return [record["at"] for record in records if record["op"] == "arrived" and record["kind"] == kind]


def submissions(count: int, unit: str, window: float, seconds: float) -> list[float]:
    """When submissions came, from the first of the rush on: a run has one job go ahead alone, until its price is known.

    The rush begins with as many as a window may hold within one.
    """
    jobs = round(count * (seconds / window + 5))
    switches = ("--run-seconds", "3600", "--credits", "1000000")
    with (
        scratch(memory=True) as folder,
        cluster(folder / "limits", switches, workers=WORKERS, lease=30, concurrency=jobs) as found,
    ):
        found.start()
        (found.folder / "limits.yaml").write_text(_MANIFEST.format(count=count, unit=unit, jobs=jobs))
        run = found.batcher("run", "limits.yaml", "--quiet", log="runs.log")
        log = found.folder / "api" / "requests.jsonl"
        while True:
            stamps = sorted(arrivals(log, "create"))
            rush = [at for at, last in zip(stamps, stamps[count - 1 :], strict=False) if last < at + window]
            if rush and time.time() > rush[0] + seconds:
                break
            time.sleep(0.5)
        run.kill()
        return [at for at in stamps if at >= rush[0]]


def measure(full: bool) -> Iterator[Figure]:
    """The real `batcher run`, with more jobs than the time has room for. A window of a minute only in full."""
    for count, unit, window, seconds in RATES if full else RATES[1:]:
        stamps = submissions(count, unit, window, seconds)
        windows = int(seconds / window)
        used = made(stamps, windows * window) / (count * windows)
        yield at_least(f"{WORKERS} workers, {count}/{unit}: submissions made / allowed", used, 0.95)
        over = violations(stamps, count, window - TOLERANCE)
        yield at_most(f"{WORKERS} workers, {count}/{unit}: submissions over it", over, 0)
