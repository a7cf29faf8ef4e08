"""What a job of a price class costs by the API's own figures, and whether they are known. Reads only."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from batcher.ledger.queries.sql import CLASS_ID, OF_CLASS
from batcher.ledger.reader import LedgerReader
from batcher.statuses import UNPRICED, is_unpriced

from .amounts import COMMITTED, HOLD

# What the API has said of a class's price. Reserved: by the newest attempt, and by the dearest of those answered since
# that one was intended (nobody knows which of them the API took last). Held: by the dearest that is under way or
# without a final price. Taken: by the newest success; ended: by the success and the failure that ended last at a price
# (a clock may have been set back). A 0 is no price. One statement, for each purchase asks it; each part is one step
# along its index, the second one as many as were under way at once.
_CLASS = f"WHERE {OF_CLASS} AND"
_OF_CLASS = f"FROM attempts {_CLASS}"
_RESERVED = "reserved_credits > 0"
_TAKEN = "outcome = 'succeeded' AND final_credits > 0"
_UNDER_WAY = "final_credits IS NULL AND outcome IS NOT 'doubtful'"
# As the index `attempts_seen` has it, to the letter. A task that failed at no cost does not show what a success costs.
_SEEN = (
    "(final_credits IS NOT NULL AND (outcome = 'succeeded' OR outcome = 'failed' AND final_credits > 0)"
    " OR reserved_credits > 0 AND reserved_credits >= quoted_credits)"
)


def _one(what: str, columns: str, where: str, order: str = "") -> str:
    return f" UNION ALL SELECT * FROM (SELECT '{what}', {columns} {_OF_CLASS} {where}{order} LIMIT 1)"


def _ended(what: str, where: str) -> str:
    return _one(what, "final_credits, finished_at", where, " ORDER BY finished_at DESC, final_credits DESC")


_FIRST = f"SELECT 'class' AS what, {CLASS_ID} AS credits, '' AS at"
_LAST = _ended("ended", _TAKEN) + _ended("failed", "outcome = 'failed' AND final_credits > 0")
_PRICED = (
    _FIRST
    + _one("seen", "1, ''", _SEEN)
    + _one("under way", "1, ''", _UNDER_WAY)
    + _one("reserved", "reserved_credits, submitted_at", _RESERVED, " ORDER BY id DESC")
    # With max() SQLite takes the other columns from the row that has the maximum.
    + " UNION ALL SELECT 'reserved', max(reserved_credits), submitted_at"
    # Left to itself it goes along all that the class has; with a plus the value has no type that the index lacks.
    f" FROM attempts INDEXED BY attempts_answered {_CLASS} {_RESERVED} AND submitted_at >"
    f" (SELECT +intended_at {_OF_CLASS} {_RESERVED} ORDER BY id DESC LIMIT 1)"
    + _one("held", f"{HOLD}, coalesce(submitted_at, intended_at)", _UNDER_WAY, f" ORDER BY {HOLD} DESC")
    + _one("taken", "final_credits, finished_at", _TAKEN, " ORDER BY id DESC")
    + _LAST
)
# What jobs without a price beforehand cost so far, or hold: the dearest of a class, which the index has at its end. Of
# these each has to show its own price: one at a time until that is reserved.
_UNPRICED = (
    _FIRST
    + _one("under way", "1, ''", f"{_UNDER_WAY} AND coalesce(reserved_credits, 0) = 0")
    + f" UNION ALL SELECT 'dearest', max({COMMITTED}),"
    " coalesce(finished_at, submitted_at, intended_at)"
    f" FROM attempts INDEXED BY attempts_dearest {_CLASS} price_class GLOB '*{UNPRICED}'" + _LAST
)


class Price(NamedTuple):
    """A price that the API has named for a class, and when (ISO 8601, UTC); `taken`: of a success, in the end."""

    credits: int
    at: str
    taken: bool

    def quote(self, catalog: int) -> int:
        """What a job is expected to cost. What was only reserved is not believed below the catalogue's price."""
        return self.credits if self.taken else max(self.credits, catalog)


class PriceClass(NamedTuple):
    """What the API has said of a price class.

    `number`: its first purchase, None before that. `price`: the largest of what was named for it, for an older attempt
    that the API took later may have met a rise that newer rows know nothing of; of a class without a price beforehand
    the dearest that it has cost so far. `last_final`: what was taken in the end for the task that ended last at a
    price, 0 without any. `waits`: it has not been seen, and an attempt of it is on its way that will show its price.
    """

    number: int | None = None
    price: Price | None = None
    last_final: int = 0
    is_seen: bool = False
    waits: bool = False

    def quote(self, catalog: int) -> int:
        """What a job is expected to cost, in credits: by the API's figures, else by the `catalog`."""
        return self.price.quote(catalog) if self.price else catalog

    def hold(self, catalog: int) -> int:
        """What is held for a job, in credits: what it is expected to cost, or the newest final if that is more."""
        return max(self.quote(catalog), self.last_final)

    def bought(self, attempt_id: int, held: int, at: str, *, unpriced: bool) -> PriceClass:
        """The class once this attempt of it holds so much: as `class_of` would find it."""
        price = self.price
        if (price and held > price.credits) or (not price and unpriced and held):
            price = Price(held, at, price is not None and price.taken)
        return self._replace(number=self.number or attempt_id, price=price, waits=not self.is_seen)


def class_question(account: str, price_class: str) -> tuple[str, tuple[str, str]]:
    """What is asked of a price class."""
    return _UNPRICED if is_unpriced(price_class) else _PRICED, (account, price_class)


def class_of(rows: Sequence[sqlite3.Row]) -> PriceClass:
    """What the answers to `class_question` come to."""
    found = [(what, credits_, at) for what, credits_, at in rows if credits_]
    said = {what: credits_ for what, credits_, _ in found}
    named = [row for row in found if row[0] in ("reserved", "held", "taken", "ended", "dearest")]
    _, dearest, at = max(named, key=lambda row: row[1], default=("", 0, ""))
    is_taken = not said.keys().isdisjoint(("taken", "ended"))
    is_named = is_taken or not said.keys().isdisjoint(("reserved", "dearest"))
    return PriceClass(
        number=said.get("class"),
        price=Price(dearest, at, is_taken and "dearest" not in said) if is_named else None,
        last_final=max(
            ((at, credits_) for what, credits_, at in found if what in ("ended", "failed")), default=("", 0)
        )[1],
        is_seen="seen" in said,
        waits="under way" in said and "seen" not in said,
    )


def _class(read: LedgerReader, account: str, price_class: str) -> PriceClass:
    return class_of(read.rows(*class_question(account, price_class)))


def seen_price(read: LedgerReader, account: str, price_class: str) -> Price | None:
    """The price of a class by the API's figures, if it has named any (see `PriceClass`)."""
    return _class(read, account, price_class).price


def expected_price(read: LedgerReader, account: str, price_class: str, catalog: int) -> int:
    """What a job of a class is expected to cost, in credits: by the API's figures, else by the `catalog`."""
    return _class(read, account, price_class).quote(catalog)


def last_final(read: LedgerReader, account: str, price_class: str) -> int:
    """What the API took in the end for the class's task that ended last at a price; 0 without any."""
    return _class(read, account, price_class).last_final


#: How many of the newest tasks of a class say how long the next ones take.
NEWEST_WAITS = 48


def slow_wait(read: LedgerReader, account: str, price_class: str) -> float:
    """Seconds in which nine of ten tasks of a class were done, of the newest; 0 where nothing is known."""
    found = sorted(done for _, done in read.waits(account, price_class, NEWEST_WAITS))
    return found[9 * (len(found) - 1) // 10] if found else 0.0
