"""Connections over which requests go, one request at a time each.

httpcore's own pool looks at all of its connections twice a request; with many at once that was the larger part of a
job's processor time. Here the connection that was used last is taken, and no other is looked at. What a connection
is and does (to a host, by a proxy, with TLS, by HTTP/1.1) is httpcore's.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import anyio
import httpcore2 as httpcore
import httpx2 as httpx

from .addresses import Origin, origin_of
from .streams import Network

#: Bytes that are taken from a connection at once: as many as asyncio gives. By 64 kB, which httpcore takes, a large
#: result needs half as much of the processor again.
httpcore.AsyncHTTP11Connection.READ_NUM_BYTES = 256 * 1024
#: Idle connections that are kept, and for how many seconds. As they are taken first, there are never more connections
#: than there were requests at once in that time, which is the engine's business.
KEPT = 256
KEPT_SECONDS = 5.0


class _Idle(NamedTuple):
    origin: Origin
    connection: httpcore.AsyncConnectionInterface
    since: float


class Connections(httpx.AsyncBaseTransport):
    """A transport that takes the newest idle connection first, and keeps so many for so many seconds."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        proxy: httpcore.Proxy | None = None,
        *,
        kept: int = KEPT,
        seconds: float = KEPT_SECONDS,
    ) -> None:
        # It only makes them: it knows of those alone that it takes itself.
        self._maker = httpcore.AsyncConnectionPool(
            ssl_context=tls, proxy=proxy, keepalive_expiry=seconds, network_backend=Network()
        )
        self._kept, self._seconds = kept, seconds
        self._idle: list[_Idle] = []  # what has been idle for longest comes first

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its connection is another's once the response is closed. Raises httpx.TransportError."""
        url, origin = request.url, origin_of(request.url)
        sent = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        connection = await self._take(origin) or self._maker.create_connection(sent.url.origin)
        try:
            with _errors_of_httpx():
                answer = await connection.handle_async_request(sent)
        except BaseException:
            await _close([connection])
            raise
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(self, origin, connection, answer.stream),
            extensions=answer.extensions,
        )

    async def _take(self, origin: Origin) -> httpcore.AsyncConnectionInterface | None:
        """An idle connection that is young, and on which nothing has come since: not its end either."""
        for place in reversed(range(len(self._idle))):
            if self._idle[place].origin == origin:
                connection = self._idle.pop(place).connection
                if not connection.has_expired():
                    return connection
                await _close([connection])
                return await self._take(origin)
        return None

    async def give_back(self, origin: Origin, connection: httpcore.AsyncConnectionInterface) -> None:
        """Keep a connection for the next request, if it can take one more."""
        now, closing = time.monotonic(), list[httpcore.AsyncConnectionInterface]()
        if connection.is_available() and not _holds_more(connection):
            self._idle.append(_Idle(origin, connection, now))
        else:
            closing.append(connection)
        while self._idle and (len(self._idle) > self._kept or self._idle[0].since < now - self._seconds):
            closing.append(self._idle.pop(0).connection)
        await _close(closing)

    async def aclose(self) -> None:
        """Close every idle connection."""
        closing = [each.connection for each in self._idle]
        self._idle.clear()
        await _close(closing)


async def _close(connections: list[httpcore.AsyncConnectionInterface]) -> None:
    if connections:
        with anyio.CancelScope(shield=True):
            for each in connections:
                await each.aclose()


class _Body(httpx.AsyncByteStream):
    """The bytes of an answer as they come; where it is closed its connection is given back."""

    def __init__(
        self, connections: Connections, origin: Origin, connection: httpcore.AsyncConnectionInterface, stream: Any
    ) -> None:
        self._connections, self._origin, self._connection = connections, origin, connection
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors_of_httpx():
            async for chunk in self._stream:
                yield chunk

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._connections.give_back(self._origin, self._connection)


def _holds_more(connection: Any) -> bool:
    """Whether more has come than the answer: it would be read as the answer to the next request, another job's task.

    Bytes that come later are noticed when the connection is taken. The way goes down to h11's buffer; no public name
    leads there (httpcore2 2.16).
    """
    while connection is not None:
        if (protocol := getattr(connection, "_h11_state", None)) is not None:
            return bool(protocol.trailing_data[0])
        connection = getattr(connection, "_connection", None)
    return False


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    """What httpcore raises as httpx's error of the same name."""
    try:
        yield
    except Exception as error:
        found = getattr(httpx, type(error).__name__, None)
        if found is None or type(error).__module__ != httpcore.__name__:
            raise
        raise found(str(error)) from error
