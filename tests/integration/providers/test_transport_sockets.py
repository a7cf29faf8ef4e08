"""What the transport makes of a broken connection, on raw sockets: only where no connection was ever made may a paid
request count as not received (design.md, "Maybe received").
"""

from __future__ import annotations

import gzip
import socket
import threading
import tracemalloc
import zlib
from contextlib import closing

import anyio
import pytest
from integration.providers.helpers import TASK, Script, read_request, reply, reset, server, submit, submit_to

from batcher.clock import since_boot
from batcher.providers import Accepted, Retryable
from batcher.providers.outcomes import Answer
from batcher.providers.registry import RIVYA
from batcher.providers.transport import ANSWER_BYTES, Transport


def test_refused_connection_is_certainly_not_received() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    [found] = submit(f"http://127.0.0.1:{port}")
    assert isinstance(found, Retryable)
    assert (found.code, found.maybe_received, found.outage) == ("unreachable", False, True)


def test_a_purchase_whose_permission_ran_out_sends_nothing_of_its_body() -> None:
    """A process that was stopped before it could send (many machines, one ledger) must not send late."""
    heard = bytearray()

    def listen(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            heard.extend(data)

    with server(listen) as base_url:
        [found] = submit(base_url, expires=since_boot())
    assert found == Retryable("expired", "its permission to be sent ran out before it left")
    assert not heard.partition(b"\r\n\r\n")[2]
    with server(lambda connection: connection.sendall(reply(TASK)) if read_request(connection) else None) as base_url:
        [found] = submit(base_url, expires=since_boot() + 60)
    assert isinstance(found, Accepted)


def test_unknown_host_is_certainly_not_received() -> None:
    [found] = submit("https://does-not-exist.invalid")
    assert isinstance(found, Retryable)
    assert (found.code, found.maybe_received) == ("unreachable", False)


def close_at_once(connection: socket.socket) -> None:
    connection.close()


def reset_at_once(connection: socket.socket) -> None:
    connection.recv(1)  # a reset before that may look like a connection that was never made, which is as true
    reset(connection)


def close_after_request(connection: socket.socket) -> None:
    read_request(connection)


def reset_after_request(connection: socket.socket) -> None:
    read_request(connection)
    reset(connection)


def cut_in_head(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")


def cut_in_body(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(reply(TASK[:20], length=len(TASK)))


def reset_in_body(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(reply(TASK[:20], length=len(TASK)))
    reset(connection)


def not_http(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"220 mail.example ESMTP\r\n")


def half_json(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(reply(TASK[:30]))


def html(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(reply(b"<html>hello</html>"))


def deep_json(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(reply(b"[" * 100_000))


def gigabytes(connection: socket.socket) -> None:
    read_request(connection)
    try:
        connection.sendall(reply(b"", length=4 * 1024**3))
        for _ in range(100 * ANSWER_BYTES // 65536):
            connection.sendall(b" " * 65536)
    except OSError:
        return
    raise AssertionError("the client read a body without bound")


@pytest.mark.parametrize(
    "script",
    [
        close_at_once,
        reset_at_once,
        close_after_request,
        reset_after_request,
        cut_in_head,
        cut_in_body,
        reset_in_body,
        not_http,
        half_json,
        html,
        deep_json,
        gigabytes,
    ],
)
def test_without_a_whole_answer_it_may_have_been_received(script: Script) -> None:
    found = submit_to(script)
    assert isinstance(found, Retryable), found
    # A reset can be so early that the connection is never made.
    assert found.maybe_received or (script is reset_at_once and found.code == "unreachable")


def chunked(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


READABLE = {
    "gzip": reply(gzip.compress(TASK), headers="Content-Encoding: gzip\r\n"),
    "deflate": reply(zlib.compress(TASK), headers="Content-Encoding: deflate\r\n"),
    "gzip that is none": reply(TASK, headers="Content-Encoding: gzip\r\n"),
    "Latin-1 in a header": reply(TASK).replace(b"\r\n\r\n", b"\r\nX-Name: vid\xe9o\r\n\r\n", 1),
    "UTF-8 in a header": reply(TASK).replace(b"\r\n\r\n", "\r\nX-Name: видео\r\n\r\n".encode(), 1),
    "Latin-1 in the body": reply(TASK[:-1] + b', "note": "vid\xe9o"}'),
    "a byte order mark": reply(b"\xef\xbb\xbf" + TASK),
    "chunked": chunked(TASK),
    "no length": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + TASK,
    "HTTP/1.0": reply(TASK).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "hints before it": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + reply(TASK),
}


@pytest.mark.parametrize("case", READABLE)
def test_an_answer_in_an_odd_form_is_read(case: str) -> None:
    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(READABLE[case])

    found = submit_to(script)
    assert isinstance(found, Accepted), found
    assert found.task.task_id == "task_1"


def test_a_bomb_is_not_unpacked() -> None:
    """Thirty bytes of zeros for each bit: what comes out is bounded, and says nothing."""
    bomb = gzip.compress(b" " * (20 * ANSWER_BYTES))

    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply(bomb, headers="Content-Encoding: gzip\r\n"))

    tracemalloc.start()
    found = submit_to(script)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, Retryable)
    assert (found.code, found.maybe_received) == ("bad_answer", True)
    assert most < 4 * ANSWER_BYTES


def test_an_upgrade_that_nobody_asked_for_proves_nothing() -> None:
    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")

    found = submit_to(script)
    assert isinstance(found, Retryable)
    assert found.maybe_received


def test_slow_to_death_ends_at_the_deadline() -> None:
    released = threading.Event()

    def drip(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not released.wait(0.05):
            try:
                connection.sendall(b" ")
            except OSError:
                return

    with server(drip) as base_url:
        http = Transport(base_url, "rvya_sk_test", RIVYA)

        async def main() -> object:
            try:
                return await http.call("POST", "/x", content=b"{}", seconds=0.5)
            finally:
                await http.aclose()

        found = anyio.run(main)
        released.set()
    assert isinstance(found, Retryable)
    assert found.maybe_received


def test_an_upload_may_take_as_long_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.providers.transport.REQUEST_SECONDS", 0.2)
    waited = threading.Event()

    def slow(connection: socket.socket) -> None:
        connection.recv(1)
        waited.wait(0.6)  # nobody sets it: the body stands in the way for longer than an answer may
        read_request(connection)
        connection.sendall(reply(b"{}"))

    with server(slow) as base_url:
        http = Transport(base_url, "rvya_sk_test", RIVYA)

        async def main() -> object:
            files = {"file": ("a.png", bytes(4_000_000), "image/png")}
            try:
                return await http.call("POST", "/x", data={"kind": "image"}, files=files, seconds=10)
            finally:
                await http.aclose()

        found = anyio.run(main)
    assert isinstance(found, Answer)
    assert found.status == 200


def test_the_request_on_the_wire_has_key_agent_and_the_very_bytes() -> None:
    seen: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(reply(TASK, status="202 Accepted"))

    found = submit_to(answer)
    assert isinstance(found, Accepted)
    assert found.task.reserved_credits == 10
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert body == b'{"model": "m", "prompt": "\xc3\xa9"}'
    lines = [line.lower() for line in head.split(b"\r\n")]
    assert lines[0] == b"post /api/v1/generations http/1.1"
    assert b"idempotency-key: key-1" in lines
    assert b"authorization: bearer rvya_sk_test" in lines
    assert any(line.startswith(b"user-agent: batcher/") for line in lines)


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        other.settimeout(0)
        location = f"Location: http://127.0.0.1:{other.getsockname()[1]}/steal\r\n"

        def redirect(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(reply(b"", status="307 Temporary Redirect", headers=location))

        found = submit_to(redirect)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert isinstance(found, Retryable)
    assert found.code == "redirected"
    assert found.maybe_received, "whoever redirects may have taken it first"
