"""What a run costs that only waits: processor, wake-ups and disk writes, told for an hour.

The real command goes on with tasks of twenty minutes' age that do not end, at its own pace; counted by what the system
says of the process (Linux only), once it has settled. Beside each a bare loop of the same client makes as many polls:
that is the floor, by the same machine in the same minute. All run side by side, for none keeps a core busy.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .figures import Figure, at_most
from .inflight import write_ledger, write_manifest
from .running import BATCHER, Server, Use, background, scratch, server

SETTLE, SECONDS, AGE = 5.0, 30.0, 1200.0
#: Seconds between two polls of a task of that age, by batcher and so by the bare loop.
EVERY = 30.0


@dataclass(frozen=True, slots=True)
class _Case:
    """How many tasks wait, by which lines of the manifest; goals in CPU seconds and MB an hour."""

    tasks: int
    lines: str
    cpu: float
    disk: float | None = None


CASES = (
    _Case(20, "", 3),
    _Case(1000, "polling: {max: 30s}\nlimits: {submit: 60/minute, requests: 4000/minute, in_flight: 1000}\n", 40, 150),
)


def measure(full: bool) -> Iterator[Figure]:
    """30 seconds of each; with `full` 120."""
    seconds = SECONDS * (4 if full else 1)
    with ThreadPoolExecutor() as pool:
        own = pool.map(_watch, CASES, [seconds] * len(CASES))
        bare = pool.map(_bare, CASES, [seconds] * len(CASES))
        found = list(zip(CASES, own, bare, strict=True))
    for case, (used, polls), (least, made) in found:
        if used is None or least is None:
            print("   left out: this system does not tell what a process uses")
            return
        hour, name = 3600 / seconds, f"{case.tasks:,} tasks, an hour of waiting"
        yield at_most(f"{name}: processor", used.cpu * hour, case.cpu, "s")
        yield Figure(f"{name}: polls", polls * hour)
        floor = least.cpu / made * polls * hour
        yield Figure(f"{name}: by a bare httpx2 loop", floor, "s")
        yield Figure(f"{name}: processor, batcher / bare httpx2", used.cpu * hour / floor)
        yield Figure(f"{name}: wake-ups", used.wakes * hour)
        label = f"{name}: written to the disk"
        written = used.written * hour / 1e6
        yield Figure(label, written, "MB") if case.disk is None else at_most(label, written, case.disk, "MB")


def _watch(case: _Case, seconds: float) -> tuple[Use | None, int]:
    """What the command used in so many seconds, and its polls."""
    with scratch() as folder, server("--open-tasks") as api:
        manifest = write_manifest(folder, case.tasks, case.lines)
        write_ledger(folder / "state" / "ledger.db", manifest, api, age=AGE)
        return _used(["run", str(manifest), "--state", str(folder / "state"), "--quiet"], BATCHER, api, case, seconds)


def _bare(case: _Case, seconds: float) -> tuple[Use | None, int]:
    """What a bare loop used in so many seconds, and its polls."""
    with server("--open-tasks") as api:
        words = ["poll", api.url, str(case.tasks), str(EVERY)]
        return _used(words, (BATCHER[0], "-m", "benchmarks.bare"), api, case, seconds)


def _used(
    words: Sequence[str], program: Sequence[str], api: Server, case: _Case, seconds: float
) -> tuple[Use | None, int]:
    with background(words, api, signal.SIGINT, program=program) as process:
        while len(api.truth()["polls"]) < case.tasks and not process.ended:
            time.sleep(0.5)  # starting up is no waiting
        time.sleep(SETTLE)
        before, polled = process.use, len(api.stamps("poll"))
        time.sleep(seconds)
        after, polls = process.use, len(api.stamps("poll")) - polled
    return (after - before if after and before else None), polls
