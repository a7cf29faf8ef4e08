"""Requests over httpx, bounded in time and bytes; what the transport raises becomes a `Retryable`.

This room is the one place that imports httpx (as httpx2, its maintained continuation by the same author; httpx itself
has had no release since 2024-12). Its requests and answers are used without its client, which would keep cookies,
take a login from a URL, and choose proxies where nobody can name the setting that is wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2 as httpx

from batcher import __version__
from batcher.clock import since_boot
from batcher.errors import UsageError
from batcher.redact import without

from . import Retryable
from .addresses import (
    PrivateAddress,
    PublicOnly,
    Unfit,
    host_of,
    is_loopback,
    is_private_literal,
    joined,
    networks,
    origin_of,
    parse_url,
)
from .encodings import Undecodable, decoded
from .faults import retryable_of
from .keys import check_key
from .outcomes import Answer
from .registry import KnownProvider
from .routes import Route, Routes, allowed_here

#: A JSON answer longer than this many bytes, once decoded, is not read to its end.
ANSWER_BYTES = 8_000_000
#: One deadline round each request, in seconds.
REQUEST_SECONDS = 60.0
UPLOAD_SECONDS = 300.0
#: A download may take any time, but not be silent for longer than this, in seconds; nor may making a connection.
SILENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose body is still to be read; it comes decoded. Iterating raises TRANSFER_ERRORS.

    `own`: it is of the API's own origin.
    """

    status: int
    headers: Mapping[str, str]
    chunks: AsyncGenerator[bytes, None]
    own: bool


@dataclass(frozen=True, slots=True)
class Barred:
    """A URL that is not to be fetched, whoever names it. `local` names a cause on this machine, as `Gone` has it."""

    reason: str
    local: str = ""


TRANSFER_ERRORS = (httpx.HTTPError, httpx.StreamError, OSError, Undecodable)


def check_base_url(url: str, known: KnownProvider, key: str = "") -> str:
    """The base URL of a provider without a trailing slash. Raises UsageError for anything but https (http on loopback).

    The message does not repeat the URL: it may hold a password, or be the key in the wrong place.
    """
    if key and without(url, key) != url:
        hint = f"{known.base_url_variable} and {known.key_variable} are two things."
        raise UsageError("the API's base URL holds the key", hint=hint)
    hint = f"{known.base_url_variable} is an https URL (http for loopback only)."
    wrong = UsageError("that cannot be the API's base URL", hint=hint)
    try:
        parts = parse_url(url)
    except Unfit:
        raise wrong from None
    if not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host_of(parts)))):
        raise wrong
    if parts.raw_path != b"/" or parts.fragment or url.rstrip("/").endswith(("?", "#")):
        raise UsageError("the API's base URL has parts that it may not have", hint="Give scheme, host and port only.")
    return url.rstrip("/")


class _Expired(Exception):
    """A request that was to leave before some moment did not."""


class _Body:
    """The bytes of a request, which do not go out after `expires`; and whether anything has begun to send them."""

    def __init__(self, content: bytes, expires: float) -> None:
        self.content = content
        self.sent = False
        self._expires = expires

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # The last moment at which it is certain that nothing of the body has left.
        if self._expires < math.inf and since_boot() >= self._expires:
            raise _Expired("its permission to be sent ran out before it left")
        self.sent = True
        yield self.content


class _Made:
    """The connection that was made for one request: a SOCKS proxy that refuses would leave it open (httpcore2 2.16)."""

    def __init__(self) -> None:
        self._stream: Any = None

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("connect_tcp.complete"):
            self._stream = info["return_value"]

    async def aclose(self) -> None:
        if self._stream is not None:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()


class Transport:
    """HTTP to one API and, without the key, to wherever its results are."""

    def __init__(
        self,
        base_url: str,
        key: str,
        known: KnownProvider,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        allow_net: Iterable[str] = (),
        environment: bool = True,
    ) -> None:
        """`allow_net` are networks that results may lie in; proxies and certificates are those of the `environment`."""
        check_key(key, known.key_variable)
        self.base_url = check_base_url(base_url, known, key)
        self._key = key
        self._base = parse_url(self.base_url)
        self._here = is_loopback(host_of(self._base))  # only an API on this machine may name results on it
        self._allowed = networks([*allowed_here(), *allow_net])
        self._headers = {"User-Agent": f"batcher/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
        self._signed = self._headers | {"Authorization": f"Bearer {key}"}
        self._routes: Route | Routes = (
            Route(transport) if transport else Routes(environment=environment, secure=self._base.scheme == "https")
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._routes.aclose()

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
        expires: float = math.inf,
    ) -> Answer | Retryable:
        """One request to the API, never repeated, never redirected, answered within `seconds` or not at all.

        Its content does not leave after `expires` (`clock.since_boot`).
        """
        url = parse_url(f"{self.base_url}{path}")
        signed = self._signed | dict(headers or {})
        if files is not None:
            content, signed = await _multipart(data, files, signed)
        route, body = self._route(url), None if content is None else _Body(content, expires)
        try:
            with anyio.fail_after(seconds):
                reply = await _send(route, method, url, signed, body, silence=seconds)
                try:
                    text = await _bounded(reply)
                finally:
                    # The answer is in hand: closing must neither lose it nor wait for the network.
                    with anyio.CancelScope(shield=True):
                        await reply.aclose()
        except _Expired as late:
            return Retryable("expired", str(late))
        except Exception as error:
            return retryable_of(error, self._told(error), sent=body is None or body.sent, proxy=route.proxy)
        return Answer(reply.status_code, _headers(reply), _decode(text), self.mask(_begin(text)))

    @asynccontextmanager
    async def open(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Stream | Barred | Retryable]:
        """Open a URL for reading, without following redirects; the key goes to the API's own origin only."""
        try:
            parsed, own = self._judged(url)
        except Unfit as unfit:
            yield Barred(self.mask(f"the result's URL is not fetched: {unfit}: {url[:200]!r}"))
            return
        if not own and is_private_literal(host_of(parsed), self._allowed, here=self._here):
            yield Barred(f"the result's URL names an address that is not public: {url[:200]!r}", local="address")
            return
        route = self._route(parsed)
        watched = not (own or route.proxy)
        watch = PublicOnly(host_of(parsed), self._allowed, here=self._here) if watched else None
        common = self._signed if own else self._headers
        try:
            with anyio.fail_after(REQUEST_SECONDS):
                sent = common | dict(headers)
                reply = await _send(route, "GET", parsed, sent, None, silence=SILENCE_SECONDS, watch=watch)
        except PrivateAddress as barred:
            yield Barred(str(barred), local="address")
            return
        except Exception as error:
            yield retryable_of(error, self._told(error), sent=True, proxy=route.proxy)
            return
        try:
            found = _headers(reply)
            try:
                chunks = decoded(_body(reply), found.get("content-encoding", ""))
            except Undecodable as fault:
                yield Barred(f"the result cannot be read: {fault}")
            else:
                yield Stream(reply.status_code, found, chunks, own)
        finally:
            with anyio.CancelScope(shield=True):
                await reply.aclose()

    def is_own_origin(self, url: str) -> bool:
        """Whether a URL has the scheme, host and port of the API."""
        try:
            return self._judged(url)[1]
        except Unfit:
            return False

    def _judged(self, text: str) -> tuple[httpx.URL, bool]:
        """A URL from outside as it will be sent, and whether it is the API's own. Raises Unfit."""
        url = parse_url(text)
        if origin_of(url) == origin_of(self._base):
            own = True
        else:
            own, allowed = False, ("https", "http") if self._base.scheme == "http" else ("https",)
            if url.scheme not in allowed:
                raise Unfit(f"it is not {' or '.join(allowed)}")
        if self.holds_key(text):
            raise Unfit("it holds the key")
        return url, own

    def absolute(self, url: str) -> str:
        """A result's URL as the API means it: some leave out their own host, or the scheme."""
        return joined(f"{self.base_url}/", url) if url.startswith("/") else url

    def _route(self, url: httpx.URL) -> Route:
        return self._routes if isinstance(self._routes, Route) else self._routes.of(url)

    def mask(self, text: str) -> str:
        """A text of somebody else without the key: for what is told or kept as words, never for what is acted on."""
        return without(text, self._key)

    def holds_key(self, text: str) -> bool:
        """Whether the key stands in a text, in any form."""
        return self.mask(text) != text

    def _told(self, error: Exception) -> str:
        return f"{type(error).__name__}: {self.mask(str(error))}".removesuffix(": ")


async def _send(
    route: Route,
    method: str,
    url: httpx.URL,
    headers: dict[str, str],
    body: _Body | None,
    *,
    silence: float,
    watch: PublicOnly | None = None,
) -> httpx.Response:
    """Send to the very URL that was judged. `silence` is how long a part of the answer may take, in seconds."""
    extensions: dict[str, Any] = {"timeout": httpx.Timeout(SILENCE_SECONDS, read=silence).as_dict()}
    if watch:
        extensions["trace"] = watch
    if body:
        headers = headers | {"Content-Length": str(len(body.content))}
    made = _Made()
    if route.proxy.startswith("socks"):
        extensions["trace"] = made
    request = httpx.Request(method, url, headers=headers, content=body, extensions=extensions)
    try:
        return await route.transport.handle_async_request(request)
    except BaseException:
        await made.aclose()
        raise


async def _multipart(
    data: Mapping[str, str] | None, files: Mapping[str, tuple[str, bytes, str]], headers: dict[str, str]
) -> tuple[bytes, dict[str, str]]:
    """The body of an upload, and the headers with its content type."""
    request = httpx.Request("POST", "http://upload.invalid", data=data, files=files)
    return await request.aread(), headers | {"Content-Type": request.headers["content-type"]}


async def _body(reply: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The bytes as they come: not in a fixed size, which would hold back, and lose, what arrived right before a cut."""
    assert isinstance(reply.stream, httpx.AsyncByteStream), "what an asynchronous transport answers with"
    chunks = aiter(reply.stream)
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


def _headers(reply: httpx.Response) -> dict[str, str]:
    """Header bytes may be UTF-8 or Latin-1; a name that comes twice counts with its last value."""
    return {name.lower(): value for name, value in reply.headers.multi_items()}


async def _bounded(reply: httpx.Response) -> bytes:
    """The body up to a bound. One that cannot be decoded is told in its place: it is no JSON then."""
    body = bytearray()
    try:
        async with aclosing(decoded(_body(reply), reply.headers.get("content-encoding", ""))) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > ANSWER_BYTES:
                    break
    except Undecodable as fault:
        return f"({fault})".encode()
    return bytes(body)


def _decode(body: bytes) -> Any:
    if len(body) > ANSWER_BYTES:
        return None
    try:
        return json.loads(body)
    except UnicodeDecodeError:
        return _decode(body.decode("utf-8", "replace").encode())
    except (ValueError, RecursionError):
        return None


def _begin(body: bytes) -> str:
    return body[:4000].decode("utf-8", "replace")
