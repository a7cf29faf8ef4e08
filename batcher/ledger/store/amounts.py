"""What an attempt counts with, as SQL: the one place where holds and settled credits are told apart.

The hold is stored (`attempts.hold_credits`): the largest of quote, reserved and the class's newest final, raised at
once, never lowered before `final_credits` takes its place. The expressions are over columns of `attempts` only, so
they need no alias where no other table has these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Which attempts were bought: accepted, maybe received, or not answered yet. A refused one was closed at no cost.
BOUGHT = "outcome IS NOT 'refused'"
#: What an attempt holds or, once it is settled, held at the most.
HOLD = "hold_credits"
#: What it was charged; 0 until that is known.
SETTLED = "coalesce(final_credits, 0)"
#: What counts against the caps.
COMMITTED = f"coalesce(final_credits, {HOLD})"
#: What is held and not settled.
OPEN_HOLD = f"CASE WHEN final_credits IS NULL THEN {HOLD} ELSE 0 END"
#: What left the wallet on submission, as far as anybody knows: the API's figure, else the hold.
TAKEN = f"coalesce(reserved_credits, {HOLD})"
#: What attempts newer than ?2 of the account ?1 hold or have settled, and what older ones may still take.
TAKEN_SINCE = (
    f"SELECT (SELECT coalesce(sum({COMMITTED}), 0) FROM attempts WHERE id > ?2 AND account = ?1)"
    f" + (SELECT coalesce(sum(CASE WHEN {HOLD} > coalesce(reserved_credits, 0)"
    f" THEN {HOLD} - coalesce(reserved_credits, 0) ELSE 0 END), 0) FROM attempts WHERE id <= ?2"
    " AND account = ?1 AND final_credits IS NULL AND (outcome IS NULL OR outcome = 'succeeded')"
    " AND submitted_at IS NOT NULL)"
)


def spent_sum(which: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """The question for the credits held and settled in the rows of `spent` that have these values; None is any."""
    chosen = {name: value for name, value in which.items() if value is not None}
    where = " AND ".join(f"{name} = ?" for name in chosen) or "1 = 1"
    return f"SELECT coalesce(sum(held), 0), coalesce(sum(settled), 0) FROM spent WHERE {where}", tuple(chosen.values())
