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
    """Each job once. `no_room` names the cap that has none for all of some jobs together; `take` buys one of them.

    First come the jobs whose sources are all begun, then what is new in its order: a source with the first job that is
    made from it, to the end of the chain, and after it all others that are made from what is bought by now.
    """
    every = {spec.id: (spec, standing) for spec, standing in jobs}
    needs = {spec.id: [one.job_id for one in sources_of(spec.reference)] for spec, _ in jobs}
    made: dict[JobId, list[JobId]] = {}
    for job, sources in needs.items():
        for source in sources:
            made.setdefault(source, []).append(job)
    wanted = {job for job, (_, standing) in every.items() if standing == "new"}
    stopped: dict[JobId, str] = {}

    def step(job: JobId) -> Step:
        ends = bool(needs[job]) and job not in made
        return Step(*every[job], stopped.get(job, ""), ends_chain=ends)

    def buy(job: JobId) -> Iterator[Step]:
        ahead: dict[JobId, None] = {}
        end: JobId | None = job
        while end is not None:
            ahead |= dict.fromkeys(each for each in _with_sources(end, needs) if each in wanted)
            end = next((each for each in made.get(end, ()) if each in wanted), None)
        if cap := no_room([every[each][0] for each in ahead]):
            waiting = list(ahead)
            while waiting:
                if (each := waiting.pop()) not in stopped:
                    stopped[each] = cap
                    waiting += (user for user in made.get(each, ()) if user in wanted)
            return
        for each in ahead:
            take(every[each][0])
            wanted.discard(each)
            stopped.pop(each, None)
            yield step(each)
        for each in dict.fromkeys(user for bought in ahead for user in made.get(bought, ())):
            if each in wanted and wanted.isdisjoint(needs[each]):
                yield from buy(each)

    begun = [job for job, sources in needs.items() if sources and wanted.isdisjoint(sources)]
    for job in [*begun, *(job for job, sources in needs.items() if not sources)]:
        if job in wanted:
            yield from buy(job)
    for job in every:
        if job in wanted or every[job][1] != "new":
            yield step(job)


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
