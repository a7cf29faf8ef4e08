"""Requests over httpx in small pools, and what a client has to give us: a status, headers and a body to be read.

httpx looks through all connections of a pool for each request, so one pool of a hundred makes a third of the requests
that many small ones make.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import httpx2 as httpx

#: A download may take any time, but not be silent for longer than this, in seconds; nor may making a connection.
SILENCE_SECONDS = 30.0
_POOL = 8


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client says of an answer whose body is still to be read; then `close` has to be awaited."""

    status: int
    headers: Sequence[tuple[str, str]]
    chunks: AsyncGenerator[bytes, None]
    close: Callable[[], Awaitable[None]]


class Wire(Protocol):
    """A client's way to send a request. `silence` is how long a part of the answer may take, in seconds; with some
    clients the sending too.

    Raises httpx.ConnectError and its like only when no connection was made.
    """

    async def __call__(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None, *, silence: float
    ) -> Reply: ...


@cache
def _tls(trust_env: bool) -> ssl.SSLContext:
    """One for all pools: making one takes ten milliseconds."""
    return httpx.create_ssl_context(trust_env=trust_env)


#: What follows a connection being made, for the host that is asked for.
Tracer = Callable[[str], Callable[[str, dict[str, Any]], Awaitable[None]]]


class Pools:
    """A `Wire` over as many small pools as are in use, `connections` at once at most. `options` are httpx's."""

    def __init__(self, connections: int, options: Mapping[str, Any]) -> None:
        self._most = max(1, connections // _POOL)
        self._options = options
        self._busy: dict[httpx.AsyncClient, int] = {}  # requests of each pool that are not closed

    async def send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        content: bytes | None,
        *,
        silence: float,
        trace: Tracer | None = None,
    ) -> Reply:
        """Send a request by the least busy pool. Raises httpx's errors."""
        extensions: dict[str, Any] = {"timeout": httpx.Timeout(SILENCE_SECONDS, read=silence).as_dict()}
        request = httpx.Request(method, url, headers=headers, content=content, extensions=extensions)
        if trace:
            request.extensions["trace"] = trace(request.url.raw_host.decode("ascii"))
        pool = self._pick()
        self._busy[pool] += 1
        try:
            answer = await pool.send(request, stream=True)
        except BaseException:
            self._busy[pool] -= 1
            raise

        async def close() -> None:
            self._busy[pool] -= 1
            await answer.aclose()

        # Without a chunk size: that would hold back, and lose, what arrived right before a cut.
        return Reply(answer.status_code, answer.headers.multi_items(), answer.aiter_bytes(), close)

    def _pick(self) -> httpx.AsyncClient:
        least = min(self._busy, key=self._busy.__getitem__, default=None)
        if least is not None and (self._busy[least] < _POOL or len(self._busy) == self._most):
            return least
        limits = httpx.Limits(max_connections=_POOL, max_keepalive_connections=_POOL)
        pool = httpx.AsyncClient(limits=limits, verify=_tls(self._options["trust_env"]), **self._options)
        self._busy[pool] = 0
        return pool

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._busy:
            await pool.aclose()
