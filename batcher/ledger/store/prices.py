"""What a job of a price class costs by the API's own figures, and whether they are known. Reads only."""

from __future__ import annotations

from typing import NamedTuple

from batcher.ledger.queries.sql import OF_CLASS
from batcher.ledger.reader import LedgerReader
from batcher.statuses import UNPRICED, is_unpriced

# What the API has said of a class's price. Reserved: by the newest attempt, and by the dearest of those answered since
# that one was intended (nobody knows which of them the API took last). Held: by the dearest that is under way or
# without a final price. Taken: by the newest success, and by the one that ended last (a clock may have been set back).
# A 0 is no price. One statement, for each admission asks it; each part is one step along its index, the second one as
# many as were under way at once.
_CLASS = f"WHERE {OF_CLASS} AND"
_OF_CLASS = f"FROM attempts {_CLASS}"
_RESERVED = "reserved_credits > 0"
_TAKEN = "outcome = 'succeeded' AND final_credits > 0"
_BY_END = "ORDER BY finished_at DESC, final_credits DESC LIMIT 1"
_PRICES = (
    f"SELECT * FROM (SELECT 'reserved' AS what, reserved_credits AS credits, submitted_at AS at {_OF_CLASS} {_RESERVED}"
    " ORDER BY id DESC LIMIT 1) UNION ALL"
    # With max() SQLite takes the other columns from the row that has the maximum.
    " SELECT 'reserved', max(reserved_credits), submitted_at"
    # Left to itself it goes along all that the class has; with a plus the value has no type that the index lacks.
    f" FROM attempts INDEXED BY attempts_answered {_CLASS} {_RESERVED} AND submitted_at >"
    f" (SELECT +intended_at {_OF_CLASS} {_RESERVED} ORDER BY id DESC LIMIT 1) UNION ALL"
    " SELECT * FROM (SELECT 'held', hold_credits, coalesce(submitted_at, intended_at)"
    f" {_OF_CLASS} final_credits IS NULL AND outcome IS NOT 'doubtful' ORDER BY hold_credits DESC LIMIT 1) UNION ALL"
    f" SELECT * FROM (SELECT 'taken', final_credits, finished_at {_OF_CLASS} {_TAKEN} ORDER BY id DESC LIMIT 1)"
    " UNION ALL"
    f" SELECT * FROM (SELECT 'taken', final_credits, finished_at {_OF_CLASS} {_TAKEN} {_BY_END})"
)
_LAST_FINAL = (
    f"SELECT * FROM (SELECT final_credits, finished_at {_OF_CLASS} {_TAKEN} {_BY_END}) UNION ALL"
    f" SELECT * FROM (SELECT final_credits, finished_at {_OF_CLASS} outcome = 'failed' AND final_credits > 0 {_BY_END})"
)
# As the index `attempts_seen` has it, to the letter. A task that failed at no cost does not show what a success costs.
_SEEN = (
    "(final_credits IS NOT NULL AND (outcome = 'succeeded' OR outcome = 'failed' AND final_credits > 0)"
    " OR reserved_credits > 0 AND reserved_credits >= quoted_credits)"
)
# What jobs without a price beforehand cost so far, or hold: the dearest of a class, which the index has at its end.
_DEAREST = (
    "SELECT max(coalesce(final_credits, hold_credits)) AS credits, coalesce(finished_at, submitted_at, intended_at)"
    f" AS at FROM attempts INDEXED BY attempts_dearest {_CLASS} price_class GLOB '*{UNPRICED}'"
)
_UNKNOWN = "final_credits IS NULL AND outcome IS NOT 'doubtful' AND coalesce(reserved_credits, 0) = 0"


class Price(NamedTuple):
    """A price that the API has named for a class, and when (ISO 8601, UTC); `taken`: of a success, in the end."""

    credits: int
    at: str
    taken: bool

    def quote(self, catalog: int) -> int:
        """What a job is expected to cost. What was only reserved is not believed below the catalogue's price."""
        return self.credits if self.taken else max(self.credits, catalog)


def seen_price(read: LedgerReader, account: str, price_class: str) -> Price | None:
    """The price of a class by the API's figures, if it has named any: the largest of those in `_PRICES`.

    An older attempt that the API took later may have met a rise that newer rows know nothing of. A class without a
    price beforehand has the dearest that it has cost so far.
    """
    if is_unpriced(price_class):
        dearest = read.one(_DEAREST, (account, price_class))
        return Price(dearest["credits"], dearest["at"], taken=False) if dearest["credits"] else None
    told = [row for row in read.rows(_PRICES, (account, price_class)) if row["credits"] is not None]
    named = {row["what"] for row in told} - {"held"}
    if not named:
        return None
    dearest = max(told, key=lambda row: row["credits"])
    return Price(dearest["credits"], dearest["at"], "taken" in named)


def expected_price(read: LedgerReader, account: str, price_class: str, catalog: int) -> int:
    """What a job of a class is expected to cost, in credits: by the API's figures, else by the `catalog`."""
    seen = seen_price(read, account, price_class)
    return seen.quote(catalog) if seen else catalog


def last_final(read: LedgerReader, account: str, price_class: str) -> int:
    """What the API took in the end for the class's task that ended last at a price; 0 without any."""
    found = read.rows(_LAST_FINAL, (account, price_class))
    return max(((row["finished_at"], row["final_credits"]) for row in found), default=("", 0))[1]


def class_waits(read: LedgerReader, account: str, price_class: str) -> bool:
    """Whether the class has not been seen, and an attempt of it is on its way that will show its price.

    Of a class without a price beforehand each job has to show its own: one at a time until that is reserved.
    """
    if is_unpriced(price_class):
        return bool(read.figure(f"SELECT EXISTS (SELECT 1 {_OF_CLASS} {_UNKNOWN})", (account, price_class)))
    seen, under_way = read.one(
        f"SELECT EXISTS (SELECT 1 {_OF_CLASS} {_SEEN}), EXISTS"
        f" (SELECT 1 {_OF_CLASS} final_credits IS NULL AND outcome IS NOT 'doubtful')",
        (account, price_class),
    )
    return not seen and bool(under_way)


#: So many of the newest tasks of a class say how long the next ones take.
NEWEST_WAITS = 48


def slow_wait(read: LedgerReader, account: str, price_class: str) -> float:
    """Seconds in which nine of ten tasks of a class were done, of the newest; 0 where nothing is known."""
    found = sorted(done for _, done in read.waits(account, price_class, NEWEST_WAITS))
    return found[9 * (len(found) - 1) // 10] if found else 0.0
