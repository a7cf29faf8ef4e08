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
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2 as httpx

from batcher import __version__
from batcher.errors import UsageError
from batcher.redact import without

from . import Later
from .pools import SILENCE_SECONDS, Pools, Reply, Wire

#: A JSON answer longer than this many bytes is not read to its end.
ANSWER_BYTES = 1_000_000
#: One deadline round each request, in seconds.
REQUEST_SECONDS = 60.0
UPLOAD_SECONDS = 300.0

# Only these say that no connection was made, hence that nothing can have been received
# (tests/test_transport_sockets.py shows each on raw sockets).
_NEVER_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


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
        common: dict[str, Any] = {"trust_env": trust_env, "transport": transport}
        self._headers = {"User-Agent": f"batcher/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
        self._signed = self._headers | {"Authorization": f"Bearer {key}"}
        self._origin = httpx.URL(self.base_url)
        # Two sets of pools, so that downloads do not keep the API's requests from going out.
        calls, results = Pools(connections, common), Pools(connections, common)
        self._closing: list[Callable[[], Awaitable[None]]] = [calls.aclose, results.aclose]
        self._call: Wire = calls.send
        self._own: Wire = results.send  # results of the API's own host
        self._open: Wire = results.send if self._local else partial(results.send, trace=_PublicOnly)
        if fast:
            from .fast import FastClient  # an extra

            client = FastClient(SILENCE_SECONDS, proxies=trust_env)
            self._call = self._own = client.send
            self._closing.append(client.aclose)

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
        signed = self._signed | dict(headers or {})
        try:
            with anyio.fail_after(seconds):
                if files is not None:
                    content, signed = await _multipart(data, files, signed)
                reply = await self._call(method, f"{self.base_url}{path}", signed, content, silence=seconds)
                try:
                    body = await _bounded(reply)
                finally:
                    # The answer is in hand: closing must neither lose it nor wait for the network.
                    with anyio.CancelScope(shield=True):
                        await reply.close()
        except Exception as error:
            return self._later(error)
        return Answer(reply.status, self._without_key(reply), self._read(body))

    @asynccontextmanager
    async def open(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Stream | Barred | Later]:
        """Open a URL for reading, without following redirects; the key goes to the API's own origin only."""
        own = self.is_own_origin(url)
        if not own and (fault := self._unfit(url)):
            yield Barred(fault)
            return
        wire, common = (self._own, self._signed) if own else (self._open, self._headers)
        try:
            with anyio.fail_after(REQUEST_SECONDS):
                reply = await wire("GET", url, common | dict(headers), None, silence=SILENCE_SECONDS)
        except _PrivateAddress as barred:
            yield Barred(str(barred))
            return
        except Exception as error:
            yield self._later(error)
            return
        try:
            yield Stream(reply.status, self._without_key(reply), reply.chunks)
        finally:
            with anyio.CancelScope(shield=True):
                await reply.close()

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

    def _without_key(self, reply: Reply) -> dict[str, str]:
        return {name.lower(): without(value, self._key) for name, value in reply.headers}

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


async def _multipart(
    data: Mapping[str, str] | None, files: Mapping[str, tuple[str, bytes, str]], headers: dict[str, str]
) -> tuple[bytes, dict[str, str]]:
    """The body of an upload, and the headers with its content type."""
    request = httpx.Request("POST", "http://upload.invalid", data=data, files=files)
    return await request.aread(), headers | {"Content-Type": request.headers["content-type"]}


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


async def _bounded(reply: Reply) -> bytes:
    body = bytearray()
    async with aclosing(reply.chunks) as chunks:
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
