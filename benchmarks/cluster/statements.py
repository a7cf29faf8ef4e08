"""Statements of procrastinate a job, by the database's log, and the processor of a worker that has nothing to do."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks.figures import Figure, at_most
from benchmarks.running import scratch

from .machines import Cluster, cluster

JOBS, SHORT_JOBS, WORKERS = 300, 60, 2
_MANIFEST = """campaign: statements
model: grok-imagine-video
limits: {{submit: 100/second, requests: 300/second, in_flight: 30}}
polling: {{first: 1s, every: 1s}}
repeat: {jobs}
prompts: [A ring on a dune]
"""
_SORTS = ("defer_jobs", "fetch_job", "finish_job")


def measure(full: bool) -> Iterator[Figure]:
    """A quiet run over two workers, and then some seconds without one."""
    jobs, idle = (JOBS, 60.0) if full else (SHORT_JOBS, 20.0)
    switches = ("--run-seconds", "1-3", "--credits", "1000000", "--result-bytes", "3000")
    with (
        scratch(memory=True) as folder,
        cluster(folder / "it", switches, workers=WORKERS, lease=30, concurrency=50, apart=False) as found,
    ):
        found.start()
        log = _log(found)
        (found.folder / "statements.yaml").write_text(_MANIFEST.format(jobs=jobs))
        before = log.stat().st_size
        if found.batcher("run", "statements.yaml", "--quiet", log="runs.log").wait():
            raise RuntimeError((found.folder / "runs.log").read_text()[-500:])
        counted = _count(log, before)
        for sort in _SORTS:
            yield Figure(f"{sort} a job ({jobs} jobs)", counted[sort] / jobs)
        yield at_most("statements of the engine a job", sum(counted[sort] for sort in _SORTS) / jobs, 3)
        time.sleep(5)
        pids = [machine.pid for machine in found.machines]
        used = sum(map(_processor, pids))
        time.sleep(idle)
        share = (sum(map(_processor, pids)) - used) / idle / WORKERS
        yield at_most("processor of a worker with nothing to do", share * 100, 1.0, "%")


def _log(found: Cluster) -> Path:
    """Where the database writes down each statement from now on."""
    with psycopg.connect(found.database.conninfo, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
    found.database.ask("SELECT pg_reload_conf()")
    return found.folder / "postgres" / "log"


def _count(log: Path, start: int) -> Counter[str]:
    with log.open("rb") as lines:
        lines.seek(start)
        text = lines.read().decode(errors="replace")
    return Counter(re.findall(r"procrastinate_(\w+?)_v\d\(", text))


def _processor(pid: int) -> float:
    """Seconds that a process has had a processor (Linux)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
