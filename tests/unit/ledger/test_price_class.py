"""What a purchase changes in what is known of its price class, without asking again."""

from __future__ import annotations

import pytest

from batcher.ledger.store.prices import Price, PriceClass

NAMED, TAKEN = Price(10, "before", taken=False), Price(10, "before", taken=True)


@pytest.mark.parametrize(
    ("known", "held", "unpriced", "then"),
    [
        (PriceClass(), 7, False, PriceClass(number=5, waits=True)),
        (PriceClass(3, NAMED, is_seen=True), 10, False, PriceClass(3, NAMED, is_seen=True)),
        (PriceClass(3, TAKEN, 15, True), 15, False, PriceClass(3, Price(15, "now", taken=True), 15, True)),
        (PriceClass(3, NAMED), 15, False, PriceClass(3, Price(15, "now", taken=False), waits=True)),
        (PriceClass(), 7, True, PriceClass(5, Price(7, "now", taken=False), waits=True)),
        (PriceClass(3, NAMED), 7, True, PriceClass(3, NAMED, waits=True)),
        (PriceClass(), 0, True, PriceClass(5, waits=True)),
    ],
)
def test_a_purchase_shows_no_price_but_what_it_holds(
    known: PriceClass, held: int, unpriced: bool, then: PriceClass
) -> None:
    assert known.bought(5, held, "now", unpriced=unpriced) == then
