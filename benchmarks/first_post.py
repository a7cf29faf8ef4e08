"""How long after its start a run sends its first purchase, however many jobs it has: beside `validate`.

Each manifest is a matrix whose jobs are all new. Wall seconds of processes, on the disk; the first POST by the server's
stamp. No error may be found after the first POST, so `validate` of the same manifest is what has to come before it;
whatever a run takes beyond that is its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .figures import Figure, at_most, middle
from .plan import write_matrix
from .running import BATCHER, UNLIMITED, Ran, Start, run, scratch, server, until_request

SIZES = (2, 10_000, 100_000, 200_000)
#: Seconds that a run may take beyond `validate`.
MORE = 1.0


def measure(full: bool) -> Iterator[Figure]:
    """Two rounds of two jobs, one of each other size; with `full` three of each."""
    with scratch() as folder, server("--wait", "1000000") as api:
        for jobs in SIZES:
            path = write_matrix(folder, jobs, f"limits: {UNLIMITED}\n")
            rounds = 3 if full else 2 if jobs == SIZES[0] else 1
            checked, first = list[Ran](), list[Start]()
            for number in range(rounds):
                checked.append(_validate(path, jobs))
                state = folder / f"state-{jobs}-{number}"
                words = ["run", str(path), "--state", str(state), "--max-jobs", str(jobs), "--quiet"]
                first.append(until_request(words, api, "submit"))
            name = f"{jobs:,} new jobs"
            yield Figure(f"{name}: validate", middle([each.wall for each in checked]), "s")
            yield Figure(f"{name}: start to first POST", middle([each.seconds for each in first]), "s")
            busy = middle([post.cpu - check.cpu for post, check in zip(first, checked, strict=True)])
            yield Figure(f"{name}: processor until then, above that of validate", busy, "s")
            more = middle([post.seconds - check.wall for post, check in zip(first, checked, strict=True)])
            yield at_most(f"{name}: first POST later than validate by", more, MORE, "s")


def _validate(path: Path, jobs: int) -> Ran:
    ran = run([*BATCHER, "validate", str(path), "--max-jobs", str(jobs)])
    if ran.code:
        raise RuntimeError(f"batcher validate ended with {ran.code}: {ran.err[-500:]}")
    return ran
