"""Caps, prices and sums: checked in the intent's transaction, equal to what a hand would add up."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from core_helpers import ACCOUNT, OTHER, Shelf, job_name, make_spec, make_task, resolve_failed

from batcher.jobs import Intent, Status
from batcher.ledger import NotAdmitted, Stale, decisions, seen_price
from batcher.ledger.queries import budgets
from batcher.ledger.reader import CreditSum
from batcher.settings import Allowance


@pytest.fixture
def priced(shelf: Shelf) -> Shelf:
    """Ten jobs of a class whose price the API has named: 10 credits."""
    shelf.name_price()
    shelf.enrol([make_spec(n) for n in range(1, 11)])
    return shelf


def refusal(made: object) -> str:
    assert isinstance(made, NotAdmitted), made
    assert made.message
    return made.cap


def test_a_refusal_writes_nothing(priced: Shelf) -> None:
    before = priced.rows("SELECT * FROM events"), priced.rows("SELECT * FROM attempts")
    made = priced.intend(1, run=9)
    assert made == NotAdmitted("run", "run cap of 9: 0 held or settled, 10 more wanted", 10)
    assert (priced.rows("SELECT * FROM events"), priced.rows("SELECT * FROM attempts")) == before
    assert priced.job(1)["status"] == "planned"


def test_the_day_is_the_local_date_of_the_intent_and_counts_all_campaigns(priced: Shelf) -> None:
    priced.enrol([make_spec(50, campaign="autumn")], "autumn")
    assert isinstance(priced.intend(1, day=20), Intent)
    assert isinstance(priced.intend(50, day=20), Intent)
    assert refusal(priced.intend(2, day=20)) == "day"
    priced.clock.now += 24 * 3600
    intent = priced.intend(2, day=20)
    assert isinstance(intent, Intent)
    # A job of yesterday that ends today is yesterday's.
    priced.ledger.submitted(priced_intent(priced, 1), make_task(1))
    days = [row["day"] for row in priced.rows("SELECT DISTINCT day FROM spent WHERE held > 0 ORDER BY day")]
    assert [priced.ledger.read.spent(day=day).held for day in days] == [20, 10]


def test_an_attempt_draws_on_the_allowance_that_was_named_at_its_intent(priced: Shelf) -> None:
    """Over campaigns, runs, crashes, midnight and price rises; what was bought under another name stays there."""
    night = Allowance("night", 40)
    both = {"spring": night, "autumn": night}
    priced.enrol([make_spec(50, campaign="autumn")], "autumn")
    priced.buy(1)
    priced.buy(2, allowances=both)
    priced.buy(50, allowances=both)
    priced.clock.now += 24 * 3600
    priced.restart()
    priced.buy(3, allowances=both)
    assert priced.ledger.read.spent(allowance="night") == (30, 0)
    priced.ledger.submitted(priced_intent(priced, 2), make_task(2, reserved_credits=14))
    made = priced.intend(4, allowances=both)
    words = "allowance night of 40: 34 held or settled, 14 more wanted"
    assert made == NotAdmitted("allowance", words, 14, "night"), "what the API takes above counts too"
    assert made.words == "allowance night"
    assert isinstance(priced.intend(4, allowances={"autumn": night}), Intent), "spring names none now"
    assert isinstance(priced.intend(5, allowances={"spring": Allowance("day", 14)}), Intent)
    assert refusal(priced.intend(6, allowances={"spring": Allowance("night", 100)}, day=40)) == "day"
    done = make_task(2, Status.FAILED, reserved_credits=14, final_credits=0)
    priced.ledger.submitted(priced_intent(priced, 3), make_task(3, reserved_credits=14))
    attempt = priced.attempts(2)[0]["id"]
    priced.ledger.record(attempt, done)
    assert priced.ledger.read.spent(allowance="night").committed == 24
    assert [row["allowance"] for row in priced.rows("SELECT allowance FROM attempts ORDER BY id")] == [
        *(None, None),
        *("night", "night", "night"),
        *(None, "day"),
    ]


def priced_intent(shelf: Shelf, number: int) -> Intent:
    from batcher.jobs import Submitting

    phase = shelf.ledger.read.load(job_name(number)).phase
    assert isinstance(phase, Submitting)
    return phase.intent


# A price that rises


@pytest.mark.parametrize(
    ("quoted", "reserved", "final", "told"),
    [
        (10, 10, 10, []),
        (10, 12, 12, [(10, 12)]),
        (10, 12, 0, [(10, 12)]),
        (10, 10, 13, [(10, 13)]),
        (10, 11, 13, [(10, 11), (11, 13)]),
        (10, None, 13, [(10, 13)]),
        (10, 8, 10, []),
    ],
)
def test_what_the_api_takes_above_is_told_once(
    shelf: Shelf, quoted: int, reserved: int | None, final: int, told: list[tuple[int, int]]
) -> None:
    shelf.enrol([make_spec(1, catalog_credits=quoted)])
    intent = shelf.buy(1)
    named: dict[str, Any] = {"reserved_credits": reserved}
    shelf.ledger.submitted(intent, make_task(1, **named))
    shelf.ledger.record(intent.attempt_id, make_task(1, Status.PROCESSING, **named))
    for _ in range(2):
        ended = make_task(1, Status.SUCCEEDED, **named, final_credits=final)
        shelf.ledger.record(intent.attempt_id, ended)
    rows = shelf.rows("SELECT detail FROM events WHERE event = 'price_rose' ORDER BY id")
    assert [tuple(json.loads(row["detail"]).values()) for row in rows] == told


# Price classes


def test_the_first_of_a_class_goes_alone_until_the_api_has_named_the_price(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1), make_spec(2), make_spec(3, price_class="large", catalog_credits=40)])
    first = shelf.buy(1)
    assert shelf.intend(2) == NotAdmitted("price", "waits until the API has named this price", 10)
    assert isinstance(shelf.intend(3), Intent), "classes run side by side"
    shelf.ledger.submitted(first, make_task(reserved_credits=25))
    shelf.buy(2)
    assert shelf.attempts(2)[0]["quoted_credits"] == 25


def test_a_task_whose_price_is_not_named_keeps_its_class_waiting(shelf: Shelf) -> None:
    shelf.enrol([make_spec(n) for n in (1, 2)])
    first = shelf.buy(1)
    shelf.ledger.submitted(first, make_task(reserved_credits=None))
    assert refusal(shelf.intend(2)) == "price"
    shelf.restart()
    assert refusal(shelf.intend(2)) == "price"
    shelf.ledger.record(first.attempt_id, make_task(1, Status.SUCCEEDED, final_credits=14))
    shelf.buy(2)
    assert shelf.attempts(2)[0]["quoted_credits"] == 14


Q, S, F = Status.QUEUED, Status.SUCCEEDED, Status.FAILED
STORIES: dict[str, tuple[list[tuple[int, Status, int | None, int | None]], tuple[int, int]]] = {
    "nothing yet": ([], (10, 10)),
    "it reserves nothing": ([(1, Q, 0, 0)], (10, 10)),
    "it reserves more": ([(1, Q, 25, 0)], (25, 25)),
    "a newer one reserves less, beside one that holds more": ([(1, Q, 25, 0), (2, Q, 10, 0)], (25, 25)),
    "both of them have ended": ([(1, Q, 25, 0), (2, Q, 10, 0), (1, S, None, 10), (2, S, None, 10)], (10, 10)),
    "a success costs more": ([(1, S, 10, 25)], (25, 25)),
    "a success that names no price": ([(1, S, 10, 0)], (10, 10)),
    "a failure that is charged for": ([(1, F, 10, 30)], (10, 30)),
    "a failure that costs nothing": ([(1, F, 10, 0)], (10, 10)),
    "a success after a failure that is charged for": ([(1, F, 10, 30), (2, S, 10, 12)], (12, 12)),
    "an older one ends last": ([(1, Q, 10, 0), (2, S, 10, 25), (1, S, None, 12)], (25, 25)),
}


@pytest.mark.parametrize("story", STORIES)
def test_what_a_job_costs_and_holds_after_what_the_api_has_said(priced: Shelf, story: str) -> None:
    answers, expected = STORIES[story]
    intents: dict[int, Intent] = {}
    for number, status, reserved, final in answers:
        priced.clock.now += 1
        task = make_task(number, status, reserved_credits=reserved, final_credits=final)
        if number in intents:
            priced.ledger.record(intents[number].attempt_id, task)
        else:
            intents[number] = priced.buy(number)
            priced.clock.now += 1
            priced.ledger.submitted(intents[number], task)
    priced.clock.now += 1
    priced.buy(9)
    [bought] = priced.attempts(9)
    assert (bought["quoted_credits"], bought["hold_credits"]) == expected


@pytest.mark.parametrize(
    ("status", "reserved", "final", "settled", "hold"),
    [
        (Q, 12, 30, None, 12),  # of what has not ended nothing is final
        (S, 10, 12, 12, 10),
        (S, 12, 0, None, 12),
        (S, 10, None, None, 10),
        (F, 10, 0, 0, 10),
        (F, 10, 4, 4, 10),
        (F, 12, None, 12, 12),  # no page promises a refund
    ],
)
def test_what_an_answer_settles(
    priced: Shelf, status: Status, reserved: int, final: int | None, settled: int | None, hold: int
) -> None:
    priced.ledger.submitted(priced.buy(1), make_task(1, status, reserved_credits=reserved, final_credits=final))
    [bought] = priced.attempts(1)
    assert (bought["final_credits"], bought["hold_credits"]) == (settled, hold)
    [burst] = [each for each in budgets.last_hour(priced.ledger.read) if each.campaign == "spring"]
    assert burst.credits == (hold if settled is None else settled)


def test_a_success_that_an_older_version_settled_at_nothing_is_no_price(shelf: Shelf) -> None:
    shelf.name_price(credits_each=3)
    shelf.enrol([make_spec(1), make_spec(2)])
    shelf.ledger.submitted(shelf.buy(1), make_task(1, Status.SUCCEEDED, reserved_credits=3, final_credits=3))
    with closing(sqlite3.connect(shelf.path, isolation_level=None)) as by_hand:
        by_hand.execute("UPDATE attempts SET final_credits = 0")
    shelf.buy(2)
    assert shelf.attempts(2)[0]["quoted_credits"] == 10, "what was only reserved is not believed below the catalogue"


def test_a_price_is_seen_by_account_and_class(shelf: Shelf) -> None:
    shelf.name_price("small", 17)
    read = shelf.ledger.read
    seen = seen_price(read, ACCOUNT.text, "small")
    assert seen is not None
    assert (seen.credits, seen.at[:10]) == (17, "2027-01-15")
    assert seen_price(read, OTHER.text, "small") is None
    assert seen_price(read, ACCOUNT.text, "large") is None
    shelf.name_price("small", 0)
    assert seen_price(read, ACCOUNT.text, "small") == seen, "a 0 is no price"


def test_of_those_on_their_way_together_the_dearest_names_the_price(priced: Shelf) -> None:
    """Nobody knows in which order the API took them: the older row may have met the rise."""
    intents = [priced.buy(number) for number in (1, 2)]
    priced.clock.now += 1
    for number, (intent, price) in enumerate(zip(intents, (30, 10), strict=True), start=1):
        priced.ledger.submitted(
            intent, make_task(number, Status.SUCCEEDED, reserved_credits=price, final_credits=price)
        )
    priced.clock.now += 1
    third = priced.buy(3)
    assert priced.attempts(3)[0]["quoted_credits"] == 30
    priced.clock.now += 1
    priced.ledger.submitted(third, make_task(3, Status.SUCCEEDED, reserved_credits=10, final_credits=10))
    priced.buy(4)
    assert priced.attempts(4)[0]["quoted_credits"] == 10, "it went out alone, after the others: the price has fallen"


def test_a_rise_is_taken_over_at_once(priced: Shelf) -> None:
    first = priced.buy(1)
    priced.ledger.submitted(first, make_task(reserved_credits=30))
    assert priced.ledger.read.spent().held == 30
    priced.buy(2)
    assert priced.attempts(2)[0]["quoted_credits"] == 30


def test_a_price_that_rises_only_in_the_end_is_taken_over_too(priced: Shelf) -> None:
    """The API reserves 10 and takes 15: the next quote is what it took, or every job would go over the cap."""
    first, second = priced.buy(1), priced.buy(2)
    for number, intent in ((1, first), (2, second)):
        priced.ledger.submitted(intent, make_task(number))
    priced.ledger.record(first.attempt_id, make_task(1, Status.SUCCEEDED, final_credits=15))
    priced.buy(3)
    assert priced.attempts(3)[0]["quoted_credits"] == 15


def test_a_task_that_reserves_nothing_once_it_has_ended_is_not_a_price_of_nothing(priced: Shelf) -> None:
    first = priced.buy(1)
    priced.ledger.submitted(first, make_task())
    done = make_task(1, Status.SUCCEEDED, reserved_credits=0, final_credits=10)
    priced.ledger.record(first.attempt_id, done)
    assert priced.attempts(1)[0]["reserved_credits"] == 10
    priced.buy(2)
    assert priced.attempts(2)[0]["quoted_credits"] == 10


# Sums


def by_hand(shelf: Shelf, where: str = "1") -> CreditSum:
    found = shelf.rows("SELECT a.*, w.campaign FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id WHERE " + where)
    held = sum(
        r["quoted_credits"] if r["reserved_credits"] is None else r["reserved_credits"]
        for r in found
        if r["final_credits"] is None
    )
    return CreditSum(held, sum(r["final_credits"] or 0 for r in found))


def test_sums_by_campaign_day_and_run(priced: Shelf) -> None:
    priced.enrol([make_spec(50, campaign="autumn")], "autumn")
    one = priced.buy(1)
    priced.ledger.submitted(one, make_task(reserved_credits=12))
    priced.clock.now += 24 * 3600
    priced.restart()
    two = priced.buy(50)
    priced.ledger.submitted(two, make_task(2, Status.SUCCEEDED, reserved_credits=11, final_credits=9))
    read = priced.ledger.read
    assert read.spent() == by_hand(priced) == CreditSum(12, 9)
    assert read.spent(campaign="spring") == by_hand(priced, "w.campaign = 'spring'") == CreditSum(12, 0)
    assert read.spent(campaign="autumn") == CreditSum(0, 9)
    assert read.spent(run_id=1) == by_hand(priced, "a.run_id = 1") == CreditSum(12, 0)
    assert read.spent(run_id=2) == CreditSum(0, 9)
    assert read.spent(day="2027-01-16") == by_hand(priced, "a.day = '2027-01-16'")
    assert read.spent(day="2031-01-01") == CreditSum(0, 0)
    assert read.spent(campaign="spring", run_id=2) == CreditSum(0, 0)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def test_the_day_cap_follows_this_machines_time_zone(zone: pytest.MonkeyPatch, tmp_path: Path) -> None:
    zone.setenv("TZ", "Pacific/Kiritimati")  # 14 hours ahead of UTC
    time.tzset()
    shelf = Shelf(tmp_path / "ledger.db")
    shelf.name_price()
    shelf.enrol([make_spec(1), make_spec(2)])
    shelf.buy(1, day=10)
    assert refusal(shelf.intend(2, day=10)) == "day"
    shelf.clock.now += 2 * 3600  # midnight there, 10:00 UTC
    assert isinstance(shelf.intend(2, day=10), Intent)
    assert [shelf.attempts(n)[0]["day"] for n in (1, 2)] == ["2027-01-15", "2027-01-16"]
    shelf.ledger.close()


# What the API says late, or of others


def last_detail(shelf: Shelf, event: str) -> dict[str, Any]:
    rows = shelf.rows("SELECT detail FROM events WHERE event = ? ORDER BY id", event)
    found: dict[str, Any] = json.loads(rows[-1]["detail"])
    return found


def test_a_figure_that_a_person_gave_is_not_touched_and_the_other_is_told(priced: Shelf) -> None:
    first = priced.buy(1)
    priced.ledger.doubt(first.attempt_id, "conflict", "it lasts")
    resolve_failed(priced.ledger, first.job_id, charged=7)
    with pytest.raises(Stale):
        priced.ledger.record(first.attempt_id, make_task(1, Status.SUCCEEDED, final_credits=10))
    assert priced.attempts(1)[0]["final_credits"] == 7
    assert last_detail(priced, "final_ignored") == {"charged": 7, "said": 10}


def test_the_times_that_the_api_names_are_kept(priced: Shelf) -> None:
    first = priced.buy(1)
    priced.ledger.submitted(first, make_task(1, created_at="2027-01-15T08:00:00Z", updated_at="2027-01-15T08:00:01Z"))
    later = make_task(1, S, final_credits=10, updated_at="2027-01-15T08:01:00Z")
    priced.ledger.record(first.attempt_id, later)
    [bought] = priced.attempts(1)
    assert bought["api_created_at"] == "2027-01-15T08:00:00Z"
    assert bought["api_updated_at"] == "2027-01-15T08:01:00Z"


def test_another_model_and_each_unknown_state_are_told_once(priced: Shelf) -> None:
    first = priced.buy(1)
    for word in ("warming", "warming", "cooling", "warming"):
        task = make_task(1, Status.PROCESSING, word=word, model="another", reserved_credits=10)
        priced.ledger.record(first.attempt_id, task)
    assert (priced.events().count("unknown_state"), priced.events().count("model_differs")) == (2, 1)


def test_a_task_of_the_same_name_in_another_account_is_another_task(priced: Shelf) -> None:
    priced.ledger.submitted(priced.buy(1), make_task(7))
    priced.account = OTHER
    priced.ledger.submitted(priced.buy(2), make_task(7))
    assert (priced.job(2)["status"], priced.job(2)["task_id"]) == ("queued", "task_7")


def test_a_retry_of_a_success_without_a_price_settles_it_at_its_hold(priced: Shelf) -> None:
    first = priced.buy(1)
    priced.ledger.submitted(first, make_task(1, Status.SUCCEEDED, reserved_credits=12, final_credits=0))
    assert priced.ledger.read.without_final("spring") == [first.job_id]
    for found in decisions.decide(priced.ledger, decisions.Retry(frozenset(Status), alone=True), [first.job_id]):
        assert isinstance(found, decisions.Decided)
    assert priced.ledger.read.spent() == (0, 12)
    assert last_detail(priced, "final_unknown") == {"credits": 12}
    assert priced.ledger.read.without_final("spring") == []
