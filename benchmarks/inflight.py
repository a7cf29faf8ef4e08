"""Ten thousand tasks with the API, each polled every 20 seconds: memory a task, processor time, lateness.

The ledger is written by batcher's own ledger room, as a run that was killed right after its last purchase leaves it;
the real command then goes on with it until it is interrupted. Lateness is by the server's stamps: how much longer than
20 seconds two polls of a task are apart, or the last one and the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from batcher.clock import SystemClock, Uptime
from batcher.jobs import Intent, Job, Status, TaskState
from batcher.ledger import Caps, LedgerWriter
from batcher.manifest import Problems, load
from batcher.providers.rivya import account_of

from .figures import Figure, at_least, at_most, middle
from .running import Server, background, scratch, server

TASKS, SECONDS, EVERY = 10_000, 50.0, 20.0
_GROUP = 500
_LINES = (
    f"polling: {{first: {EVERY:g}s, every: {EVERY:g}s, max: {EVERY:g}s}}\n"
    f"limits: {{submit: 1000/second, requests: 100000/second, in_flight: {TASKS}}}\n"
)


@dataclass(frozen=True, slots=True)
class _Before(SystemClock):
    """The clocks of so many seconds ago."""

    seconds: float

    def wall(self) -> float:
        return SystemClock.wall(self) - self.seconds

    def uptime(self) -> Uptime | None:
        now = SystemClock.uptime(self)
        return now and Uptime(now.boot, now.seconds - self.seconds)


def write_manifest(folder: Path, tasks: int, lines: str) -> Path:
    """A manifest of so many jobs, with these lines."""
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"A boat on lake {n}"}) + "\n" for n in range(tasks))
    )
    manifest = folder / "manifest.yaml"
    manifest.write_text(f"campaign: inflight\nmodel: grok-imagine-video\nprompts: [{{file: rows.jsonl}}]\n{lines}")
    return manifest


def write_ledger(path: Path, manifest: Path, api: Server, *, age: float = 0.0) -> None:
    """Every job of the manifest bought so many seconds ago and not at its end; the state folder is made too."""
    path.parent.mkdir(mode=0o700)
    found = load(manifest)
    account = account_of(api.url, api.environment["RIVYA_API_KEY"])
    with closing(LedgerWriter.open(path, _Before(age))) as ledger:
        ledger.start_run(version="0", pid=0, account=account.text, campaigns=[found.campaign], settings="{}")
        ledger.enrol(found.campaign, str(manifest), found.expand(Problems()))

        def buy(job: Job, number: int) -> None:
            made = ledger.intend(job, account=account, compose=lambda request_id: request_id.encode(), caps=Caps())
            assert isinstance(made, Intent), made
            ledger.submitted(made, TaskState(f"open-{number}", Status.PROCESSING, "processing", reserved_credits=10))

        jobs = [ledger.read.load(row["id"]) for row in ledger.read.rows("SELECT id FROM wanted ORDER BY seq")]
        for start in range(0, len(jobs), _GROUP):
            group = [partial(buy, job, start + n) for n, job in enumerate(jobs[start : start + _GROUP])]
            failed = [each for each in ledger.commit_group(group) if isinstance(each, Exception)]
            assert not failed, failed[0]


@dataclass(frozen=True, slots=True)
class _Watched:
    """Peak memory in MB, CPU seconds, the stamps of each task's polls, and from when to when."""

    peak: float
    cpu: float
    polls: dict[str, list[float]]
    begun: float
    ended: float

    def late(self, tasks: int) -> list[float]:
        """By how much each poll of so many tasks was late; one that never came, until the end."""
        waits = [b - a for stamps in self.polls.values() for a, b in pairwise([*stamps, self.ended])]
        waits += [self.ended - self.begun] * (tasks - len(self.polls))
        return [wait - EVERY for wait in waits if wait > EVERY / 2]


def _watch(tasks: int, seconds: float) -> _Watched:
    with scratch() as folder, server("--open-tasks") as api:
        manifest = write_manifest(folder, tasks, _LINES)
        write_ledger(folder / "state" / "ledger.db", manifest, api)
        with background(["run", str(manifest), "--state", str(folder / "state"), "--quiet"], api) as process:
            begun = time.time()
            time.sleep(seconds)
            assert not process.ended
            ended = time.time()
        truth: dict[str, Any] = api.truth()
        return _Watched(process.peak, process.cpu, truth["polls"], begun, ended)


def measure(full: bool) -> Iterator[Figure]:
    """50 seconds, with `full` 100."""
    alone, many = _watch(1, 5.0), _watch(TASKS, SECONDS * (2 if full else 1))
    late = many.late(TASKS)
    polls = sum(map(len, many.polls.values()))
    yield at_least("tasks that were asked for twice", sum(len(stamps) > 1 for stamps in many.polls.values()), TASKS)
    yield at_most(f"memory a task, {TASKS:,} tasks", 1000 * (many.peak - alone.peak) / TASKS, 10, "kB")
    yield Figure("processor a poll, start-up and resume included", 1000 * (many.cpu - alone.cpu) / polls, "ms")
    yield at_most("lateness of a poll, median", middle(late), EVERY * 0.1, "s")
    yield at_most("lateness of a poll, 99th percentile", sorted(late)[int(len(late) * 0.99)], EVERY * 0.1, "s")
