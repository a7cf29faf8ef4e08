"""An API for benchmarks: as fast as plain asyncio goes, so that what is measured is its client.

    python -m benchmarks.server [--latency SECONDS] [--post SECONDS] [--wait MEDIAN[:SIGMA]] [--bytes N] [--open-tasks]

It prints `port N` and serves until its standard input is closed. Creates answer `succeeded` at once, or with `--wait`
`processing` for so many seconds (lognormal with that σ; 0: exactly). A key is charged once; a create without one is
charged each time. `GET /_truth` tells what happened, in JSON: see `_truth`. Long results go from a file to the socket
by the system alone, as a CDN sends them: else this process would be what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import random
import sys
import tempfile
import time
from typing import IO, Any

#: The smallest thing that looks like a video.
_HEAD = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
#: Results of so many bytes are sent by the system.
_LONG = 256 * 1024


class Api:
    """What the server knows: tasks by id and by key, and a stamp for each request."""

    def __init__(self, *, wait: float, sigma: float, size: int, open_tasks: bool = False) -> None:
        self._open_tasks = open_tasks
        self._wait, self._sigma = wait, sigma
        self.film = _HEAD + (size - len(_HEAD)).to_bytes(4, "big") + b"mdat" + bytes(size - len(_HEAD) - 8)
        self._chance = random.Random(1)  # noqa: S311  (the same each time)
        self._by_key: dict[str, str] = {}
        self._ends: dict[str, float] = {}
        self.port = 0
        self.bodies: list[bytes] = []  # of what was charged
        self.creates: list[bytes] = []  # of every create that arrived
        self.stamps: dict[str, list[float]] = {"submit": [], "poll": [], "download": [], "sent": [], "other": []}
        self.polls: dict[str, list[float]] = {}

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes, str]:
        """Status line, body and content type."""
        now = time.time()
        if path == "/api/v1/generations" and method == "POST":
            self.stamps["submit"].append(now)
            self.creates.append(body)
            return "200 OK", self._view(self._create(headers.get("idempotency-key", ""), body, now), now), ""
        if path.startswith("/api/v1/generations/"):
            task = path[20:]
            self.stamps["poll"].append(now)
            self.polls.setdefault(task, []).append(now)
            if task not in self._ends and not self._open_tasks:
                return "404 Not Found", b'{"error":{"code":"not_found","message":"There is no such task."}}', ""
            return "200 OK", self._view(task, now), ""
        if path.startswith("/results/"):
            self.stamps["download"].append(now)
            return "200 OK", self.film, "video/mp4"
        if path == "/_truth":
            return "200 OK", json.dumps(self._truth()).encode(), ""
        self.stamps["other"].append(now)
        if path == "/api/v1/credits":
            return "200 OK", b'{"current_credits":100000000}', ""
        return "404 Not Found", b'{"error":{"code":"not_found","message":"There is nothing here."}}', ""

    def _create(self, key: str, body: bytes, now: float) -> str:
        known = self._by_key.get(key) if key else None
        if known is not None:
            return known
        task = f"task_{len(self.bodies) + 1}"
        self.bodies.append(body)
        if key:
            self._by_key[key] = task
        self._ends[task] = now + (self._wait and self._wait * self._chance.lognormvariate(0, self._sigma))
        return task

    def _view(self, task: str, now: float) -> bytes:
        if now < self._ends.get(task, math.inf):
            return (
                f'{{"id":"{task}","status":"processing","reserved_credits":10,"final_credits":0,'
                '"result":null,"error":null}'
            ).encode()
        url = f"http://127.0.0.1:{self.port}/results/{task}.mp4"
        return (
            f'{{"id":"{task}","status":"succeeded","reserved_credits":10,"final_credits":10,'
            f'"result":{{"primary_url":"{url}","urls":["{url}"]}},"error":null}}'
        ).encode()

    def _truth(self) -> dict[str, Any]:
        """Prompts that were charged and that were asked for (once an arrival), stamps a kind, ends and polls a task."""
        return {
            "charged": [json.loads(body)["prompt"] for body in self.bodies],
            "asked": [json.loads(body)["prompt"] for body in self.creates],
            "stamps": self.stamps,
            "ends": self._ends,
            "polls": self.polls,
        }


class _Connection(asyncio.Protocol):
    """`latency` is in seconds, by method."""

    def __init__(self, api: Api, latency: dict[str, float], film: IO[bytes] | None) -> None:
        self._api, self._latency, self._film = api, latency, film
        self._buffer = b""
        self._transport: Any = None
        self._loop = asyncio.get_running_loop()
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].decode("latin-1")
            first, _, rest = head.partition("\r\n")
            headers: dict[str, str] = {}
            for line in rest.split("\r\n"):
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            length = int(headers.get("content-length", "0"))
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            method, path, _ = first.split(" ", 2)
            self._answer(*self._api.answer(method, path, headers, body), latency=self._latency.get(method, 0.0))

    def _answer(self, status: str, out: bytes, kind: str, *, latency: float) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind or 'application/json'}\r\ncontent-length: {len(out)}\r\n\r\n"
        if self._film and kind:
            self._transport.write(head.encode())
            self._sending = self._loop.create_task(self._send_film(self._film))
        elif latency:
            self._loop.call_later(latency, self._send, head.encode() + out)
        else:
            self._transport.write(head.encode() + out)

    async def _send_film(self, film: IO[bytes]) -> None:
        await self._loop.sendfile(self._transport, film, 0, None)
        self._api.stamps["sent"].append(time.time())

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(api: Api, latency: dict[str, float]) -> None:
    """Serve on a free port of loopback until standard input is closed."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryFile() as film:
        film.write(api.film)
        film.flush()
        long = film if len(api.film) >= _LONG else None
        server = await loop.create_server(lambda: _Connection(api, latency, long), "127.0.0.1", 0, backlog=1024)
        api.port = server.sockets[0].getsockname()[1]
        print(f"port {api.port}", flush=True)
        gc.freeze()
        gc.disable()  # nothing here makes cycles, and its pauses would be the client's
        async with server:
            await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--post", type=float, help="seconds before the answer to a create, if others than --latency")
    parser.add_argument("--wait", default="0", help="seconds until a task has ended, MEDIAN or MEDIAN:SIGMA")
    parser.add_argument("--open-tasks", action="store_true", help="an unknown task is one that has not ended yet")
    parser.add_argument("--bytes", type=int, default=2000, help="length of a result")
    chosen = parser.parse_args()
    median, _, sigma = chosen.wait.partition(":")
    post = chosen.latency if chosen.post is None else chosen.post
    asyncio.run(
        serve(
            Api(wait=float(median), sigma=float(sigma or 0), size=chosen.bytes, open_tasks=chosen.open_tasks),
            {"GET": chosen.latency, "POST": post},
        )
    )


if __name__ == "__main__":
    main()
