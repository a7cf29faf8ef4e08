"""What the transport makes of a broken connection, on raw sockets: only where no connection was ever made may a paid
request count as not received (design.md, "Maybe received").
"""

from __future__ import annotations

import gzip
import math
import socket
import ssl
import struct
import subprocess
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from shutil import which

import anyio
import httpx2 as httpx
import pytest
from support import VirtualClock

from batcher.clock import Moment, since_boot
from batcher.jobs import Intent, JobId
from batcher.providers import Accepted, Conflict, Fatal, Refused, Retryable
from batcher.providers.connections import Connections
from batcher.providers.outcomes import Answer
from batcher.providers.registry import RIVYA
from batcher.providers.rivya import Rivya
from batcher.providers.transport import ANSWER_BYTES, Transport

Script = Callable[[socket.socket], None]
Outcome = Accepted | Refused | Conflict | Fatal | Retryable
TASK = b'{"id": "task_1", "status": "queued", "reserved_credits": 10, "final_credits": 0}'


def read_request(connection: socket.socket) -> bytes:
    """The whole request, by its Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def reply(body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body


@contextmanager
def server(*scripts: Script) -> Iterator[str]:
    """A listener that plays one script a connection, in order, then stops listening."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(10)

        def serve() -> None:
            for script in scripts:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.settimeout(10)
                with closing(connection):
                    script(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)
        assert not thread.is_alive()


def submit(base_url: str, *, times: int = 1, expires: float = math.inf) -> list[Outcome]:
    body = b'{"model": "m", "prompt": "\xc3\xa9"}'
    intent = Intent(1, JobId("j"), 1, "key-1", body, "account", Moment(0.0), False, expires)

    async def main() -> list[Outcome]:
        provider = Rivya(base_url, "rvya_sk_test", VirtualClock())
        try:
            return [await provider.submit(intent) for _ in range(times)]
        finally:
            await provider.aclose()

    return anyio.run(main)


def submit_to(script: Script) -> Outcome:
    with server(script) as base_url:
        return submit(base_url)[0]


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


def test_a_kept_alive_connection_that_died_counts_as_maybe_received_and_is_not_resent() -> None:
    seen: list[bytes] = []

    def one_answer_then_close(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(reply(TASK))
        seen.append(read_request(connection))

    with server(one_answer_then_close) as base_url:
        first, second = submit(base_url, times=2)
    assert isinstance(first, Accepted)
    assert isinstance(second, Retryable)
    assert second.maybe_received
    assert len(seen) == 2, "nobody but the lifecycle repeats a paid request"


def test_what_comes_after_an_answer_is_no_answer_to_the_next_request() -> None:
    def twice(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply(TASK) * 2)
        with suppress(OSError):
            assert connection.recv(1) == b"", "no second request on this connection"

    def once(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply(TASK.replace(b"task_1", b"task_2")))

    with server(twice, once) as base_url:
        first, second = submit(base_url, times=2)
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert (first.task.task_id, second.task.task_id) == ("task_1", "task_2")


@pytest.mark.parametrize(
    ("kept", "seconds", "connections"),
    [(1, 5.0, 1), (0, 5.0, 3), (1, 0.0, 3)],
    ids=["as long as it is young", "no more than are kept", "too old: the server may be closing it"],
)
def test_a_connection_is_used_again(kept: int, seconds: float, connections: int) -> None:
    def answer(connection: socket.socket) -> None:
        for _ in range(3 // connections):
            read_request(connection)
            connection.sendall(reply(TASK))
        with suppress(OSError):
            assert connection.recv(1) == b"", "closed by the client"

    async def main(url: str) -> None:
        ours = Connections(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), kept=kept, seconds=seconds)
        for _ in range(3):
            answer = await ours.handle_async_request(httpx.Request("GET", url))
            assert await answer.aread() == TASK
        await ours.aclose()

    with server(*[answer] * connections) as base_url:
        anyio.run(main, base_url)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=here -addext"
    if (openssl := which("openssl")) is None:
        pytest.skip("no openssl here")
    command = [openssl, *words.split(), "subjectAltName=IP:127.0.0.1", "-keyout", str(path)]
    made = subprocess.run(command, check=True, capture_output=True).stdout
    path.write_bytes(path.read_bytes() + made)
    return path


@pytest.mark.parametrize("tls", [False, True])
def test_long_bodies_go_both_ways(tls: bool, certificate: Path) -> None:
    """More than the system and we take in at once, to and from somebody who does one thing after the other."""
    there, back = bytes(range(256)) * 8_192, b"film" * 500_000
    trusted = ssl.create_default_context(cafile=certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def answer(connection: socket.socket) -> None:
        with closing(context.wrap_socket(connection, server_side=True) if tls else connection) as stream:
            for _ in range(2):
                assert read_request(stream).endswith(there)
                stream.sendall(reply(back))

    async def main(url: str) -> None:
        ours = Connections(trusted)
        for _ in range(2):
            request = httpx.Request("POST", url, content=there, extensions={"timeout": {"read": 5.0, "write": 5.0}})
            answer = await ours.handle_async_request(request)
            await anyio.sleep(0.01)  # it comes faster than it is read
            assert await answer.aread() == back
        await ours.aclose()

    with server(answer) as base_url:
        anyio.run(main, base_url.replace("http:", "https:") if tls else base_url)


def test_a_certificate_that_nobody_trusts(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def greet(connection: socket.socket) -> None:
        with suppress(OSError):
            context.wrap_socket(connection, server_side=True)

    with server(greet) as base_url:
        found = submit(base_url.replace("http:", "https:"))[0]
    assert isinstance(found, Retryable)
    assert (found.cause, found.maybe_received) == ("certificate", False)


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
