"""How long a command takes to start, against a bare interpreter: medians of processes that take turns.

Wall seconds are what a user feels, CPU seconds are what a busy machine cannot blur; the goals are held to CPU, of which
a start is made, and wall is printed beside it. Bytecode is written once before, as an installation does.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .figures import Figure, at_most, middle
from .report import make
from .running import BATCHER, ROOT, Ran, run

_JOBS = 200
_ROUNDS = 10
#: The slow ones take part in every so manieth round.
_SELDOM = 5


def measure(full: bool) -> Iterator[Figure]:
    """Ratios to `python -c pass`."""
    with tempfile.TemporaryDirectory() as scratch:
        state = Path(scratch) / "state"
        state.mkdir()
        make(state / "ledger.db", _JOBS)
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "PYTHONPYCACHEPREFIX": scratch,
        }
        took = _take_turns(_commands(state), environment, rounds=_ROUNDS * (4 if full else 1))
    bare = took.pop("python -c pass")
    yield Figure("python -c pass", 1000 * middle([ran.wall for ran in bare]), "ms")
    goals = {"batcher --version": 2.5, "batcher status": 7.0}
    for name, runs in took.items():
        cpu = middle([ran.cpu for ran in runs]) / middle([ran.cpu for ran in bare])
        wall = middle([ran.wall for ran in runs]) / middle([ran.wall for ran in bare])
        goal = goals.get(name)
        said = f"{name} / python -c pass, CPU"
        yield Figure(said, cpu, "×") if goal is None else at_most(said, cpu, goal, "×")
        yield Figure(f"{name} / python -c pass, wall", wall, "×")


def _commands(state: Path) -> dict[str, list[str]]:
    """Command lines by name; the frequent ones first."""
    script = Path(sys.executable).with_name("batcher")
    batcher = [str(script)] if script.exists() else list(BATCHER)
    looking = ["--state", str(state)]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "batcher --version": [*batcher, "--version"],
        "batcher status": [*batcher, "status", *looking],
        "batcher jobs": [*batcher, "jobs", *looking],
        "batcher --help": [*batcher, "--help"],
        "batcher validate": [*batcher, "validate", str(ROOT / "manifests" / "quickstart.yaml")],
        "sqlite-utils --version": [sys.executable, "-m", "sqlite_utils", "--version"],
    }


def _take_turns(commands: dict[str, list[str]], environment: dict[str, str], *, rounds: int) -> dict[str, list[Ran]]:
    took: dict[str, list[Ran]] = {name: [] for name in commands}
    frequent = list(commands)[:3]
    for number in range(-1, rounds):  # the first one warms up
        for name in commands if number % _SELDOM == 0 or number < 0 else frequent:
            ran = run(commands[name], environment=environment)
            if ran.code:
                raise RuntimeError(f"{name}: exit code {ran.code}\n{ran.err}")
            if number >= 0:
                took[name].append(ran)
    return took
