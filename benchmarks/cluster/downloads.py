"""What more machines bring where the network of each is the bound: files of 5 MB over 1, 2 and 3 workers.

Each worker's network lets 20 Mbit/s through, so that two processors and one loopback do not decide.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import Figure, at_least
from benchmarks.running import scratch

from .limits import arrivals
from .machines import cluster
from .networks import available

FILES, SHORT_FILES, BYTES, MEGABITS = 60, 12, 5_000_000, 20.0
_MANIFEST = """campaign: films
model: grok-imagine-video
limits: {{submit: 20/second, requests: 100/second, in_flight: 12}}
polling: {{first: 1s, every: 1s}}
repeat: {jobs}
prompts: [A ring on a dune]
"""


def seconds(workers: int, files: int) -> float:
    """From the first request for a file until the last one is saved."""
    switches = ("--run-seconds", "1-2", "--credits", "1000000", "--result-bytes", str(BYTES))
    with (
        scratch(memory=True) as folder,
        cluster(folder / "films", switches, workers=workers, lease=30, concurrency=50) as found,
    ):
        found.start()
        for machine in found.machines:
            assert machine.network is not None
            machine.network.narrow(MEGABITS)
        (found.folder / "films.yaml").write_text(_MANIFEST.format(jobs=files))
        code = found.batcher("run", "films.yaml", "--quiet", log="runs.log").wait()
        ended = time.time()
        if code:
            raise RuntimeError((found.folder / "runs.log").read_text()[-500:])
        by = found.database.ask("SELECT worker, count(*) FROM batcher.claims GROUP BY worker")
        print(f"   {workers}: {sorted(count for _, count in by)} files each", flush=True)
        return ended - min(arrivals(found.folder / "api" / "requests.jsonl", "result"))


def measure(full: bool) -> Iterator[Figure]:
    """Seconds by the number of workers, and how much faster more of them are."""
    if not available():
        print("   no networks of its own (root, ip and tc): not measured")
        return
    files = FILES if full else SHORT_FILES
    alone = seconds(1, files)
    yield Figure(f"1 worker: {files} × 5 MB at {MEGABITS:g} Mbit/s a machine", alone, "s")
    for workers, goal in ((2, 1.7), (3, 2.4)):
        took = seconds(workers, files)
        yield at_least(f"{workers} workers, times as fast", alone / took, goal)
