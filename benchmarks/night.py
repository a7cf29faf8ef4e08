"""The wall time of a night in small, beside that of an ideal schedule: what waiting costs that nobody has to wait for.

A create takes half a second, a generation about 20 s (lognormal, σ 0.2), a result has 5 MB, 100 jobs are in flight; all
else is left at its defaults but the limits, which are wide. Ideal is that each of the 100 places takes the next job in
the instant in which the one before has ended, by the very times that the server dealt out, and start-up, downloads and
the end of the run take no time.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence

from .figures import Figure, at_most, middle
from .running import buy, scratch, server
from .throughput import write_manifest

JOBS, FULL_JOBS, IN_FLIGHT = 200, 300, 100
POST, GENERATION, SIGMA, SIZE = 0.5, 20, 0.2, 5_000_000


def ideal(generations: Sequence[float]) -> float:
    """Seconds that generations of these lengths take, begun in this order, with so many at once."""
    places = [0.0] * IN_FLIGHT
    for seconds in generations:
        heapq.heapreplace(places, places[0] + max(POST, seconds))
    return max(places)


def measure(full: bool) -> Iterator[Figure]:
    """Two turns of 100 jobs each, which keeps `make bench` under ten minutes; with `full` three."""
    jobs = FULL_JOBS if full else JOBS
    options = ("--post", str(POST), "--wait", f"{GENERATION}:{SIGMA}", "--bytes", str(SIZE))
    with scratch() as folder, server(*options) as api:
        limits = f"limits: {{submit: 3000/minute, requests: 6000/minute, in_flight: {IN_FLIGHT}}}\n"
        path = write_manifest(folder / "night", jobs, limits)
        ran = buy(["run", str(path), "--state", str(folder / "night" / "state"), "--quiet", "--json"], api)
        truth = api.truth()
    begun = min(truth["stamps"]["submit"])
    generations = [end - begin for end, begin in zip(truth["ends"].values(), truth["stamps"]["submit"], strict=True)]
    best = ideal(generations)
    polls = sum(map(len, truth["polls"].values()))
    seen = [truth["polls"][task][-1] - end for task, end in truth["ends"].items()]
    name = f"{jobs} jobs, {IN_FLIGHT} in flight, {GENERATION} s each"
    assert json.loads(ran.out)["version"] == 1
    yield Figure(f"{name}: ideal", best, "s")
    yield Figure(f"{name}: wall, start-up and all", ran.wall, "s")
    yield Figure(f"{name}: first POST to last result asked for", max(truth["stamps"]["download"]) - begun, "s")
    yield Figure(f"{name}: an end is seen after, median", middle(seen), "s")
    yield Figure(f"{name}: polls a job", polls / jobs)
    yield at_most(f"{name}: wall / ideal", ran.wall / best, 1.15, "×")
