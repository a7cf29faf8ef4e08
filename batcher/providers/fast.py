"""The API's connections by a Rust client (extra `fast`): a tenth of the processor time of httpx's own pool.

Only for the API's own host: results of other hosts go through httpx, which tells us the address that it connects to.
Nothing is repeated, redirected or kept as a cookie. pyreqwest names a lost answer a connect error too, so its
exceptions' types are not believed: only what the Rust client says of a connection that was never made counts as such,
and should those words ever change, then such a request counts as maybe received (tests/provider/
test_transport_sockets.py shows each case on raw sockets).
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import TypeVar

import httpx2 as httpx
from anyio.lowlevel import checkpoint_if_cancelled
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

# What hyper says when the connector failed: before a byte of the request was written.
_NO_CONNECTION = "client error (Connect)"
T = TypeVar("T")


class FastTransport(httpx.AsyncBaseTransport):
    """A transport of httpx over the Rust client, for asyncio.

    `connect_seconds` and `silence_seconds` are how long making a connection and one read may take; `proxies` says
    whether those of the environment count.
    """

    def __init__(self, connect_seconds: float, silence_seconds: float, *, proxies: bool) -> None:
        builder = (
            ClientBuilder()
            .follow_redirects(False)
            .referer(False)
            .gzip(False)
            .brotli(False)
            .deflate(False)
            .zstd(False)
            .http1_only()
            .connect_timeout(timedelta(seconds=connect_seconds))
            .read_timeout(timedelta(seconds=silence_seconds))
        )
        self._client: Client = (builder if proxies else builder.no_proxy()).build()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises httpx.ConnectError only when no connection was made, else httpx.ReadError."""
        builder = self._client.request(request.method, str(request.url)).headers(request.headers.multi_items())
        if content := await request.aread():
            builder = builder.body_bytes(content)
        stream = builder.build_streamed()
        response = await _in_our_errors(stream.__aenter__(), request)
        return httpx.Response(
            response.status, headers=list(response.headers.items()), stream=_Body(stream, response, request)
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: StreamRequest, response: Response, request: httpx.Request) -> None:
        self._stream, self._response, self._request = stream, response, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = self._response.body_reader.read_chunk
        while (chunk := await _in_our_errors(read(), self._request)) is not None:
            yield bytes(chunk)

    async def aclose(self) -> None:
        await self._stream.__aexit__(None, None, None)


async def _in_our_errors(doing: Awaitable[T], request: httpx.Request) -> T:
    try:
        return await doing
    except PyreqwestError as error:
        raise _translated(error, request) from error
    except CancelledError:
        # The Rust client raises one of its own making, which anyio does not know as that of its cancel scope.
        await checkpoint_if_cancelled()
        raise


def _translated(error: PyreqwestError, request: httpx.Request) -> httpx.TransportError:
    causes = (error.details.get("causes") or []) if isinstance(error, DetailedPyreqwestError) else []
    words = [cause["message"] for cause in causes]
    kind = httpx.ConnectError if _NO_CONNECTION in words else httpx.ReadError
    return kind(words[-1] if words else error.message, request=request)
