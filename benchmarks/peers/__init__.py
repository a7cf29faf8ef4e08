"""Batcher beside what people use instead: the same jobs, the same server; speed, and what one `kill -9` costs.

Jobs come from a JSONL of unique prompts; each is a purchase, which the server answers with the result at once, and a
file to fetch. Each peer is written as somebody who knows it would: see its module, which also says whether it gives the
API an idempotency key.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure, at_least, at_most, middle

from .contest import CONTESTANTS, Contestant, Killed, killed, speed, versions
from .damage import Damage

#: How many times as fast as a peer batcher is to be.
GOALS = {"huey": 1.0, "huey, fed again": 1.0, "DBOS": 5.0}


def measure(full: bool) -> Iterator[Figure]:
    """Kills first, for they also tell how many jobs are enough to measure a speed; then speeds, in rounds."""
    jobs, rounds, seconds = (2000, 3, 10.0) if full else (200, 2, 1.5)
    print(f"   {versions() or 'no peers here'}")
    here = [contestant for contestant in CONTESTANTS if not _left_out(contestant)]
    harm: dict[str, Killed] = {}
    for contestant in here:
        harm[contestant.name] = killed(contestant, jobs)
        yield from _harm(contestant.name, harm[contestant.name])
    sizes = {name: max(60, round(found.pace * seconds)) for name, found in harm.items()}
    runs = [{contestant.name: speed(contestant, sizes[contestant.name]) for contestant in here} for _ in range(rounds)]
    speeds = {contestant.name: middle([run[contestant.name] for run in runs]) for contestant in here}
    for name, found in speeds.items():
        yield Figure(f"peers: {name}", found, "jobs/s")
    ours = CONTESTANTS[0].name
    for name in [name for name in speeds if name != ours]:
        yield _compared(name, speeds[ours] / speeds[name], harm[name].damage)


def _left_out(contestant: Contestant) -> bool:
    if lack := contestant.lacks():
        print(f"   {contestant.name} is left out: {lack}")
    return bool(lack)


def _harm(name: str, kill: Killed) -> Iterator[Figure]:
    """Batcher's have goals."""
    about, found = f"peers: {name}, kill -9 in {kill.jobs:,} jobs:", kill.damage
    yield Figure(f"{about} asked for again", found.asked_again, "jobs")
    for what, number in (
        ("charged twice", found.charged_again),
        ("paid, no file", found.lost),
        ("never done", found.dropped),
    ):
        label = f"{about} {what}"
        yield at_most(label, number, 0, "jobs") if name == CONTESTANTS[0].name else Figure(label, number, "jobs")


def _compared(name: str, ratio: float, found: Damage) -> Figure:
    label = f"peers: batcher / {name}{'' if found.survived else ', which does not survive'}"
    return at_least(label, ratio, GOALS[name]) if name in GOALS else Figure(label, ratio)
