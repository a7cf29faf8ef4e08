"""Bringing what manifests ask for into the ledger: the first jobs before a run buys, the others meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice

from batcher.jobs import JobSpec
from batcher.ledger import LedgerWriter
from batcher.ledger.expansion_cache import CachedExpansion, Origin
from batcher.manifest import Manifest

#: Of a campaign so many steps of its enrolment are made before the engine begins: its number, and two with jobs.
STEPS_BEFORE = 3


def begin_enrolment(
    ledger: LedgerWriter,
    manifests: Iterable[Manifest],
    unchanged: Mapping[str, CachedExpansion],
    check: Callable[[], None] = lambda: None,
    *,
    whole: bool = True,
    each: Callable[[JobSpec], object] = lambda _: None,
) -> dict[str, Iterator[Callable[[], object]]]:
    """Bring the jobs of manifests into the ledger; unless `whole`, the first of each that has no chains.

    Returns the steps that are left, by campaign: each is to be done before the next is asked for. `check` is called for
    each job, and ends it by raising; `each` with each job that is expanded.
    Raises ManifestError when a file has become faulty since the plan.
    """
    left: dict[str, Iterator[Callable[[], object]]] = {}
    for manifest in manifests:
        steps = _enrolment(ledger, manifest, unchanged.get(manifest.campaign), check, each)
        for step in islice(steps, None if whole or manifest.has_chains else STEPS_BEFORE):
            check()
            step()
        if (more := next(steps, None)) is not None:
            left[manifest.campaign] = chain([more], steps)
    return left


def _enrolment(
    ledger: LedgerWriter,
    manifest: Manifest,
    cached: CachedExpansion | None,
    check: Callable[[], None],
    each: Callable[[JobSpec], object],
) -> Iterator[Callable[[], object]]:
    """With `cached` the jobs are in the ledger, and what a person planned besides goes."""
    if cached is not None:
        if cached.gone:
            yield partial(ledger.cancel_gone, manifest.campaign, cached.expansion)
        return
    recorder = manifest.input_recorder()

    def job_specs() -> Iterator[JobSpec]:
        for spec in manifest.specs(recorder):
            check()
            each(spec)
            yield spec

    def origin() -> Origin | None:
        inputs = recorder.sealed()
        return None if inputs is None else Origin(manifest.fingerprint, inputs)

    yield from ledger.enrolling(manifest.campaign, str(manifest.path.absolute()), job_specs(), origin)
