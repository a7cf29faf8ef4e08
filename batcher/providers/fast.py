"""The API's connections by a Rust client (extra `fast`): a tenth of the processor time of httpx's own pool.

Only for the API's own host: results of other hosts go through httpx, which tells us the address that it connects to.
Nothing is repeated, redirected or kept as a cookie. pyreqwest names a lost answer a connect error too, so its
exceptions' types are not believed: only what the Rust client says of a connection that was never made counts as such,
and should those words ever change, then such a request counts as maybe received (tests/provider/
test_transport_sockets.py shows each case on raw sockets).
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncGenerator, Awaitable
from datetime import timedelta
from typing import TypeVar

import httpx2 as httpx
from anyio.lowlevel import checkpoint_if_cancelled
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError
from pyreqwest.response import Response

from .pools import Reply

# What hyper says when the connector failed: before a byte of the request was written.
_NO_CONNECTION = "client error (Connect)"
T = TypeVar("T")


class FastClient:
    """A `Wire` over the Rust client, for asyncio.

    `connect_seconds` is how long making a connection may take; `proxies` says whether those of the environment count.
    """

    def __init__(self, connect_seconds: float, *, proxies: bool) -> None:
        self._connect = timedelta(seconds=connect_seconds)
        self._proxies = proxies
        self._clients: dict[float, Client] = {}

    async def send(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None, *, silence: float
    ) -> Reply:
        """Send a request. Raises httpx.ConnectError only when no connection was made, else httpx.ReadError."""
        builder = self._client(silence).request(method, url).headers(headers)
        if content:
            builder = builder.body_bytes(content)
        stream = builder.build_streamed()
        response = await _in_our_errors(stream.__aenter__())

        async def close() -> None:
            await stream.__aexit__(None, None, None)

        return Reply(response.status, list(response.headers.items()), _chunks(response), close)

    def _client(self, silence: float) -> Client:
        """The client whose reads may take so long: that is a client's property, and there are few such times."""
        if silence not in self._clients:
            builder = (
                ClientBuilder()
                .follow_redirects(False)
                .referer(False)
                .gzip(False)
                .brotli(False)
                .deflate(False)
                .zstd(False)
                .http1_only()
                .connect_timeout(self._connect)
                .read_timeout(timedelta(seconds=silence))
            )
            self._clients[silence] = (builder if self._proxies else builder.no_proxy()).build()
        return self._clients[silence]

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.close()


async def _chunks(response: Response) -> AsyncGenerator[bytes, None]:
    read = response.body_reader.read_chunk
    while (chunk := await _in_our_errors(read())) is not None:
        yield bytes(chunk)


async def _in_our_errors(doing: Awaitable[T]) -> T:
    try:
        return await doing
    except PyreqwestError as error:
        raise _translated(error) from error
    except CancelledError:
        # The Rust client raises one of its own making, which anyio does not know as that of its cancel scope.
        await checkpoint_if_cancelled()
        raise


def _translated(error: PyreqwestError) -> httpx.TransportError:
    causes = (error.details.get("causes") or []) if isinstance(error, DetailedPyreqwestError) else []
    words = [cause["message"] for cause in causes]
    kind = httpx.ConnectError if _NO_CONNECTION in words else httpx.ReadError
    return kind(words[-1] if words else error.message)
