"""Failures told apart (promise 5): what each answer does to job, hold and run, and that nothing is bought twice."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import attempts, done, events, faults, held, manifest, seen, statuses
from support import Bench

from batcher.errors import Kind, StorageError
from batcher.jobs import Intent, TaskState
from batcher.ledger import LedgerWriter
from batcher.providers.rivya import Rivya

OFTEN = "retries: {times: 3}\n"


def keys(bench: Bench) -> list[tuple[str, bytes]]:
    return [(each.key, each.body) for each in seen(bench, "create")]


@pytest.mark.parametrize(
    "rule",
    [
        {"on": "create", "do": "lost", "nth": [1]},
        {"on": "create", "do": "lost_before", "nth": [1]},
        {"on": "create", "do": "cut", "nth": [1, 2]},
        {"on": "create", "do": "garble", "nth": [1]},
        {"on": "create", "do": "html", "nth": [1]},
        {"on": "create", "do": "html", "nth": [1], "after": True},
        {"on": "create", "do": "status", "status": 500, "nth": [1]},
        {"on": "create", "do": "status", "status": 503, "nth": [1], "after": True},
        {"on": "create", "do": "status", "status": 408, "nth": [1]},
    ],
)
def test_without_a_definite_answer_the_same_bytes_are_sent_again(bench: Bench, rule: dict[str, Any]) -> None:
    faults(bench, rule)
    done(bench.run(manifest(bench, "Boat")))
    bench.check()
    assert len(set(keys(bench))) == 1
    assert len(keys(bench)) > 1
    assert attempts(bench)[0]["maybe_received"] == 1
    assert "maybe_received" in events(bench)


@pytest.mark.parametrize(
    "rule",
    [
        {"on": "create", "do": "429", "nth": [1, 2], "seconds": 9},
        {"on": "create", "do": "429", "nth": [1], "seconds": 9, "retry_after": "date"},
        {"on": "create", "do": "429", "nth": [1], "retry_after": "none"},
        {"on": "create", "do": "status", "status": 425, "code": "too_early", "nth": [1]},
    ],
)
def test_a_definite_not_now_is_repeated_and_was_not_received(bench: Bench, rule: dict[str, Any]) -> None:
    faults(bench, rule)
    done(bench.run(manifest(bench, "Boat")))
    assert attempts(bench)[0]["maybe_received"] == 0
    first, second = [each.at for each in seen(bench, "create")][:2]
    if rule["do"] == "429":
        assert second - first >= (9 if rule.get("seconds") else 5)


def test_retry_after_pauses_polls_too(bench: Bench) -> None:
    bench.switches.run_seconds = (30, 30)
    path = manifest(bench, "Boat", "Ship")
    faults(bench, {"on": "status", "do": "429", "nth": [3], "seconds": 60})
    done(bench.run(path))
    times = [each.at for each in bench.world.oracle().requests]
    assert max(b - a for a, b in pairwise(times)) >= 59


@pytest.mark.parametrize(
    ("status", "code"), [(400, "validation_failed"), (404, "not_found"), (413, "x"), (415, "x"), (422, "x")]
)
def test_a_refusal_of_the_only_sending_fails_the_job_and_frees_the_hold(bench: Bench, status: int, code: str) -> None:
    faults(bench, {"on": "create", "do": "status", "status": status, "code": code, "nth": [1]})
    path = manifest(bench, "Boat", "Ship")
    ending = bench.run(path)
    assert (ending.kind, ending.reason) == (Kind.UNFINISHED, "1 failed")
    assert sorted(statuses(bench)) == ["failed", "succeeded"]
    assert held(bench) == 0
    [failed] = [job for job in bench.jobs() if job["status"] == "failed"]
    assert (failed["error_code"], failed["final_credits"]) == (code, 0)
    assert bench.run(path).kind is Kind.UNFINISHED
    assert len(seen(bench, "create")) == 2, "failed jobs are not sent again"


def test_a_refusal_after_a_lost_answer_is_doubtful_and_stays_held(bench: Bench) -> None:
    faults(
        bench,
        {"on": "create", "do": "lost", "nth": [1]},
        {"on": "create", "do": "status", "status": 400, "code": "validation_failed", "nth": [2]},
    )
    path = manifest(bench, "Boat")
    assert bench.run(path).kind is Kind.UNFINISHED
    assert (statuses(bench), held(bench)) == (["doubtful"], 10)
    bench.run(path)
    assert len(seen(bench, "create")) == 2, "nobody but a person may buy it again"


def conflict(**more: Any) -> dict[str, Any]:
    return {"on": "create", "do": "status", "status": 409, "code": "idempotency_conflict", **more}


def test_a_409_that_passes(bench: Bench) -> None:
    faults(bench, conflict(nth=[1, 2]))
    done(bench.run(manifest(bench, "Boat")))
    assert [round(b.at - a.at) for a, b in zip(seen(bench, "create"), seen(bench, "create")[1:], strict=False)] == [
        30,
        30,
    ]


def test_a_409_that_lasts_is_doubtful(bench: Bench) -> None:
    faults(bench, conflict())
    assert bench.run(manifest(bench, "Boat")).kind is Kind.UNFINISHED
    assert (statuses(bench), held(bench)) == (["doubtful"], 10)
    sent = [each.at for each in seen(bench, "create")]
    assert 600 <= sent[-1] - sent[0] < 640


@pytest.mark.parametrize(
    ("more", "then"),
    [
        ("retries: {replay_window: 60s}\n", conflict()),
        ("retries: {times: 2}\n", {"on": "create", "do": "429", "retry_after": "none"}),
        ("", {"on": "create", "do": "status", "status": 400, "code": "validation_failed"}),
    ],
)
def test_after_a_409_no_second_key_is_made(bench: Bench, more: str, then: dict[str, Any]) -> None:
    """Somebody has used this key, so it may have been charged: neither planned again nor failed at no cost."""
    faults(bench, conflict(nth=[1]), then)
    path = manifest(bench, "Boat", more=more)
    bench.run(path)
    assert statuses(bench) in (["doubtful"], ["submitting"])
    assert held(bench) == 10
    bench.run(path)
    assert len({each.key for each in seen(bench, "create")}) == 1


# Keys that are too old


def test_a_key_past_the_replay_window_is_not_sent_again(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "lost"})
    path = manifest(bench, "Boat", more="retries: {times: 2, replay_window: 10m}\n")
    bench.run(path)
    assert statuses(bench) == ["submitting"]
    sent = len(seen(bench, "create"))
    bench.clock.start += 601
    assert bench.run(path).kind is Kind.UNFINISHED
    assert (statuses(bench), held(bench)) == (["doubtful"], 10)
    assert len(seen(bench, "create")) == sent


@pytest.mark.parametrize(("how", "sent", "status"), [("lost", 1, "doubtful"), ("429", 2, "succeeded")])
def test_where_a_repeat_is_a_purchase_nothing_that_may_have_arrived_is_repeated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, how: str, sent: int, status: str
) -> None:
    """No provider is like that yet; what the API certainly has not taken is sent again even then."""
    monkeypatch.setattr(Rivya, "capabilities", replace(Rivya.capabilities, repeat="none"))
    faults(bench, {"on": "create", "do": how, "nth": [1]})
    path = manifest(bench, "Boat")
    for _ in range(2):
        bench.run(path)
        assert (len(seen(bench, "create")), statuses(bench)) == (sent, [status])


def test_a_key_that_grows_too_old_while_it_waits_for_room_is_not_sent_again(bench: Bench) -> None:
    """A Retry-After of ten minutes may not stretch a replay window of five: the API could have forgotten the key."""
    done(bench.run(manifest(bench, "First", name="other")))  # names the price, so that both go at once
    path = manifest(bench, "Boat", "Ship", more="budget: {campaign: 100}\nretries: {replay_window: 5m}\n")
    faults(
        bench,
        {"on": "create", "do": "lost", "nth": [1, 3, 4, 5, 6, 7]},
        {"on": "status", "do": "429", "nth": [1], "seconds": 7200},
    )
    bench.run(path)
    sent: dict[str, list[float]] = {}
    for each in seen(bench, "create"):
        sent.setdefault(each.key, []).append(each.at)
    assert all(times[-1] - times[0] <= 300 for times in sent.values()), sent
    assert "doubtful" in statuses(bench)


@pytest.mark.parametrize("account", ["same", "other"])
def test_a_key_past_the_window_is_doubtful_whatever_became_of_the_account(bench: Bench, account: str) -> None:
    """A revoked key may leave a lost create behind: it is not stuck in `submitting`."""
    faults(bench, {"on": "create", "do": "lost"})
    path = manifest(bench, "Boat", more="retries: {times: 2, replay_window: 10m}\n")
    bench.run(path)
    if account == "other":
        bench.edit("UPDATE attempts SET account = 'https://other#1'")
    bench.switches.key_state = "revoked"
    bench.clock.start += 601
    bench.run(path)
    assert (statuses(bench), held(bench)) == (["doubtful"], 10)


def test_a_clock_set_back_does_not_make_a_key_young(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "lost"})
    path = manifest(bench, "Boat", more="retries: {times: 2, replay_window: 10m}\n")
    bench.run(path)
    sent = len(seen(bench, "create"))
    bench.clock.start += 3000
    bench.clock.shift = -7200
    bench.run(path)
    assert statuses(bench) == ["doubtful"]
    assert len(seen(bench, "create")) == sent


# When the repeats are spent


def test_what_was_not_received_is_planned_again_and_later_bought_with_a_new_key(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "429", "retry_after": "none"})
    path = manifest(bench, "Boat", more=OFTEN)
    ending = bench.run(path)
    assert (ending.kind, statuses(bench), held(bench)) == (Kind.UNFINISHED, ["planned"], 0)
    assert len(seen(bench, "create")) == 4
    assert ending.left, "why is told"
    faults(bench)
    done(bench.run(path))
    assert len({each.key for each in seen(bench, "create")}) == 2
    assert [a["outcome"] for a in attempts(bench)] == ["refused", "succeeded"]


def test_what_may_have_been_received_stays_submitting_for_the_next_run(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "lost"})
    path = manifest(bench, "Boat", more=OFTEN)
    assert bench.run(path).kind is Kind.UNFINISHED
    assert (statuses(bench), held(bench)) == (["submitting"], 10)
    faults(bench)
    done(bench.run(path))
    bench.check()
    assert len({each.key for each in seen(bench, "create")}) == 1


def test_a_dead_network_buys_nothing(bench: Bench) -> None:
    def refuse(request: httpx.Request) -> None:
        raise httpx.ConnectError("refused", request=request)

    bench.api.before = refuse
    path = manifest(bench, "Boat", more=OFTEN)
    begun = bench.clock.wall()
    ending = bench.run(path)
    assert ending.kind is Kind.UNREACHABLE
    assert "3600 s (retries.outage)" in ending.reason
    assert 3600 <= bench.clock.wall() - begun < 3700
    assert (statuses(bench), held(bench), attempts(bench)) == (["planned"], 0, [])
    bench.api.before = lambda request: None
    done(bench.run(path))
    bench.check()


# Key and wallet


@pytest.mark.parametrize(("order", "kind"), [("key_state", Kind.KEY), ("scopes_off", Kind.KEY)])
def test_a_key_that_is_refused_stops_the_run_and_loses_nothing(bench: Bench, order: str, kind: Kind) -> None:
    bench.switches.run_seconds = (20, 20)
    path = manifest(bench, *(f"Boat {n}" for n in range(40)))

    def revoke(request: httpx.Request) -> None:
        if len(seen(bench, "create")) == 30:
            value = "revoked" if order == "key_state" else ("generations:create",)
            bench.switches.set({order: value})

    bench.api.before = revoke
    ending = bench.run(path)
    assert ending.kind is kind
    assert "failed" not in statuses(bench)
    known = {job["task_id"] for job in bench.jobs() if job["task_id"]}
    assert known == set(bench.world.oracle().tasks)
    bench.api.before = lambda request: None
    bench.switches.key_state, bench.switches.scopes_off = "valid", ()
    done(bench.run(path))
    bench.check()


def test_a_short_wallet_stops_buying_and_fails_no_job(bench: Bench) -> None:
    bench.world.set_wallet(35)
    path = manifest(bench, *(f"Boat {n}" for n in range(9)))
    ending = bench.run(path)
    assert ending.kind is Kind.CAPPED
    assert "insufficient_credits" in ending.reason
    assert sorted(statuses(bench)) == ["planned"] * 6 + ["succeeded"] * 3
    assert held(bench) == 0
    assert ending.left == {}, "one stop, not six failures"
    bench.world.set_wallet(1000)
    done(bench.run(path))
    bench.check()


def test_a_short_wallet_at_the_repeat_of_a_lost_answer_keeps_the_hold(bench: Bench) -> None:
    faults(
        bench,
        {"on": "create", "do": "lost_before", "nth": [1]},
        {"on": "create", "do": "status", "status": 402, "code": "insufficient_credits", "nth": [2]},
    )
    path = manifest(bench, "Boat")
    assert bench.run(path).kind is Kind.CAPPED
    assert (statuses(bench), held(bench)) == (["submitting"], 10)
    done(bench.run(path))
    bench.check()


# Tasks


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
