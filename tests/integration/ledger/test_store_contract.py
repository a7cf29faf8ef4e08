"""What every store promises, by the port's methods alone: money, moves, groups and what observers hear.

Tests of what stands in SQLite's tables are those of `test_ledger_…`. The fixture `shelf` has
one of each kind.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from core_helpers import ACCOUNT, OTHER, job_name, make_spec, make_task
from integration.ledger.helpers import StoresShelf, priced, shelf, state
from virtual_time import EPOCH

from batcher.events import Event
from batcher.jobs import Ended, Intent, Planned, Status, Submitting
from batcher.ledger import Caps, NotAdmitted, PlannedJob, Stale

__all__ = ["priced", "shelf"]

Q, S, F = Status.QUEUED, Status.SUCCEEDED, Status.FAILED


def refusal(made: object) -> str:
    assert isinstance(made, NotAdmitted), made
    assert made.message
    return made.cap


# Intents


def test_an_intent_is_committed_before_it_is_returned_and_comes_back_as_it_was(shelf: StoresShelf) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    assert (intent.number, intent.account, intent.maybe_received) == (1, ACCOUNT.text, False)
    assert (len(intent.key), intent.intended.wall) == (40, EPOCH)
    assert intent.body == f"body of spring-{job_name(1)}-take1-1".encode()
    assert shelf.ledger.read.load(job_name(1)).phase == Submitting(intent)
    assert shelf.ledger.read.spent() == (10, 0)
    assert shelf.told(Event.INTENDED) == [{"hold": 10}]
    shelf.restart()
    phase = shelf.ledger.read.load(job_name(1)).phase
    assert isinstance(phase, Submitting)
    assert (phase.intent.key, phase.intent.body) == (intent.key, intent.body)
    shelf.ledger.maybe_received(phase.intent, "cut", "off")
    assert shelf.ledger.refused(phase.intent, "a", "b") is Status.DOUBTFUL


def test_what_is_found_at_a_start_may_have_been_received_for_good(shelf: StoresShelf) -> None:
    """No later sending takes it back. Where several work at a ledger, whoever takes a job over says so, not a start."""
    shelf.enrol([make_spec(1)])
    shelf.buy(1)
    shelf.restart()
    phase = shelf.ledger.read.load(job_name(1)).phase
    assert isinstance(phase, Submitting)
    assert phase.intent.maybe_received is not shelf.is_shared


def test_each_attempt_has_a_key_of_its_own(shelf: StoresShelf) -> None:
    shelf.enrol([make_spec(1), make_spec(2, price_class="other")])
    first = shelf.buy(1)
    assert shelf.ledger.unsent(first, "rate_limited", "no") is Status.PLANNED
    second = shelf.buy(1)
    assert len({first.key, second.key, shelf.buy(2).key}) == 3
    assert second.number == 2


def test_a_body_that_cannot_be_made_makes_no_attempt(shelf: StoresShelf) -> None:
    shelf.enrol([make_spec(1)])
    before = state(shelf)

    def compose(request_id: str) -> bytes:
        raise ValueError(request_id)

    with pytest.raises(ValueError, match="spring"):
        shelf.ledger.intend(shelf.ledger.read.load(job_name(1)), account=ACCOUNT, compose=compose, caps=shelf.caps)
    assert state(shelf) == before
    assert before[0] == Planned()


# Caps


@pytest.mark.parametrize(
    ("cap", "caps", "more"),
    [
        ("run", {"run": 30}, {"run": 40}),
        ("campaign", {"campaigns": {"spring": 30}}, {"campaigns": {"spring": 40}}),
        ("day", {"day": 30}, {"day": 40}),
    ],
)
def test_a_cap_may_be_filled_to_its_very_edge(
    priced: StoresShelf, cap: str, caps: dict[str, Any], more: dict[str, Any]
) -> None:
    for number in (1, 2, 3):
        priced.buy(number, **caps)
    assert refusal(priced.intend(4, **caps)) == cap
    priced.buy(4, **more)


def test_a_refusal_writes_nothing(priced: StoresShelf) -> None:
    before = state(priced)
    assert priced.intend(1, run=9) == NotAdmitted("run", "run cap of 9: 0 held or settled, 10 more wanted", 10)
    assert state(priced) == before


def test_a_cap_of_another_campaign_is_none_of_ours(priced: StoresShelf) -> None:
    assert isinstance(priced.intend(1, campaigns={"autumn": 0}), Intent)


def test_smaller_ones_may_pass(priced: StoresShelf) -> None:
    priced.name_price("tiny", 3)
    priced.enrol([*(make_spec(n) for n in range(1, 11)), make_spec(11, price_class="tiny", catalog_credits=3)])
    assert refusal(priced.intend(1, run=5)) == "run"
    assert isinstance(priced.intend(11, run=5), Intent)
    job = PlannedJob(job_name(1), "spring", "", 0, catalog_credits=10, price_class="small")
    ask = partial(priced.ledger.refusal, account=ACCOUNT)
    assert not ask(Caps(run=13), job=job)
    assert ask(Caps(run=12), job=job._replace(catalog_credits=0))


def test_the_run_cap_counts_this_runs_intents(priced: StoresShelf) -> None:
    assert isinstance(priced.intend(1, run=10), Intent)
    assert refusal(priced.intend(2, run=10)) == "run"
    priced.restart()
    assert isinstance(priced.intend(2, run=10), Intent)


def test_what_came_back_is_free_again(priced: StoresShelf) -> None:
    intent = priced.buy(1, run=10)
    assert refusal(priced.intend(2, run=10)) == "run"
    priced.ledger.submitted(intent, make_task())
    assert refusal(priced.intend(2, run=10)) == "run"
    priced.ledger.record(intent.attempt_id, make_task(1, F, final_credits=0))
    assert isinstance(priced.intend(2, run=10), Intent)


def test_what_is_doubtful_stays_held(priced: StoresShelf) -> None:
    intent = priced.buy(1, run=10)
    priced.ledger.doubt(intent.attempt_id, "a", "b")
    assert refusal(priced.intend(2, run=10)) == "run"
    assert priced.ledger.read.load(job_name(1)).phase == Ended(Status.DOUBTFUL)


def test_keep_counts_from_the_last_reading_of_the_wallet(priced: StoresShelf) -> None:
    mark = priced.ledger.read.wallet_mark()
    keep: dict[str, Any] = {"keep": 75, "wallet": 100, "wallet_mark": mark}
    assert isinstance(priced.intend(1, **keep), Intent)
    assert isinstance(priced.intend(2, **keep), Intent)
    assert refusal(priced.intend(3, **keep)) == "keep"
    # Nobody has answered the two: a wallet that is read now may not have felt them yet.
    assert priced.ledger.read.wallet_mark() == mark
    assert isinstance(priced.intend(3, **keep | {"wallet_mark": mark + 2}), Intent)


@pytest.mark.parametrize(("reserved", "left"), [(None, 90), (0, 90), (4, 94), (10, 100)])
@pytest.mark.parametrize("status", [Q, S])
def test_what_the_api_has_not_taken_yet_is_not_in_the_wallet(
    priced: StoresShelf, status: Status, reserved: int | None, left: int
) -> None:
    """A wallet of 100 is read while a job is open of which the API has taken its reserve so far."""
    priced.ledger.submitted(priced.buy(1), make_task(1, status, reserved_credits=reserved, final_credits=0))
    keep: dict[str, Any] = {"wallet": 100, "wallet_mark": priced.ledger.read.wallet_mark()}
    assert refusal(priced.intend(2, **keep, keep=left - 9)) == "keep"
    assert isinstance(priced.intend(2, **keep, keep=left - 10), Intent)


def test_what_another_key_has_under_way_may_draw_from_the_same_wallet(priced: StoresShelf) -> None:
    """Nobody knows whose wallet a key draws from: an unanswered attempt holds the mark back, whatever its key."""
    mark = priced.ledger.read.wallet_mark()
    priced.account = OTHER
    assert isinstance(priced.intend(1), Intent)
    priced.account = ACCOUNT
    assert priced.ledger.read.wallet_mark() == mark


@pytest.mark.parametrize("end", ["refused", "unsent", "doubtful", "failed"])
def test_when_the_first_of_a_class_ends_without_a_price_the_next_one_goes_alone(shelf: StoresShelf, end: str) -> None:
    shelf.enrol([make_spec(n) for n in (1, 2, 3)])
    first = shelf.buy(1)
    match end:
        case "failed":
            shelf.ledger.submitted(first, make_task(1, F, final_credits=0))
        case "doubtful":
            shelf.ledger.doubt(first.attempt_id, "a", "b")
        case "refused":
            assert shelf.ledger.refused(first, "a", "b") is F
        case _:
            assert shelf.ledger.unsent(first, "a", "b") is Status.PLANNED
    shelf.buy(2)
    assert refusal(shelf.intend(3)) == "price"


# Holds and settlement


@pytest.mark.parametrize(
    ("status", "reserved", "final", "spent"),
    [
        (Q, 12, 30, (12, 0)),  # of what has not ended nothing is final
        (S, 10, 12, (0, 12)),
        (S, 12, 0, (12, 0)),
        (S, 10, None, (10, 0)),
        (F, 10, 0, (0, 0)),
        (F, 10, 4, (0, 4)),
        (F, 12, None, (0, 12)),  # no page promises a refund
    ],
)
def test_what_an_answer_settles(
    priced: StoresShelf, status: Status, reserved: int, final: int | None, spent: tuple[int, int]
) -> None:
    priced.ledger.submitted(priced.buy(1), make_task(1, status, reserved_credits=reserved, final_credits=final))
    assert priced.ledger.read.spent() == spent


@pytest.mark.parametrize("close", ["refused", "unsent"])
def test_what_was_maybe_received_becomes_doubtful_and_keeps_its_hold(shelf: StoresShelf, close: str) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    shelf.ledger.maybe_received(intent, "no_answer", "cut")
    assert shelf.told(Event.MAYBE_RECEIVED) == [{"code": "no_answer", "message": "cut"}]
    ended = shelf.ledger.refused if close == "refused" else shelf.ledger.unsent
    assert ended(intent, "x", "y") is Status.DOUBTFUL
    assert shelf.ledger.read.spent() == (10, 0)
    assert shelf.told(Event.DOUBTFUL) == [{"code": "x", "message": "y"}]


def test_a_later_final_counts_even_over_a_cap_which_then_lets_nothing_more_through(priced: StoresShelf) -> None:
    first = priced.buy(1, run=30)
    priced.ledger.submitted(first, make_task(1, S, final_credits=10))
    assert isinstance(priced.intend(2, run=30), Intent)
    for _ in range(2):
        priced.ledger.record(first.attempt_id, make_task(1, S, final_credits=25))
    assert priced.told(Event.FINAL_CHANGED) == [{"was": 10, "now": 25}]
    assert priced.ledger.read.spent() == (25, 25), "what is under way may cost as much"
    assert priced.told(Event.HOLDS_RAISED) == [{"price_class": "small", "credits": 25, "attempts": 1}]
    assert refusal(priced.intend(3, run=50)) == "run"


def test_a_success_without_a_price_is_settled_at_its_hold_and_one_with_a_price_is_not(priced: StoresShelf) -> None:
    first, second = priced.buy(1), priced.buy(2)
    priced.ledger.submitted(first, make_task(1, S, reserved_credits=12, final_credits=11))
    priced.ledger.submitted(second, make_task(2, S, reserved_credits=13))
    assert priced.ledger.read.without_final("spring") == [second.job_id]
    for intent in (first, second):
        priced.ledger.final_unknown(intent.attempt_id)
    assert priced.ledger.read.spent() == (0, 24)
    assert priced.told(Event.FINAL_UNKNOWN) == [{"credits": 13}]


def test_one_task_for_two_jobs_is_told_at_once_and_settled_once(priced: StoresShelf) -> None:
    first, second = priced.buy(1), priced.buy(2)
    priced.ledger.submitted(first, make_task(7))
    with pytest.raises(Stale):
        priced.ledger.submitted(second, make_task(7))
    assert priced.status(2) is Status.DOUBTFUL
    [told] = priced.told(Event.DOUBTFUL)
    assert told["code"] == "same_task"
    assert first.job_id[:8] in told["message"]
    priced.ledger.record(first.attempt_id, make_task(7, S, final_credits=10))
    assert priced.ledger.read.spent() == (10, 10)
