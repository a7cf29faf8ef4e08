"""The simulator behind a real socket: cut connections, events, control, a clean end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable

import httpx2
import pytest
from integration.simulator.helpers import AUTH, JOB, Clock, Lab, served

from batcher.simulator.records import Scene
from batcher.simulator.serve import running

KEY = {"Idempotency-Key": "key-1"}


def test_a_job_over_the_wire() -> None:
    lab = Lab()
    with served(lab) as client, client() as http:
        task = http.post("/api/v1/generations", json=JOB, headers=KEY).json()
        lab.clock.time += 100
        done = http.get(f"/api/v1/generations/{task['id']}").json()
        url = done["result"]["primary_url"]
        assert url.startswith(str(http.base_url))
        result = http.get(url)
        assert result.status_code == 200
        assert http.get(url, headers={"Range": "bytes=5-"}).content == result.content[5:]
        assert http.get(url, headers={"Range": "bytes=999999-"}).status_code == 416


@pytest.mark.parametrize("reset", ["", ",reset"])
@pytest.mark.parametrize(("do", "charged"), [("lost_before", 0), ("lost", 1), ("cut", 1)])
def test_the_connection_is_really_cut(do: str, charged: int, reset: str) -> None:
    lab = Lab(faults=[f"create:{do}:nth=2{reset}"])
    with served(lab) as client, client() as http:
        http.post("/api/v1/generations", json=JOB, headers={"Idempotency-Key": "first"})
        # On a connection that was alive before, and again on a new one.
        with pytest.raises(httpx2.TransportError):
            http.post("/api/v1/generations", json=JOB, headers=KEY)
        assert lab.world.oracle().charges.get("key-1", []) == [10] * charged
        assert http.post("/api/v1/generations", json=JOB, headers=KEY).status_code == 200
        assert lab.world.oracle().charges["key-1"] == [10]
    assert lab.events.count("create:cut") == 1


def raw(lab: Lab, host: str) -> bytes:
    """Everything that comes back for a create, until the connection is closed."""
    body = json.dumps(JOB).encode()
    head = f"POST /api/v1/generations HTTP/1.1\r\nHost: {host}\r\nAuthorization: {AUTH['Authorization']}\r\n"
    head += f"Idempotency-Key: key-1\r\nContent-Length: {len(body)}\r\n\r\n"
    address, _, port = host.rpartition(":")
    with socket.create_connection((address, int(port)), timeout=10) as wire:
        wire.sendall(head.encode() + body)
        received = b""
        while part := wire.recv(65536):
            received += part
    return received


def test_what_a_cut_answer_looks_like() -> None:
    lab = Lab(faults=["create:cut:nth=1", "create:lost:nth=2"])
    with running(lab.app) as base_url:
        head, _, body = raw(lab, base_url.removeprefix("http://")).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        assert len(body) == length // 2
        assert raw(lab, base_url.removeprefix("http://")) == b""


def fill(buffer: bytearray, parts: Iterable[bytes]) -> None:
    for part in parts:
        buffer += part


def test_a_result_that_breaks_off_can_be_taken_up() -> None:
    async def long(_: Scene) -> bytes:
        return b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 4096

    lab = Lab(faults=["result:cut:nth=1"], media=long)
    with served(lab) as client, client() as http:
        task = http.post("/api/v1/generations", json=JOB, headers=KEY).json()["id"]
        lab.clock.time += 100
        url = http.get(f"/api/v1/generations/{task}").json()["result"]["primary_url"]
        got = bytearray()
        with http.stream("GET", url) as answer, pytest.raises(httpx2.TransportError):
            fill(got, answer.iter_bytes())
        tag = answer.headers["etag"]
        whole = http.get(url).content
        assert len(got) == len(whole) // 2
        rest = http.get(url, headers={"Range": f"bytes={len(got)}-", "If-Range": tag})
        assert rest.status_code == 206
        assert bytes(got) + rest.content == whole


def test_events_are_told_while_the_request_hangs() -> None:
    lab = Lab()
    told: list[tuple[int, str, int]] = []
    threads = set()

    def hook(number: int, name: str) -> None:
        told.append((number, name, len(lab.world.oracle().charges)))
        threads.add(threading.current_thread())

    with served(lab, hook) as client, client() as http:
        http.post("/api/v1/generations", json=JOB, headers=KEY)
        http.get("/api/v1/credits")
    assert told[:3] == [(1, "create:arrived", 0), (2, "create:processed", 1), (3, "create:answered", 1)]
    assert [name for _, name, _ in told[3:]] == ["credits:arrived", "credits:processed", "credits:answered"]
    assert threading.main_thread() not in threads


def test_orders_and_state_over_the_wire() -> None:
    lab = Lab()
    with served(lab) as client, client() as http:
        assert http.post("/_simulator/orders", json={"credits": 3, "outage": "disabled"}).status_code == 200
        assert http.get("/api/v1/credits").status_code == 503
        assert http.get("/_simulator/state").json()["wallet"] == 3


def test_an_end_while_a_request_hangs_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.simulator.serve.GRACE", 0.01)
    lab = Lab(faults=["create:delay:seconds=3600"])
    arrived = threading.Event()
    errors: list[Exception] = []

    def post(client: httpx2.Client) -> None:
        try:
            client.post("/api/v1/generations", json=JOB, headers=KEY)
        except httpx2.TransportError as error:
            errors.append(error)

    with served(lab, lambda *_: arrived.set()) as client:
        http = client()
        poster = threading.Thread(target=post, args=(http,))
        poster.start()
        assert arrived.wait(10)
    poster.join(10)
    http.close()
    assert errors


def test_loopback_only() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.com"):
        with pytest.raises(ValueError, match=r"loopback|not an address"), running(Lab().app, host):
            pass


def test_other_ways_to_say_loopback() -> None:
    with running(Lab().app, "localhost") as base_url:
        assert base_url.startswith("http://127.0.0.1:")
        port = int(base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), running(Lab().app, port=port):
            pass
    if socket.has_ipv6:
        with running(Lab().app, "::1") as base_url, httpx2.Client(trust_env=False) as http:
            assert http.get(f"{base_url}/api/v1/models").status_code == 200


def test_a_server_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        sys.exit(3)

    monkeypatch.setattr("uvicorn.Server.startup", fail)
    with pytest.raises(RuntimeError, match="could not start"), running(Lab().app):
        pass


CLIENT = """
import http.client, sys
api = http.client.HTTPConnection(sys.argv[1])
for key in "abcdef":
    body = '{"model": "grok-imagine-video", "prompt": "a watch"}'
    api.request("POST", "/api/v1/generations", body, {"Authorization": sys.argv[2], "Idempotency-Key": key})
    api.getresponse().read()
    print(key, flush=True)
"""


@pytest.mark.parametrize(
    ("nth", "charged", "known"),
    [(4, "ab", "a"), (5, "ab", "a"), (6, "ab", "ab?"), (7, "abc", "ab"), (18, "abcdef", "abcdef?")],
)
def test_a_client_can_be_killed_at_an_event(nth: int, charged: str, known: str) -> None:
    lab = Lab()
    killed: list[str] = []

    def kill(number: int, name: str) -> None:
        if number == nth:
            process.kill()
            process.wait()
            killed.append(name)

    with served(lab, kill) as client:
        with client() as http:
            address = http.base_url.netloc.decode()
        command = [sys.executable, "-c", CLIENT, address, AUTH["Authorization"]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            told = process.stdout.read().replace("\n", "")
    assert killed == [("create:answered", "create:arrived", "create:processed")[nth % 3]]
    # A request that has arrived is processed, whether its client lives or not. At `answered` the bytes are on
    # their way; whether the client still saw them, and had sent its next request by then, is chance.
    paid = "".join(lab.world.oracle().charges)
    assert paid == charged or ("?" in known and paid == "abcdef"[: len(charged) + 1])
    assert told in (known.rstrip("?"), known.rstrip("?")[:-1] if "?" in known else known)


def test_two_worlds_side_by_side() -> None:
    clock = Clock()
    with served(Lab(clock=clock)) as one, served(Lab(clock=clock, wallet=5)) as two, one() as a, two() as b:
        assert a.get("/api/v1/credits").json() != b.get("/api/v1/credits").json()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "LOCALHOST:{port}"}, 200),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Host": "127.0.0.1:{port}/x?"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_no_web_page_drives_it(headers: dict[str, str], status: int) -> None:
    """A page of another origin, or one whose name was given this address, neither orders, nor reads, nor buys."""
    lab = Lab()
    with served(lab) as client, client() as http:
        sent = {name: value.format(port=http.base_url.port) for name, value in headers.items()}
        answers = [
            http.post("/api/v1/generations", json=JOB, headers=sent),
            http.post("/_simulator/orders", content=b'{"credits": 5}', headers=sent | {"Content-Type": "text/plain"}),
            http.get("/_simulator/state", headers=sent),
        ]
        assert {answer.status_code for answer in answers} == {status}
    oracle = lab.world.oracle()
    assert (len(oracle.requests), oracle.wallet) == ((1, 5) if status == 200 else (0, 1000))
