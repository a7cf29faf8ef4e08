"""How much of `limits.submit` a run uses, and whether it ever goes over it, by the stamps of a server's arrivals.

The real `batcher run` against a server that takes 50 ms for each answer, with more jobs than the time has room for.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path

from .figures import Figure, at_least, at_most
from .running import BATCHER, Server, server
from .sessions import Session, session

SECONDS = 10
LATENCY = 0.05
#: How much later one request may arrive than another that left at the same time.
TOLERANCE = 0.05
#: Rates that are measured side by side, for none of these keeps a core busy; and those that get the machine alone.
TOGETHER, ALONE = (10, 50), (200,)
#: The limit over a kill: its window is so long that the second run begins within that of the first. Answers take so
#: long there that the kill comes before the limit is used up, however many requests a run has open (`in_flight`).
PER_MINUTE, OVER_A_KILL = 600, 0.25
_PATIENCE = 90.0


def made(stamps: Sequence[float], seconds: float) -> int:
    """How many came in the `seconds` from the first one on."""
    return sum(stamp < stamps[0] + seconds for stamp in stamps) if stamps else 0


def violations(stamps: Sequence[float], count: int, seconds: float) -> int:
    """How many came when `count` others had come within less than `seconds` before."""
    ordered = sorted(stamps)
    return sum(late - early < seconds for early, late in zip(ordered, ordered[count:], strict=False))


def manifest(folder: Path, jobs: int, limit: str) -> tuple[str, ...]:
    """Write one of so many jobs; returns the command that runs it."""
    with (folder / "prompts.jsonl").open("w", encoding="utf-8") as rows:
        rows.writelines(json.dumps({"prompt": f"A ring on dune {number}"}) + "\n" for number in range(jobs))
    (folder / "manifest.yaml").write_text(
        "campaign: limits\nmodel: grok-imagine-video\nprompts: [{file: prompts.jsonl}]\n"
        f"limits: {{submit: {limit}, requests: 300000/second, in_flight: 256}}\n",
        "utf-8",
    )
    return (*BATCHER, "run", str(folder / "manifest.yaml"), "--state", str(folder / "state"), "--no-download")


def stamps(api: Server) -> list[float]:
    """When submissions came."""
    found: list[float] = api.truth()["stamps"]["submit"]
    return found


def until(running: Session, api: Server, count: int, seconds: float) -> None:
    """Wait until so many submissions came, for `seconds` at most, while the command runs."""
    give_up = time.monotonic() + seconds
    while running.running and len(stamps(api)) < count and time.monotonic() < give_up:
        time.sleep(0.02)


def stamped(state: Path) -> list[float]:
    """When batcher says that it sent them, in its send log."""
    with closing(sqlite3.connect(state / "ledger.db")) as ledger:
        rows = ledger.execute("SELECT at FROM sends WHERE kind = 'submit'").fetchall()
    return sorted(datetime.fromisoformat(at).timestamp() for (at,) in rows)


def latest(came: Sequence[float], left: Sequence[float]) -> float:
    """The most seconds from a stamp to its arrival; the first to leave is taken for the first to come."""
    return max(late - early for late, early in zip(sorted(came), sorted(left), strict=False))


def steady(rate: int, seconds: int) -> tuple[list[float], list[float]]:
    """Arrivals of a run under a limit of `rate` a second, for `seconds` and some more; and batcher's own stamps."""
    with tempfile.TemporaryDirectory() as scratch, server("--latency", str(LATENCY)) as api:
        folder = Path(scratch)
        words = manifest(folder, rate * (seconds + 2), f"{rate}/second")
        with session(words, environment=api.environment, log=folder / "log") as running:
            until(running, api, 1, _PATIENCE)
            deadline = time.monotonic() + seconds + 0.5
            while running.running and time.monotonic() < deadline:
                time.sleep(0.05)
            if not running.running:
                running.succeed(0)  # it may have been done early, which the figures tell; it may not have failed
            came = stamps(api)
            running.kill()
        return came, stamped(folder / "state")


def killed() -> list[float]:
    """Arrivals of a run under a limit a minute that is killed in the middle of it, and of the next one."""
    with tempfile.TemporaryDirectory() as scratch, server("--latency", str(OVER_A_KILL)) as api:
        folder = Path(scratch)
        words = manifest(folder, 3 * PER_MINUTE, f"{PER_MINUTE}/minute")
        with session(words, environment=api.environment, log=folder / "log") as first:
            until(first, api, PER_MINUTE // 3, _PATIENCE)
            first.kill()
        before = len(stamps(api))
        if not PER_MINUTE // 3 <= before < PER_MINUTE:
            raise RuntimeError(f"the kill was to land in the middle, not after {before}; {first.said}")
        with session(words, environment=api.environment, log=folder / "log") as second:
            # Not all may come: one that the kill met between its stamp and the server counts against the limit.
            until(second, api, round(0.97 * PER_MINUTE), 12)
            time.sleep(3)  # for what must not come
            second.stop(30)
        found = stamps(api)
    if len(found) == before or found[-1] - found[0] >= 60 - TOLERANCE:
        raise RuntimeError(f"{before}, then {len(found)} within {found[-1] - found[0]:.0f} s: this shows nothing")
    return found


def measure(full: bool) -> Iterator[Figure]:
    """The figures of 10 seconds for each rate (with `full`: 30), and of a kill."""
    seconds = SECONDS * (3 if full else 1)
    with ThreadPoolExecutor() as pool:
        found = dict(zip(TOGETHER, pool.map(steady, TOGETHER, [seconds] * len(TOGETHER)), strict=True))
    for rate in (*TOGETHER, *ALONE):
        came, left = found[rate] if rate in found else steady(rate, seconds)
        used = made(came, seconds) / (rate * seconds)
        yield at_least(f"limits: {rate}/second for {seconds} s, made / allowed", used, 0.97)
        over = violations(came, rate, 1 - TOLERANCE)
        yield at_most(f"limits: {rate}/second, submissions over the limit", over, 0)
        own = violations(left, rate, 1)
        yield at_most(f"limits: {rate}/second, over the limit by batcher's own stamps", own, 0)
        yield Figure(f"limits: {rate}/second, latest arrival after its stamp", 1000 * latest(came, left), "ms")
    came = killed()
    yield Figure(f"limits: {PER_MINUTE}/minute over a SIGKILL, made / allowed", len(came) / PER_MINUTE)
    over = violations(came, PER_MINUTE, 60 - TOLERANCE)
    yield at_most(f"limits: {PER_MINUTE}/minute over a SIGKILL, submissions over the limit", over, 0)
