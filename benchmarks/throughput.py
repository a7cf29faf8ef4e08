"""Jobs a second from first submit to last file, beside bare loops over the same requests at the same server.

The server answers at once, and creates answer `succeeded`: two requests a job. Rounds are interleaved, and figures are
medians, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from .figures import Figure, at_least, middle
from .running import BATCHER, UNLIMITED, Server, run, server

JOBS, ROUNDS = 1_000, 3


def write_manifest(folder: Path, jobs: int) -> Path:
    """A manifest of so many jobs, a JSONL row each."""
    rows = (json.dumps({"prompt": f"A boat on lake {number}, at dawn"}) + "\n" for number in range(jobs))
    (folder / "rows.jsonl").write_text("".join(rows))
    manifest = folder / "manifest.yaml"
    lines = ("campaign: throughput", "model: grok-imagine-video", "prompts: [{file: rows.jsonl}]")
    manifest.write_text("\n".join((*lines, f"limits: {UNLIMITED}", "")))
    return manifest


def buy(jobs: int, api: Server) -> None:
    """`batcher run` over so many jobs, to its end."""
    with tempfile.TemporaryDirectory() as scratch:
        manifest = write_manifest(Path(scratch), jobs)
        words = [*BATCHER, "run", str(manifest), "--state", f"{scratch}/state", "--quiet"]
        ran = run(words, environment=api.environment)
        assert ran.code == 0, ran.err


def loop(jobs: int, kind: str, api: Server) -> None:
    """A bare loop over so many jobs."""
    ran = run([BATCHER[0], "-m", "benchmarks.bare", kind, api.url, str(jobs)])
    assert ran.code == 0, ran.err


def pace(work: Callable[[Server], None], jobs: int) -> float:
    """Jobs a second by the server's stamps."""
    with server() as api:
        work(api)
        stamps: Mapping[str, list[float]] = api.truth()["stamps"]
    assert len(stamps["download"]) == jobs
    return jobs / (max(stamps["download"]) - min(stamps["submit"]))


def contenders(jobs: int) -> dict[str, Callable[[Server], None]]:
    """What is compared, as far as it is installed."""
    found: dict[str, Callable[[Server], None]] = {
        "batcher": partial(buy, jobs),
        "bare loop, httpx": partial(loop, jobs, "httpx"),
    }
    if find_spec("httpx_aiohttp"):
        found["bare loop, httpx on aiohttp"] = partial(loop, jobs, "aiohttp")
    return found


def measure(full: bool) -> Iterator[Figure]:
    jobs = JOBS * (5 if full else 1)
    paces: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, work in contenders(jobs).items():
            paces.setdefault(name, []).append(pace(work, jobs))
    found = {name: middle(values) for name, values in paces.items()}
    for name, value in found.items():
        yield Figure(name, value, "jobs/s")
    yield at_least("batcher / bare loop, httpx", found["batcher"] / found["bare loop, httpx"], 0.6)
