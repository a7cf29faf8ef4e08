"""What admissions go by: asked once a transaction, for all that are bought in it.

Nobody else writes meanwhile, so an answer holds until the transaction itself writes. Of a purchase it is known what
that changes (`bought`); after any other write nothing is known any more (`Writing.admitting`), and all is asked anew.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from batcher.controls import Controls
from batcher.ledger.queries.sql import placeholders
from batcher.ledger.reader import CreditSum, LedgerReader
from batcher.statuses import JobId, Status, is_unpriced

from . import commands
from .amounts import TAKEN_SINCE, spent_sum
from .prices import PriceClass, class_of, class_question, slow_wait

if TYPE_CHECKING:
    from batcher.jobs import Job

K = TypeVar("K")
V = TypeVar("V")
Question = tuple[str, Sequence[Any]]
Rows = Sequence[sqlite3.Row]


class JobFacts(NamedTuple):
    """A job as its purchase needs it: its newest attempt (0 without any), and whether it stands in a chain.

    `is_made`: from results of others; `makes`: others are made from its result.
    """

    status: Status | None = None
    newest: int = 0
    is_made: bool = False
    makes: bool = False


class Bought(NamedTuple):
    """A purchase as it counts: where (the columns of `spent`), and as what; `at`: when it was intended."""

    attempt_id: int
    job_id: JobId
    account: str
    price_class: str
    hold: int
    at: str
    where: dict[str, Any]


class _Kind(Generic[K, V]):
    """Facts of one kind: how each is asked and understood, and what stands for one that is still to be asked."""

    def __init__(self, question: Callable[[K], Question], understood: Callable[[LedgerReader, K, Rows], V], nothing: V):
        self.question, self.understood, self.nothing = question, understood, nothing


_CONTROLS = _Kind(commands.question, commands.understood, commands.NOTHING)
_CLASSES = _Kind[tuple[str, str], PriceClass](
    lambda key: class_question(*key), lambda _, __, rows: class_of(rows), PriceClass()
)
_SPENT = _Kind[tuple[tuple[str, Any], ...], CreditSum](
    lambda which: spent_sum(dict(which)), lambda _, __, rows: CreditSum(*rows[0]), CreditSum(0, 0)
)
_TAKEN = _Kind[tuple[str, int], int](lambda key: (TAKEN_SINCE, key), lambda _, __, rows: rows[0][0], 0)
_NEWEST = _Kind[None, int](lambda _: ("SELECT max(id) FROM attempts", ()), lambda _, __, rows: rows[0][0] or 0, 0)
_JOBS = _Kind[JobId, JobFacts](
    lambda job_id: _of_jobs([job_id]), lambda _, __, rows: _job(rows[0]) if rows else JobFacts(), JobFacts()
)


class Facts:
    """What a transaction knows of caps, price classes and jobs. Every method raises StorageError."""

    def __init__(self, read: LedgerReader, coming: Sequence[Job] = ()) -> None:
        """`coming`: jobs that are about to be bought."""
        self.read = read
        self._coming: Sequence[Job] | None = coming
        self._ahead: list[tuple[_Kind[Any, Any], Any]] | None = None  # what is asked, while that is only looked for
        self._known: defaultdict[_Kind[Any, Any], dict[Any, Any]] = defaultdict(dict)
        self._slow: dict[tuple[str, str], float] = {}

    def _get(self, kind: _Kind[K, V], key: K) -> V:
        known: dict[K, V] = self._known[kind]
        if key not in known:
            if self._ahead is not None:
                self._ahead.append((kind, key))
                return kind.nothing
            known[key] = kind.understood(self.read, key, self.read.rows(*kind.question(key)))
        return known[key]

    def controls(self, run_id: int | None) -> Controls:
        """What people ask of a run."""
        return self._get(_CONTROLS, run_id)

    def price_class(self, account: str, price_class: str) -> PriceClass:
        """What is known of a price class."""
        return self._get(_CLASSES, (account, price_class))

    def spent(self, **which: Any) -> CreditSum:
        """As `LedgerReader.spent`."""
        return self._get(_SPENT, tuple((name, value) for name, value in which.items() if value is not None))

    def taken_since(self, account: str, attempt_id: int) -> int:
        """As `LedgerReader.taken_since`."""
        return self._get(_TAKEN, (account, attempt_id))

    def newest_attempt(self) -> int:
        """The newest attempt (row id); 0 without any."""
        return self._get(_NEWEST, None)

    def job(self, job_id: JobId) -> JobFacts:
        """How a job stands."""
        return self._get(_JOBS, job_id)

    def slow_wait(self, account: str, price_class: str) -> float:
        """As `prices.slow_wait`, which no purchase changes."""
        key = (account, price_class)
        if key not in self._slow:
            self._slow[key] = slow_wait(self.read, *key)
        return self._slow[key]

    def look_ahead(self, job: Job, ask: Callable[[Job], object]) -> None:
        """Ask all at once, where each question waits for a network, that `ask` asks of this job and those to come.

        What that is, it says itself: it asks in vain at first, of one job of each kind, and gets what hinders nobody.
        """
        if self._coming is None or not self.read.is_far:
            return
        jobs, self._coming = {each.id: each for each in (job, *self._coming)}, None
        self._ahead = [(_NEWEST, None)]
        try:
            for each in {(each.campaign, each.price_class): each for each in jobs.values()}.values():
                ask(each)
            wanted = list(dict.fromkeys(self._ahead))
        finally:
            self._ahead = None
        found = self.read.several([*(kind.question(key) for kind, key in wanted), _of_jobs(list(jobs))])
        for (kind, key), rows in zip(wanted, found[:-1], strict=True):
            self._known[kind][key] = kind.understood(self.read, key, rows)
        for row in found[-1]:
            self._known[_JOBS][JobId(row["id"])] = _job(row)

    def bought(self, one: Bought) -> None:
        """A purchase was written down: from here on its hold counts."""
        for which, found in self._known[_SPENT].items():
            if all(one.where[name] == value for name, value in which):
                self._known[_SPENT][which] = found._replace(held=found.held + one.hold)
        for (account, mark), taken in self._known[_TAKEN].items():
            if account == one.account and one.attempt_id > mark:
                self._known[_TAKEN][account, mark] = taken + one.hold
        key = (one.account, one.price_class)
        self._known[_CLASSES][key] = self.price_class(*key).bought(
            one.attempt_id, one.hold, one.at, unpriced=is_unpriced(one.price_class)
        )
        self._known[_NEWEST][None] = one.attempt_id
        self._known[_JOBS].pop(one.job_id, None)


def _of_jobs(jobs: Sequence[JobId]) -> Question:
    return (
        "SELECT w.id, w.status, (SELECT coalesce(max(number), 0) FROM attempts WHERE job_id = w.id),"
        " EXISTS (SELECT 1 FROM sources WHERE job_id = w.id), EXISTS (SELECT 1 FROM sources WHERE source_id = w.id)"
        f" FROM wanted AS w WHERE w.id IN ({placeholders(jobs)})"
    ), tuple(jobs)


def _job(row: sqlite3.Row) -> JobFacts:
    _, status, newest, is_made, makes = row
    return JobFacts(Status(status), newest, bool(is_made), bool(makes))
