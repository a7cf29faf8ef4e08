"""A sample of jobs: spread over campaigns, price classes, prompts and references, and the same each time.

It hangs on nothing but the jobs' identities and what they are, never on the ledger: what is bought of it stays in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

from batcher.errors import UsageError
from batcher.jobs import JobId, JobSpec, job_id


class _Job(NamedTuple):
    """What a sample looks at: the features are campaign, and within it price class, prompt and reference."""

    id: JobId
    features: tuple[tuple[object, ...], ...]


def choose_sample(specs: Iterable[JobSpec], asked: str) -> frozenset[JobId]:
    """Choose `N` or `N%` of the jobs, at least one: first one of each feature, as far as N goes, then in turn.

    A larger sample holds the smaller ones. Raises UsageError for what is no such number.
    """
    jobs = list({spec.id: _job(spec) for spec in specs}.values())
    size = _size(asked, len(jobs))
    spread = _spread(jobs, 0)
    chosen: dict[JobId, None] = {}
    seen: set[object] = set()
    # The jobs that show most come first; a campaign counts more than what is in it.
    for most, campaign in ((4, False), (1, True), (3, False), (2, False), (1, False)):
        for job in spread:
            new = [feature for feature in job.features if feature not in seen]
            if len(chosen) < size and len(new) >= most and (not campaign or job.features[0] in new):
                chosen[job.id] = None
                seen.update(new)
    for job in spread:
        if len(chosen) < size:
            chosen[job.id] = None
    return frozenset(chosen)


def takes_of(specs: Iterable[JobSpec], jobs: Collection[str]) -> frozenset[JobId]:
    """Of the specs those that are one of these jobs, or another take of one."""
    first = {spec.id: _first_take(spec) for spec in specs}
    meant = {take for job, take in first.items() if job in jobs}
    return frozenset(job for job, take in first.items() if take in meant)


def _first_take(spec: JobSpec) -> JobId:
    if spec.take == 1:
        return spec.id
    same = {name: getattr(spec, name) for name in ("campaign", "model", "prompt", "params", "reference")}
    return job_id(**same, take=1)


def _job(spec: JobSpec) -> _Job:
    reference = spec.reference.text if spec.reference else ""
    kinds = enumerate((spec.price_class, spec.name, reference))
    return _Job(spec.id, ((spec.campaign,), *((spec.campaign, kind, value) for kind, value in kinds)))


def _size(asked: str, jobs: int) -> int:
    text = asked.strip()
    part = text.endswith("%")
    number = text.removesuffix("%").strip()
    if not number.isascii() or not number.isdigit() or int(number) < 1 or (part and int(number) > 100):
        raise UsageError(f"--sample takes a number of jobs or a percentage, not {asked!r}", hint="Such as 12 or 5%.")
    return -(-jobs * int(number) // 100) if part else int(number)


def _spread(jobs: Sequence[_Job], depth: int) -> list[_Job]:
    """In turn by each feature after the other; those that are alike by their ids, which are as good as drawn by lot."""
    if depth == 4:
        return sorted(jobs)
    groups: defaultdict[object, list[_Job]] = defaultdict(list)
    for job in jobs:
        groups[job.features[depth]].append(job)
    parts = [_spread(group, depth + 1) for group in groups.values()]
    return list(_alternate(parts))


def _alternate(parts: Sequence[Sequence[_Job]]) -> Iterator[_Job]:
    return (job for job in chain.from_iterable(zip_longest(*parts)) if job is not None)
