"""What an attempt counts with is said twice, in SQL and in Python: both say the same."""

from __future__ import annotations

import sqlite3

import pytest

from batcher.ledger.store.amounts import COMMITTED, OPEN_HOLD
from batcher.statuses import committed, open_hold


@pytest.mark.parametrize(
    ("hold", "final", "counts", "held"),
    [
        *((10, None, 10, 10), (10, 12, 12, 0), (10, 4, 4, 0)),
        (10, 0, 0, 0),  # given back
        (0, None, 0, 0),
        (None, None, 0, 0),  # a job without an attempt
    ],
)
def test_a_final_price_takes_the_place_of_the_hold(hold: int | None, final: int | None, counts: int, held: int) -> None:
    attempt = {"hold_credits": hold, "final_credits": final}
    assert (committed(attempt), open_hold(attempt)) == (counts, held)
    sql = f"SELECT {COMMITTED}, {OPEN_HOLD} FROM (SELECT ? AS hold_credits, ? AS final_credits)"
    said = sqlite3.connect(":memory:").execute(sql, (hold, final)).fetchone()
    assert tuple(each or 0 for each in said) == (counts, held)
