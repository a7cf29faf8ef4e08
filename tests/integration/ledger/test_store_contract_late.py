"""What every store does with late answers, groups, uploads, files and requests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from core_helpers import ACCOUNT, OTHER, job_name, make_spec, make_task
from integration.ledger.helpers import StoresShelf, priced, shelf, state
from virtual_time import EPOCH

from batcher.controls import Controls
from batcher.events import Event
from batcher.jobs import Intent, Status, Submitting, Succeeded, Upload
from batcher.ledger import Caps, LedgerWriter, NotAdmitted, Stale, control

__all__ = ["priced", "shelf"]

Q, S, F = Status.QUEUED, Status.SUCCEEDED, Status.FAILED


# Late answers, compare and set


def test_a_move_of_an_attempt_that_is_not_the_latest_is_refused(shelf: StoresShelf) -> None:
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


def test_what_the_api_took_for_a_doubtful_job_is_held_and_not_settled(priced: StoresShelf) -> None:
    made = priced.buy(1)
    priced.ledger.submitted(made, make_task(1))
    priced.ledger.doubt(made.attempt_id, "not_found", "the API does not know the task")
    with pytest.raises(Stale):
        priced.ledger.record(made.attempt_id, make_task(1, S, final_credits=25))
    assert priced.ledger.read.spent() == (25, 0)


def test_a_job_is_bought_once(shelf: StoresShelf) -> None:
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


def test_a_cap_counts_what_others_of_the_same_commit_hold(shelf: StoresShelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(number) for number in range(1, 6)])
    found = shelf.ledger.commit_group(
        [partial(shelf.intend, number, campaigns={"spring": 25}) for number in range(1, 6)]
    )
    assert [type(each) for each in found] == [Intent, Intent, NotAdmitted, NotAdmitted, NotAdmitted]


def test_what_fails_in_a_group_has_no_trace_and_spoils_nothing(shelf: StoresShelf) -> None:
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


def test_observers_are_told_after_the_commit_and_only_of_what_was_committed(shelf: StoresShelf) -> None:
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


def test_an_upload_a_file_and_account(shelf: StoresShelf) -> None:
    one = Upload("ab", "https://cdn/1", "image", "a.png", "image/png", "f1", "tok", 1.5, EPOCH)
    shelf.ledger.remember_upload(ACCOUNT, one)
    assert shelf.ledger.read.upload(ACCOUNT, "ab") == one
    assert shelf.ledger.read.upload(OTHER, "ab") is None
    shelf.clock.now += 60
    shelf.ledger.upload_verified(ACCOUNT, "ab")
    found = shelf.ledger.read.upload(ACCOUNT, "ab")
    assert found is not None
    assert found.checked_at == EPOCH + 60
    two = Upload("ab", "https://cdn/2", "image", "b.png", "image/png", None, None, None, EPOCH + 70)
    shelf.ledger.remember_upload(ACCOUNT, two)
    assert shelf.ledger.read.upload(ACCOUNT, "ab") == two
    assert len(shelf.told(Event.UPLOADED)) == 2


def test_a_file_is_claimed_by_one_job_and_saved_once(priced: StoresShelf) -> None:
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


def test_requests_are_remembered_over_restarts_for_a_day(shelf: StoresShelf) -> None:
    first = shelf.ledger.stamp("poll")
    shelf.clock.now += 24 * 3600
    second = shelf.ledger.stamp("submit")
    shelf.restart()
    assert [send.id for send in shelf.ledger.sends_after(0)] == [first, second]
    shelf.clock.now += 2 * 3600
    shelf.restart()
    assert [(send.id, send.kind) for send in shelf.ledger.newest_sends(9)] == [(second, "submit")]
    assert [send.id for send in shelf.ledger.newest_sends(9, submissions=True)] == [second]


# What people ask of a run


def refused(shelf: StoresShelf, number: int) -> str:
    made = shelf.intend(number)
    assert isinstance(made, NotAdmitted)
    return made.cap


def test_what_is_asked_holds_in_the_transaction_that_buys_until_the_run_ends(priced: StoresShelf) -> None:
    ledger = priced.ledger
    assert isinstance(ledger, LedgerWriter)
    begun = ledger.commanded()
    assert (begun, ledger.commanded()) == (Controls(), None)
    control.ask_of(ledger, "pause", {}, who="ann@desk")
    control.ask_of(ledger, "budget", {"budget.campaign:spring": 15}, who="ann@desk")
    asked = ledger.commanded()
    assert asked is not None
    assert (asked.state, asked.who, asked.cap("campaign:spring", None)) == ("paused", "ann@desk", 15)
    assert [told["command"] for told in priced.told(Event.COMMANDED)][-2:] == ["pause", "budget"]
    assert refused(priced, 1) == "paused"
    control.ask_of(ledger, "resume", {}, who="ann@desk")
    priced.buy(1)
    assert refused(priced, 2) == "campaign"
    assert control.run_control(ledger.read) is not None
    ledger.end_run(exit_code=3, reason="enough")
    assert control.run_control(ledger.read) is None
    priced.start()
    assert ledger.commanded() == Controls()
