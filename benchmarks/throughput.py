"""Jobs a second from first submit to last file, and processor a job, beside bare loops that do the same work.

The server answers at once, and creates answer `succeeded`: two requests a job and a file of 2 kB, saved and synced by
everybody. Rounds are interleaved, and figures are medians, so that a machine that slows down slows all of them. Scratch
lies in memory, for a disk that cleans up after one round is measured in the next one; the disk is told apart.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import NamedTuple

from .figures import Figure, at_least, at_most, middle
from .running import BATCHER, UNLIMITED, Ran, Server, buy, run, scratch, server

JOBS, ROUNDS = 500, 3
#: Does the jobs in a folder of its own, which does not exist yet.
Work = Callable[[int, Path, Server], Ran]


def write_manifest(folder: Path, jobs: int, more: str = f"limits: {UNLIMITED}\n") -> Path:
    """A manifest of so many jobs, a JSONL row each."""
    folder.mkdir()
    rows = (json.dumps({"prompt": f"A boat on lake {number}, at dawn"}) + "\n" for number in range(jobs))
    (folder / "rows.jsonl").write_text("".join(rows))
    manifest = folder / "manifest.yaml"
    manifest.write_text(
        f"campaign: throughput\nmodel: grok-imagine-video\nprompts: [{{file: rows.jsonl}}]\n{more}", "utf-8"
    )
    return manifest


def batcher(jobs: int, folder: Path, api: Server) -> Ran:
    """`batcher run` over so many jobs, to its end."""
    manifest = write_manifest(folder, jobs)
    return buy(["run", str(manifest), "--state", str(folder / "state"), "--quiet"], api)


def loop(kind: str, jobs: int, folder: Path, api: Server) -> Ran:
    """A bare loop over so many jobs."""
    ran = run([BATCHER[0], "-m", "benchmarks.bare", kind, api.url, str(folder), str(jobs)])
    assert ran.code == 0, ran.err
    return ran


@dataclass(frozen=True, slots=True)
class _Took:
    """Jobs a second by the server's stamps, and CPU seconds of the whole process."""

    pace: float
    cpu: float


def _took(work: Work, jobs: int, folder: Path) -> _Took:
    with server() as api:
        ran = work(jobs, folder, api)
        stamps: Mapping[str, list[float]] = api.truth()["stamps"]
    assert len(stamps["download"]) == jobs
    return _Took(jobs / (max(stamps["download"]) - min(stamps["submit"])), ran.cpu)


def _contenders() -> dict[str, Work]:
    """What is compared, as far as it is installed."""
    found: dict[str, Work] = {"batcher": batcher, "bare httpx2": partial(loop, "httpx2")}
    if find_spec("aiohttp"):
        found["bare aiohttp"] = partial(loop, "aiohttp")
    return found


def measure(full: bool) -> Iterator[Figure]:
    """500 jobs, the median of three rounds; with `full` 2,500 of them."""
    jobs = JOBS * (5 if full else 1)
    contenders = _contenders()
    took: dict[str, list[_Took]] = {name: [] for name in contenders}
    with scratch(memory=True) as folder:
        few = {name: _took(work, 2, folder / f"{name} few").cpu for name, work in contenders.items()}
        for number in range(ROUNDS):
            for name, work in contenders.items():
                took[name].append(_took(work, jobs, folder / f"{name} {number}"))
        own = [folder / name / "state" / "ledger.db" for name in ("batcher few", "batcher 0")]
        less, more = map(_sizes, own)
        yield at_most("ledger bytes a job, empty tables apart", (more.used - less.used) / jobs / 1000, 2, "kB")
        yield Figure("ledger bytes a job: of its rows, without any index", (more.rows - less.rows) / jobs / 1000, "kB")
        yield from _written(folder, jobs)
    paces = {name: middle([each.pace for each in rounds]) for name, rounds in took.items()}
    cpus = {name: 1000 * (middle([each.cpu for each in rounds]) - few[name]) / jobs for name, rounds in took.items()}
    for name, pace in paces.items():
        yield Figure(f"{name}, scratch in memory", pace, "jobs/s")
        yield Figure(f"{name}: processor a job, start-up apart", cpus[name], "ms")
    yield at_least("jobs/s, batcher / bare httpx2", paces["batcher"] / paces["bare httpx2"], 0.95)
    if "bare aiohttp" in paces:
        yield at_least("jobs/s, batcher / bare aiohttp", paces["batcher"] / paces["bare aiohttp"], 0.35)
    yield Figure("batcher's share of one core while it works", paces["batcher"] * cpus["batcher"] / 1000)
    yield at_most("processor a job, batcher / bare httpx2", cpus["batcher"] / cpus["bare httpx2"], 2.0)
    with scratch() as folder:
        on_disk = {name: _took(contenders[name], jobs, folder / name).pace for name in ("batcher", "bare httpx2")}
    yield Figure("jobs/s on the disk, batcher / bare httpx2", on_disk["batcher"] / on_disk["bare httpx2"])


class _Sizes(NamedTuple):
    """Bytes of the pages that a ledger uses, and of those that hold rows of tables."""

    used: int
    rows: int


def _sizes(ledger: Path) -> _Sizes:
    with closing(sqlite3.connect(ledger)) as connection:
        found = connection.execute(
            "SELECT sum(d.pgsize), sum(CASE WHEN s.type = 'table' THEN d.pgsize ELSE 0 END) FROM dbstat AS d"
            " LEFT JOIN sqlite_master AS s ON s.name = d.name"
        )
        return _Sizes(*found.fetchone())


def _written(folder: Path, jobs: int) -> Iterator[Figure]:
    """What goes into the write-ahead log, counted by its system calls; where strace is missing this is left out."""
    if not which("strace"):
        print("   WAL bytes a job are left out: no strace here (apt-get install strace)")
        return
    manifest, log = write_manifest(folder / "traced", jobs), folder / "strace.log"
    words = [*BATCHER, "run", str(manifest), "--state", str(folder / "traced" / "state"), "--quiet"]
    with server() as api:
        trace = ["strace", "-f", "-y", "-e", "trace=pwrite64", "-e", "signal=none", "-s", "0", "-o", str(log)]
        ran = run([*trace, *words], environment=api.environment)
    assert ran.code == 0, ran.err
    sizes = re.findall(r"pwrite64\(\d+<[^>]*ledger\.db-wal>.* = (\d+)$", log.read_text(), re.MULTILINE)
    yield at_most("WAL bytes a job", sum(map(int, sizes)) / jobs / 1000, 20, "kB")
