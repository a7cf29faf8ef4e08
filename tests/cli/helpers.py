"""What the tests of the terminal share."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from batcher.cli.open_ledger import need_reader
from batcher.cli.terminal import Terminal
from batcher.simulator.app import Simulator, stub_media
from batcher.simulator.faults import Faults, parse_all
from batcher.simulator.serve import running
from batcher.simulator.switches import DEFAULT_KEY, Switches
from batcher.simulator.world import World

ROOT = Path(__file__).parents[2]
BATCHER = [sys.executable, "-m", "batcher"]

#: Four jobs in two price classes; with limits so high that nothing waits.
MANIFEST = """\
campaign: tiny
model: grok-imagine-video
matrix: {product: [watch, ring]}
prompts:
  - name: reveal
    prompt: A reveal of a {{ product }}
  - name: dunes
    prompt: "{{ product }} on dunes"
    params: {mode: fun}
limits: {submit: 1000/second, requests: 1000/second}
polling: {first: 10ms, every: 10ms, max: 50ms}
"""

#: The jobs of MANIFEST in its order.
REVEAL_1, REVEAL_2, DUNES_1, DUNES_2 = "2f750cf74004", "30c976a363c0", "7ecb7e6e4c91", "d366cf3f983a"

#: The first job of a run becomes doubtful: the answer to it is lost, and then its repeat is refused.
DOUBT: tuple[object, ...] = (
    {"on": "create", "do": "lost", "nth": 1},
    {"on": "create", "do": "status", "status": 422, "code": "validation_error", "nth": 2},
)


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document of stdout."""
        found = json.loads(self.out)
        assert found["version"] == 1
        return found


Cli = Callable[..., Ran]


class Clock:
    """The simulator's; `ahead` puts it forward by so many seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass(frozen=True)
class Site:
    """The simulator behind a real socket, in this process."""

    base_url: str
    world: World
    app: Simulator
    clock: Clock


@contextmanager
def site(*, wallet: int = 1000, faults: list[object] | None = None, **switches: object) -> Iterator[Site]:
    """Serve a simulator without delays; keyword arguments are switches."""
    settings = Switches(queue_seconds=(0, 0), run_seconds=(0, 0))
    settings.set(switches)
    clock = Clock()
    world = World(now=clock, wallet=wallet, switches=settings)
    app = Simulator(world, Faults(parse_all(faults or [])), stub_media)
    with running(app) as base_url:
        yield Site(base_url, world, app, clock)


def environment(place: Site) -> dict[str, str]:
    """What a real run needs to find it."""
    return {"RIVYA_API_KEY": DEFAULT_KEY, "RIVYA_BASE_URL": place.base_url}


def normal(text: str, folder: Path | None = None) -> str:
    """A text of the terminal without what differs from run to run."""
    if folder is not None:
        text = text.replace(str(folder), "<folder>")
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "<time>", text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "<sha256>", text)
    text = re.sub(r"\b[0-9a-f]{40}\b", "<key>", text)
    text = re.sub(r"task_[0-9a-f]+", "<task>", text)
    text = re.sub(r"req_[0-9a-f]+", "<request>", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "<host>", text)
    text = re.sub(r"results/\d+-[0-9a-f]+/", "results/<token>/", text)
    text = re.sub(r"\bin \d+ s\b", "in <seconds>", text)
    text = re.sub(r"\b\d\d:\d\d:\d\d\b", "<clock>", text)
    return re.sub(r"\bpid \d+", "pid <pid>", text)


def clean(**more: str) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("RIVYA_", "BATCHER_", "NO_COLOR", "FORCE_"))}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def statuses(cli: Cli) -> list[str]:
    return [job["status"] for job in cli("jobs", "--json").document["jobs"]]


def money() -> tuple[int, int]:
    with closing(need_reader(Path("state"))) as read:
        found = read.spent()
    return found.held, found.settled


def refused(ran: Ran, words: str, code: int = 2) -> None:
    assert ran.code == code, ran
    assert words in ran.err
    assert ran.out == ""


def go(place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(place).items():
        monkeypatch.setenv(name, value)


def purchases(place: Site) -> int:
    return len(place.world.oracle().tasks)


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def real_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """One whose streams are a terminal (no fixture: pytest takes the streams back between setup and test)."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Tty())
    monkeypatch.setattr(sys, "stdout", Tty())
    return Terminal()


def written() -> str:
    return cast(Tty, sys.stderr).getvalue()
