"""What the API says of tasks, in all its moods, and what a person decides while a run works."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import attempts, done, faults, held, manifest, seen, statuses
from support import Bench

from batcher.errors import Kind, StorageError
from batcher.jobs import Intent, TaskState
from batcher.ledger import LedgerWriter

OFTEN = "retries: {times: 3}\n"


def test_a_task_that_fails_is_settled_by_what_the_api_says(bench: Bench) -> None:
    bench.switches.fail_prompt = "bad"
    path = manifest(bench, "A bad boat", "A good boat")
    ending = bench.run(path)
    assert ending.kind is Kind.UNFINISHED
    assert statuses(bench) == ["failed", "succeeded"]
    assert bench.jobs()[0]["error_code"] == "generation_failed"
    bench.check()
    with bench.reader() as reader:
        assert (reader.spent().held, reader.spent().settled) == (0, 10)


def not_found(**more: Any) -> dict[str, Any]:
    return {"on": "status", "do": "status", "status": 404, "code": "not_found", **more}


def test_a_task_that_is_unknown_for_a_moment_has_time(bench: Bench) -> None:
    faults(bench, not_found(nth=[1, 2, 3]))
    done(bench.run(manifest(bench, "Boat")))


@pytest.mark.parametrize("status", [404, 410, 200])
def test_a_task_that_stays_unknown_is_doubtful(bench: Bench, status: int) -> None:
    """Also where a gateway says so in a success (tensorzero 1198)."""
    faults(bench, not_found(status=status))
    path = manifest(bench, "Boat")
    assert bench.run(path).kind is Kind.UNFINISHED
    assert (statuses(bench), held(bench)) == (["doubtful"], 10)
    asked = [each.at for each in seen(bench, "status")]
    assert 120 <= asked[-1] - asked[0] < 160
    faults(bench)
    bench.run(path)
    assert len(bench.world.oracle().tasks) == 1


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"do": "none"}, ""),
        ({"do": "say"}, "HTTP 202 without a state: ''"),
        ({"do": "patch", "body": {"status": "SUCCESS"}}, "it says 'SUCCESS'"),
        ({"do": "status", "status": 200, "code": "not_found"}, "not_found: The simulator was told to say so."),
        ({"do": "html", "status": 403}, "http_403: HTTP 403 from"),
    ],
    ids=["as it should", "an empty 202", "an unknown state", "unknown", "a page"],
)
def test_a_task_that_is_given_up_says_what_came_last(bench: Bench, rule: dict[str, Any], told: str) -> None:
    """Not only that it is still with the API: else nobody learns why."""
    bench.switches.run_seconds = (5000, 5000)
    faults(bench, *([{"on": "status"} | rule] if told else []))
    more = "polling: {first: 1s, every: 1s, max: 2s, give_up: 10s}\n"
    [why] = bench.run(manifest(bench, "Boat", more=more, fast="")).left
    start, _, last = why.partition("; it said last: ")
    assert start == "still with the API after polling.give_up; the next run asks on"
    assert (told in last, bool(last)) == (True, bool(told))


def test_a_task_of_another_key_is_left_alone(bench: Bench) -> None:
    bench.switches.run_seconds = (5000, 5000)
    path = manifest(bench, "Boat", more="polling: {first: 1s, every: 1s, max: 2s, give_up: 10s}\n", fast="")
    bench.run(path)
    bench.edit("UPDATE attempts SET account = 'https://other#1'")
    faults(bench, not_found())
    ending = bench.run(path)
    assert (ending.kind, held(bench)) == (Kind.UNFINISHED, 10)
    assert statuses(bench) in (["processing"], ["queued"])
    assert any("another key" in why for why in ending.left)


def test_an_intent_of_another_key_is_not_sent(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "lost"})
    path = manifest(bench, "Boat", more="retries: {times: 1}\n")
    bench.run(path)
    bench.edit("UPDATE attempts SET account = 'https://other#1'")
    sent = len(seen(bench, "create"))
    ending = bench.run(path)
    assert any("another key" in why for why in ending.left)
    assert (len(seen(bench, "create")), statuses(bench)) == (sent, ["submitting"])


def test_a_run_stops_waiting_after_give_up_and_the_next_one_asks_on(bench: Bench) -> None:
    bench.switches.run_seconds = (100, 100)
    path = manifest(bench, "Boat", fast="polling: {first: 1s, every: 1s, max: 4s, give_up: 30s}\n")
    ending = bench.run(path)
    assert ending.kind is Kind.UNFINISHED
    assert any("give_up" in why for why in ending.left)
    asked = [each.at for each in seen(bench, "status")]
    gaps = [round(b - a, 3) for a, b in pairwise(asked)]
    assert gaps == sorted(gaps), "the intervals grow"
    assert max(gaps) < 5
    assert len(bench.world.oracle().tasks) == 1
    bench.clock.start += 100
    done(bench.run(path))
    bench.check()


@pytest.mark.parametrize("status", [400, 409, 500])
def test_polls_that_fail_are_repeated_and_then_left_to_the_next_run(bench: Bench, status: int) -> None:
    faults(bench, {"on": "status", "do": "status", "status": status, "code": "odd"})
    path = manifest(bench, "Boat", more=OFTEN)
    ending = bench.run(path)
    assert (ending.kind, len(seen(bench, "status"))) == (Kind.UNFINISHED, 4)
    assert statuses(bench) == ["queued"]
    faults(bench)
    done(bench.run(path))


def test_odd_words_and_prices_are_tolerated(bench: Bench) -> None:
    faults(
        bench,
        {"on": "create", "do": "patch", "body": {"status": "moderating", "reserved_credits": None, "extra": [1]}},
        {"on": "status", "do": "patch", "nth": [1], "body": {"status": "paused", "reserved_credits": "ten"}},
    )
    done(bench.run(manifest(bench, "Boat")))
    with bench.reader() as reader:
        words = [row["detail"] for row in reader.rows("SELECT detail FROM events WHERE event = 'processing'")]
    assert any("moderating" in word for word in words)
    assert any("paused" in word for word in words)


def test_an_id_without_a_state_is_not_lost(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "patch", "body": {"status": None}})
    done(bench.run(manifest(bench, "Boat")))
    assert len(seen(bench, "create")) == 1


def test_a_task_that_is_done_or_failed_in_the_very_first_answer(bench: Bench) -> None:
    bench.switches.queue_seconds = bench.switches.run_seconds = (0, 0)
    bench.switches.fail_prompt = "bad"
    bench.run(manifest(bench, "A boat", "A bad boat"))
    assert (statuses(bench), seen(bench, "status")) == (["succeeded", "failed"], [])
    bench.check()


# The ledger while a run works


def test_task_ids_that_cannot_be_written_down_are_all_told(bench: Bench) -> None:
    """The disk is full when several answers come: each id is told, and the next run finds the same tasks."""
    bench.switches.queue_seconds = (50, 50)
    path = manifest(bench, "First", *(f"Boat {n}" for n in range(4)), more="budget: {campaign: 1000}\n")

    class Full(LedgerWriter):
        def submitted(self, intent: Intent, task: TaskState) -> None:
            if b"First" not in intent.body:  # once it was asked for, all others go at once
                raise StorageError("ledger.db: database or disk is full", hint="Free some disk space.")
            super().submitted(intent, task)

    bench.ledger_type = Full
    with pytest.raises(StorageError) as caught:
        bench.run(path)
    bench.ledger_type = LedgerWriter
    tasks = [task for task in bench.world.oracle().tasks.values() if "Boat" in task.request["prompt"]]
    assert len(tasks) == 4
    for task in tasks:
        assert task.id in caught.value.message
    assert "not bought twice" in caught.value.hint
    done(bench.run(path))
    bench.check()


def test_a_job_that_a_person_cancels_meanwhile_is_not_bought(bench: Bench) -> None:
    path = manifest(bench, "Boat", "Ship", "Raft")

    def cancel(request: httpx.Request) -> None:
        if request.method == "POST":
            bench.edit("UPDATE wanted SET status = 'cancelled' WHERE status = 'planned' AND position = 1")

    bench.api.before = cancel
    done(bench.run(path))
    assert statuses(bench) == ["succeeded", "cancelled", "succeeded"]
    assert len(seen(bench, "create")) == 2


def test_an_answer_that_comes_after_a_person_decided_keeps_its_task_id(bench: Bench) -> None:
    path = manifest(bench, "Boat")

    def decide(request: httpx.Request) -> None:
        if request.method == "POST":
            bench.edit("UPDATE wanted SET status = 'doubtful'")

    bench.api.before = decide
    assert bench.run(path).kind is Kind.UNFINISHED
    assert (statuses(bench), attempts(bench)[0]["task_id"]) == (["doubtful"], next(iter(bench.world.oracle().tasks)))


def test_a_key_that_may_not_read_tasks_stops_the_run(bench: Bench) -> None:
    bench.switches.scopes_off = ("generations:read",)
    path = manifest(bench, "Boat")
    assert bench.run(path).kind is Kind.KEY
    assert (statuses(bench), held(bench)) == (["queued"], 10)
    bench.switches.scopes_off = ()
    done(bench.run(path))
    bench.check()


@pytest.mark.parametrize("status", [402, 401, 400])
def test_a_refusal_that_comes_after_a_person_decided_changes_nothing(bench: Bench, status: int) -> None:
    faults(bench, {"on": "create", "do": "status", "status": status, "code": "odd"})
    path = manifest(bench, "Boat")

    def decide(request: httpx.Request) -> None:
        if request.method == "POST":
            bench.edit("UPDATE wanted SET status = 'doubtful'")

    bench.api.before = decide
    assert bench.run(path).kind is not Kind.DONE
    assert (statuses(bench), held(bench)) == (["doubtful"], 10)
