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

from .figures import Figure, at_most
from .running import UNLIMITED, Ran, Server, buy, scratch, server

SIZES = (300, 900, 2_700)
FULL_SIZES = (*SIZES, 20_000, 60_000)
#: Seconds of CPU that nobody can tell from nothing.
FLOOR = 0.03
#: How often each command is measured, where once does not change what the next one meets.
_TIMES = 2
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
    """Sizes up to 2,700 jobs, and to 60,000 with `full`; also how a run's memory grows."""
    sizes = FULL_SIZES if full else SIZES
    with scratch() as folder:
        took = {jobs: _took(folder / str(jobs), jobs) for jobs in (2, *sizes)}
    for command in _COMMANDS:
        start_up = took[2][command].cpu
        own = [max(FLOOR, took[jobs][command].cpu - start_up) for jobs in sizes]
        yield Figure(f"{command}: CPU of the command for two jobs", start_up, "s")
        for jobs, seconds in zip(sizes, own, strict=True):
            yield Figure(f"{command}: CPU above that, {jobs:,} jobs", seconds, "s")
        yield at_most(f"{command}: exponent, {sizes[0]:,} to {sizes[-1]:,} jobs", exponent(sizes, own), 1.1)
    few, many = took[sizes[0]]["run"].peak, took[sizes[-1]]["run"].peak
    yield Figure(f"run: peak memory, {sizes[-1]:,} jobs", many, "MB")
    yield Figure(f"run: peak memory a job, {sizes[-1]:,} above {sizes[0]:,}", 1000 * (many - few) / sizes[-1], "kB")


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of the line that fits best, on logarithms of both."""
    xs, ys = [log(size) for size in sizes], [log(each) for each in seconds]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - middle_x) ** 2 for x in xs)


def _took(folder: Path, jobs: int) -> dict[str, Ran]:
    """What each command took with so many jobs."""
    folder.mkdir()
    (folder / "m.yaml").write_text(_MANIFEST)
    with (folder / "rows.jsonl").open("w") as rows:
        for number in range(jobs // 2):
            rows.write(json.dumps({"title": f"product {number}"}) + "\n")
    with server() as place:
        words = (str(folder / "m.yaml"), "--state", str(folder / "state"), "--max-jobs", "1000000")
        found = {"plan": _typical(place, _TIMES, "plan", *words), "run": _typical(place, 1, "run", *words, "--quiet")}
        assert len(place.truth()["charged"]) == jobs
        found["resume"] = _typical(place, _TIMES, "run", *words, "--quiet")
        found["report"] = _typical(place, _TIMES, "report", "--state", str(folder / "state"))
        assert len(place.truth()["charged"]) == jobs
    return found


def _typical(place: Server, times: int, *words: str) -> Ran:
    """The run with the fewest CPU seconds: another one was only held up."""
    return min((buy(words, place) for _ in range(times)), key=lambda ran: ran.cpu)
