"""The wallet against the ledger: what should be there, what may be behind a difference, what nobody here did."""

from __future__ import annotations

import pytest
from core_helpers import OTHER, Shelf, make_spec, make_task, resolve_failed
from integration.report.helpers import report_of
from support import Bench

from batcher.clock import iso
from batcher.events import Event
from batcher.jobs import Status
from batcher.report.wallet import Reconciliation, reconcile


def read_wallet(shelf: Shelf, credits_there: int) -> None:
    shelf.clock.now += 1
    shelf.ledger.note(Event.WALLET_READ, account=shelf.account.text, credits=credits_there)
    shelf.clock.now += 1


def compare(shelf: Shelf, wallet: int, since: str | None = None) -> Reconciliation:
    shelf.clock.now += 1
    at = iso(shelf.clock.now)
    return reconcile(shelf.ledger.read, account=shelf.account.text, wallet=wallet, at=at, since=since)


def finish(shelf: Shelf, number: int, final: int, status: Status = Status.SUCCEEDED) -> None:
    [attempt] = shelf.attempts(number)
    shelf.clock.now += 1
    done = make_task(number, status, final_credits=final)
    shelf.ledger.record(attempt["id"], done)


@pytest.fixture
def started(shelf: Shelf) -> Shelf:
    """A wallet of 1000 was read before anything was bought."""
    shelf.enrol([make_spec(number, price_class=f"c{number}") for number in range(10)])
    read_wallet(shelf, 1000)
    return shelf


def causes(found: Reconciliation) -> dict[str, tuple[int, int]]:
    return {cause.name: (cause.lower, cause.higher) for cause in found.causes}


def test_all_is_as_it_should_be(started: Shelf) -> None:
    for number, (final, status) in enumerate([(10, Status.SUCCEEDED), (7, Status.SUCCEEDED), (0, Status.FAILED)]):
        started.ledger.submitted(started.buy(number), make_task(number))
        finish(started, number, final, status)
    found = compare(started, 983)
    assert found.since is not None
    assert (found.since.credits, found.spent, found.expected) == (1000, 17, 983)
    assert (found.difference, found.unexplained, found.causes) == (0, 0, ())
    assert (found.settled, found.held) == (17, 0)


def test_without_an_earlier_reading_there_is_nothing_to_compare(shelf: Shelf) -> None:
    found = compare(shelf, 500)
    assert (found.since, found.spent, found.expected, found.difference, found.unexplained) == (None,) * 5


def test_a_reading_of_another_account_or_of_now_is_none(shelf: Shelf) -> None:
    shelf.ledger.note(Event.WALLET_READ, account=OTHER.text, credits=1)
    now = iso(shelf.clock.now)
    shelf.ledger.note(Event.WALLET_READ, account=shelf.account.text, credits=500)
    assert reconcile(shelf.ledger.read, account=shelf.account.text, wallet=500, at=now).since is None


def test_the_oldest_reading_counts_or_the_oldest_since(started: Shelf) -> None:
    started.ledger.submitted(started.buy(1), make_task(1))
    finish(started, 1, 10)
    between = iso(started.clock.now)
    read_wallet(started, 990)
    started.ledger.submitted(started.buy(2), make_task(2))
    finish(started, 2, 10)
    found = compare(started, 980)
    assert found.since is not None
    assert (found.since.credits, found.spent, found.difference) == (1000, 20, 0)
    later = compare(started, 980, since=between)
    assert later.since is not None
    assert (later.since.credits, later.spent, later.difference) == (990, 10, 0)


@pytest.mark.parametrize(("wallet", "unexplained"), [(940, -60), (1040, 40), (1000, 0)])
def test_what_this_ledger_has_no_part_in_is_named(started: Shelf, wallet: int, unexplained: int) -> None:
    found = compare(started, wallet)
    assert (found.difference, found.unexplained) == (wallet - 1000, unexplained)


@pytest.mark.parametrize(("wallet", "unexplained"), [(990, 0), (1000, 0), (989, -1), (1001, 1)])
def test_a_request_without_an_answer_may_have_been_charged(started: Shelf, wallet: int, unexplained: int) -> None:
    started.buy(1)
    found = compare(started, wallet)
    assert (found.expected, causes(found)) == (1000, {"unanswered": (10, 0)})
    assert found.unexplained == unexplained


@pytest.mark.parametrize(("wallet", "unexplained"), [(990, 0), (1000, 0), (989, -1), (1001, 1)])
@pytest.mark.parametrize("answered", [False, True])
def test_a_doubtful_purchase_may_have_been_charged(
    started: Shelf, wallet: int, unexplained: int, answered: bool
) -> None:
    intent = started.buy(1)
    if answered:  # and then the API did not know its task any more
        started.ledger.submitted(intent, make_task(1))
    started.ledger.doubt(intent.attempt_id, "lost", "")
    found = compare(started, wallet)
    assert (found.expected, causes(found)) == (1000, {"doubtful": (10, 0)})
    assert found.unexplained == unexplained


@pytest.mark.parametrize(("wallet", "unexplained"), [(980, 0), (1000, 0), (979, -1), (1001, 1)])
def test_a_doubtful_purchase_from_before_may_also_have_come_back(shelf: Shelf, wallet: int, unexplained: int) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    shelf.ledger.doubt(intent.attempt_id, "lost", "")
    read_wallet(shelf, 990)
    found = compare(shelf, wallet)
    assert causes(found) == {"doubtful": (10, 10)}
    assert found.unexplained == unexplained


@pytest.mark.parametrize(("wallet", "unexplained"), [(990, 0), (1000, 0), (989, -1), (1001, 1)])
def test_a_task_under_way_may_have_given_back_already(started: Shelf, wallet: int, unexplained: int) -> None:
    started.ledger.submitted(started.buy(1), make_task(1))
    found = compare(started, wallet)
    assert (found.expected, causes(found)) == (990, {"under_way": (0, 10)})
    assert found.unexplained == unexplained


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SUCCEEDED])
@pytest.mark.parametrize(("wallet", "unexplained"), [(990, 0), (997, 0), (1000, 0), (989, -1), (1001, 1)])
def test_what_is_held_above_the_reserve_may_have_been_taken(
    started: Shelf, status: Status, wallet: int, unexplained: int
) -> None:
    """Of a task under way, and of a success whose price is not named yet."""
    started.ledger.submitted(started.buy(1), make_task(1, status, reserved_credits=3, final_credits=0))
    found = compare(started, wallet)
    assert (found.expected, causes(found)) == (997, {"under_way": (7, 3)})
    assert found.unexplained == unexplained


def test_what_was_taken_before_the_first_reading_is_not_spent_since(shelf: Shelf) -> None:
    shelf.enrol([make_spec(number, price_class=f"c{number}") for number in range(3)])
    for number in (1, 2):
        shelf.ledger.submitted(shelf.buy(number), make_task(number))
    finish(shelf, 1, 10)
    read_wallet(shelf, 980)  # both are taken
    finish(shelf, 2, 4)
    found = compare(shelf, 986)
    assert (found.spent, found.expected, found.difference) == (-6, 986, 0)
    # The second one had perhaps given its 6 back when the wallet was read, only the ledger did not know.
    assert causes(found) == {"ended_later": (6, 0)}
    assert compare(shelf, 980).unexplained == 0
    assert compare(shelf, 979).unexplained == -1


def test_what_was_perhaps_taken_before_the_first_reading(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    read_wallet(shelf, 990)  # perhaps with the charge, perhaps without
    shelf.ledger.submitted(intent, make_task(1))
    finish(shelf, 1, 10)
    found = compare(shelf, 990)
    assert (found.expected, found.difference, causes(found)) == (980, 10, {"answered_later": (0, 10)})
    assert found.unexplained == 0
    assert compare(shelf, 991).unexplained == 1


def test_what_happens_after_the_reading_is_not_held_against_it(started: Shelf) -> None:
    """A run goes on between the wallet's reading and the ledger's."""
    waiting, asked = started.buy(1), started.buy(2)
    started.ledger.submitted(waiting, make_task(1))
    at = iso(started.clock.now)
    started.clock.now += 1
    started.ledger.submitted(asked, make_task(2))
    finish(started, 1, 4)
    finish(started, 2, 10)
    started.ledger.submitted(started.buy(3), make_task(3))

    def then(wallet: int) -> Reconciliation:
        return reconcile(started.ledger.read, account=started.account.text, wallet=wallet, at=at)

    assert (then(990).expected, then(990).difference) == (990, 0)
    assert causes(then(990)) == {"unanswered": (10, 0), "under_way": (0, 10)}
    assert [then(wallet).unexplained for wallet in (979, 980, 1000, 1001)] == [-1, 0, 0, 1]


def test_resolved_and_refused_purchases(started: Shelf) -> None:
    intent = started.buy(1)
    started.ledger.doubt(intent.attempt_id, "lost", "")
    resolve_failed(started.ledger, intent.job_id, charged=8)
    started.ledger.refused(started.buy(2), "validation_failed", "")
    assert compare(started, 992).difference == 0


def test_the_story(told: Bench) -> None:
    account, now = told.provider().account.text, iso(told.clock.wall() + 1)
    wallet = told.world.oracle().wallet
    with told.reader() as read:
        found = reconcile(read, account=account, wallet=wallet, at=now)
    total = report_of(told).total.credits
    assert (found.settled, found.held) == (total.settled, total.held)
    assert found.expected == 1000 - total.settled
    # One lost answer was resolved with 12 though it cost 9, another one is doubtful and cost 9.
    assert found.difference == 12 - 9 - 9
    assert causes(found) == {"doubtful": (12, 0)}
    assert found.unexplained == 0


def test_a_reading_that_somebody_has_spoilt_is_passed_over(shelf: Shelf) -> None:
    shelf.ledger.note(Event.WALLET_READ, account=shelf.account.text, credits="many")
    shelf.ledger.note(Event.WALLET_READ, credits=7)
    shelf.clock.now += 1
    shelf.ledger.note(Event.WALLET_READ, account=shelf.account.text, credits=70)
    found = compare(shelf, 70)
    assert found.since is not None
    assert (found.since.credits, found.difference) == (70, 0)
