"""Odd ledgers and their figures: nothing bought, more taken than held, prices without a name."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from core_helpers import Shelf, make_spec, make_task
from integration.report.helpers import figures, report_of
from support import Bench

from batcher.jobs import Status
from batcher.ledger import LedgerReader, seen_price
from batcher.report.figures import make_report
from batcher.report.question import ask

# Odd cases, on the ledger itself


def test_an_empty_ledger(shelf: Shelf) -> None:
    found = figures(shelf)
    assert (found.cost_of_result, found.failure_rate, found.wait) == (None, None, None)
    assert sum(found.jobs.values()) == found.attempts.total == 0


def test_more_taken_than_was_held_is_over_and_not_returned(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    shelf.ledger.submitted(shelf.buy(1), make_task(1, Status.SUCCEEDED, reserved_credits=10, final_credits=13))
    c = figures(shelf).credits
    assert (c.settled, c.over, c.returned, c.reserved) == (13, 3, 0, 10)


def test_a_file_counts_once_it_is_saved(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    urls = ("https://cdn.test/a", "https://cdn.test/b")
    shelf.ledger.submitted(intent, make_task(1, Status.SUCCEEDED, final_credits=10, urls=urls))
    assert (figures(shelf).files, figures(shelf).cost_of_result) == (0, None)
    shelf.ledger.claim_file(intent.attempt_id, 0, target="results/a.mp4", sha256="0" * 64, size=1)
    shelf.ledger.file_saved(intent.job_id, intent.attempt_id, 0)
    assert (figures(shelf).files, figures(shelf).cost_of_result) == (1, 10)
    shelf.ledger.file_saved(intent.job_id, intent.attempt_id, 1)
    assert (figures(shelf).files, figures(shelf).cost_of_result) == (2, 5)


def test_an_open_purchase_holds_what_the_api_reserved(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    shelf.ledger.submitted(shelf.buy(1), make_task(1, reserved_credits=14))
    found = figures(shelf)
    assert (found.credits.quoted, found.credits.held, found.attempts.open) == (10, 14, 1)
    assert found.failure_rate is None


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 11, 20, 21])
def test_median_and_ninetieth_percentile(shelf: Shelf, count: int) -> None:
    shelf.enrol([make_spec(number, price_class=f"c{number}") for number in range(count)])
    waits = [(number * 7) % count + 0.25 for number in range(count)]
    for number, wait in enumerate(waits):
        intent = shelf.buy(number)
        shelf.ledger.submitted(intent, make_task(number))
        shelf.clock.now += wait
        done = make_task(number, Status.SUCCEEDED, final_credits=10)
        shelf.ledger.record(intent.attempt_id, done)
    found = figures(shelf).wait
    assert found is not None
    assert found.median == pytest.approx(statistics.median(waits), abs=0.0011)
    assert found.p90 == pytest.approx(sorted(waits)[-(-9 * count // 10) - 1], abs=0.0011)


def test_a_param_groups_by_its_value_on_the_wire_and_its_default(shelf: Shelf) -> None:
    shelf.enrol(
        [
            make_spec(1),
            make_spec(2, params={"duration": 10}),
            make_spec(3, params={"duration": 6}),
            make_spec(4, model="of-another-catalogue", params={"tone": "x"}),
        ]
    )
    read = shelf.ledger.read

    def groups(name: str) -> list[tuple[Any, int]]:
        report = make_report(read, ask(read, now=0, by=[name]), now=shelf.clock.now, running=False)
        return [(row.by[0][1], sum(row.figures.jobs.values())) for row in report.rows]

    assert groups("duration") == [(None, 1), (6, 2), (10, 1)]
    assert groups("tone") == [(None, 3), ("x", 1)]


def test_one_state_of_the_ledger_while_it_is_written(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something is bought between the report's questions; none of its figures knows of it."""
    shelf.enrol([make_spec(1), make_spec(2, price_class="other")])
    shelf.ledger.submitted(shelf.buy(1), make_task(1))
    read = LedgerReader.open(shelf.path)
    asked: list[str] = []
    stream: Callable[..., Iterator[Any]] = LedgerReader.stream

    def look(self: LedgerReader, sql: str, values: Any = ()) -> Iterator[Any]:
        if self is read and len(asked) == 1:
            shelf.buy(2)
        if self is read:
            asked.append(sql)
        return stream(self, sql, values)

    monkeypatch.setattr(LedgerReader, "stream", look)
    report = make_report(read, ask(read, now=0), now=shelf.clock.now, running=True)
    read.close()
    assert len(asked) > 2
    assert shelf.job(2)["status"] == "submitting"
    assert report.total.credits.held == 10
    assert report.total.jobs[Status.PLANNED] == 1
    assert report.forecast.jobs == 1


def test_what_went_wrong(told: Bench) -> None:
    found = report_of(told).troubles
    assert [(t.status, t.error_code, t.jobs) for t in found] == [
        ("doubtful", "validation_error", 1),
        ("failed", "generation_failed", 1),
        ("failed", "validation_error", 1),
        ("failed", "validation_failed", 1),
    ]
    ids = {job["id"]: job["error_message"] for job in told.jobs()}
    assert all(ids[t.job_id] == t.message for t in found)
    assert report_of(told, campaigns=["autumn"]).troubles == found[:1]


def test_prices_seen_against_the_catalogue(told: Bench) -> None:
    found = report_of(told).prices
    assert {(price.catalogue, price.seen, price.difference) for price in found} == {(10, 12, 2)}
    assert len(found) == 4
    assert [p.price_class for p in report_of(told, campaigns=["autumn"]).prices] == [found[3].price_class]
    with told.reader() as read:
        for price in found:
            seen = seen_price(read, price.account, price.price_class)
            assert seen is not None
            assert (price.seen, price.seen_at) == (seen.credits, seen.at)


def test_a_price_that_the_api_has_not_named(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    shelf.buy(1)
    read = shelf.ledger.read
    [price] = make_report(read, ask(read, now=0), now=0, running=False).prices
    assert (price.catalogue, price.seen, price.seen_at, price.difference) == (10, None, None, None)
