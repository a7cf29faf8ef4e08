"""Bytes to and from hosts for httpcore, by asyncio's own transports.

Those of anyio stop and start reading with each piece, in a scope of their own: a third of a request's processor time.
The head of a request waits for its body, and both leave together.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import anyio
import httpcore2 as httpcore
from anyio.lowlevel import cancel_shielded_checkpoint

from .addresses import is_address

#: So much is taken in, in bytes, before somebody reads it; and pieces up to this size leave with what comes next.
_AHEAD = 1 << 20
_SHORT = 1 << 14
#: Seconds until another address of a host is tried beside one that has not answered (RFC 8305).
_NEXT_ADDRESS_SECONDS = 0.25


class Network(httpcore.AsyncNetworkBackend):
    """Makes connections on the running event loop of asyncio."""

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: object, **__: object
    ) -> httpcore.AsyncNetworkStream:
        """Connect, from any address of this machine. Raises httpcore.ConnectError, ConnectTimeout."""
        loop = asyncio.get_running_loop()
        with _connecting(), anyio.fail_after(timeout):
            delay = None if is_address(host) else _NEXT_ADDRESS_SECONDS
            made = await loop.create_connection(_Stream, host, port, happy_eyeballs_delay=delay)
        return made[1]


class _Stream(httpcore.AsyncNetworkStream, asyncio.Protocol):
    """One connection, of which one task at a time reads or writes."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._came: deque[bytes] = deque()
        self._size = 0  # bytes in `_came`
        self._held = b""  # what is to leave with the next piece
        self._ended = False  # nothing more comes
        self._error: Exception | None = None
        self._is_full = False  # what was written has not left
        self._waiter: asyncio.Future[bool] | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._came.append(data)
        self._size += len(data)
        if self._size > _AHEAD:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._error = True, exc
        self._wake()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._wake()

    def _wake(self, changed: bool = True) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(changed)

    async def _change(self, seconds: float | None) -> bool:
        """Wait until asyncio has called, for so many seconds at most; whether it has."""
        self._waiter = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self._wake, False)
        try:
            return await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    # What httpcore calls

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next bytes; none at the end. Raises httpcore.ReadError, ReadTimeout."""
        await self._send(b"", timeout)
        while not self._came and not self._ended:
            if not await self._change(timeout):
                raise httpcore.ReadTimeout
        if self._came:
            return self._taken(max_bytes)
        if self._error is not None:
            raise httpcore.ReadError(str(self._error)) from self._error
        return b""

    def _taken(self, most: int) -> bytes:
        piece = self._came.popleft()
        if len(piece) > most:
            self._came.appendleft(piece[most:])
            piece = piece[:most]
        if self._size > _AHEAD >= self._size - len(piece):
            self._transport.resume_reading()
        self._size -= len(piece)
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes: short ones with what is written next, or when an answer is waited for.

        Raises httpcore.WriteError, WriteTimeout.
        """
        if self._ended:
            raise httpcore.WriteError(str(self._error or "the connection is closed"))
        if len(buffer) <= _SHORT:
            self._held += buffer
        if len(buffer) > _SHORT or len(self._held) > _SHORT:
            await self._send(b"" if len(buffer) <= _SHORT else buffer, timeout)

    async def _send(self, buffer: bytes, seconds: float | None) -> None:
        for piece in filter(None, (self._held, buffer)):
            self._held = b""
            self._transport.write(piece)
        while self._is_full and not self._ended:
            if not await self._change(seconds):
                raise httpcore.WriteTimeout

    async def aclose(self) -> None:
        """Close it at once."""
        self._transport.abort()
        await cancel_shielded_checkpoint()  # it is closed in the loop's next turn

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """The same connection with TLS on it. Raises httpcore.ConnectError, ConnectTimeout."""
        try:
            with _connecting(), anyio.fail_after(timeout):
                made = await self._loop.start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        except BaseException:
            self._transport.abort()
            raise
        assert made is not None
        self._transport = made
        return self

    def get_extra_info(self, info: str) -> Any:
        """What httpcore and we ask of a connection: its end, its address, its TLS."""
        if info == "is_readable":
            return self._ended or bool(self._came) or _is_readable(self._transport.get_extra_info("socket"))
        return self._transport.get_extra_info({"server_addr": "peername"}.get(info, info))


def _is_readable(socket: Any) -> bool:
    """Whether something has come, or the end, that the event loop has not seen yet."""
    if socket is None or socket.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def _connecting() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(str(error)) from error
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
