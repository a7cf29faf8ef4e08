"""`batcher run` as a user would: the same command again and again, whatever ended it, until nothing is left to do.

A SIGKILL comes after a seeded time. Beside it a thread watches how many jobs the simulator has sold and brings the
outages.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from .api import KEY, Api
from .scenarios import Scenario

#: Seconds after an outage in which the run that sits it out is still spared: its next probe may be so far away.
_SPARED_AFTER = 17.0
_TICK = 0.02
#: Runs that may end by themselves without the work being done, before the driver gives up.
_ENDINGS = 40
#: Seconds without a single new purchase, saved file or ended task before the driver gives up.
_STUCK_SECONDS = 240.0


@dataclass(slots=True)
class Story:
    """What happened. `endings` counts exit codes, `peak_kilobytes` is the largest resident size of any run.

    `outages` are begin and end in seconds since the epoch; `stuck` says why the driver gave up, if it did.
    """

    runs: int = 0
    kills: int = 0
    endings: Counter[int] = field(default_factory=Counter)
    peak_kilobytes: int = 0
    seconds: float = 0.0
    outages: list[tuple[float, float]] = field(default_factory=list)
    stuck: str = ""


class Outages(threading.Thread):
    """Brings each outage when enough jobs have been sold. The first is spared by the killer, so that it is sat out."""

    def __init__(self, scenario: Scenario, api: Api, story: Story) -> None:
        super().__init__(name="outages", daemon=True)
        self._scenario = scenario
        self._api = api
        self._story = story
        self._journal = scenario.folder / "api" / "journal.jsonl"
        self._over = threading.Event()
        self.spared = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            for number, share in enumerate(self._scenario.outages):
                while self._sold() < share * self._scenario.jobs:
                    if self._over.wait(0.2):
                        return
                began = time.time()
                if number == 0:
                    self._sit_out()
                else:
                    self._vanish()
                self._story.outages.append((began, time.time()))
                if number == 0:
                    self._over.wait(min(_SPARED_AFTER, self._scenario.outage))
                    self.spared.clear()
        except BaseException as error:  # the driver's thread raises it
            self.failure = error

    def _sit_out(self) -> None:
        self.spared.set()
        for how in ("errors", "cut"):
            self._api.order(outage=how)
            self._over.wait(self._scenario.outage / 2)
        self._api.order(outage="none")

    def _vanish(self) -> None:
        self._api.kill()
        time.sleep(self._scenario.outage)
        self._api.start()

    def _sold(self) -> int:
        return self._journal.read_bytes().count(b'{"op":"task"')

    def end(self) -> None:
        """No further outage; waits until the present one is over."""
        self._over.set()
        self.join()
        if self.failure:
            raise self.failure


def drive(scenario: Scenario, api: Api, root: Path) -> Story:
    """Run, kill and run again until a run ends by itself with nothing left that a further one could do."""
    story, rng = Story(), random.Random(scenario.seed)  # noqa: S311 (repeatable on purpose)
    outages = Outages(scenario, api, story)
    outages.start()
    begun = last = time.monotonic()
    progress = (-1, -1)
    try:
        while True:
            code = _run(scenario, api, root, story, rng.uniform(*scenario.kill_every), outages.spared)
            story.endings[code] += 1
            now = _progress(scenario.folder / "state")
            if now != progress:
                progress, last = now, time.monotonic()
            if code == -signal.SIGKILL:
                story.kills += 1
            elif code not in (0, 1, 3, 6):
                story.stuck = f"a run ended with exit code {code}"
            elif _is_done(scenario.folder / "state", scenario.complete):
                return story
            elif sum(n for c, n in story.endings.items() if c >= 0) > _ENDINGS:
                story.stuck = f"{_ENDINGS} runs ended by themselves and work is left"
            if time.monotonic() - last > _STUCK_SECONDS:
                story.stuck = f"nothing has changed for {_STUCK_SECONDS:.0f} s"
            if story.stuck:
                return story
    finally:
        outages.end()
        story.seconds = time.monotonic() - begun


def _run(scenario: Scenario, api: Api, root: Path, story: Story, life: float, spared: threading.Event) -> int:
    """One `batcher run`, killed after `life` seconds if it lives so long; its exit code, or minus the signal."""
    command = [sys.executable, "-m", "batcher", "run", *map(str, scenario.manifests), "--quiet"]
    command += ["--state", str(scenario.folder / "state")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RIVYA_", "BATCHER_"))}
    environment |= {"RIVYA_API_KEY": KEY, "RIVYA_BASE_URL": api.base_url, "PYTHONPATH": str(root)}
    with (scenario.folder / "runs.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603
            command, env=environment, cwd=scenario.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    story.runs += 1
    deadline = time.monotonic() + life
    try:
        while not (found := os.wait4(process.pid, os.WNOHANG))[0]:
            if time.monotonic() >= deadline and not spared.is_set():
                process.kill()
                found = os.wait4(process.pid, 0)
                break
            time.sleep(_TICK)
    except BaseException:
        process.kill()
        raise
    _, status, used = found
    process.returncode = os.waitstatus_to_exitcode(status)
    story.peak_kilobytes = max(story.peak_kilobytes, used.ru_maxrss)
    return process.returncode


def _rows(state: Path, query: str) -> list[tuple[int, ...]]:
    path = state / "ledger.db"
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as ledger:
            return ledger.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []  # killed before the tables were made


def _progress(state: Path) -> tuple[int, int]:
    query = "SELECT (SELECT count(*) FROM attempts), (SELECT count(*) FROM files WHERE saved_at IS NOT NULL)"
    found = _rows(state, query)
    return (found[0][0], found[0][1]) if found else (0, 0)


def _is_done(state: Path, complete: bool) -> bool:
    """Whether a further run would have nothing to do; with `complete` no job may be left planned."""
    planned = "'planned', " if complete else ""
    query = (
        f"SELECT (SELECT count(*) FROM jobs WHERE status IN ({planned}'submitting', 'queued', 'processing')),"
        " (SELECT count(*) FROM jobs WHERE status = 'succeeded' AND result_path IS NULL)"
    )
    found = _rows(state, query)
    return bool(found) and found[0] == (0, 0)
