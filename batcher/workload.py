"""The manifests of a run, what of them is selected and under which limits, and the plan of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, Unpack

from batcher import marks
from batcher.canary import wider
from batcher.clock import iso_seconds, local_day
from batcher.errors import ManifestError, Problem, UsageError
from batcher.jobs import JobId, JobSpec, sources_of
from batcher.ledger import Caps, LedgerReader, expansion_cache
from batcher.ledger.expansion_cache import CachedExpansion
from batcher.ledger.queries.left_behind import left_behind
from batcher.ledger.queries.run_settings import last_settings
from batcher.manifest import Manifest, Problems, load
from batcher.planning import MAX_JOBS, CampaignInput, Plan, caps_for, make_plan
from batcher.planning.forecast import JobLine, Schedule, job_lines
from batcher.planning.sample import choose_sample, takes_of
from batcher.planning.walk import Chooser, ClassPrices, JobWalk
from batcher.providers.registry import KnownProvider, only
from batcher.saved_plan import SavedPlan, moved, refuse_moved, save
from batcher.saved_plan import load as load_saved
from batcher.settings import BuyingTime, Selection, Settings, merged
from batcher.settings import SelectionOptions as SelectionOptions

# How far the good manifests are searched for faults when another one is faulty already.
_SEARCH = 100_000


@dataclass(frozen=True, slots=True)
class _Jobs:
    """Every job that manifests ask for, once, in their order. Raises ManifestError for what became faulty."""

    manifests: tuple[Manifest, ...]

    def __iter__(self) -> Iterator[JobSpec]:
        seen = set[JobId]()
        for manifest in self.manifests:
            for spec in manifest.specs(manifest.input_recorder()):
                if spec.id not in seen:
                    seen.add(spec.id)
                    yield spec


@dataclass(frozen=True, slots=True)
class Workload:
    """Manifests without faults of their own, what of them is selected, and this run's own cap, if it has one."""

    manifests: tuple[Manifest, ...]
    settings: Settings
    selection: Selection
    max_jobs: int
    budget: int | None
    #: what jobs without a price beforehand may cost of each campaign, over all runs; None: none is bought
    unpriced: int | None = None
    #: campaigns that are gone on with without a manifest
    remembered: tuple[str, ...] = ()
    #: what is bought exactly, or not at all
    saved: SavedPlan | None = None

    @classmethod
    def of(
        cls,
        manifests: Sequence[Manifest],
        *,
        only: Iterable[str] = (),
        limit: int | None = None,
        max_jobs: int | None = None,
        budget: int | None = None,
        unpriced: int | None = None,
        marked: Path | None = None,
        sample: str | None = None,
        order: str = "fair",
        ramp: bool = False,
    ) -> Self:
        """What of these manifests is selected; `sample` is `N` or `N%`, `order` fair or listed, `marked` a marks.json.

        Raises UsageError for one campaign, or an allowance's total, twice; ManifestError for what only a sample shows.
        """
        by_campaign: dict[str, Manifest] = {}
        for manifest in manifests:
            other = by_campaign.setdefault(manifest.campaign, manifest)
            if other is not manifest:
                raise UsageError(
                    f"{other.path} and {manifest.path} both describe the campaign {manifest.campaign!r}",
                    hint="A campaign's name is its identity in the ledger: give one of them another name.",
                )
        _check_allowances(manifests)
        settings = merged({manifest.campaign: manifest.settings for manifest in manifests})
        names = (only,) if isinstance(only, str) else tuple(only)
        selection = Selection(names, limit, fair=order == "fair")
        found = cls(tuple(manifests), settings, selection, max_jobs or MAX_JOBS, budget, unpriced)
        found = found if marked is None else found.marked(marked)
        if ramp:
            return found.with_sources().ramped(sample or "1")
        return (found if sample is None else found.sampled(sample)).with_sources()

    def ramped(self, sample: str) -> Self:
        """The same, a sample of the jobs first, then a wider one, then all. Raises ManifestError, UsageError."""
        chosen = [self.sampled(each).with_sources().selection for each in (sample, wider(sample))]
        steps = tuple((each.chosen or frozenset()) | each.also for each in chosen)
        return replace(self, selection=replace(self.selection, steps=steps))

    @property
    def campaigns(self) -> list[str]:
        return [*(manifest.campaign for manifest in self.manifests), *self.remembered]

    @property
    def is_canary(self) -> bool:
        """Whether some jobs are bought first to be looked at."""
        chosen = self.selection
        return bool(chosen.steps) or (chosen.chosen is not None and not chosen.probe and self.saved is None)

    @property
    def provider(self) -> KnownProvider:
        """Whom the models are asked from. Raises UsageError where they are of several."""
        return only(model.provider for manifest in self.manifests for model in manifest.models)

    @property
    def unchecked(self) -> bool:
        """Whether one of the models has no file."""
        return any(model.is_unchecked for manifest in self.manifests for model in manifest.models)

    def unchanged(self, ledger: LedgerReader | None) -> dict[str, CachedExpansion]:
        """The campaigns whose expansion the ledger holds as it would come out now, and how it stands."""
        if ledger is None:
            return {}
        held = {
            each.campaign: expansion_cache.cached_expansion(ledger, each.campaign, each.fingerprint, each.holds)
            for each in self.manifests
        }
        return {campaign: cached for campaign, cached in held.items() if cached is not None}

    def plan(
        self,
        ledger: LedgerReader | None,
        account: str | None,
        unchanged: Mapping[str, CachedExpansion] | None = None,
        *,
        now: float | None = None,
    ) -> Plan:
        """Compare every manifest with the ledger; expand those that are not `unchanged` (None: find out).

        `now` in seconds since the epoch (None: this machine's) says which day's cap counts.
        Raises ManifestError with the faults of all expansions, UsageError for a selection of nothing.
        """
        known = self.unchanged(ledger) if unchanged is None else unchanged
        if self.selection.chosen is not None or self.selection.also:
            known = {}  # which jobs are chosen is known by their ids
        day = local_day(time.time() if now is None else now, ledger.zone if ledger else None)
        if known:
            with suppress(UsageError):  # what it says is found out below, where every name is known
                return self._plan(ledger, account, known, day)
        return self._plan(ledger, account, {}, day)

    def _plan(
        self, ledger: LedgerReader | None, account: str | None, known: Mapping[str, CachedExpansion], day: str
    ) -> Plan:
        problems = Problems()
        try:
            plan = make_plan(
                self.inputs(problems, known),
                ledger=ledger,
                account=account,
                selection=self.selection,
                settings=self.settings,
                run_budget=self.budget,
                unpriced=self.unpriced,
                day=day,
                max_jobs=self.max_jobs,
            )
        except UsageError:
            problems.raise_if_any()
            raise
        problems.raise_if_any()
        if self.saved is not None:
            self._refuse_moved(self.saved, plan, ledger, account)
        found = [note for manifest in self.manifests for note in manifest.notes] + problems.notes.values
        if problems.notes.more:
            found.append(Problem(found[-1].file, f"{problems.notes.more:,} more notes of this kind"))
        left = left_behind(ledger, self.campaigns) if ledger else ()
        warnings = tuple(each for manifest in self.manifests for each in manifest.warnings)
        notes, jobs = (*found, *plan.notes), _Jobs(self.manifests)
        return replace(plan, notes=notes, warnings=warnings, left_behind=tuple(left), jobs=jobs)

    def sampled(self, asked: str) -> Self:
        """The same with a sample of the jobs (`N` or `N%`), and no other of them. Raises ManifestError, UsageError."""
        return self._choosing(lambda specs: choose_sample(specs, asked))

    def marked(self, path: Path) -> Self:
        """The same with the favourites of a file of marks and their other takes, and no other of the jobs.

        Raises ManifestError, also for what is wrong with the file, and UsageError where none is a job of these.
        """
        favourites = frozenset(marks.load(path).favourites)
        found = self._choosing(lambda specs: takes_of(specs, favourites))
        if not found.selection.chosen:
            raise UsageError(
                f"no favourite of {path} is a job of these manifests", hint="Name the manifests that the report is of."
            )
        return found

    def _choosing(self, choose: Callable[[Iterator[JobSpec]], frozenset[JobId]]) -> Self:
        problems = Problems()
        found = (spec for each in self.inputs(problems, named=True) for spec in each.specs)
        chosen = choose(spec for spec in found if self.selection.may_send(spec.name, spec.id))
        problems.raise_if_any()
        return replace(self, selection=replace(self.selection, chosen=chosen))

    def probing(self, ledger: LedgerReader | None, account: str) -> Self:
        """The same with one job of each price class of which the API has named no price and has no job under way.

        Raises ManifestError, UsageError.
        """
        problems, prices, chooser = Problems(), ClassPrices(ledger, account), Chooser(self.selection)
        found = dict[str, JobId]()
        under_way = set[str]()
        for each in self.inputs(problems, named=True):
            for spec, there in JobWalk(each, ledger, self.max_jobs):
                name, standing = spec.price_class, chooser.standing(spec, there)
                if standing == "under_way":
                    under_way.add(name)
                elif standing == "new" and not prices.quote(name, spec.catalog_credits).seen:
                    found.setdefault(name, spec.id)
        problems.raise_if_any()
        chosen = frozenset(job_id for name, job_id in found.items() if name not in under_way)
        selection = replace(self.selection, chosen=chosen, probe=bool(chosen), also=frozenset())
        return replace(self, selection=selection).with_sources()

    def with_sources(self) -> Self:
        """The same with what the selected jobs are made from, as far as that is not selected. Raises ManifestError."""
        chosen = self.selection
        if not (chosen.only or chosen.chosen is not None) or not any(each.has_chains for each in self.manifests):
            return self
        problems = Problems()
        needs, meant = dict[JobId, list[JobId]](), list[JobId]()
        for spec in (spec for each in self.inputs(problems, named=True) for spec in each.specs):
            needs[spec.id] = [one.job_id for one in sources_of(spec.reference)]
            if chosen.may_send(spec.name, spec.id):
                meant.append(spec.id)
        problems.raise_if_any()
        found, left = set(meant), meant.copy()
        while left:
            more = set(needs[left.pop()]) - found
            found |= more
            left += more
        return replace(self, selection=replace(chosen, also=frozenset(found.difference(meant))))

    def caps(self, plan: Plan, settings: Settings, time: BuyingTime) -> Caps:
        """The caps that a run of this plan obeys; `time` is when it may start new jobs."""
        caps = caps_for(plan, self.inputs(Problems()), settings, self.budget, time)
        # how far `--limit` comes nobody knows beforehand
        chains = tuple(each.campaign for each in self.manifests if each.has_chains and self.selection.limit is None)
        ceilings = self.saved.ceilings if self.saved else {}
        return replace(caps, ceilings=ceilings, unpriced=self.unpriced, chains=chains, selection=self.selection)

    def resumed(self, ledger: LedgerReader | None) -> Self:
        """The same with what is left of a saved plan's total as its cap, after what the plan's earlier runs took."""
        return self if self.saved is None else replace(self, budget=self.saved.left(ledger))

    def _refuse_moved(self, saved: SavedPlan, plan: Plan, ledger: LedgerReader | None, account: str | None) -> None:
        """Raise UsageError where anything is not as the saved plan has it."""
        prices = ClassPrices(ledger, account)
        ceilings = {q.price_class: prices.hold(q.price_class, q.credits_each) for q in plan.quotes}
        refuse_moved(moved(saved, plan, _Jobs(self.manifests), ceilings, account or "", ledger))

    def save_plan(
        self,
        path: Path,
        plan: Plan,
        ledger: LedgerReader | None,
        account: str | None,
        options: Mapping[str, Any],
        now: float,
    ) -> SavedPlan:
        """Write a plan down that `run` buys exactly. Raises UsageError where there is nothing to write."""
        return save(
            path,
            self.lines(plan, ledger, account),
            manifests=[manifest.path for manifest in self.manifests],
            specs=_Jobs(self.manifests),
            options=options,
            account=account,
            unit=self.provider.capabilities.unit,
            ledger=ledger,
            made=iso_seconds(now),
        )

    def lines(
        self, plan: Plan, ledger: LedgerReader | None, account: str | None, schedule: Schedule | None = None
    ) -> Iterator[JobLine]:
        """Every job, in the order of buying, with what it costs and which cap of the plan stops it.

        With a new `schedule` none is bought that it sends too late. Raises ManifestError at the end for what has become
        faulty since the plan.
        """
        problems = Problems()
        yield from job_lines(
            self.inputs(problems, named=True),
            plan.caps,
            ledger=ledger,
            account=account,
            selection=self.selection,
            max_jobs=self.max_jobs,
            schedule=schedule if schedule is not None and schedule.ends else None,
        )
        problems.raise_if_any()

    def inputs(
        self,
        problems: Problems,
        known: Mapping[str, CachedExpansion] = MappingProxyType({}),
        *,
        named: bool = False,
    ) -> list[CampaignInput]:
        """The manifests as a plan takes them, each with a fresh expansion and, if it is known, how it stands.

        A plan looks at names only where some are selected; `named` for who needs them all the same.
        """
        named = named or bool(self.selection.only)
        return [
            CampaignInput(
                *(m.campaign, str(m.path), m.expand(problems, named=named), m.settings.budget, known.get(m.campaign)),
                has_chains=m.has_chains,
            )
            for m in self.manifests
        ]


def _check_allowances(manifests: Sequence[Manifest]) -> None:
    first: dict[str, tuple[int, Manifest]] = {}
    for manifest in manifests:
        if (allowance := manifest.settings.budget.allowance) is None:
            continue
        total, other = first.setdefault(allowance.name, (allowance.total, manifest))
        if total != allowance.total:
            raise UsageError(
                f"{other.path} gives the allowance {allowance.name!r} a total of {total:,}, {manifest.path} one of"
                f" {allowance.total:,}",
                hint="One run has one total for it: write the same number in both.",
            )


def prepare_saved(path: Path) -> Workload:
    """What a saved plan buys. Raises UsageError for what is none, ManifestError as `prepare` does."""
    saved = load_saved(path)
    found = prepare(saved.manifests, **saved.options | {"sample": None, "marked": None})
    selection = Selection(chosen=saved.jobs, fair=found.selection.fair)
    return replace(found, selection=selection, budget=saved.left(None), saved=saved)


def prepare(
    paths: Sequence[Path],
    *,
    allow_paths: Sequence[Path] = (),
    unchecked: bool = False,
    **selection: Unpack[SelectionOptions],
) -> Workload:
    """Load manifests, and select of them what `Workload.of` is told; `unchecked` lets in models without a file.

    Raises ManifestError with every fault of all of them, UsageError for one campaign twice.
    """
    manifests: list[Manifest] = []
    errors: list[ManifestError] = []
    for path in paths:
        try:
            manifests.append(load(path, allow_paths=allow_paths, unchecked=unchecked))
        except ManifestError as error:
            errors.append(error)
    if errors:
        raise _all_faults(errors, manifests)
    return Workload.of(manifests, **selection)


def _all_faults(errors: list[ManifestError], good: list[Manifest]) -> ManifestError:
    problems = Problems()
    for manifest in good:
        for _ in islice(manifest.expand(problems), _SEARCH):
            pass
    listed = [problem for error in errors for problem in error.problems] + problems.values
    return ManifestError(listed, more=sum(error.more for error in errors) + problems.more)


def remembered(read: LedgerReader, campaigns: Sequence[str], jobs: Collection[JobId]) -> Workload:
    """What `fetch` goes on with: campaigns of the ledger, under the settings of their last runs. Buys nothing."""
    last = {name: last_settings(read, name) for name in campaigns}
    settings = merged(last) if last else Settings()
    return Workload(
        (), settings, Selection(limit=0, jobs=frozenset(jobs), buys=False), MAX_JOBS, None, remembered=tuple(campaigns)
    )
