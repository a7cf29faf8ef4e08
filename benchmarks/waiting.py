"""What a run costs that only waits: processor, wake-ups and disk writes, told for an hour.

The real command goes on with tasks of twenty minutes' age that do not end, at its own pace; counted by what the system
says of the process (Linux only), once it has settled. Both cases run side by side, for neither keeps a core busy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .figures import Figure, at_most
from .inflight import write_ledger, write_manifest
from .running import Use, background, scratch, server

SETTLE, SECONDS, AGE = 5.0, 30.0, 1200.0


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
        found = list(pool.map(_watch, CASES, [seconds] * len(CASES)))
    for case, (used, polls) in zip(CASES, found, strict=True):
        if used is None:
            print("   left out: this system does not tell what a process uses")
            return
        hour, name = 3600 / seconds, f"{case.tasks:,} tasks, an hour of waiting"
        yield at_most(f"{name}: processor", used.cpu * hour, case.cpu, "s")
        yield Figure(f"{name}: polls", polls * hour)
        yield Figure(f"{name}: wake-ups", used.wakes * hour)
        label = f"{name}: written to the disk"
        written = used.written * hour / 1e6
        yield Figure(label, written, "MB") if case.disk is None else at_most(label, written, case.disk, "MB")


def _watch(case: _Case, seconds: float) -> tuple[Use | None, int]:
    """What the command used in so many seconds, and its polls."""
    with scratch() as folder, server("--open-tasks") as api:
        manifest = write_manifest(folder, case.tasks, case.lines)
        write_ledger(folder / "state" / "ledger.db", manifest, api, age=AGE)
        with background(["run", str(manifest), "--state", str(folder / "state"), "--quiet"], api) as process:
            while len(api.truth()["polls"]) < case.tasks and not process.ended:
                time.sleep(0.5)  # starting up is no waiting
            time.sleep(SETTLE)
            before, polled = process.use, len(api.stamps("poll"))
            time.sleep(seconds)
            after, polls = process.use, len(api.stamps("poll")) - polled
    return (after - before if after and before else None), polls
