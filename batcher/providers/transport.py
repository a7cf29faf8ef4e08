"""Requests over httpx, bounded in time and bytes; what the transport raises becomes a `Later`.

This is the one place that imports httpx (as httpx2, its maintained continuation by the same author; httpx itself
has had no release since 2024-12).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2 as httpx

from batcher import __version__
from batcher.errors import UsageError
from batcher.redact import without

from . import Later

#: A JSON answer longer than this many bytes is not read to its end.
ANSWER_BYTES = 1_000_000
#: One deadline round each request, in seconds.
REQUEST_SECONDS = 60.0
UPLOAD_SECONDS = 300.0
#: A download may take any time, but not be silent for longer than this, in seconds.
SILENCE_SECONDS = 30.0

# Only these say that no connection was made, hence that nothing can have been received
# (tests/test_transport_sockets.py shows each on raw sockets).
_NEVER_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


#: Sends a request; the answer's body is still to be read.
Wire = Callable[[httpx.Request], Awaitable[httpx.Response]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: status code, headers (lower case) and the decoded JSON, or None if it was not JSON."""

    status: int
    headers: Mapping[str, str]
    json: Any


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose body is still to be read."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Barred:
    """A URL that is not to be fetched, whoever names it."""

    reason: str


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not of this machine, of a local network, or reserved."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip  # an IPv4 address in disguise is judged as what it is
    return ip.is_global and not ip.is_multicast


class _PrivateAddress(Exception):
    """A host of the open internet, by its name, that turned out to be none."""


class _PublicOnly:
    """Watches one request's connection being made, and ends it before a byte goes out if its address is not public.

    The address is that of the connected socket, so that no name can answer one address here and another one there.
    A connection through a proxy leads to the proxy's address; then the proxy decides whom it connects to.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._direct = False

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("connect_tcp.started"):
            self._direct = info["host"] == self._host
        elif event.endswith("connect_tcp.complete") and self._direct:
            stream = info["return_value"]
            address = stream.get_extra_info("server_addr")[0]
            if not is_public(address):
                await stream.aclose()
                raise _PrivateAddress(f"the result's host {self._host} is at {address}, which is no public address")


def check_base_url(url: str, key: str = "") -> str:
    """The base URL without a trailing slash. Raises UsageError for anything but https (http on loopback).

    The message does not repeat the URL: it may hold a password, or be the key in the wrong place.
    """
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        scheme = host = ""
    plain = url.isprintable() and not set(" \\") & set(url)
    if not plain or not host or not (scheme == "https" or (scheme == "http" and is_loopback(host))):
        raise UsageError(
            "that cannot be the API's base URL", hint="RIVYA_BASE_URL is an https URL (http for loopback only)."
        )
    if key and without(url, key) != url:
        raise UsageError("the API's base URL holds the key", hint="RIVYA_BASE_URL and RIVYA_API_KEY are two things.")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise UsageError("the API's base URL has parts that it may not have", hint="Give scheme, host and port only.")
    return url.rstrip("/")


class Transport:
    """HTTP to one API and, without the key, to wherever its results are."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        connections: int = 128,
        transport: httpx.AsyncBaseTransport | None = None,
        fast: bool = False,
    ) -> None:
        self.base_url = check_base_url(base_url, key)
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError("the API key has characters that a key cannot have", hint="Copy it again, without spaces.")
        self._key = key
        # A proxy of the environment must not get between us and a simulator on loopback.
        self._local = is_loopback(urlsplit(self.base_url).hostname or "")
        trust_env = not self._local
        timeout = httpx.Timeout(SILENCE_SECONDS, read=REQUEST_SECONDS)
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        common: dict[str, Any] = {"timeout": timeout, "limits": limits, "trust_env": trust_env, "transport": transport}
        self._headers = {"User-Agent": f"batcher/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
        self._signed = self._headers | {"Authorization": f"Bearer {key}"}
        self._origin = httpx.URL(self.base_url)
        # Two pools, so that downloads do not keep the API's requests from going out.
        pools = [httpx.AsyncClient(**common) for _ in range(2)]
        self._closing: list[Callable[[], Awaitable[None]]] = [pool.aclose for pool in pools]
        self._call, self._open = (_sender(pool) for pool in pools)
        self._own = self._open  # results of the API's own host
        if fast:
            from .fast import FastTransport  # an extra

            quick = [FastTransport(SILENCE_SECONDS, s, proxies=trust_env) for s in (REQUEST_SECONDS, SILENCE_SECONDS)]
            self._call, self._own = (wire.handle_async_request for wire in quick)
            self._closing += [wire.aclose for wire in quick]

    async def aclose(self) -> None:
        """Close every connection."""
        for close in self._closing:
            await close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        seconds: float = REQUEST_SECONDS,
    ) -> Answer | Later:
        """One request to the API, never repeated, never redirected, answered within `seconds` or not at all."""
        try:
            with anyio.fail_after(seconds):
                request = httpx.Request(
                    method,
                    f"{self.base_url}{path}",
                    content=content,
                    headers=self._signed | dict(headers or {}),
                    data=data,
                    files=files,
                    extensions=_patience(REQUEST_SECONDS),
                )
                response = await self._call(request)
                try:
                    body = await _bounded(response)
                finally:
                    # The answer is in hand: closing must neither lose it nor wait for the network.
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except Exception as error:
            return self._later(error)
        return Answer(response.status_code, self._without_key(response), self._read(body))

    @asynccontextmanager
    async def open(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Stream | Barred | Later]:
        """Open a URL for reading, without following redirects; the key goes to the API's own origin only."""
        if not self.is_own_origin(url) and (fault := self._unfit(url)):
            yield Barred(fault)
            return
        own = self.is_own_origin(url)
        try:
            common = self._signed if own else self._headers
            request = httpx.Request("GET", url, headers=common | dict(headers), extensions=_patience(SILENCE_SECONDS))
            if not (own or self._local):
                request.extensions["trace"] = _PublicOnly(request.url.raw_host.decode("ascii"))
            with anyio.fail_after(REQUEST_SECONDS):
                response = await (self._own if own else self._open)(request)
        except _PrivateAddress as barred:
            yield Barred(str(barred))
            return
        except Exception as error:
            yield self._later(error)
            return
        try:
            # Without a chunk size: that would hold back, and lose, what arrived right before a cut.
            yield Stream(response.status_code, self._without_key(response), response.aiter_bytes())
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    def is_own_origin(self, url: str) -> bool:
        """Whether a URL has the scheme, host and port of the API."""
        if url.startswith(f"{self.base_url}/") and self._origin.raw_path == b"/":
            return True  # as nearly always
        ours, theirs = self._origin, _url(url)
        return theirs is not None and (ours.scheme, ours.host, ours.port) == (theirs.scheme, theirs.host, theirs.port)

    def _unfit(self, url: str) -> str:
        """Why a URL from outside is not to be fetched; "" when it is: https, or http where the API is http too."""
        parts = _url(url)
        allowed = ("https", "http") if self.base_url.startswith("http:") else ("https",)
        if parts is None or parts.scheme not in allowed or not parts.host:
            return f"the result's URL is not {' or '.join(allowed)}: {url[:200]!r}"
        if not self._local and _private_literal(parts.host):
            return f"the result's URL names an address that is not public: {url[:200]!r}"
        return ""

    def _without_key(self, response: httpx.Response) -> dict[str, str]:
        return {name.lower(): without(value, self._key) for name, value in response.headers.items()}

    def mask(self, text: str) -> str:
        """A text of somebody else without the key."""
        return without(text, self._key)

    def _read(self, body: bytes) -> Any:
        try:
            return self._masked(_decode(body))
        except RecursionError:
            return None

    def _masked(self, value: Any) -> Any:
        """The same after decoding: JSON can write any character in another way."""
        match value:
            case str():
                return self.mask(value)
            case list():
                return [self._masked(item) for item in value]
            case dict():
                return {self.mask(name): self._masked(item) for name, item in value.items()}
        return value

    def _later(self, error: Exception) -> Later:
        """Whatever a transport raises: maybe received, unless no connection was made."""
        connected = not isinstance(error, _NEVER_CONNECTED)
        what = self.mask(str(error) or type(error).__name__)
        return Later(
            code="no_answer" if connected else "unreachable",
            message=f"{type(error).__name__}: {what}"[:300],
            maybe_received=connected,
            outage=True,
        )


def _sender(client: httpx.AsyncClient) -> Wire:
    return lambda request: client.send(request, stream=True)


def _patience(read: float) -> dict[str, Any]:
    """How long httpx waits, in seconds: `read` for each part of an answer."""
    return {"timeout": httpx.Timeout(SILENCE_SECONDS, read=read).as_dict()}


TRANSFER_ERRORS = (httpx.HTTPError, httpx.StreamError, OSError)


def _url(text: str) -> httpx.URL | None:
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return None


def _private_literal(host: str) -> bool:
    try:
        return not is_public(host.strip("[]"))
    except ValueError:
        return False  # a name: its address is judged when the connection is made


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > ANSWER_BYTES:
                break
    return bytes(body)


def _decode(body: bytes) -> Any:
    if len(body) > ANSWER_BYTES:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
