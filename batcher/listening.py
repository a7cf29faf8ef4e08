"""A door for webhooks: a POST is a hint that a task may have moved, and nothing else of it is believed.

It sends nothing and needs no key. A task that no job of this ledger waits for is dropped; of the others it is written
down that the run should ask (`ledger/hints`), which that does at its own pace.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread

from batcher.clock import Clock
from batcher.errors import StorageError
from batcher.ledger import LedgerWriter, hints

#: A longer body is answered with 413, unread.
MAX_BYTES = 64_000
#: Seconds that a body may take.
BODY_SECONDS = 10.0
#: Where in a body the id of a task may stand: under these names, so deep, so many of them at most.
_NAMES = ("id", "task_id", "taskId")
_DEPTH = 6
_MOST = 20
_LONGEST_ID = 200
#: A job that was hinted at is not again for so many seconds.
_APART_SECONDS = 1.0
#: Jobs that are remembered for that.
_REMEMBERED = 10_000

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Signature:
    """Where the sender's signature of a body stands: HMAC-SHA256 in hexadecimal, as is or behind `sha256=`."""

    header: str
    secret: str

    def fits(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether one of these headers is the body's signature."""
        right = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        said = [value.removeprefix(b"sha256=") for name, value in headers if name == self.header.lower().encode()]
        return any(hmac.compare_digest(value.lower(), right.encode()) for value in said)


class Listener:
    """An ASGI app: POSTs are hints. Its answers say nothing of what the ledger knows."""

    def __init__(self, ledger: LedgerWriter, clock: Clock, signature: Signature | None = None) -> None:
        self._ledger, self._clock, self._signature = ledger, clock, signature
        self._one = anyio.CapacityLimiter(1)  # the ledger's connection is no more than one thread's at a time
        self._given: dict[str, float] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _answer(send, await self._status(scope, receive))

    async def _status(self, scope: Message, receive: Receive) -> int:
        if scope["method"] != "POST":
            return 405
        with anyio.move_on_after(BODY_SECONDS):
            body = await _read(receive)
            if body is None:
                return 413
            if self._signature is not None and not self._signature.fits(body, scope["headers"]):
                return 401
            try:
                named = list(_task_ids(json.loads(body)))[:_MOST]
            except (ValueError, RecursionError):
                return 400
            try:
                await anyio.to_thread.run_sync(self._hint, named, limiter=self._one)
            except StorageError:
                return 503
            return 202
        return 408

    def _hint(self, named: list[str]) -> None:
        now = self._clock.monotonic()
        jobs = [
            job_id
            for job_id in hints.open_jobs(self._ledger.read, named)
            if now - self._given.get(job_id, -_APART_SECONDS) >= _APART_SECONDS
        ]
        if jobs:
            hints.give(self._ledger, jobs, self._clock.wall())
            if len(self._given) > _REMEMBERED:
                self._given.clear()
            self._given |= dict.fromkeys(jobs, now)


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None if it is longer than `MAX_BYTES`."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _task_ids(value: Any, depth: int = 0) -> Iterator[str]:
    """What in a JSON value may be the id of a task."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name in _NAMES and isinstance(each, str) and each.isascii() and 0 < len(each) <= _LONGEST_ID:
                yield each
    if isinstance(value, dict | list) and depth < _DEPTH:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _task_ids(each, depth + 1)


async def _answer(send: Send, status: int) -> None:
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
