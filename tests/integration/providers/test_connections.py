"""Connections on raw sockets: which are used again, what goes over them, whom they trust."""

from __future__ import annotations

import socket
import ssl
import subprocess
from contextlib import closing, suppress
from pathlib import Path
from shutil import which

import anyio
import httpx2 as httpx
import pytest
from integration.providers.helpers import TASK, read_request, reply, server, submit

from batcher.providers import Accepted, Retryable
from batcher.providers.connections import Connections


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
