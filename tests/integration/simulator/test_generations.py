"""Create and status: prices, credits, keys, refusals (rivya-api.md sections 1, 2, 3, 7)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from integration.simulator.helpers import JOB, Lab, error_of, png

from batcher.catalog import Model
from batcher.simulator.world import World
from benchmarks.soak.audit import busiest


def test_a_task_goes_its_way_and_costs_its_price_once() -> None:
    lab = Lab()
    created = lab.create()
    assert created.status_code == 200
    task = created.json()
    assert task == {
        "id": task["id"],
        "status": "queued",
        "model": "grok-imagine-video",
        "reserved_credits": 10,
        "final_credits": 0,
        "created_at": "2023-11-14T22:13:20.000Z",
        "updated_at": "2023-11-14T22:13:20.000Z",
        "result": None,
        "error": None,
    }
    assert lab.get("/api/v1/credits").json() == {"current_credits": 990}
    lab.clock.time += 2
    assert lab.get(f"/api/v1/generations/{task['id']}").json() == task | {
        "status": "processing",
        "updated_at": "2023-11-14T22:13:22.000Z",
    }
    lab.clock.time += 10
    done = lab.get(f"/api/v1/generations/{task['id']}").json()
    assert done["status"] == "succeeded"
    assert done["final_credits"] == done["reserved_credits"] == 10
    assert done["updated_at"] == "2023-11-14T22:13:32.000Z"
    assert done["result"]["urls"] == [done["result"]["primary_url"]]
    assert done["result"]["primary_url"].startswith("http://simulator.test/results/")
    assert done["result"]["primary_url"].endswith(f"/{task['id']}.mp4")
    assert lab.get("/api/v1/credits").json() == {"current_credits": 990}


def test_a_failed_task_is_paid_back_when_it_has_failed() -> None:
    lab = Lab(fail_rate=1)
    task = lab.create().json()["id"]
    assert lab.world.oracle().wallet == 990
    lab.clock.time += 12
    failed = lab.get(f"/api/v1/generations/{task}").json()
    assert failed["status"] == "failed"
    assert failed["result"] is None
    assert failed["error"] == {"code": "generation_failed", "message": "The generation failed."}
    assert (failed["reserved_credits"], failed["final_credits"]) == (10, 0)
    assert lab.get("/api/v1/credits").json() == {"current_credits": 1000}
    assert lab.world.oracle().spent == 0


def test_a_marked_prompt_fails_and_a_success_may_cost_less_than_reserved() -> None:
    lab = Lab(fail_prompt="cursed", final_factor=0.5)
    assert lab.finished("a", prompt="a cursed ring")["status"] == "failed"
    done = lab.finished("b")
    assert (done["reserved_credits"], done["final_credits"]) == (10, 5)
    assert lab.world.oracle().wallet == 995


@pytest.mark.parametrize(
    ("switches", "created", "ended", "settled", "charged"),
    [
        ({"reserved_says": 0}, 0, (0, 10), (0, 10), 10),
        ({"reserved_says": "0.1"}, 1, (1, 10), (1, 10), 10),
        ({"reserved_says": "null"}, None, (None, 10), (None, 10), 10),
        ({"reserved_says": "absent"}, "absent", ("absent", 10), ("absent", 10), 10),
        ({"settle_seconds": [150, 150]}, 10, (10, 0), (10, 10), 10),
        ({"settle_seconds": "150-150", "final_says": "null"}, 10, (10, None), (10, 10), 10),
        ({"settle_seconds": "150-150", "final_says": "absent"}, 10, (10, "absent"), (10, 10), 10),
        ({"final_factor": 2.5}, 10, (10, 25), (10, 25), 25),
        ({"fail_rate": 1, "failed_factor": 0.7}, 10, (10, 7), (10, 7), 7),
    ],
)
def test_what_is_said_of_a_price_is_not_what_is_charged(
    switches: dict[str, Any], created: object, ended: object, settled: object, charged: int
) -> None:
    """As it was created, 100 seconds and 200 seconds later; the wallet knows better."""
    lab = Lab(**switches)

    def figures(task: dict[str, Any]) -> tuple[object, ...]:
        return tuple(task.get(name, "absent") for name in ("reserved_credits", "final_credits"))

    task = lab.create().json()
    assert figures(task)[0] == created
    for expected in (ended, settled):
        lab.clock.time += 100
        assert figures(lab.get(f"/api/v1/generations/{task['id']}").json()) == expected
    assert (lab.world.oracle().spent, lab.world.oracle().wallet) == (charged, 1000 - charged)


def test_the_same_key_and_bytes_show_the_same_task_as_it_is_now() -> None:
    lab = Lab()
    first = lab.create().json()
    lab.clock.time += 100
    again = lab.create().json()
    assert again["id"] == first["id"]
    assert again["status"] == "succeeded"
    truth = lab.world.oracle()
    assert truth.charges == {"key-1": [10]}
    assert truth.wallet == 990
    assert truth.violations == []


def test_a_key_that_the_api_has_forgotten_buys_again() -> None:
    lab = Lab(key_lifetime=60)
    first = lab.create().json()["id"]
    lab.clock.time += 59
    assert lab.create().json()["id"] == first
    lab.clock.time += 1
    second = lab.create(prompt="another").json()["id"]
    assert second not in (first, lab.create("key-2").json()["id"])
    assert lab.create(prompt="another").json()["id"] == second  # and is known again
    truth = lab.world.oracle()
    assert truth.charges == {"key-1": [10, 10], "key-2": [10]}
    assert truth.violations == []


def test_a_replay_needs_neither_credits_nor_its_upload() -> None:
    lab = Lab(wallet=10)
    url = lab.upload(png()).json()["url"]
    params = {"referenceMediaItems": [{"url": url, "kind": "image", "name": "ring.png", "mimeType": "image/png"}]}
    first = lab.create(params=params).json()
    lab.order(credits=0, expire="uploads")
    assert lab.create(params=params).json()["id"] == first["id"]


def test_the_same_key_with_another_body_is_a_conflict_and_a_violation() -> None:
    lab = Lab()
    lab.create()
    assert error_of(lab.create(prompt="another")) == (409, "idempotency_conflict")
    # Bytes count, not what they mean.
    assert error_of(lab.post(json.dumps(JOB, indent=1).encode())) == (409, "idempotency_conflict")
    assert [v.what for v in lab.world.oracle().violations] == ["idempotency_conflict"] * 2


def test_a_create_without_a_key_is_taken_and_noted() -> None:
    lab = Lab()
    one, two = lab.create(None).json()["id"], lab.create(None).json()["id"]
    assert one != two
    truth = lab.world.oracle()
    assert truth.charges == {"": [10, 10]}
    assert [v.what for v in truth.violations] == ["no_idempotency_key"] * 2


def test_a_refused_request_leaves_its_key_unused() -> None:
    lab = Lab()
    assert error_of(lab.create(prompt="")) == (400, "validation_failed")
    assert lab.create().status_code == 200


@pytest.mark.parametrize("status", [402, 400])
def test_a_short_wallet(status: int) -> None:
    lab = Lab(wallet=19, insufficient_status=status)
    assert lab.create("a").status_code == 200
    assert error_of(lab.create("b")) == (status, "insufficient_credits")
    truth = lab.world.oracle()
    assert (truth.wallet, len(truth.tasks)) == (9, 1)


def test_prices_rise_and_may_depend_on_the_job() -> None:
    lab = Lab(price_factor=1.5, price_rise="2:2")
    assert [lab.create(key).json()["reserved_credits"] for key in "abc"] == [15, 15, 30]

    def by_the_second(model: Model, params: dict[str, Any], has_reference: bool) -> int:
        return model.base_credits * int(params.get("duration", 6)) // 6 + has_reference

    dear = Lab()
    dear.world = dear.app.world = World(now=dear.clock, price=by_the_second, switches=dear.world.switches)
    reference = [{"url": "https://example.com/ring.png", "kind": "image"}]
    made = dear.create(params={"duration": 30, "referenceMediaItems": reference})
    assert made.json()["reserved_credits"] == 51


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": []}, "files"),
        ({"model": "grok"}, "grok"),
        ({"model": None}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "x" * 5001}, "5000"),
        ({"client_request_id": "x" * 129}, "128"),
        ({"client_request_id": 1}, "client_request_id"),
        ({"params": []}, "params"),
        ({"params": {"seed": 1}}, "seed"),
        ({"params": {"duration": "6"}}, "JSON type"),
        ({"params": {"duration": True}}, "JSON type"),
        ({"params": {"duration": None}}, "JSON type"),
        ({"params": {"duration": 31}}, "whole number from 6 to 30"),
        ({"params": {"mode": "Fun"}}, "did you mean 'fun'"),
        ({"params": {"mode": 1}}, "JSON type"),
        ({"params": {"referenceMediaItems": {}}}, "list"),
        ({"params": {"referenceMediaItems": ["x"]}}, "list of objects"),
        ({"params": {"referenceMediaItems": [{"url": "https://a/b", "kind": "image"}] * 2}}, "at most 1"),
        ({"params": {"referenceMediaItems": [{"kind": "image"}]}}, "url"),
        ({"params": {"referenceMediaItems": [{"url": "https://a/b", "kind": "video"}]}}, "video"),
        ({"params": {"referenceMediaItems": [{"url": "https://a/b", "kind": "image", "mime_type": "x"}]}}, "mime_type"),
        ({"params": {"referenceMediaItems": [{"url": "http://a/uploads/x/y", "kind": "image"}]}}, "https"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    lab = Lab()
    answer = lab.create(**changes)
    assert error_of(answer) == (400, "validation_failed")
    assert message in answer.json()["error"]["message"]
    assert lab.world.oracle().wallet == 1000


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe{}"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    assert error_of(Lab().post(body)) == (400, "validation_failed")


def test_everything_the_catalogue_allows_is_taken() -> None:
    params = {"mode": "fun", "duration": 30, "resolution": "720p", "aspect_ratio": "9:16"}
    assert Lab().create(params=params, client_request_id="x" * 128).status_code == 200
    assert Lab().create(model="grok-imagine", params={"enable_pro": "true"}).json()["reserved_credits"] == 4


def test_an_unknown_task_and_an_unknown_path() -> None:
    lab = Lab()
    assert error_of(lab.get("/api/v1/generations/task_nobody")) == (404, "not_found")
    assert error_of(lab.get("/api/v1/generations")) == (404, "not_found")
    assert error_of(lab.get("/api/v1/generations/task_nobody/more")) == (404, "not_found")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "api_key_missing"),
        ("", "api_key_missing"),
        ("Basic abc", "api_key_missing"),
        ("Bearer", "api_key_missing"),
        ("Bearer sk_other", "api_key_invalid"),
        ("Bearer rvya_sk_other", "api_key_invalid"),
    ],
)
def test_keys(header: str | None, code: str) -> None:
    lab = Lab()
    for url in ("/api/v1/credits", "/api/v1/generations/x", "/api/v1/files/x"):
        assert error_of(lab.request("GET", url, headers={"Authorization": header})) == (401, code)
    assert lab.request("GET", "/api/v1/models", headers={"Authorization": header}).status_code == 200


def test_keys_and_scopes_that_are_taken_away() -> None:
    lab = Lab()
    for state in ("revoked", "expired"):
        lab.order(key_state=state)
        assert error_of(lab.create()) == (401, f"api_key_{state}")
    lab.order(key_state="valid", scopes_off=["generations:create", "credits:read"])
    assert error_of(lab.create()) == (403, "api_scope_denied")
    assert error_of(lab.get("/api/v1/credits")) == (403, "api_scope_denied")
    assert error_of(lab.get("/api/v1/generations/x")) == (404, "not_found")
    lab.order(scopes_off=[], outage="disabled")
    assert error_of(lab.create()) == (503, "public_api_disabled")
    lab.order(outage="none")
    assert lab.create().status_code == 200


def test_limits_are_exact_windows_and_what_was_refused_does_not_count() -> None:
    lab = Lab(limits="create=2/60")
    assert [lab.create(key).status_code for key in "ab"] == [200, 200]
    lab.clock.time += 59.5
    refused = lab.create("c")
    assert error_of(refused) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "1"
    assert lab.get("/api/v1/credits").status_code == 200
    lab.clock.time += 0.5
    assert [lab.create(key).status_code for key in "cde"] == [200, 200, 429]
    truth = lab.world.oracle()
    assert [v.what for v in truth.violations] == ["rate_limited"] * 2
    assert busiest(truth.times("create"), 60) == 4
    assert busiest(truth.times(), 60) == 5


def test_the_forms_of_retry_after() -> None:
    lab = Lab(limits=["*=0/60"], retry_after="date")
    answer = lab.get("/api/v1/models")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "Tue, 14 Nov 2023 22:14:20 GMT"
    assert answer.headers["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    lab.order(retry_after="none")
    assert "retry-after" not in lab.get("/api/v1/models").headers


def test_fate_depends_on_seed_and_key_not_on_order() -> None:
    def fates(seed: int, keys: str) -> dict[str, tuple[object, ...]]:
        lab = Lab(seed=seed, queue_seconds=[1, 9], run_seconds="10-90", fail_rate=0.5)
        for key in keys:
            lab.create(key)
        tasks = lab.world.oracle().tasks.values()
        return {task.key: (task.id, task.queue, task.run, task.succeeds) for task in tasks}

    assert fates(1, "abcdefgh") == fates(1, "hgfedcba")
    assert fates(1, "abcdefgh") != fates(2, "abcdefgh")
    assert len({fate[3] for fate in fates(1, "abcdefgh").values()}) == 2


def test_the_oracle_counts_purchases_by_request_id_and_shows_itself_as_json() -> None:
    lab = Lab()
    lab.create("a", client_request_id="job-1")
    lab.create("b", client_request_id="job-1")
    lab.upload(png())
    truth = lab.get("/_simulator/state").json()
    assert truth["purchases"] == {"job-1": 2}
    assert truth["charges"] == {"a": [10], "b": [10]}
    assert (truth["wallet"], truth["spent"]) == (980, 20)
    assert [task["status"] for task in truth["tasks"]] == ["queued", "queued"]
    assert json.loads(truth["requests"][0]["body"])["client_request_id"] == "job-1"
    assert [(seen["kind"], seen["key"], seen["authorized"]) for seen in truth["requests"]] == [
        ("create", "a", True),
        ("create", "b", True),
        ("upload", "", True),
    ]
    assert list(truth["uploads"].values()) == [1]
    assert lab.world.oracle().states == {task["id"]: "queued" for task in truth["tasks"]}
