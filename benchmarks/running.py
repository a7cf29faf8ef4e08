"""What the benchmarks share: the server as a process, commands as processes, scratch folders."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BATCHER = (sys.executable, "-m", "batcher")
#: What a benchmark's manifest says so that no limit of batcher's is in the way.
UNLIMITED = "{submit: 100000/second, requests: 300000/second, in_flight: 256, downloads: 32}"


@dataclass(frozen=True, slots=True)
class Server:
    """A running `benchmarks.server`."""

    url: str

    def truth(self) -> dict[str, Any]:
        """What happened so far."""
        with urllib.request.urlopen(f"{self.url}/_truth", timeout=60) as answer:  # noqa: S310  (our own, on loopback)
            found: dict[str, Any] = json.load(answer)
        return found

    def stamps(self, kind: str) -> list[float]:
        """When the requests of a kind came (`submit`, `poll`, `download`, `other`), in seconds since the epoch."""
        found: list[float] = self.truth()["stamps"][kind]
        return found

    @property
    def environment(self) -> dict[str, str]:
        """For a `batcher` that buys from this server."""
        return {**os.environ, "RIVYA_API_KEY": "benchmark-key", "RIVYA_BASE_URL": self.url, "PYTHONPATH": str(ROOT)}


@contextmanager
def server(*options: str) -> Iterator[Server]:
    """A server process with these options, ended with the block."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks.server", *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[1])
        yield Server(f"http://127.0.0.1:{port}")
    finally:
        process.communicate()


@dataclass(frozen=True, slots=True)
class Ran:
    """What a process took: seconds of wall and CPU, peak memory in MB; its exit code and what it said."""

    wall: float
    cpu: float
    peak: float
    code: int
    out: str
    err: str


def run(words: Sequence[str], *, environment: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Ran:
    """Run a command to its end."""
    begun = time.monotonic()
    process = subprocess.Popen(  # noqa: S603
        words,
        cwd=cwd,
        env={**(environment or os.environ), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    # Few words are said, so a pipe's buffer holds them while we wait for the process itself, which alone gives its use.
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begun
    with process.stdout, process.stderr:
        out, err = process.stdout.read(), process.stderr.read()
    return Ran(wall, used.ru_utime + used.ru_stime, megabytes(used), process.returncode, out, err)


def megabytes(used: resource.struct_rusage) -> float:
    """The peak memory of a process that has ended."""
    return used.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)
