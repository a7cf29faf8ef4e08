"""The same work for everybody: who takes part, a run at full speed, a run with a `kill -9` in the middle."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.running import BATCHER, UNLIMITED, Server, scratch, server
from benchmarks.sessions import session

from . import gnu
from .damage import Damage, damage

#: Bytes of a result.
SIZE = 2000
_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who does the work. `words`: the command for a server's URL and a folder; `saved`: numbers of the lines
    whose result is there, whole; `lacks`: why it cannot take part here, or nothing."""

    name: str
    words: Callable[[str, Path], list[str]]
    saved: Callable[[Path], set[int]]
    lacks: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with the work, and a server for one contestant. The work: `work.jsonl`, the body of a request a line."""

    folder: Path
    api: Server
    contestant: Contestant
    prompts: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        return self.contestant.words(self.api.url, self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """What a killed command leaves behind stays in the folder."""
        return {**self.api.environment, "TMPDIR": str(self.folder), "PARALLEL_HOME": str(self.folder / "parallel")}

    def damage(self) -> Damage:
        truth = self.api.truth()
        saved = {self.prompts[number - 1] for number in self.contestant.saved(self.folder)}
        return damage(self.prompts, truth["asked"], truth["charged"], saved)


def files(folder: Path) -> set[int]:
    """The peers name a file after its line."""
    return {int(path.stem) for path in (folder / "files").glob("*.mp4") if path.stat().st_size == SIZE}


def in_ledger(folder: Path) -> set[int]:
    """Batcher names files otherwise, and knows them in its ledger."""
    with closing(sqlite3.connect(folder / "state" / "ledger.db")) as ledger:
        rows = ledger.execute("SELECT prompt, result_path FROM jobs WHERE result_path IS NOT NULL").fetchall()
    return {int(prompt.split()[-1]) for prompt, path in rows if (folder / "state" / path).stat().st_size == SIZE}


def _batcher(_base: str, folder: Path) -> list[str]:
    (folder / "manifest.yaml").write_text(
        "campaign: peers\nmodel: grok-imagine-video\nprompts: [{file: work.jsonl}]\n"
        f"limits: {UNLIMITED}\nresults: {{name: '{{{{ job }}}}'}}\n",
        "utf-8",
    )
    return [*BATCHER, "run", str(folder / "manifest.yaml"), "--state", str(folder / "state")]


def _python(module: str, *options: str) -> Callable[[str, Path], list[str]]:
    return lambda base, folder: [sys.executable, "-m", f"benchmarks.peers.{module}", base, str(folder), *options]


def _needs(*packages: str) -> Callable[[], str]:
    def lacks() -> str:
        absent = [name for name in packages if find_spec(name) is None]
        return f"no {', '.join(absent)} here (make bench installs them)" if absent else ""

    return lacks


#: Who is compared; the first one is batcher.
CONTESTANTS = (
    Contestant("batcher", _batcher, in_ledger, str),
    Contestant("script", _python("script"), files, str),
    Contestant("GNU parallel", gnu.words, files, gnu.missing),
    Contestant("huey", _python("huey_command"), files, _needs("huey")),
    Contestant("huey, fed again", _python("huey_command", "--again"), files, _needs("huey")),
    Contestant("DBOS", _python("dbos_command"), files, _needs("dbos")),
)


def versions() -> str:
    """Of those peers that are here."""
    found = [f"{name} {version(name)}" for name in ("httpx2", "huey", "dbos") if find_spec(name)]
    return ", ".join(found + ([] if gnu.missing() else [f"GNU parallel {gnu.version()}"]))


@contextmanager
def place(contestant: Contestant, jobs: int) -> Iterator[Place]:
    """Work of so many jobs."""
    prompts = tuple(f"A cinematic reveal of product {number}" for number in range(1, jobs + 1))
    with scratch(memory=True) as folder, server("--bytes", str(SIZE)) as api:
        (folder / "files").mkdir()
        (folder / "parallel").mkdir()
        with (folder / "work.jsonl").open("w", encoding="utf-8") as work:
            work.writelines(json.dumps({"model": "grok-imagine-video", "prompt": text}) + "\n" for text in prompts)
        yield Place(folder, api, contestant, prompts)


def speed(contestant: Contestant, jobs: int) -> float:
    """Jobs a second from the first submission to the last file, by the server's stamps."""
    with place(contestant, jobs) as here:
        with session(here.words, environment=here.environment, log=here.folder / "log") as running:
            running.succeed(_PATIENCE)
        found = here.damage()
        if found.asked_again or not found.survived:
            raise RuntimeError(f"{contestant.name}, which nobody disturbed: {found}")
        stamps: dict[str, list[float]] = here.api.truth()["stamps"]
        return jobs / (max(stamps["download"]) - min(stamps["submit"]))


@dataclass(frozen=True, slots=True)
class Killed:
    """What a kill in the middle of so many jobs did, and the jobs a second until then."""

    jobs: int
    damage: Damage
    pace: float


def killed(contestant: Contestant, jobs: int) -> Killed:
    """Kill it when about 40 % of the jobs were asked for, start the same command again, and let it come to its end.

    Somebody so fast that nothing was left to kill gets twice the work.
    """
    with place(contestant, jobs) as here:
        with session(here.words, environment=here.environment, log=here.folder / "log") as first:
            stamps = _until(here.api, 2 * jobs // 5, lambda: first.running)
            first.kill()
        came = len(here.api.truth()["asked"])
        if came < 2 * jobs // 5:
            raise RuntimeError(f"{contestant.name} came to {came} of {jobs} jobs by itself; {first.said}")
        if came < 0.9 * jobs:
            with session(here.words, environment=here.environment, log=here.folder / "log") as second:
                second.succeed(_PATIENCE)
            return Killed(jobs, here.damage(), len(stamps) / (stamps[-1] - stamps[0]))
    return killed(contestant, 2 * jobs)


def _until(api: Server, count: int, going: Callable[[], bool]) -> list[float]:
    """Wait until so many were asked for; when."""
    give_up = time.monotonic() + _PATIENCE
    stamps: list[float] = []
    while len(stamps) < count and going() and time.monotonic() < give_up:
        time.sleep(0.01)
        stamps = api.truth()["stamps"]["submit"]
    return stamps
