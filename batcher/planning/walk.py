"""The jobs of manifests one after the other, each with where it stands in the ledger and what it costs; reads only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heapreplace
from itertools import chain, islice
from typing import TypeVar

from batcher.errors import Problem, UsageError
from batcher.jobs import SHORT_ID, UNCHECKED, UNSETTLED, JobId, JobSpec, Status, is_unpriced, job_id
from batcher.ledger import NOT_IN_MANIFEST, KnownJob, LedgerReader, Price, last_final, seen_price
from batcher.ledger.expansion_cache import CachedExpansion
from batcher.settings import Budget, Selection
from batcher.spelling import spellings

#: So few at once that Python's garbage collector sleeps on: it wakes when 700 new containers are there.
_BATCH = 200
#: Names that are told where none was meant.
_NAMES_TOLD = 10
_TWINS_TOLD = 10
_LEFT_OUT = KnownJob(Status.CANCELLED, NOT_IN_MANIFEST)
_UNBOUGHT = (Status.PLANNED, Status.CANCELLED)


#: The source of a price that nothing but a model's file names.
CATALOGUE = "catalogue, from"
#: That of a model without a file, which nobody knows.
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Quote:
    """What the new jobs of one price class are expected to cost; `source` says who named the price.

    It is `seen` with a day, `catalogue, from`, or `unknown` for a model without a file.
    """

    price_class: str
    jobs: int
    credits_each: int
    source: str

    @property
    def credits(self) -> int:
        return self.jobs * self.credits_each

    @property
    def seen(self) -> bool:
        """Whether the API has named the price."""
        return self.source.startswith("seen")

    @property
    def is_unpriced(self) -> bool:
        """Whether nobody knows what such a job costs before it is bought."""
        return is_unpriced(self.price_class)


@dataclass(frozen=True, slots=True)
class CampaignInput:
    """One manifest's part of a plan: its name, its jobs as a stream, its caps.

    Names of specs matter only where some are selected. With `cached` the ledger holds this very expansion, and says
    how it stands; then `specs` is not looked at.
    """

    campaign: str
    manifest: str
    specs: Iterable[JobSpec]
    budget: Budget
    cached: CachedExpansion | None = None
    has_chains: bool = False


T = TypeVar("T")


def in_turn(streams: Sequence[Iterable[T]], credits_of: Callable[[T], int], *, fair: bool) -> Iterator[T]:
    """One stream after the other; if `fair`, always the one with the fewest credits so far, of several the first."""
    if not fair or len(streams) < 2:
        yield from chain.from_iterable(streams)
        return
    iterators = [iter(stream) for stream in streams]
    waiting = [(0, n) for n in range(len(streams))]
    while waiting:
        committed, n = waiting[0]
        for found in islice(iterators[n], 1):
            yield found
            heapreplace(waiting, (committed + credits_of(found), n))
            break
        else:
            heappop(waiting)


class Chooser:
    """What `--only`, `--limit`, a sample or a saved plan take of the jobs that would be bought, in their order."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self._takes_all = selection == Selection(fair=selection.fair)
        self.by_name = bool(selection.only)
        self.left = math.inf if selection.limit is None else selection.limit
        self.matched = False
        self.some: dict[str, None] = {}  # the first few names

    def means(self, name: str) -> bool:
        """Whether prompts of that name are meant."""
        if not self.by_name:
            return True
        if len(self.some) < _NAMES_TOLD:
            self.some[name] = None
        taken = self.selection.takes(name)
        self.matched = self.matched or taken
        return taken

    def take(self, count: int = 1) -> bool:
        """Take so many, if all of them are left."""
        if self.left < count:
            return False
        self.left -= count
        return True

    def standing(self, spec: JobSpec, standing: str) -> str:
        """Where a job stands for this run: one that is new counts as not selected where it is not taken."""
        if self._takes_all:
            return standing
        self.means(spec.name)
        meant = self.selection.may_send(spec.name, spec.id)
        return standing if standing != "new" or (meant and self.take()) else "unselected"


class JobWalk:
    """The distinct jobs of one manifest in its order, each with where it stands; it counts while it is gone through.

    `planned` stand in the ledger and were not sent. Raises UsageError for more than `max_jobs` jobs.
    """

    def __init__(self, given: CampaignInput, ledger: LedgerReader | None, max_jobs: int) -> None:
        self._given = given
        self._ledger = ledger
        self._max_jobs = max_jobs
        self.entries = self.jobs = self.planned = 0
        self.notes: list[Problem] = []

    def __iter__(self) -> Iterator[tuple[JobSpec, str]]:
        # half the memory of the ids as texts; with a hash of what is kept beside each job
        seen: dict[bytes, int] = {}
        for batch in _batches(self._given.specs):
            self.entries += len(batch)
            twins = {spec.id: _twins(spec) for spec in batch if not spec.prompt.isascii()}
            asked = [spec.id for spec in batch] + [twin for ids in twins.values() for twin in ids]
            known = self._ledger.known(asked) if self._ledger else {}
            for spec in batch:
                kept = _hash_of_kept(spec)
                first = seen.setdefault(bytes.fromhex(spec.id), kept)
                if len(seen) == self.jobs:
                    if first != kept and len(self.notes) < _TWINS_TOLD:
                        self.notes.append(_kept_note(spec, self._given))
                    continue
                self.jobs += 1
                if self.jobs > self._max_jobs:
                    raise too_many(self._given, self._max_jobs)
                there = known.get(spec.id)
                self.planned += there is not None and there.status is Status.PLANNED
                standing = "new" if there is None or there == _LEFT_OUT else standing_of(there.status)
                for twin in twins.get(spec.id, ()) if standing == "new" and len(self.notes) < _TWINS_TOLD else ():
                    if bytes.fromhex(twin) in seen or (twin in known and known[twin].status not in _UNBOUGHT):
                        self.notes.append(_twin_note(spec, twin, self._given))
                yield spec, standing


class ClassPrices:
    """What jobs of each price class are expected to cost and to hold, in credits; each class is looked up once."""

    def __init__(self, ledger: LedgerReader | None, account: str | None) -> None:
        self._ledger = ledger
        self._account = account
        self._found: dict[tuple[str, int], tuple[Quote, int]] = {}

    def quote(self, price_class: str, catalog: int) -> Quote:
        """The quote of one job, with the source of its price."""
        return self._look_up(price_class, catalog)[0]

    def hold(self, price_class: str, catalog: int) -> int:
        """What is held for one job: the class's newest final price, if that is more than the quote."""
        return self._look_up(price_class, catalog)[1]

    def _look_up(self, price_class: str, catalog: int) -> tuple[Quote, int]:
        found = self._found.get((price_class, catalog))
        if found is None:
            seen, final = None, 0
            if self._ledger and self._account:
                seen = seen_price(self._ledger, self._account, price_class)
                final = last_final(self._ledger, self._account, price_class)
            quote = quote_of(price_class, 1, catalog, seen)
            found = self._found[price_class, catalog] = quote, max(quote.credits_each, final)
        return found


def quote_of(price_class: str, jobs: int, catalog: int, seen: Price | None) -> Quote:
    """What so many jobs of a class are expected to cost, and where that price is from; `catalog` in credits each."""
    if seen and (credits_each := seen.quote(catalog)) == seen.credits:
        return Quote(price_class, jobs, credits_each, f"seen {seen.at[:10]}")
    return Quote(price_class, jobs, catalog, UNKNOWN if price_class.endswith(UNCHECKED) else CATALOGUE)


def _twins(spec: JobSpec) -> list[JobId]:
    """The ids that the job would have, were its prompt spelled in another way (NFC, NFD) that looks the same."""
    return [
        job_id(
            campaign=spec.campaign,
            model=spec.model,
            prompt=text,
            params=spec.params,
            reference=spec.reference,
            take=spec.take,
        )
        for text in spellings(spec.prompt)
    ]


def _twin_note(spec: JobSpec, twin: JobId, given: CampaignInput) -> Problem:
    text = spec.prompt if len(spec.prompt) <= 60 else spec.prompt[:59] + "…"
    ids = f"{spec.id[:SHORT_ID]} and {twin[:SHORT_ID]}"
    message = f"two jobs ({ids}) differ only in how their letters are spelled (NFC, NFD), and both are bought: {text!r}"
    return Problem(given.manifest, message, hint="if one is enough, copy the text from the other")


def _hash_of_kept(spec: JobSpec) -> int:
    if not (spec.vars or spec.tags):
        return 0
    return hash(repr((sorted(spec.vars.items()), sorted(spec.tags.items()))))


def _kept_note(spec: JobSpec, given: CampaignInput) -> Problem:
    message = f"job {spec.id[:SHORT_ID]} ({spec.name}) is asked for again with other variables or tags"
    return Problem(given.manifest, message, hint="it is bought once, and keeps those of its first entry")


def too_many(given: CampaignInput, max_jobs: int) -> UsageError:
    return UsageError(
        f"{given.manifest} makes more than {max_jobs:,} jobs", hint="If that is meant, allow it with --max-jobs."
    )


def _batches(specs: Iterable[JobSpec]) -> Iterator[list[JobSpec]]:
    stream = iter(specs)
    while batch := list(islice(stream, _BATCH)):
        yield batch


def standing_of(status: Status) -> str:
    """Where a wanted job stands, in the plan's words."""
    if status in UNSETTLED:
        return "under_way"
    return {Status.PLANNED: "new", Status.SUCCEEDED: "done"}.get(status, str(status))
