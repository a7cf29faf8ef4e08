"""A listener on a raw socket that answers as a script says, and a paid request to it."""

from __future__ import annotations

import math
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import anyio
from virtual_time import VirtualClock

from batcher.clock import Moment
from batcher.jobs import Intent, JobId
from batcher.providers import Accepted, Conflict, Fatal, Refused, Retryable
from batcher.providers.rivya import Rivya

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
