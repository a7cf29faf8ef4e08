"""What every store promises, by the port's methods alone: money, moves, groups and what observers hear.

Tests of what stands in SQLite's tables are those of `test_ledger_…`. A store that is to stand in its place is added to
`STORES`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from core_helpers import ACCOUNT, OTHER, ManualClock, StoreShelf, job_name, make_spec, make_task
from support import EPOCH

from batcher.events import Event
from batcher.jobs import Ended, Intent, Planned, Status, Submitting, Succeeded, Upload
from batcher.ledger import Caps, LedgerWriter, Observer, Refusal, Stale, Store

#: Makes a store that lives in a folder, or comes back to it.
Opener = Callable[[Path, ManualClock, Observer], Store]
Shelf = StoreShelf[Store]
Q, S, F = Status.QUEUED, Status.SUCCEEDED, Status.FAILED


def sqlite(folder: Path, clock: ManualClock, observe: Observer) -> Store:
    return LedgerWriter.open(folder / "ledger.db", clock, observe)


STORES: list[Opener] = [sqlite]


@pytest.fixture(params=STORES, ids=lambda each: each.__name__)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    made: Shelf = StoreShelf(partial(request.param, tmp_path))
    yield made
    made.ledger.close()


@pytest.fixture
def priced(shelf: Shelf) -> Shelf:
    """Ten jobs of a class whose price the API has named: 10 credits."""
    shelf.name_price()
    shelf.enrol([make_spec(n) for n in range(1, 11)])
    return shelf


def refusal(made: object) -> str:
    assert isinstance(made, Refusal), made
    assert made.message
    return made.cap


def state(shelf: Shelf) -> tuple[object, ...]:
    read = shelf.ledger.read
    return read.load(job_name(1)).phase, read.spent(), read.newest_attempt(), len(shelf.changes)


# Intents


def test_an_intent_is_committed_before_it_is_returned_and_comes_back_as_it_was(shelf: Shelf) -> None:
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
    # Found at a start it may have been received, for good: no later sending takes it back.
    assert phase.intent.maybe_received
    assert shelf.ledger.refused(phase.intent, "a", "b") is Status.DOUBTFUL


def test_each_attempt_has_a_key_of_its_own(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1), make_spec(2, price_class="other")])
    first = shelf.buy(1)
    assert shelf.ledger.unsent(first, "rate_limited", "no") is Status.PLANNED
    second = shelf.buy(1)
    assert len({first.key, second.key, shelf.buy(2).key}) == 3
    assert second.number == 2


def test_a_body_that_cannot_be_made_makes_no_attempt(shelf: Shelf) -> None:
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
    priced: Shelf, cap: str, caps: dict[str, Any], more: dict[str, Any]
) -> None:
    for number in (1, 2, 3):
        priced.buy(number, **caps)
    assert refusal(priced.intend(4, **caps)) == cap
    priced.buy(4, **more)


def test_a_refusal_writes_nothing(priced: Shelf) -> None:
    before = state(priced)
    assert priced.intend(1, run=9) == Refusal("run", "run cap of 9: 0 held or settled, 10 more wanted", 10)
    assert state(priced) == before


def test_a_cap_of_another_campaign_is_none_of_ours(priced: Shelf) -> None:
    assert isinstance(priced.intend(1, campaigns={"autumn": 0}), Intent)


def test_smaller_ones_may_pass(priced: Shelf) -> None:
    priced.name_price("tiny", 3)
    priced.enrol([*(make_spec(n) for n in range(1, 11)), make_spec(11, price_class="tiny", catalog_credits=3)])
    assert refusal(priced.intend(1, run=5)) == "run"
    assert isinstance(priced.intend(11, run=5), Intent)
    ask = partial(priced.ledger.refusal, account=ACCOUNT, campaign="spring", price_class="small")
    assert not ask(Caps(run=13), catalog_credits=10)
    assert ask(Caps(run=12), catalog_credits=0)


def test_the_run_cap_counts_this_runs_intents(priced: Shelf) -> None:
    assert isinstance(priced.intend(1, run=10), Intent)
    assert refusal(priced.intend(2, run=10)) == "run"
    priced.restart()
    assert isinstance(priced.intend(2, run=10), Intent)


def test_what_came_back_is_free_again(priced: Shelf) -> None:
    intent = priced.buy(1, run=10)
    assert refusal(priced.intend(2, run=10)) == "run"
    priced.ledger.submitted(intent, make_task())
    assert refusal(priced.intend(2, run=10)) == "run"
    priced.ledger.record(intent.attempt_id, make_task(1, F, final_credits=0))
    assert isinstance(priced.intend(2, run=10), Intent)


def test_what_is_doubtful_stays_held(priced: Shelf) -> None:
    intent = priced.buy(1, run=10)
    priced.ledger.doubt(intent.attempt_id, "a", "b")
    assert refusal(priced.intend(2, run=10)) == "run"
    assert priced.ledger.read.load(job_name(1)).phase == Ended(Status.DOUBTFUL)


def test_keep_counts_from_the_last_reading_of_the_wallet(priced: Shelf) -> None:
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
    priced: Shelf, status: Status, reserved: int | None, left: int
) -> None:
    """A wallet of 100 is read while a job is open of which the API has taken its reserve so far."""
    priced.ledger.submitted(priced.buy(1), make_task(1, status, reserved_credits=reserved, final_credits=0))
    keep: dict[str, Any] = {"wallet": 100, "wallet_mark": priced.ledger.read.wallet_mark()}
    assert refusal(priced.intend(2, **keep, keep=left - 9)) == "keep"
    assert isinstance(priced.intend(2, **keep, keep=left - 10), Intent)


def test_what_another_key_has_under_way_may_draw_from_the_same_wallet(priced: Shelf) -> None:
    """Nobody knows whose wallet a key draws from: an unanswered attempt holds the mark back, whatever its key."""
    mark = priced.ledger.read.wallet_mark()
    priced.account = OTHER
    assert isinstance(priced.intend(1), Intent)
    priced.account = ACCOUNT
    assert priced.ledger.read.wallet_mark() == mark


@pytest.mark.parametrize("end", ["refused", "unsent", "doubtful", "failed"])
def test_when_the_first_of_a_class_ends_without_a_price_the_next_one_goes_alone(shelf: Shelf, end: str) -> None:
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
    priced: Shelf, status: Status, reserved: int, final: int | None, spent: tuple[int, int]
) -> None:
    priced.ledger.submitted(priced.buy(1), make_task(1, status, reserved_credits=reserved, final_credits=final))
    assert priced.ledger.read.spent() == spent


@pytest.mark.parametrize("close", ["refused", "unsent"])
def test_what_was_maybe_received_becomes_doubtful_and_keeps_its_hold(shelf: Shelf, close: str) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    shelf.ledger.maybe_received(intent, "no_answer", "cut")
    assert shelf.told(Event.MAYBE_RECEIVED) == [{"code": "no_answer", "message": "cut"}]
    ended = shelf.ledger.refused if close == "refused" else shelf.ledger.unsent
    assert ended(intent, "x", "y") is Status.DOUBTFUL
    assert shelf.ledger.read.spent() == (10, 0)
    assert shelf.told(Event.DOUBTFUL) == [{"code": "x", "message": "y"}]


def test_a_later_final_counts_even_over_a_cap_which_then_lets_nothing_more_through(priced: Shelf) -> None:
    first = priced.buy(1, run=30)
    priced.ledger.submitted(first, make_task(1, S, final_credits=10))
    assert isinstance(priced.intend(2, run=30), Intent)
    for _ in range(2):
        priced.ledger.record(first.attempt_id, make_task(1, S, final_credits=25))
    assert priced.told(Event.FINAL_CHANGED) == [{"was": 10, "now": 25}]
    assert priced.ledger.read.spent() == (25, 25), "what is under way may cost as much"
    assert priced.told(Event.HOLDS_RAISED) == [{"price_class": "small", "credits": 25, "attempts": 1}]
    assert refusal(priced.intend(3, run=50)) == "run"


def test_a_success_without_a_price_is_settled_at_its_hold_and_one_with_a_price_is_not(priced: Shelf) -> None:
    first, second = priced.buy(1), priced.buy(2)
    priced.ledger.submitted(first, make_task(1, S, reserved_credits=12, final_credits=11))
    priced.ledger.submitted(second, make_task(2, S, reserved_credits=13))
    assert priced.ledger.read.unpriced("spring") == [second.job_id]
    for intent in (first, second):
        priced.ledger.final_unknown(intent.attempt_id)
    assert priced.ledger.read.spent() == (0, 24)
    assert priced.told(Event.FINAL_UNKNOWN) == [{"credits": 13}]


def test_one_task_for_two_jobs_is_told_at_once_and_settled_once(priced: Shelf) -> None:
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


# Late answers, compare and set


def test_a_move_of_an_attempt_that_is_not_the_latest_is_refused(shelf: Shelf) -> None:
    """A person said `again` while the answer was on its way: the new attempt is not touched by the old one's news."""
    shelf.enrol([make_spec(1)])
    old = shelf.buy(1)
    assert shelf.ledger.unsent(old, "a", "b") is Status.PLANNED
    new = shelf.buy(1)
    for move in (
        lambda: shelf.ledger.refused(old, "a", "b"),
        lambda: shelf.ledger.unsent(old, "a", "b"),
        lambda: shelf.ledger.doubt(old.attempt_id, "a", "b"),
        lambda: shelf.ledger.record(old.attempt_id, make_task(9)),
    ):
        with pytest.raises(Stale):
            move()
    assert shelf.ledger.read.load(job_name(1)).phase == Submitting(new)
    assert shelf.ledger.read.spent().held == 10
    [late] = shelf.told(Event.LATE_ANSWER)
    assert late["task_id"] == "task_9", "it is kept all the same"


def test_what_the_api_took_for_a_doubtful_job_is_held_and_not_settled(priced: Shelf) -> None:
    made = priced.buy(1)
    priced.ledger.submitted(made, make_task(1))
    priced.ledger.doubt(made.attempt_id, "not_found", "the API does not know the task")
    with pytest.raises(Stale):
        priced.ledger.record(made.attempt_id, make_task(1, S, final_credits=25))
    assert priced.ledger.read.spent() == (25, 0)


def test_a_job_is_bought_once(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(1)])
    job = shelf.ledger.read.load(job_name(1))
    intend = partial(shelf.ledger.intend, job, account=ACCOUNT, compose=str.encode, caps=Caps())
    assert isinstance(intend(), Intent)
    before = state(shelf)
    with pytest.raises(Stale):
        intend()
    with pytest.raises(Stale):
        shelf.ledger.cannot_send(job_name(1), "reference_changed", "other bytes")
    assert state(shelf) == before


# Groups, and what observers hear


def test_a_cap_counts_what_others_of_the_same_commit_hold(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(number) for number in range(1, 6)])
    found = shelf.ledger.commit_group(
        [partial(shelf.intend, number, campaigns={"spring": 25}) for number in range(1, 6)]
    )
    assert [type(each) for each in found] == [Intent, Intent, Refusal, Refusal, Refusal]


def test_what_fails_in_a_group_has_no_trace_and_spoils_nothing(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(1), make_spec(2)])
    job = shelf.ledger.read.load(job_name(1))
    intend = partial(shelf.ledger.intend, job, account=ACCOUNT, compose=str.encode, caps=Caps())
    del shelf.changes[:]
    asked: list[Callable[[], object]] = [intend, intend, partial(shelf.buy, 2)]
    first, stale, last = shelf.ledger.commit_group(asked)
    assert isinstance(first, Intent)
    assert isinstance(stale, Stale)
    assert isinstance(last, Intent)
    assert [change.event for change in shelf.changes] == ["intended", "intended"]
    assert shelf.ledger.read.spent(campaign="spring") == (20, 0)


def test_observers_are_told_after_the_commit_and_only_of_what_was_committed(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(1), make_spec(2)])
    told: list[tuple[str, Status, Status]] = []

    class Hears(list[Any]):
        def append(self, change: Any) -> None:
            told.append((change.event, shelf.status(1), shelf.status(2)))

    shelf.changes = Hears()
    shelf.restart()
    del told[:]
    one, two = shelf.ledger.commit_group([partial(shelf.buy, 1), partial(shelf.buy, 2)])
    assert isinstance(one, Intent)
    assert isinstance(two, Intent)
    shelf.ledger.submitted(one, make_task())
    with pytest.raises(Stale):
        shelf.ledger.cannot_send(two.job_id, "a", "b")
    submitting = Status.SUBMITTING
    assert told == [("intended", submitting, submitting)] * 2 + [("queued", Q, submitting)]


# Uploads, files, requests


def test_an_upload_a_file_and_account(shelf: Shelf) -> None:
    one = Upload("ab", "https://cdn/1", "image", "a.png", "image/png", "f1", "tok", 1.5, EPOCH)
    shelf.ledger.remember_upload(ACCOUNT, one)
    assert shelf.ledger.read.upload(ACCOUNT, "ab") == one
    assert shelf.ledger.read.upload(OTHER, "ab") is None
    shelf.clock.now += 60
    shelf.ledger.vouched(ACCOUNT, "ab")
    found = shelf.ledger.read.upload(ACCOUNT, "ab")
    assert found is not None
    assert found.checked_at == EPOCH + 60
    two = Upload("ab", "https://cdn/2", "image", "b.png", "image/png", None, None, None, EPOCH + 70)
    shelf.ledger.remember_upload(ACCOUNT, two)
    assert shelf.ledger.read.upload(ACCOUNT, "ab") == two
    assert len(shelf.told(Event.UPLOADED)) == 2


def test_a_file_is_claimed_by_one_job_and_saved_once(priced: Shelf) -> None:
    one, two = priced.buy(1), priced.buy(2)
    for number, intent in ((1, one), (2, two)):
        priced.ledger.submitted(intent, make_task(number, S, final_credits=10, urls=(f"https://m/{number}",)))
    assert priced.ledger.read.unsaved("spring") == [one.job_id, two.job_id]
    priced.ledger.begin_file(one.attempt_id, 0, '"v1"', 3)
    assert priced.ledger.claim_file(one.attempt_id, 0, target="results/a.mp4", sha256="ab", size=3)
    assert not priced.ledger.claim_file(two.attempt_id, 0, target="results/A.mp4", sha256="cd", size=3)
    priced.ledger.file_saved(one.job_id, one.attempt_id, 0)
    assert priced.ledger.read.unsaved("spring") == [two.job_id]
    phase = priced.ledger.read.load(one.job_id).phase
    assert isinstance(phase, Succeeded)
    assert [(file.url, file.target, file.saved) for file in phase.files] == [("https://m/1", "results/a.mp4", True)]


def test_requests_are_remembered_over_restarts_for_a_day(shelf: Shelf) -> None:
    first = shelf.ledger.stamp("poll")
    shelf.clock.now += 24 * 3600
    second = shelf.ledger.stamp("submit")
    shelf.restart()
    assert [send.id for send in shelf.ledger.sends_after(0)] == [first, second]
    shelf.clock.now += 2 * 3600
    shelf.restart()
    assert [(send.id, send.kind) for send in shelf.ledger.newest_sends(9)] == [(second, "submit")]
    assert shelf.ledger.newest_sends(9, kind="poll") == []
