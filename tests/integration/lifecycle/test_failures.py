"""Failures told apart (promise 5): what each answer does to job, hold and run, and that nothing is bought twice."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import attempts, done, events, faults, held, manifest, seen, statuses
from support import Bench

from batcher.errors import Kind
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
    bench.switches.run_seconds = (6, 6)
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
