"""Which jobs of a campaign fit under caps where some are made from results of others: whole chains, as a run buys them.

A chain is a job from which nothing else is made, with all that it needs: it is bought whole, or not begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from batcher.jobs import JobId, JobSpec, sources_of


class Step(NamedTuple):
    """A job in the order of buying; `stopped_by` is the name of the cap without room for its chain.

    `ends_chain`: it is made from results, and nothing from its own.
    """

    spec: JobSpec
    standing: str
    stopped_by: str
    ends_chain: bool


def whole_chains(
    jobs: Sequence[tuple[JobSpec, str]], no_room: Callable[[Sequence[JobSpec]], str], take: Callable[[JobSpec], None]
) -> Iterator[Step]:
    """Each job once. `no_room` names the cap that has none for all of some jobs together; `take` buys one of them."""
    every = {spec.id: (spec, standing) for spec, standing in jobs}
    needs = {spec.id: [one.job_id for one in sources_of(spec.reference)] for spec, _ in jobs}
    needed = {source for sources in needs.values() for source in sources}
    bought: dict[JobId, None] = {}
    stopped: dict[JobId, str] = {}
    for spec, _ in jobs:
        if spec.id in needed:
            continue
        chain = [job for job in _with_sources(spec.id, needs) if job not in bought and every[job][1] == "new"]
        if cap := no_room([every[job][0] for job in chain]) if chain else "":
            stopped |= dict.fromkeys(chain, cap)
            continue
        for job in chain:
            take(every[job][0])
            bought[job] = None
            stopped.pop(job, None)
            yield Step(every[job][0], "new", "", ends_chain=job == spec.id and bool(needs[job]))
    for spec, standing in jobs:
        if spec.id not in bought:
            ends = spec.id not in needed and bool(needs[spec.id])
            yield Step(spec, standing, stopped.get(spec.id, ""), ends_chain=ends)


def _with_sources(job: JobId, needs: dict[JobId, list[JobId]]) -> list[JobId]:
    """A job after all that it needs, each once."""
    found: dict[JobId, None] = {}
    stack = [(job, False)]
    while stack:
        each, is_through = stack.pop()
        if is_through:
            found[each] = None
        elif each not in found and each in needs:
            stack.append((each, True))
            stack += [(source, False) for source in reversed(needs[each])]
    return list(found)
