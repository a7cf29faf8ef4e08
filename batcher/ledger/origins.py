"""What a campaign's newest expansion came from, and how its jobs stand: a plan without another expansion.

An enrolment takes the fingerprint away in its first transaction and writes the new one in its last. So where there is
one, the ledger holds that expansion whole: its jobs are the rows that have its number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge

from batcher.jobs import Status

from .reader import LedgerReader
from .transaction import Transaction

#: A file or glob that an expansion depends on: kind, name as the manifest has it, state (see `manifest.inputs`).
Input = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """What an expansion came from: the fingerprint of all that is known beforehand, and what it looked at."""

    fingerprint: str
    inputs: Iterable[Input]


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole expansion in the ledger: its number, its fingerprint, how many entries it had (twins counted)."""

    expansion: int
    fingerprint: str
    entries: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How the jobs of an expansion stand: by status; the planned ones by class, with the catalogue's price.

    `gone` are planned and not in it. `prices` is the price of each class, in credits.
    """

    statuses: Counter[Status]
    planned: Counter[str]
    prices: dict[str, int]
    gone: int


def whole(read: LedgerReader, campaign: str) -> Whole | None:
    """The campaign's newest expansion, if the ledger holds it whole and knows what it came from."""
    row = read.row("SELECT expansion, fingerprint, entries FROM campaigns WHERE name = ?", (campaign,))
    return Whole(**dict(row)) if row and row["fingerprint"] is not None else None


def inputs(read: LedgerReader, campaign: str) -> Iterator[Input]:
    """What that expansion looked at, as a stream."""
    for row in read.stream("SELECT kind, name, state FROM inputs WHERE campaign = ?", (campaign,)):
        yield tuple(row)


def standing(read: LedgerReader, campaign: str, expansion: int) -> Standing | None:
    """How the jobs of an expansion stand. None where that is in doubt: a class with two prices of the catalogue.

    One walk along an index, which holds all that is asked.
    """
    found = Standing(Counter(), Counter(), {}, 0)
    gone = 0
    for row in read.stream(
        "SELECT status, price_class, count(*) AS jobs, sum(expansion = ?2) AS wanted,"
        " min(iif(expansion = ?2, catalog_credits, NULL)) AS low,"
        " max(iif(expansion = ?2, catalog_credits, NULL)) AS high"
        " FROM wanted WHERE campaign = ?1 GROUP BY status, price_class",
        (campaign, expansion),
    ):
        if row["low"] != row["high"]:
            return None
        found.statuses[Status(row["status"])] += row["wanted"]
        if row["status"] == Status.PLANNED:
            gone += row["jobs"] - row["wanted"]
            if row["wanted"]:
                found.planned[row["price_class"]] = row["wanted"]
                found.prices[row["price_class"]] = row["low"]
    return Standing(found.statuses, found.planned, found.prices, gone)


def first_planned(
    read: LedgerReader, campaign: str, expansion: int, classes: Iterable[str], *, named: bool
) -> Generator[tuple[str, str], None, None]:
    """Price class and name of the planned jobs of an expansion, in its order, as a stream; close it when done.

    Without `named` the names are left empty: looking them up takes longer than all the rest.
    """
    name = "name" if named else "''"
    sql = (
        f"SELECT position, price_class, {name} FROM wanted WHERE campaign = ?"
        " AND status = 'planned' AND price_class = ? AND expansion = ? ORDER BY position"
    )
    streams = [(tuple(row) for row in read.stream(sql, (campaign, each, expansion))) for each in classes]
    for _, price_class, found in merge(*streams):
        yield price_class, found


def forget(t: Transaction, campaign: str) -> None:
    """An enrolment begins: what stands in the ledger is about to be no whole expansion any more."""
    t.run("UPDATE campaigns SET fingerprint = NULL WHERE name = ?", (campaign,))
    t.run("DELETE FROM inputs WHERE campaign = ?", (campaign,))


def remember(t: Transaction, campaign: str, origin: Origin, entries: int) -> None:
    """An enrolment ends: the expansion of so many entries is whole."""
    t.run("UPDATE campaigns SET fingerprint = ?, entries = ? WHERE name = ?", (origin.fingerprint, entries, campaign))
    t.many("INSERT INTO inputs VALUES (?, ?, ?, ?)", [(campaign, *each) for each in origin.inputs])
