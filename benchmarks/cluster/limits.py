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

WORKERS, RATE, SECONDS, SHORT_SECONDS = 3, 10, 30, 10
#: Nothing is asked for again within the time measured: what counts is the way to the first request.
_MANIFEST = """campaign: limits
model: grok-imagine-video
limits: {{submit: {rate}/second, requests: 1000/second, in_flight: {jobs}}}
polling: {{first: 10m, every: 10m, max: 10m}}
repeat: {jobs}
prompts: [A ring on a dune]
"""


def arrivals(log: Path, kind: str) -> list[float]:
    """When requests of a kind came, in seconds since the epoch."""
    records = (json.loads(line) for line in log.read_bytes().splitlines())
    return [record["at"] for record in records if record["op"] == "arrived" and record["kind"] == kind]


def measure(full: bool) -> Iterator[Figure]:
    """The real `batcher run`, with more jobs than the time has room for."""
    seconds = SECONDS if full else SHORT_SECONDS
    jobs = RATE * (seconds + 10)
    with (
        scratch(memory=True) as folder,
        cluster(
            folder / "limits",
            ("--run-seconds", "3600", "--credits", "1000000"),
            workers=WORKERS,
            lease=10,
            concurrency=jobs,
        ) as found,
    ):
        found.start()
        (found.folder / "limits.yaml").write_text(_MANIFEST.format(rate=RATE, jobs=jobs))
        run = found.batcher("run", "limits.yaml", "--quiet", log="runs.log")
        log = found.folder / "api" / "requests.jsonl"
        while len(stamps := arrivals(log, "create")) < 2 or time.time() < stamps[1] + seconds:
            time.sleep(0.5)
        run.kill()
        # The first job of a run shows that its key may read, and the price of its class: all others wait for it.
        used = made(stamps[1:], seconds) / (RATE * seconds)
        yield at_least(f"{WORKERS} workers: submissions made / allowed", used, 0.95)
        over = violations(stamps, RATE, 1.0 - TOLERANCE)
        yield at_most(f"{WORKERS} workers: submissions over {RATE}/second", over, 0)
