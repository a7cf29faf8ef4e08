"""What an attempt counts with, as SQL: the one place where holds and settled credits are told apart.

The hold is stored (`attempts.hold_credits`): the largest of quote, reserved and the class's newest final, raised at
once, never lowered before `final_credits` takes its place. The expressions are over columns of `attempts` only, so
they need no alias where no other table has these.
"""

from __future__ import annotations

#: Which attempts were bought: accepted, maybe received, or not answered yet. A refused one was closed at no cost.
BOUGHT = "outcome IS NOT 'refused'"
#: What an attempt holds or, once it is settled, held at the most.
HOLD = "hold_credits"
#: What counts against the caps.
COMMITTED = f"coalesce(final_credits, {HOLD})"
#: What is held and not settled.
OPEN_HOLD = f"CASE WHEN final_credits IS NULL THEN {HOLD} ELSE 0 END"
#: What left the wallet on submission, as far as anybody knows: the API's figure, else the hold.
TAKEN = f"coalesce(reserved_credits, {HOLD})"
