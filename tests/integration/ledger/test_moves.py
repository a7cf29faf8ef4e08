"""Each move of the ledger: its effect and its event in one transaction, by compare-and-set, settled once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from core_helpers import ACCOUNT, Shelf, job_name, make_spec, make_task
from virtual_time import EPOCH

from batcher.jobs import (
    MOVES,
    Ended,
    Planned,
    ResultFile,
    Status,
    Submitting,
    Succeeded,
    Waiting,
)
from batcher.ledger import Stale, seen_price
from batcher.ledger.queries import jobs
from batcher.ledger.store.purchases import derive_key


def last_event(shelf: Shelf) -> tuple[str, dict[str, Any]]:
    row = shelf.rows("SELECT * FROM events ORDER BY id DESC LIMIT 1")[0]
    return row["event"], json.loads(row["detail"])


def test_an_intent_is_key_body_hold_and_account(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    [row] = shelf.attempts(1)
    assert (row["number"], row["account"], row["quoted_credits"]) == (1, ACCOUNT.text, 10)
    assert (row["idempotency_key"], row["body"]) == (intent.key, intent.body)
    assert row["client_request_id"] == f"spring-{job_name(1)}-take1-1"
    assert intent.body == b"body of " + row["client_request_id"].encode()
    assert len(row["client_request_id"]) <= 128
    assert (intent.maybe_received, intent.intended.wall) == (False, EPOCH)
    assert shelf.ledger.read.spent().held == 10
    assert shelf.job(1)["status"] == "submitting"
    assert last_event(shelf) == ("intended", {"from": "planned", "to": "submitting", "hold": 10})
    phase = shelf.ledger.read.load(job_name(1)).phase
    assert phase == Submitting(intent)


def test_the_key_is_derived_from_ledger_job_and_attempt(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1), make_spec(2, price_class="other")])
    first = shelf.buy(1)
    assert shelf.ledger.unsent(first, "rate_limited", "no") is Status.PLANNED
    second = shelf.buy(1)
    assert len({first.key, second.key, shelf.buy(2).key}) == 3
    assert (second.number, len(second.key)) == (2, 40)
    assert first.key == derive_key(shelf.ledger.read.ledger_id, job_name(1), 1)


def test_from_the_answer_to_the_file(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    shelf.clock.now += 1
    shelf.ledger.submitted(intent, make_task(reserved_credits=12))
    assert shelf.ledger.read.spent().held == 12
    assert shelf.ledger.read.load(job_name(1)).phase == Waiting(
        intent.attempt_id, "task_1", Status.QUEUED, EPOCH + 1, ACCOUNT.text, intent.intended
    )
    assert last_event(shelf)[1] == {
        "from": "submitting",
        "to": "queued",
        "task_id": "task_1",
        "word": "queued",
        "reserved": 12,
    }
    events = len(shelf.events())
    shelf.ledger.record(intent.attempt_id, make_task(reserved_credits=12))
    assert len(shelf.events()) == events, "nothing changed, so there is nothing to tell"
    shelf.ledger.record(intent.attempt_id, make_task(1, Status.PROCESSING, word="moderating"))
    assert last_event(shelf) == (
        "processing",
        {"from": "queued", "to": "processing", "task_id": "task_1", "word": "moderating", "reserved": None},
    )
    done = make_task(1, Status.SUCCEEDED, final_credits=11, urls=("https://m/1", "https://m/2"))
    shelf.ledger.record(intent.attempt_id, done)
    spent = shelf.ledger.read.spent()
    assert (spent.held, spent.settled) == (0, 11)
    phase = shelf.ledger.read.load(job_name(1)).phase
    assert isinstance(phase, Succeeded)
    assert phase.files == (ResultFile(0, "https://m/1"), ResultFile(1, "https://m/2"))
    assert shelf.ledger.read.unsaved("spring") == [job_name(1)]
    assert shelf.job(1)["result_url"] == "https://m/1"
    for number in (0, 1):
        assert shelf.ledger.claim_file(intent.attempt_id, number, target=f"results/f{number}", sha256="ab", size=3)
        assert shelf.job(1)["result_path"] is None or number, "claimed is not saved"
        shelf.ledger.file_saved(job_name(1), intent.attempt_id, number)
    assert (shelf.job(1)["result_path"], shelf.job(1)["result_sha256"]) == ("results/f0", "ab")
    assert shelf.ledger.read.unsaved("spring") == []
    assert [campaign.files for campaign in jobs.campaigns(shelf.ledger.read)] == [2]
    assert shelf.events()[-2:] == ["saved", "saved"]


@pytest.mark.parametrize("end", [Status.SUCCEEDED, Status.FAILED])
def test_another_final_that_comes_later_takes_the_place_of_the_first(shelf: Shelf, end: Status) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    shelf.ledger.submitted(intent, make_task())
    shelf.ledger.record(intent.attempt_id, make_task(1, end, final_credits=7))
    before = shelf.attempts(1)
    for _ in range(2):
        shelf.ledger.record(intent.attempt_id, make_task(1, end, reserved_credits=99, final_credits=12))
        assert shelf.attempts(1) == [before[0] | {"final_credits": 12}]
        assert (shelf.ledger.read.spent().held, shelf.ledger.read.spent().settled) == (0, 12)
    assert shelf.events().count("final_changed") == 1


def test_without_a_final_price_the_hold_counts_as_spent(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1), make_spec(2)])
    intent = shelf.buy(1)
    shelf.ledger.submitted(intent, make_task(reserved_credits=None))
    shelf.ledger.record(intent.attempt_id, make_task(1, Status.FAILED, error_code="x", error_message="y"))
    assert shelf.ledger.read.spent().settled == 10
    assert (shelf.job(1)["error_code"], shelf.job(1)["error_message"]) == ("x", "y")
    assert last_event(shelf)[1] | {"code": "x", "message": "y"} == last_event(shelf)[1]
    # An API that names no price at all: what a success was settled with in the end is the price.
    assert seen_price(shelf.ledger.read, ACCOUNT.text, "small") is None
    other = shelf.buy(2)
    shelf.ledger.submitted(other, make_task(2, Status.SUCCEEDED))
    assert seen_price(shelf.ledger.read, ACCOUNT.text, "small") is None
    assert shelf.ledger.read.spent() == (10, 10)
    shelf.ledger.final_unknown(other.attempt_id)
    assert shelf.ledger.read.spent() == (0, 20)
    seen = seen_price(shelf.ledger.read, ACCOUNT.text, "small")
    assert seen is not None
    assert seen.credits == 10


def test_a_result_without_a_url_keeps_a_place_for_the_file(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    shelf.ledger.submitted(intent, make_task(1, Status.SUCCEEDED, final_credits=10))
    phase = shelf.ledger.read.load(job_name(1)).phase
    assert isinstance(phase, Succeeded)
    assert phase.files == (ResultFile(0, ""),)
    shelf.ledger.record(intent.attempt_id, make_task(1, Status.SUCCEEDED, urls=("https://m/1",)))
    again = shelf.ledger.read.load(job_name(1)).phase
    assert isinstance(again, Succeeded)
    assert again.files == (ResultFile(0, "https://m/1"),)
    # A later answer without URLs does not take away what is known.
    shelf.ledger.record(intent.attempt_id, make_task(1, Status.SUCCEEDED))
    assert shelf.job(1)["result_url"] == "https://m/1"


def test_a_refusal_of_the_only_sending_frees_the_hold(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    assert shelf.ledger.refused(intent, "validation_failed", "no") is Status.FAILED
    assert shelf.ledger.read.spent().committed == 0
    assert [shelf.attempts(1)[0][c] for c in ("outcome", "final_credits")] == ["refused", 0]
    assert (shelf.job(1)["status"], shelf.job(1)["error_code"]) == ("failed", "validation_failed")
    assert last_event(shelf) == (
        "refused",
        {"from": "submitting", "to": "failed", "code": "validation_failed", "message": "no"},
    )


def test_an_attempt_closed_at_no_cost_is_planned_again_and_the_old_one_is_kept(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    assert shelf.ledger.unsent(intent, "insufficient_credits", "poor") is Status.PLANNED
    assert shelf.ledger.read.load(job_name(1)).phase == Planned()
    assert shelf.ledger.read.spent().committed == 0
    assert [p.id for p in shelf.ledger.read.pending("spring", "small", after=-1, limit=9)] == [job_name(1)]
    shelf.buy(1)
    assert [row["outcome"] for row in shelf.attempts(1)] == ["refused", None]
    with pytest.raises(Stale):
        shelf.ledger.record(intent.attempt_id, make_task())


def test_a_job_that_cannot_be_sent(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    shelf.ledger.cannot_send(job_name(1), "reference_changed", "other bytes")
    assert (shelf.job(1)["status"], shelf.job(1)["error_code"], shelf.job(1)["attempt"]) == (
        "failed",
        "reference_changed",
        0,
    )
    assert shelf.ledger.read.load(job_name(1)).phase == Ended(Status.FAILED)
    with pytest.raises(Stale):
        shelf.ledger.cannot_send(job_name(1), "reference_changed", "other bytes")


def moves(shelf: Shelf) -> dict[str, Callable[[], object]]:
    intent = shelf.buy(1)
    return {
        "refused": lambda: shelf.ledger.refused(intent, "a", "b"),
        "unsent": lambda: shelf.ledger.unsent(intent, "a", "b"),
        "doubt": lambda: shelf.ledger.doubt(intent.attempt_id, "a", "b"),
        "queued": lambda: shelf.ledger.record(intent.attempt_id, make_task()),
        "succeeded": lambda: shelf.ledger.record(intent.attempt_id, make_task(1, Status.SUCCEEDED)),
        "failed": lambda: shelf.ledger.record(intent.attempt_id, make_task(1, Status.FAILED)),
        "intend": lambda: shelf.buy(1),
        "cannot_send": lambda: shelf.ledger.cannot_send(job_name(1), "a", "b"),
    }


ALLOWED = {
    "planned": {"intend", "cannot_send"},
    "submitting": {"refused", "unsent", "doubt", "queued", "succeeded", "failed"},
    "queued": {"doubt", "queued", "succeeded", "failed"},
    "processing": {"doubt", "queued", "succeeded", "failed"},
    "succeeded": {"succeeded"},
    "failed": {"failed"},
    "doubtful": set(),
    "cancelled": set(),
}


@pytest.mark.parametrize("status", list(Status))
def test_every_move_is_compared_with_the_row_and_else_nothing_is_written(shelf: Shelf, status: Status) -> None:
    """Somebody else moved the job since it was read: the move is refused whole, and money stays as it was."""
    shelf.name_price()
    shelf.enrol([make_spec(1)])
    for name, move in moves(shelf).items():
        shelf.edit("UPDATE wanted SET status = ?", status)
        before = (shelf.job(1)["status"], shelf.ledger.read.spent(), shelf.attempts(1)[0]["outcome"])
        if name in ALLOWED[status]:
            continue
        with pytest.raises(Stale):
            move()
        assert (shelf.job(1)["status"], shelf.ledger.read.spent(), shelf.attempts(1)[0]["outcome"]) == before, name


def test_the_task_id_of_an_attempt_that_a_person_has_closed_is_kept(shelf: Shelf) -> None:
    """Nothing bought is lost: the answer comes too late for the job, not for the bill."""
    shelf.enrol([make_spec(1)])
    old = shelf.buy(1)
    shelf.ledger.unsent(old, "a", "b")
    shelf.buy(1)
    with pytest.raises(Stale):
        shelf.ledger.submitted(old, make_task(9, urls=("https://m/9",)))
    first, second = shelf.attempts(1)
    assert (first["task_id"], json.loads(first["result_urls"]), second["task_id"]) == ("task_9", ["https://m/9"], None)
    assert shelf.events()[-1] == "late_answer"
    assert (shelf.ledger.read.spent().held, shelf.ledger.read.spent().settled) == (10, 0), "closed stays closed"
    shelf.ledger.doubt(second["id"], "a", "b")
    with pytest.raises(Stale):
        shelf.ledger.submitted(shelf_intent(shelf, second["id"]), make_task(10, Status.SUCCEEDED, final_credits=3))
    assert shelf.attempts(1)[1]["task_id"] == "task_10"
    assert shelf.ledger.read.spent().held == 10, "a doubtful hold is freed by a person only"


def shelf_intent(shelf: Shelf, attempt_id: int) -> Any:
    from batcher.ledger.store.rows import intent

    [row] = shelf.ledger.read.rows("SELECT * FROM attempts WHERE id = ?", (attempt_id,))
    return intent(row)


def test_the_table_of_moves_is_closed() -> None:
    assert set(MOVES) == set(Status)
    assert all(status not in MOVES[status] for status in Status)
    assert Status.PLANNED not in MOVES[Status.QUEUED] | MOVES[Status.PROCESSING], "what the API has is not bought anew"
