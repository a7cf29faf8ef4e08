"""What a transport raises, as a cause that people understand, and whether the request can have been received."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx2 as httpx

from . import Cause, Retryable

# Only these say by themselves that no connection was made, hence that nothing can have been received
# (tests/integration/providers/test_transport_sockets.py shows each on raw sockets).
_NEVER_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

_WORDS: dict[Cause, str] = {
    "certificate": "the server's certificate is not trusted here (SSL_CERT_FILE names others)",
    "dns": "the host's name is not known here",
    "refused": "no connection could be made",
    "proxy": "the proxy of this machine's settings did not let the request through",
    "socks": "the SOCKS proxy of this machine's settings did not let the request through",
    "timeout": "no answer came in time",
    "cut": "the connection broke off",
}


def retryable_of(error: Exception, what: str, *, sent: bool, proxy: str) -> Retryable:
    """What was raised, as an outcome: maybe received, unless no connection was made or none of the body went out.

    `what` is the error's text without secrets, `sent` whether the body of the request was begun, `proxy` the kind of
    proxy on the way, or "".
    """
    connected = sent and not isinstance(error, _NEVER_CONNECTED)
    cause = _cause(error, connected, proxy)
    return Retryable(
        code="no_answer" if connected else "unreachable",
        bare=f"{_WORDS[cause]}: {what}"[:300],
        maybe_received=connected,
        outage=True,
        cause=cause,
    )


def _cause(error: Exception, connected: bool, proxy: str) -> Cause:
    chain = list(_chain(error))
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in chain):
        return "certificate"
    if not connected and proxy:
        return "socks" if proxy.startswith("socks") else "proxy"
    if any(isinstance(each, socket.gaierror | UnicodeError) for each in chain):
        return "dns"
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return "timeout"
    return "cut" if connected else "refused"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from, also those of a group (several addresses were tried)."""
    seen: list[BaseException] = [error] if error else []
    while seen:
        each = seen.pop()
        yield each
        seen += [other for other in (each.__cause__, each.__context__) if other is not None and other is not each]
        if isinstance(each, BaseExceptionGroup):
            seen += each.exceptions
