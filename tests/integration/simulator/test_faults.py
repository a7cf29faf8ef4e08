"""Faults and orders: what they do, how they are written, that they repeat."""

from __future__ import annotations

import json

import anyio
import httpx2
import pytest
from integration.simulator.helpers import JOB, Lab, error_of, png
from virtual_time import VirtualClock

from batcher.simulator.app import ConnectionCut
from batcher.simulator.faults import FaultRule, Faults, parse, parse_all
from batcher.simulator.records import KINDS


def test_rules_as_objects_and_as_texts() -> None:
    assert parse("create:lost:rate=0.05,times=3") == parse({"on": "create", "do": "lost", "rate": 0.05, "times": 3})
    assert parse("*:status:nth=2+5,status=503,after,reset=true") == FaultRule(
        on=KINDS, do="status", nth=frozenset({2, 5}), status=503, after=True, reset=True
    )
    assert parse({"on": "result", "do": "delay", "nth": 3, "seconds": 2}) == FaultRule(
        on=("result",), do="delay", nth=frozenset({3}), seconds=2
    )
    assert parse({"on": "status", "do": "patch", "body": {"a": 1}, "every": 2}).body == {"a": 1}
    assert parse('status:patch:body={"a": 1}').body == {"a": 1}
    assert parse("create:429:retry_after=date").http_status == 429


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("creat:lost", "on: must be one of create, status"),
        ("create:lots", "do: must be one of delay, status"),
        ("create", "do: must be one of"),
        ("create:lost:rat=1", "unknown name 'rat'; known: on, do, nth"),
        ("create:lost:rate=2", "rate: must be less than or equal to 1"),
        ("create:lost:nth=0", "nth: must be greater than or equal to 1"),
        ("create:lost:every=1.5", "every: must be a valid integer"),
        ("create:lost:every=2,rate=0.5", "only one of nth, every and rate"),
        ("create:delay:seconds=soon", "seconds: must be a valid number"),
        ("create:status:after=maybe", "after: must be a valid boolean"),
        ("create:429:retry_after=later", "retry_after: must be one of"),
        ({"on": "status", "do": "patch", "body": 1}, "body: must be a valid dictionary"),
        ("status:patch:body={", "body: "),
        ("create+states:lost", "on: must be one of create, status"),
        ("create:lost:each=0", "each: must be greater than or equal to 1"),
        (7, "must be an object or a text"),
    ],
)
def test_rules_that_are_wrong(rule: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(rule)


def test_which_requests_a_rule_meets() -> None:
    def met(rule: str, count: int = 10, seed: int = 1) -> list[int]:
        faults = Faults([parse(rule)], seed=seed)
        return [n for n in range(1, count + 1) if faults.fire("create")[1].do]

    assert met("create:lost:nth=2+5") == [2, 5]
    assert met("create:lost:every=4") == [4, 8]
    assert met("create:lost:times=2") == [1, 2]
    assert met("status:lost") == []
    assert met("*:lost:every=9") == [9]
    assert met("create:lost:rate=0.3", 200) == met("create:lost:rate=0.3", 200)
    assert met("create:lost:rate=0.3", 200) != met("create:lost:rate=0.3", 200, seed=2)
    assert 40 < len(met("create:lost:rate=0.3", 200)) < 80


def test_rules_for_several_kinds_for_each_subject_and_for_one_prompt() -> None:
    faults = Faults(parse_all(["create+status:lost:each=1", "*:cut:prompt=boat"]))
    kinds = [("create", "key-1"), ("create", "key-1"), ("status", "task_1"), ("status", "task_2"), ("result", "task_1")]
    assert [faults.fire(*each)[1].do for each in kinds] == ["lost", "", "lost", "lost", ""]
    assert faults.fire("result", "task_1", "a boat")[1].do == "cut"


def test_all_delays_and_the_first_other_rule_act() -> None:
    faults = Faults(parse_all(["create:lost", "create:delay:seconds=1", "create:cut", "*:delay:seconds=2"]))
    delays, rule = faults.fire("create")
    assert ([delay.seconds for delay in delays], rule.do) == ([1, 2], "lost")


def test_errors_before_and_after_the_work() -> None:
    lab = Lab(faults=["create:status:status=502,nth=1,code=odd_code", "create:status:nth=2,after"])
    assert error_of(lab.create()) == (502, "odd_code")
    assert lab.world.oracle().charges == {}
    assert error_of(lab.create()) == (500, "internal_error")
    assert lab.world.oracle().charges == {"key-1": [10]}
    assert lab.create().status_code == 200
    assert (
        lab.events
        == ["create:arrived", "create:answered"] + ["create:arrived", "create:processed", "create:answered"] * 2
    )


def test_too_many_requests() -> None:
    lab = Lab(faults=["create:429:seconds=7,times=1", "create:429:seconds=7,retry_after=none"])
    refused = lab.create()
    assert error_of(refused) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "7"
    assert "retry-after" not in lab.create().headers


def test_the_apis_clock_goes_otherwise() -> None:
    lab = Lab(
        clock_skew=7200,
        faults=[
            f"create:429:seconds=7,retry_after={style},nth={n}" for n, style in enumerate(("date", "naive", "epoch"), 1)
        ],
    )
    date, naive, epoch = lab.create(), lab.create(), lab.create()
    assert date.headers["date"] == "Wed, 15 Nov 2023 00:13:20 GMT"
    assert date.headers["retry-after"] == "Wed, 15 Nov 2023 00:13:27 GMT"
    assert naive.headers["retry-after"] == "Wed, 15 Nov 2023 00:13:27"
    assert epoch.headers["retry-after"] == str(1_700_007_207)
    lab.order(faults=[], tell_date=False)
    created = lab.create()
    assert created.json()["created_at"] == "2023-11-15T00:13:20.000Z"
    assert "date" not in created.headers


def test_a_proxys_page() -> None:
    lab = Lab(faults=["create:html:nth=1", "create:html:nth=2,status=502,after"])
    page = lab.create()
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert lab.create().status_code == 502
    assert lab.world.oracle().charges == {"key-1": [10]}


def test_garbled_answers_are_complete_but_wrong() -> None:
    lab = Lab(faults=["create:garble", "result:garble:nth=1"])
    garbled = lab.create()
    assert garbled.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        garbled.json()
    lab.order(faults=["result:garble"])
    url = lab.finished()["result"]["primary_url"]
    wrong = lab.get(url)
    assert wrong.headers["content-type"] == "video/mp4"
    assert wrong.content.startswith(b"<!doctype html>")
    lab.order(faults=[])
    right = lab.get(url)
    assert len(right.content) == len(wrong.content)
    assert right.headers["etag"] == wrong.headers["etag"]
    lab.order(faults=["result:garble"])
    part = lab.get(url, range="bytes=1000-")
    assert (part.status_code, part.headers["content-type"]) == (200, "video/mp4")
    assert "etag" not in part.headers
    assert "content-range" not in part.headers
    assert part.content.startswith(b"<!doctype html>")


def test_patched_answers() -> None:
    lab = Lab(faults=[{"on": "status", "do": "patch", "body": {"status": "reviewing", "extra": 1}}])
    task = lab.create().json()["id"]
    found = lab.get(f"/api/v1/generations/{task}").json()
    assert (found["id"], found["status"], found["extra"]) == (task, "reviewing", 1)


def test_a_prompt_is_known_at_each_request_about_its_job() -> None:
    lab = Lab(faults=["create+status+result:html:status=403,prompt=boat"])
    assert lab.create("a", prompt="a boat").status_code == 403
    assert lab.post(b"no JSON", "b").status_code == 400
    lab.order(faults=[])
    boat, watch = (lab.finished(key, prompt=f"a {key}") for key in ("boat", "watch"))
    lab.order(faults=["status+result:html:status=403,prompt=boat"])
    for task, status in ((boat, 403), (watch, 200)):
        assert lab.get(f"/api/v1/generations/{task['id']}").status_code == status
        assert lab.get(task["result"]["primary_url"]).status_code == status


def test_answers_of_ones_own_making() -> None:
    envelope = '{"error": {"code": "rate_limited"}}'
    lab = Lab(
        faults=[
            {"on": "create", "do": "say", "status": 303, "location": "/elsewhere", "after": True, "nth": 1},
            {"on": "create", "do": "say", "status": 200, "text": envelope},
            "status:say",
        ]
    )
    moved = lab.create("a")
    assert (moved.status_code, moved.headers["location"], moved.content) == (303, "/elsewhere", b"")
    assert lab.world.oracle().charges == {"a": [10]}, "the task was made all the same"
    assert (lab.create("b").text, len(lab.world.oracle().tasks)) == (envelope, 1)
    assert (lab.get("/api/v1/generations/x").status_code, lab.get("/api/v1/generations/x").content) == (202, b"")


def test_two_jobs_with_one_task_id() -> None:
    lab = Lab(faults=["create:twin:nth=2"])
    assert lab.create("a").json()["id"] == lab.create("b").json()["id"]
    assert lab.world.oracle().charges == {"a": [10], "b": [10]}


def test_results_of_no_announced_length_and_encoded_ones() -> None:
    lab = Lab()
    url = lab.finished()["result"]["primary_url"]
    whole = lab.get(url).content

    def get(*rules: str) -> httpx2.Response:
        lab.order(faults=list(rules))
        return lab.get(url)

    open_ended, cut = get("result:unsized"), get("result:cut:unsized")
    assert "content-length" not in open_ended.headers
    assert (open_ended.content, cut.content) == (whole, whole[: len(whole) // 2])
    for encoding in ("gzip", "deflate"):
        packed = get(f"result:encode:encoding={encoding}")
        assert (packed.headers["content-encoding"], packed.content) == (encoding, whole)
        with pytest.raises(httpx2.DecodingError):
            get(f"result:encode:encoding={encoding},lie")
    odd = get("result:encode:encoding=odd")
    assert (odd.headers["content-encoding"], odd.content) == ("odd", whole)


def test_a_result_that_drips() -> None:
    lab = Lab()
    url = lab.finished()["result"]["primary_url"]
    whole = len(lab.get(url).content)
    lab.order(faults=["result:drip:seconds=10"])

    async def main() -> float:
        assert len((await lab.send("GET", url)).content) == whole
        return anyio.current_time()

    assert VirtualClock().run(main) == pytest.approx(10 * (whole - whole // 2))


def test_things_expire_on_cue() -> None:
    lab = Lab(faults=["result:expire:nth=1", "create:expire:nth=1", "status:expire:nth=2"])
    url = lab.upload(png()).json()["url"]
    reference = {"referenceMediaItems": [{"url": url, "kind": "image"}]}
    assert error_of(lab.create("a", params=reference)) == (400, "validation_failed")
    task = lab.finished("b")
    assert lab.get(task["result"]["primary_url"]).status_code == 403
    status = f"/api/v1/generations/{task['id']}"
    dead = lab.get(status).json()["result"]["primary_url"]
    assert lab.get(dead).status_code == 403
    assert lab.get(lab.get(status).json()["result"]["primary_url"]).status_code == 200


@pytest.mark.parametrize(
    ("do", "processed", "charged"), [("lost_before", False, 0), ("lost", True, 1), ("cut", True, 1)]
)
def test_connections_that_are_cut_without_a_socket(do: str, processed: bool, charged: int) -> None:
    lab = Lab(faults=[f"create:{do}:nth=1"])
    with pytest.raises(ConnectionCut) as cut:
        lab.create()
    assert cut.value.processed is processed
    assert (cut.value.sent > 0) is (do == "cut")
    assert len(lab.world.oracle().charges) == charged
    assert lab.events[-1] == "create:cut"
    assert lab.create().status_code == 200


def test_outages() -> None:
    lab = Lab(outage="errors")
    page = lab.create()
    assert (page.status_code, page.headers["content-type"]) == (502, "text/html; charset=utf-8")
    lab.order(outage="cut")
    with pytest.raises(ConnectionCut):
        lab.create()
    lab.order(outage="none")
    assert lab.create().status_code == 200


def test_delays_pass_on_virtual_time() -> None:
    lab = Lab(faults=["create:delay:seconds=3600", "create:delay:seconds=60,after", "create:lost:nth=2"])

    async def main() -> float:
        answer = await lab.send("POST", "/api/v1/generations", json=JOB, headers={"Idempotency-Key": "a"})
        assert answer.status_code == 200
        return anyio.current_time()

    assert VirtualClock().run(main) == pytest.approx(3660)


def test_what_the_app_tells_of_a_job() -> None:
    lab = Lab()

    async def main() -> None:
        created = await lab.send("POST", "/api/v1/generations", json=JOB, headers={"Idempotency-Key": "a"})
        lab.clock.time += 100
        done = await lab.send("GET", f"/api/v1/generations/{created.json()['id']}")
        result = await lab.send("GET", done.json()["result"]["primary_url"])
        assert result.status_code == 200

    anyio.run(main)
    assert lab.events == [
        "create:arrived",
        "create:processed",
        "create:answered",
        "status:arrived",
        "status:processed",
        "status:answered",
        "result:arrived",
        "result:processed",
        "result:half",
        "result:answered",
    ]
    assert lab.app.events == len(lab.events)


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ({"key_stat": "x"}, "unknown name 'key_stat'; known: api_key"),
        ({"credits": -1}, "must be greater than or equal to 0"),
        ({"expire": "everything"}, "expire: must be one of"),
        ({"faults": "create:lost"}, "faults: must be a valid list"),
        ({"faults": ["create:lots"]}, "do: must be one of"),
        ({"outage": "some", "credits": 5}, "outage: must be one of"),
        ([], "valid dictionary"),
    ],
)
def test_orders_that_are_wrong_change_nothing(orders: object, message: str) -> None:
    lab = Lab()
    answer = lab.request("POST", "/_simulator/orders", json=orders)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert lab.world.oracle().wallet == 1000


def test_control_takes_no_part() -> None:
    lab = Lab(outage="cut", faults=["*:lost"])
    assert lab.get("/_simulator/state").status_code == 200
    assert lab.get("/_simulator/orders").status_code == 404
    assert lab.request("POST", "/_simulator/orders", content=b"{").status_code == 400
    assert (lab.events, lab.world.oracle().requests) == ([], [])


def test_only_http_is_spoken_and_bodies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab()

    async def nothing() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def unsent(message: object) -> None:
        raise AssertionError(message)

    async def main() -> None:
        with pytest.raises(NotImplementedError):
            await lab.app({"type": "websocket"}, nothing, unsent)
        # A client that leaves before its request is complete has asked for nothing.
        await lab.app({"type": "http"}, nothing, unsent)

    anyio.run(main)
    monkeypatch.setattr("batcher.simulator.app.MAX_BODY", 10)
    assert error_of(lab.create()) == (413, "validation_failed")
    assert lab.events == []
    assert isinstance(lab.get("/api/v1/models"), httpx2.Response)
