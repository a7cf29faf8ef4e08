"""How fast `batcher plan` expands, and how much memory it needs: the command as a process, without a ledger.

Jobs a second are jobs by CPU seconds, less those of the same command for one job: what is left is what grows. Every
hundredth job is asked for twice, so each plan has to find its duplicates. Memory is the peak of the whole process.

The YAML is compared with what PyYAML's C loader takes for the same file, in this process: for its bare events, which is
where batcher begins, and for `yaml.load`, which checks nothing, knows no places and makes no jobs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from .figures import Figure, at_least, at_most, middle
from .running import BATCHER, Ran, run

SIZES = (10_000, 100_000)
FULL_SIZES = (*SIZES, 1_000_000)
PROMPTS = 50_000
#: Jobs a second, by what they come from.
RATES = {"matrix": 100_000, "JSONL": 30_000, "CSV": 70_000}
#: Megabytes for plans up to 100,000 jobs and above.
SMALL, LARGE = 100, 200
#: Of the speed of the C parser's bare events, with places, checks, jobs and all.
OF_EVENTS = 0.25
#: Of so many jobs one is asked for again.
_TWICE = 100
_HEAD = "campaign: plan\nmodel: grok-imagine-video\nparams: {resolution: 720p}\n"
_TEXT = "A cinematic reveal of {{ title }}, with smooth camera movement and soft light"


def measure(full: bool) -> Iterator[Figure]:
    """A matrix, a JSONL and a CSV of up to 100,000 jobs, with `full` a million; a YAML of 50,000 prompts."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        start_up = middle([_plan(_jsonl(folder, 1), 1).cpu for _ in range(3)])
        yield Figure("CPU of a plan of one job, taken off below", start_up, "s")
        for jobs in FULL_SIZES if full else SIZES:
            makers: dict[str, Callable[[Path, int], Path]] = {
                "matrix": partial(write_matrix, again=True),
                "JSONL": _jsonl,
                "CSV": _csv,
            }
            for kind, make in makers.items():
                path = make(folder, jobs)
                rans = [_plan(path, jobs) for _ in range(2 if jobs == SIZES[0] else 1)]
                seconds = middle([ran.cpu for ran in rans]) - start_up
                yield at_least(f"{kind}, {jobs:,} jobs: jobs a second", jobs / seconds, RATES[kind])
                most = SMALL if jobs <= SIZES[-1] else LARGE
                yield at_most(f"{kind}, {jobs:,} jobs: peak memory", max(ran.peak for ran in rans), most, "MB")
        yield from _yaml_figures(folder, start_up)


def _yaml_figures(folder: Path, start_up: float) -> Iterator[Figure]:
    path = _yaml(folder)
    # by turns, for a machine's pace changes; and before this process grows, for the peak of a child begins with it
    rounds = [(_plan(path, PROMPTS), _events(path)) for _ in range(3)]
    loaded = _loaded(path)
    seconds, bare = middle([ran.cpu - start_up for ran, _ in rounds]), middle([bare for _, bare in rounds])
    as_fast = middle([bare / (ran.cpu - start_up) for ran, bare in rounds])
    name = f"YAML, {PROMPTS:,} prompts"
    yield Figure(f"{name}: prompts a second", PROMPTS / seconds, "a second")
    yield Figure(f"{name}: bare events of PyYAML's C loader", PROMPTS / bare, "a second")
    yield at_least(f"{name}: as fast as these events, times", as_fast, OF_EVENTS)
    yield Figure(f"{name}: as fast as yaml.load with the C loader, times", loaded / seconds)
    yield at_most(f"{name}: peak memory", max(ran.peak for ran, _ in rounds), SMALL, "MB")


def _plan(path: Path, jobs: int) -> Ran:
    """Plan a manifest that asks for so many jobs, and hold the plan to it."""
    words = ("plan", str(path), "--state", str(path.parent / "state"), "--json", "--max-jobs", str(jobs))
    ran = run([*BATCHER, *words])
    if ran.code:
        raise RuntimeError(f"batcher plan ended with {ran.code}: {ran.err[-500:]}")
    campaign: dict[str, Any] = json.loads(ran.out)["campaigns"][0]
    found = (campaign["jobs"], campaign["new"], campaign["duplicates"])
    wanted = (jobs, jobs, 0 if path.suffix == ".yml" else jobs // _TWICE)
    if found != wanted:
        raise RuntimeError(f"{path.name}: the plan has {found} jobs, new ones and duplicates, not {wanted}")
    return ran


def _jsonl(folder: Path, jobs: int) -> Path:
    return _of_rows(folder / f"{jobs}.jsonl", (json.dumps(row) for row in _rows(jobs)))


def _csv(folder: Path, jobs: int) -> Path:
    lines = (",".join(map(str, row.values())) for row in _rows(jobs))
    return _of_rows(folder / f"{jobs}.csv", chain(["title,seconds,mode"], lines))


def _rows(jobs: int) -> Iterator[dict[str, object]]:
    for number in (*range(jobs), *range(0, jobs - jobs % _TWICE, _TWICE)):
        yield {"title": f"product {number}", "seconds": number % 5, "mode": "fun"}


def _of_rows(rows: Path, lines: Iterable[str]) -> Path:
    with rows.open("w") as file:
        file.writelines(f"{line}\n" for line in lines)
    path = rows.with_name(f"{rows.suffix[1:]}-{rows.stem}.yaml")
    path.write_text(f'{_HEAD}prompts:\n  - {{file: {rows.name}, prompt: "{_TEXT} in {{{{ seconds }}}} seconds"}}\n')
    return path


def write_matrix(folder: Path, jobs: int, more: str = "", *, again: bool = False) -> Path:
    """A manifest whose axes make so many jobs: texts, three params and what is left as numbers; `more` lines of it.

    With `again`, a second prompt asks for every hundredth of them once more.
    """
    params = {"mode": ["normal", "fun"], "duration": [6, 10], "aspect_ratio": ["1:1", "16:9", "9:16", "3:2", "2:3"]}
    places, titles = list(range(jobs // 2000)), [f"product {number}" for number in range(100)]
    if jobs < 2000:  # what a person tries first
        params, places, titles = {}, list(range(jobs)), ["product 0"]
    text = f"{_TEXT} at place {{{{ place }}}}"
    prompts = [{"prompt": text, "matrix": {**params, "title": titles, "place": places}}]
    if again:
        prompts.append({"name": "again", "prompt": text, "matrix": {**params, "title": titles[:1], "place": places}})
    path = folder / f"matrix-{jobs}.yaml"
    path.write_text(_HEAD + more + yaml.safe_dump({"prompts": prompts}))
    return path


def _yaml(folder: Path) -> Path:
    path = folder / "prompts.yml"
    with path.open("w") as file:
        file.write(f"{_HEAD}prompts:\n")
        for number in range(PROMPTS):
            file.write(f"  - name: scene-{number}\n")
            file.write(f"    prompt: A cinematic reveal of product {number}, with smooth camera movement\n")
    return path


#: What writes a manifest that asks for so many jobs, by what it is made of.
_KINDS: dict[str, Callable[[Path, int], Path]] = {
    "matrix": partial(write_matrix, again=True),
    "JSONL": _jsonl,
    "CSV": _csv,
}


def _events(path: Path) -> float:
    """CPU seconds for the bare events of a YAML file."""
    begun = time.process_time()
    loader: Any = yaml.CSafeLoader(path.read_text())
    while loader.get_event() is not None:
        pass
    loader.dispose()
    return time.process_time() - begun


def _loaded(path: Path) -> float:
    """CPU seconds for loading a YAML file in PyYAML's own way."""
    begun = time.process_time()
    assert len(yaml.load(path.read_text(), yaml.CSafeLoader)["prompts"]) == PROMPTS
    return time.process_time() - begun
