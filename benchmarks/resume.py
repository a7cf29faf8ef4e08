"""How soon a run that is taken up asks for what is open: with very many jobs in the ledger, beside an empty one.

A real run enrols them and buys 1,000, which stay open, and is killed with SIGKILL; then the same command is started
again, and the server's stamps say when its first poll came. Beside it, by turns: the same command with a manifest of
one job and no ledger, up to its first submission.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .figures import Figure, at_most, middle
from .running import BATCHER, ROOT, UNLIMITED, Server, megabytes, server

OPEN = 1000
_ROUNDS = 3
_PATIENCE_SECONDS = 1800.0
_MANIFEST = f"""\
campaign: resume
model: grok-imagine-video
matrix: {{resolution: [480p, 720p]}}
prompts:
  - {{file: rows.jsonl, prompt: "A cinematic reveal of {{{{ title }}}}, with smooth camera movement and soft light"}}
limits: {UNLIMITED.replace("in_flight: 256", f"in_flight: {OPEN}")}
polling: {{first: 5s, every: 5s, max: 30s, give_up: 10h}}
"""


def measure(full: bool) -> Iterator[Figure]:
    """100,000 jobs, and a million of them with `full`."""
    for jobs in (100_000, 1_000_000) if full else (100_000,):
        with TemporaryDirectory() as scratch, server("--wait", "1000000") as place:
            yield from _measure(jobs, Path(scratch), place, full=full)


def _measure(jobs: int, folder: Path, place: Server, *, full: bool) -> Iterator[Figure]:
    many = _write(folder / "many", jobs)
    _leave_open(many, place)
    resumed, fresh = list[_Start](), list[_Start]()
    for number in range(_ROUNDS):
        resumed.append(_started(many, place, "poll"))
        fresh.append(_started(_write(folder / f"fresh-{number}", 1), place, "submit"))
    until_poll, until_submit = (middle([each.seconds for each in starts]) for starts in (resumed, fresh))
    name = f"{jobs:,} jobs, {OPEN:,} of them open"
    yield Figure(f"start to first submission, an empty ledger and one job ({name})", until_submit, "s")
    yield Figure(f"start to first poll, {name}", until_poll, "s")
    yield at_most(f"the first poll comes later by, {name}", until_poll - until_submit, 1, "s")
    yield Figure(f"peak memory at the first poll, {name}", middle([each.peak for each in resumed]), "MB")
    yield Figure("peak memory at the first submission, an empty ledger", middle([each.peak for each in fresh]), "MB")
    if full:
        with (many / "rows.jsonl").open("a") as rows:
            rows.write('{"title": "one more"}\n')
        yield Figure(f"start to first poll after a row was added, {name}", _started(many, place, "poll").seconds, "s")


def _write(folder: Path, jobs: int) -> Path:
    """A manifest that makes so many jobs, one or two a row."""
    folder.mkdir()
    (folder / "m.yaml").write_text(_MANIFEST if jobs > 1 else _MANIFEST.replace("[480p, 720p]", "[480p]"))
    with (folder / "rows.jsonl").open("w") as rows:
        for number in range(max(1, jobs // 2)):
            rows.write(json.dumps({"title": f"product {number}"}) + "\n")
    return folder


def _command(folder: Path, limit: int) -> list[str]:
    files = (str(folder / "m.yaml"), "--state", str(folder / "state"))
    return [*BATCHER, "run", *files, "--limit", str(limit), "--max-jobs", "10000000", "--quiet"]


def _leave_open(folder: Path, place: Server) -> None:
    """Enrol everything, buy 1,000 that do not end, and kill the run when the server has asked for each once or more."""
    with _Process(_command(folder, OPEN), place) as process:
        _wait_for(process, place, "poll", after=0.0, count=OPEN)
    assert len(place.truth()["charged"]) == OPEN


@dataclass(frozen=True, slots=True)
class _Start:
    """Seconds from the start of a process to its first request of a kind; its peak memory until then, in MB."""

    seconds: float
    peak: float


def _started(folder: Path, place: Server, kind: str) -> _Start:
    begun = time.time()
    with _Process(_command(folder, OPEN), place) as process:
        first = _wait_for(process, place, kind, after=begun, count=1)
    return _Start(first - begun, process.peak)


class _Process:
    """A command as a process, killed at the end of the block; `peak` then says what memory it took, in MB."""

    def __init__(self, words: list[str], place: Server) -> None:
        self._popen = subprocess.Popen(  # noqa: S603
            words,
            cwd=ROOT,
            env=place.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.peak = 0.0

    def __enter__(self) -> _Process:
        return self

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def __exit__(self, *error: object) -> None:
        os.kill(self._popen.pid, signal.SIGKILL)
        _, status, used = os.wait4(self._popen.pid, 0)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        self.peak = megabytes(used)


def _wait_for(process: _Process, place: Server, kind: str, *, after: float, count: int) -> float:
    """The time of the first request of a kind after a time, once there were so many."""
    patience = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < patience:
        stamps = [at for at in place.stamps(kind) if at > after]
        if len(stamps) >= count:
            return stamps[0]
        if process.ended:
            raise RuntimeError("the command ended before it was there")
        time.sleep(0.05)
    raise TimeoutError(f"no {kind} came")
