"""What the benchmarks share: the server as a process, commands as processes, scratch folders."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BATCHER = (sys.executable, "-m", "batcher")
#: What a benchmark's manifest says so that no limit of batcher's is in the way.
UNLIMITED = "{submit: 100000/second, requests: 300000/second, in_flight: 256, downloads: 32}"
#: A file system without a disk, where this machine has one: cleaning up after a round then costs the next one nothing.
MEMORY = next((folder for folder in (Path("/dev/shm"),) if os.access(folder, os.W_OK)), None)  # noqa: S108
_PATIENCE_SECONDS = 1800.0


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


def buy(words: Sequence[str], api: Server) -> Ran:
    """Run batcher to its end; RuntimeError unless that is a good one."""
    ran = run([*BATCHER, *words], environment=api.environment)
    if ran.code:
        raise RuntimeError(f"batcher {words[0]} ended with {ran.code}: {ran.err[-500:]}")
    return ran


@dataclass(slots=True)
class Start:
    """Seconds from the start of a process to its first request of a kind; its peak memory in MB and CPU until then."""

    seconds: float
    peak: float = 0.0
    cpu: float = 0.0


def until_request(words: Sequence[str], api: Server, kind: str, *, count: int = 1) -> Start:
    """Start batcher and kill it once the server has so many requests of a kind from it; when the first one came."""
    begun = time.time()
    with background(words, api, signal.SIGKILL) as process:
        found = Start(_wait_for(process, api, kind, after=begun, count=count) - begun)
    found.peak, found.cpu = process.peak, process.cpu
    return found


def _wait_for(process: Background, api: Server, kind: str, *, after: float, count: int) -> float:
    patience = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < patience:
        stamps = [at for at in api.stamps(kind) if at > after]
        if len(stamps) >= count:
            return stamps[0]
        if process.ended:
            raise RuntimeError(f"the command ended before a {kind} came")
        time.sleep(0.05)
    raise TimeoutError(f"no {kind} came")


@dataclass(frozen=True, slots=True)
class Use:
    """What a process has used so far: seconds of processor, times that it was woken, bytes that went to the disk."""

    cpu: float
    wakes: int
    written: int

    def __sub__(self, other: Use) -> Use:
        return Use(self.cpu - other.cpu, self.wakes - other.wakes, self.written - other.written)


class Background:
    """A process that runs beside; `peak` is what memory it took, in MB, once it has ended, `cpu` its seconds."""

    def __init__(self, words: Sequence[str], api: Server) -> None:
        self._popen = subprocess.Popen(  # noqa: S603
            words,
            cwd=ROOT,
            env=api.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.peak = self.cpu = 0.0

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._popen.poll() is not None

    @property
    def use(self) -> Use | None:
        """What it has used so far; None where the system does not tell (only Linux does)."""
        proc = Path(f"/proc/{self._popen.pid}")
        with suppress(OSError):
            busy = sum(
                int(task.joinpath("schedstat").read_text().split()[0]) for task in proc.joinpath("task").iterdir()
            )
            switches = re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", _of_threads(proc), re.MULTILINE)
            written = re.search(r"^write_bytes: (\d+)", proc.joinpath("io").read_text(), re.MULTILINE)
            assert written
            return Use(busy / 1e9, sum(map(int, switches)), int(written[1]))
        return None

    def end(self, how: signal.Signals) -> None:
        peak = self._own_peak()
        self._popen.send_signal(how)
        _, status, used = os.wait4(self._popen.pid, 0)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        self.peak, self.cpu = peak or megabytes(used), used.ru_utime + used.ru_stime

    def _own_peak(self) -> float:
        """Its peak memory in MB, where the system tells (Linux); what is told at its end begins with its parent's."""
        with suppress(OSError):
            found = re.search(r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{self._popen.pid}/status").read_text(), re.MULTILINE)
            return int(found[1]) / 1024 if found else 0.0
        return 0.0


def _of_threads(proc: Path) -> str:
    return "\n".join(task.joinpath("status").read_text() for task in proc.joinpath("task").iterdir())


@contextmanager
def background(
    words: Sequence[str], api: Server, how: signal.Signals = signal.SIGINT, *, program: Sequence[str] = BATCHER
) -> Iterator[Background]:
    """A batcher, or another program, that runs during the block and is ended by a signal at its end."""
    process = Background([*program, *words], api)
    try:
        yield process
    finally:
        process.end(how)


@contextmanager
def scratch(*, memory: bool = False) -> Iterator[Path]:
    """A folder for a benchmark, on the disk or in memory; kept until its end, for deleting between rounds would be
    measured too."""
    with tempfile.TemporaryDirectory(dir=MEMORY if memory else None) as folder:
        yield Path(folder)


def megabytes(used: resource.struct_rusage) -> float:
    """The peak memory of a process that has ended."""
    return used.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)


def machine() -> str:
    """This machine in a line: processor, system, Python, and how busy it is."""
    found = platform.processor() or platform.machine()
    with suppress(OSError):
        if model := re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()):
            found = model[1]
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} × {found}, {system}, load {os.getloadavg()[0]:.1f}"
