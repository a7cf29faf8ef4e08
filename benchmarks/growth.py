"""How the commands grow with the number of jobs: CPU seconds at several sizes, and the exponent.

Each command is a process. What it takes for one job is taken off, so that what is left is what grows; then the exponent
is the slope of the line that fits log(seconds) over log(jobs) best (least squares). Two processes that do the same
differ by some hundredths of a second, so less than `FLOOR` counts as that much: a command that stays below it at every
size has the exponent 0.

`run` buys every job and fetches its file; `resume` is the same command again, when nothing is left to do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory

from .figures import Figure, at_most, middle
from .running import BATCHER, UNLIMITED, Server, run, server

SIZES = (1_000, 3_000, 10_000)
FULL_SIZES = (*SIZES, 30_000, 100_000)
#: Seconds of CPU that nobody can tell from nothing.
FLOOR = 0.03
#: How often each command is measured, where once does not change what the next one meets.
_TIMES = 3
_COMMANDS = ("plan", "run", "resume", "report")
_MANIFEST = f"""\
campaign: growth
model: grok-imagine-video
matrix: {{resolution: [480p, 720p]}}
prompts:
  - {{file: rows.jsonl, prompt: "A cinematic reveal of {{{{ title }}}}, with smooth camera movement and soft light"}}
limits: {UNLIMITED}
"""


def measure(full: bool) -> Iterator[Figure]:
    """Sizes up to 10,000 jobs, and to 100,000 with `full`."""
    sizes = FULL_SIZES if full else SIZES
    with TemporaryDirectory() as scratch:
        took = {jobs: _seconds(Path(scratch) / str(jobs), jobs) for jobs in (2, *sizes)}
    for command in _COMMANDS:
        start_up = took[2][command]
        own = [max(FLOOR, took[jobs][command] - start_up) for jobs in sizes]
        yield Figure(f"{command}: CPU of the command for two jobs", start_up, "s")
        for jobs, seconds in zip(sizes, own, strict=True):
            yield Figure(f"{command}: CPU above that, {jobs:,} jobs", seconds, "s")
        yield at_most(f"{command}: exponent, {sizes[0]:,} to {sizes[-1]:,} jobs", exponent(sizes, own), 1.1)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of the line that fits best, on logarithms of both."""
    xs, ys = [log(size) for size in sizes], [log(each) for each in seconds]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - middle_x) ** 2 for x in xs)


def _seconds(folder: Path, jobs: int) -> dict[str, float]:
    """CPU seconds of each command with so many jobs."""
    folder.mkdir()
    (folder / "m.yaml").write_text(_MANIFEST)
    with (folder / "rows.jsonl").open("w") as rows:
        for number in range(jobs // 2):
            rows.write(json.dumps({"title": f"product {number}"}) + "\n")
    with server() as place:
        words = (str(folder / "m.yaml"), "--state", str(folder / "state"), "--max-jobs", "1000000")
        found = {"plan": _cpu(place, _TIMES, "plan", *words), "run": _cpu(place, 1, "run", *words, "--quiet")}
        assert len(place.truth()["charged"]) == jobs
        found["resume"] = _cpu(place, _TIMES, "run", *words, "--quiet")
        found["report"] = _cpu(place, _TIMES, "report", "--state", str(folder / "state"))
        assert len(place.truth()["charged"]) == jobs
    return found


def _cpu(place: Server, times: int, *words: str) -> float:
    found = []
    for _ in range(times):
        ran = run([*BATCHER, *words], environment=place.environment)
        if ran.code:
            raise RuntimeError(f"batcher {words[0]} ended with {ran.code}: {ran.err[-500:]}")
        found.append(ran.cpu)
    return middle(found)
