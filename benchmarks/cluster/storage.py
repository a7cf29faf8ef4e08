"""What a job takes of the database's log, and how far a mirror is behind a run that goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import Figure, at_most, middle
from benchmarks.running import scratch

from .machines import cluster

JOBS, SHORT_JOBS = 300, 60
_WRITTEN = "SELECT wal_bytes, wal_fpi * 8192 FROM pg_stat_wal, pg_stat_force_next_flush()"
_MANIFEST = """campaign: storage
model: grok-imagine-video
limits: {{submit: 60/second, requests: 300/second, in_flight: 60}}
polling: {{first: 1s, every: 1s}}
repeat: {jobs}
prompts: [A ring on a dune]
"""


def measure(full: bool) -> Iterator[Figure]:
    """A quiet run over three workers, whose mirror is pulled once a second."""
    jobs = JOBS if full else SHORT_JOBS
    switches = ("--run-seconds", "1-3", "--credits", "1000000", "--result-bytes", "30000")
    with (
        scratch(memory=True) as folder,
        cluster(folder / "storage", switches, workers=3, lease=30, concurrency=50) as found,
    ):
        found.start()
        (found.folder / "storage.yaml").write_text(_MANIFEST.format(jobs=jobs))
        [before] = found.database.ask(_WRITTEN)
        run = found.batcher("run", "storage.yaml", "--quiet", log="runs.log")
        took = []
        while run.poll() is None:
            began = time.monotonic()
            found.mirror()
            took.append(time.monotonic() - began)
            time.sleep(1.0)
        if run.returncode:
            raise RuntimeError((found.folder / "runs.log").read_text()[-500:])
        [after] = found.database.ask(_WRITTEN)
        written, pages = (float(late - early) / jobs for early, late in zip(before, after, strict=True))
        yield Figure(f"write-ahead log a job, the engine's included ({jobs} jobs)", written, "bytes")
        yield Figure("of these in whole pages, once each after a checkpoint", pages, "bytes")
        yield at_most("a mirror of what has changed in a second, median", middle(took), 1.0, "s")
        yield Figure("the same, the longest", max(took), "s")
