"""Ten thousand tasks with the API, each polled every 20 seconds: memory a task, processor time, lateness.

The ledger is written by batcher's own ledger room, as a run that was killed right after its last purchase leaves it;
the real command then goes on with it until it is interrupted. Lateness is by the server's stamps: how much longer than
20 seconds two polls of a task are apart.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from batcher.clock import SystemClock
from batcher.jobs import Intent, Job, Status, TaskState
from batcher.ledger import Caps, LedgerWriter
from batcher.manifest import Problems, load
from batcher.providers.rivya import account_of

from .figures import Figure, at_most, middle
from .running import BATCHER, ROOT, Server, server

TASKS, SECONDS, EVERY = 10_000, 65.0, 20.0
_GROUP = 500


def write_manifest(folder: Path, tasks: int) -> Path:
    """A manifest of so many jobs that polls at fixed intervals."""
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"A boat on lake {n}"}) + "\n" for n in range(tasks))
    )
    manifest = folder / "manifest.yaml"
    manifest.write_text(
        "campaign: inflight\nmodel: grok-imagine-video\nprompts: [{file: rows.jsonl}]\n"
        f"polling: {{first: {EVERY:g}s, every: {EVERY:g}s, max: {EVERY:g}s}}\n"
        f"limits: {{submit: 1000/second, requests: 100000/second, in_flight: {tasks}}}\n"
    )
    return manifest


def write_ledger(path: Path, manifest: Path, api: Server) -> None:
    """Every job of the manifest bought and not at its end."""
    found = load(manifest)
    account = account_of(api.url, api.environment["RIVYA_API_KEY"])
    with closing(LedgerWriter.open(path, SystemClock())) as ledger:
        ledger.start_run(version="0", pid=0, account=account.text, campaigns=[found.campaign], settings="{}")
        ledger.enrol(found.campaign, str(manifest), found.expand(Problems()))

        def buy(job: Job, number: int) -> None:
            made = ledger.intend(job, account=account, compose=lambda request_id: request_id.encode(), caps=Caps())
            assert isinstance(made, Intent), made
            ledger.submitted(made, TaskState(f"open-{number}", Status.PROCESSING, "processing", reserved_credits=10))

        jobs = [ledger.read.load(row["id"]) for row in ledger.read.rows("SELECT id FROM wanted ORDER BY seq")]
        for start in range(0, len(jobs), _GROUP):
            group = [partial(buy, job, start + n) for n, job in enumerate(jobs[start : start + _GROUP])]
            failed = [each for each in ledger.together(group) if isinstance(each, Exception)]
            assert not failed, failed[0]


def watch(tasks: int, seconds: float) -> tuple[float, float, dict[str, list[float]]]:
    """Peak memory in kB, the share of a processor in percent, and the stamps of each task's polls."""
    with tempfile.TemporaryDirectory() as scratch, server("--open-tasks") as api:
        folder = Path(scratch)
        (folder / "state").mkdir(mode=0o700)
        manifest = write_manifest(folder, tasks)
        write_ledger(folder / "state" / "ledger.db", manifest, api)
        words = [*BATCHER, "run", str(manifest), "--state", str(folder / "state"), "--quiet"]
        process = subprocess.Popen(  # noqa: S603
            words, cwd=ROOT, env=api.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 130, process.returncode
        truth: dict[str, Any] = api.truth()
        return used.ru_maxrss, 100 * (used.ru_utime + used.ru_stime) / seconds, truth["polls"]


def measure(full: bool) -> Iterator[Figure]:
    alone, _, _ = watch(1, 5.0)
    memory, share, polls = watch(TASKS, SECONDS * (2 if full else 1))
    late = [b - a - EVERY for stamps in polls.values() for a, b in pairwise(stamps)]
    assert len(polls) == TASKS
    assert len(late) >= TASKS
    yield at_most(f"memory a task, {TASKS:,} tasks", (memory - alone) / TASKS, 10, "kB")
    yield Figure("a processor's share, start-up and resume included", share, "%")
    yield Figure("polls a second", sum(map(len, polls.values())) / SECONDS, "/s")
    yield at_most("lateness of a poll, median", middle(late), EVERY * 0.1, "s")
    yield at_most("lateness of a poll, 99th percentile", sorted(late)[int(len(late) * 0.99)], EVERY * 0.1, "s")
