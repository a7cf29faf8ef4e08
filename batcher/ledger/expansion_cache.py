"""What a campaign's newest expansion came from, and how its jobs stand: a plan without another expansion.

An enrolment takes the fingerprint away in its first transaction and writes the new one in its last. So where there is
one, the ledger holds that expansion whole: its jobs are the rows that have its number.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from heapq import merge

from batcher.jobs import Status

from .queries.spend import snapshot
from .reader import LedgerReader
from .store.transaction import Transaction

#: A file or glob that an expansion depends on: kind, name as in the manifest, state (see `manifest.expansion_inputs`).
Input = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """What an expansion came from: the fingerprint of all that is known beforehand, and what it looked at."""

    fingerprint: str
    inputs: Iterable[Input]


@dataclass(frozen=True, slots=True)
class CachedExpansion:
    """How the jobs of an expansion stand that the ledger holds whole: by status; the planned ones by price class.

    `entries` is how many it had, twins counted; `gone` are planned and not in it. `prices` is what the catalogue said
    of each class, in credits.
    """

    expansion: int
    entries: int
    statuses: Counter[Status]
    planned: Counter[str]
    prices: dict[str, int]
    gone: int


def cached_expansion(
    read: LedgerReader, campaign: str, fingerprint: str, holds: Callable[[Iterable[Input]], bool]
) -> CachedExpansion | None:
    """How the campaign's newest expansion stands, if it came from the same; None where that is not certain.

    `holds` judges the inputs, in a state of the ledger that no other command changes meanwhile.
    """
    with snapshot(read):
        row = read.row("SELECT expansion, fingerprint, entries FROM campaigns WHERE name = ?", (campaign,))
        if row is None or row["fingerprint"] != fingerprint:
            return None
        inputs = read.stream("SELECT kind, name, state FROM inputs WHERE campaign = ?", (campaign,))
        if not holds(map(_input, inputs)):
            return None
        return _cached(read, campaign, row["expansion"], row["entries"])


def _input(row: sqlite3.Row) -> Input:
    return row["kind"], row["name"], row["state"]


def _cached(read: LedgerReader, campaign: str, expansion: int, entries: int) -> CachedExpansion:
    """Counted along an index that says all; what an expansion has of a class lies side by side in it."""
    statuses, planned, prices, gone = Counter[Status](), Counter[str](), dict[str, int](), 0
    for status in Status:
        for price_class in read.classes(campaign, status):
            where = (campaign, str(status), price_class, expansion)
            jobs = _count(read, "=", where)
            statuses[status] += jobs
            if status is Status.PLANNED:
                gone += _count(read, "<", where) + _count(read, ">", where)
                if jobs:
                    planned[price_class] = jobs
                    # one catalogue made all of an expansion
                    prices[price_class] = read.figure(f"SELECT catalog_credits {_OF} = ? LIMIT 1", where)
    return CachedExpansion(expansion, entries, statuses, planned, prices, gone)


_OF = "FROM wanted WHERE campaign = ? AND status = ? AND price_class = ? AND expansion"


def _count(read: LedgerReader, sign: str, where: tuple[str, str, str, int]) -> int:
    return read.figure(f"SELECT count(*) {_OF} {sign} ?", where)


def first_planned(
    read: LedgerReader, campaign: str, cached: CachedExpansion, *, named: bool
) -> Generator[tuple[str, str], None, None]:
    """Price class and name of the planned jobs of an expansion, in its order, as a stream; close it when done.

    Without `named` the names are left empty: looking them up takes longer than all the rest.
    """
    name = "name" if named else "''"
    sql = (
        f"SELECT position, price_class, {name} FROM wanted WHERE campaign = ?"
        " AND status = 'planned' AND price_class = ? AND expansion = ? ORDER BY position"
    )
    of_classes = [read.stream(sql, (campaign, each, cached.expansion)) for each in cached.planned]
    for _, price_class, found in merge(*(map(tuple, rows) for rows in of_classes)):
        yield price_class, found


def forget(t: Transaction, campaign: str) -> None:
    """An enrolment begins: what stands in the ledger is about to be no whole expansion any more."""
    t.run("UPDATE campaigns SET fingerprint = NULL WHERE name = ?", (campaign,))
    t.run("DELETE FROM inputs WHERE campaign = ?", (campaign,))


def remember(t: Transaction, campaign: str, origin: Origin, entries: int) -> None:
    """An enrolment ends: the expansion of so many entries is whole."""
    t.run("UPDATE campaigns SET fingerprint = ?, entries = ? WHERE name = ?", (origin.fingerprint, entries, campaign))
    t.many("INSERT INTO inputs VALUES (?, ?, ?, ?)", [(campaign, *each) for each in origin.inputs])
