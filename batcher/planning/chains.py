"""Which jobs of a campaign fit under caps where some are made from results of others: whole chains, as a run buys them.

A chain is a job from which nothing else is made, with all that it needs: it is bought whole, or not begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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

    def add_with_sources(job: JobId, found: dict[JobId, None]) -> None:
        """Add a job after all that it needs, as far as that is wanted too."""
        stack = [(job, False)]
        while stack:
            each, is_through = stack.pop()
            if is_through:
                found[each] = None
            elif each in wanted and each not in found:
                stack.append((each, True))
                stack += [(source, False) for source in reversed(needs[each])]

    def ahead_of(job: JobId) -> list[JobId]:
        """The job and what it needs, then the first that is made from it with the same, to the end of the chain."""
        ahead: dict[JobId, None] = {}
        end: JobId | None = job
        while end is not None:
            add_with_sources(end, ahead)
            end = next((each for each in made.get(end, ()) if each in wanted), None)
        return list(ahead)

    def stop(jobs: Iterable[JobId], cap: str) -> None:
        waiting = list(jobs)
        while waiting:
            if (each := waiting.pop()) not in stopped:
                stopped[each] = cap
                waiting += (user for user in made.get(each, ()) if user in wanted)

    def buy(first: JobId) -> Iterator[Step]:
        stack = [iter([first])]  # Python's own is shorter than a chain may be
        while stack:
            job = next(stack[-1], None)
            if job is None:
                stack.pop()
            elif job in wanted and wanted.isdisjoint(needs[job]):
                ahead = ahead_of(job)
                if cap := no_room([every[each][0] for each in ahead]):
                    stop(ahead, cap)
                    continue
                for each in ahead:
                    take(every[each][0])
                    wanted.discard(each)
                    stopped.pop(each, None)
                    yield step(each)
                stack.append(iter(dict.fromkeys(user for bought in ahead for user in made.get(bought, ()))))

    begun = [job for job, sources in needs.items() if sources and wanted.isdisjoint(sources)]
    for job in [*begun, *(job for job, sources in needs.items() if not sources)]:
        yield from buy(job)
    for job in every:
        if job in wanted or every[job][1] != "new":
            yield step(job)
