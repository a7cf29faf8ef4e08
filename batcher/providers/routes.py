"""The ways out of this machine: directly, or through a proxy that the environment names.

All that this machine's own settings can get wrong (a proxy's URL, certificates, a key log) is looked at here, when the
client is made and before anything is bought.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpcore2 as httpcore
import httpx2 as httpx

from batcher.errors import UsageError

from .addresses import ALLOW_NET, has_host, has_odd_characters, host_of, is_loopback
from .connections import Connections

_TLS_VARIABLES = ("SSLKEYLOGFILE", "SSL_CERT_DIR", "SSL_CERT_FILE")
_SCHEMES = {"http": "http", "https": "https", "socks5": "socks5", "socks5h": "socks5h", "socks": "socks5h"}


def allowed_here() -> list[str]:
    """The networks that BATCHER_ALLOW_NET names."""
    return re.split(r"[,\s]+", os.environ.get(ALLOW_NET, ""))


@dataclass(frozen=True, slots=True)
class Route:
    """A way out. `proxy` is the kind of proxy on it: "" for none."""

    transport: httpx.AsyncBaseTransport
    proxy: str = ""

    async def aclose(self) -> None:
        """Close every connection."""
        await self.transport.aclose()


class Routes:
    """Chooses the way for each URL, and keeps the connections.

    Without `environment` none of its settings counts: the built-in simulator needs none of them. What lies on this
    machine is never asked through a proxy. `secure`: the API itself is asked by TLS.
    Raises UsageError when a setting can never work.
    """

    def __init__(self, *, environment: bool, secure: bool) -> None:
        self._environment = environment
        self._tls: ssl.SSLContext | None = None
        # An http API may never need certificates, and to load them takes longer than all else that a start does.
        if secure or (environment and any(map(os.environ.get, _TLS_VARIABLES))):
            self._tls = _tls(environment)
        self._direct: dict[str, Route] = {}
        self._proxied: dict[str, Route] = {}
        if environment:
            proxies = urllib.request.getproxies()
            for scheme in ("http", "https"):
                if name := next((name for name in (scheme, "all") if proxies.get(name)), ""):
                    self._proxied[scheme] = self._through(proxies[name], _variable(f"{name}_proxy"))

    def of(self, url: httpx.URL) -> Route:
        """The way to a URL's host."""
        route = self._proxied.get(url.scheme)
        if route is not None and not _bypassed(url):
            return route
        if url.scheme not in self._direct:
            self._direct[url.scheme] = Route(self._connections(secure=url.scheme == "https"))
        return self._direct[url.scheme]

    async def aclose(self) -> None:
        """Close every connection."""
        for route in [*self._direct.values(), *self._proxied.values()]:
            await route.aclose()

    def _through(self, text: str, variable: str) -> Route:
        wrong = UsageError(
            f"{variable} names no proxy that can be used",
            hint="Write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, or unset it.",
        )
        try:
            # Never in the message: a proxy's URL may hold a password.
            url = httpx.URL(text if "://" in text else f"http://{text}")
            scheme = _SCHEMES[url.scheme]
            if not has_host(url) or has_odd_characters(text):
                raise wrong
            tls = self._trusted() if scheme == "https" else None
            found = httpx.Proxy(url.copy_with(scheme=scheme), ssl_context=tls)
        except (httpx.InvalidURL, ValueError, KeyError):
            raise wrong from None
        if scheme.startswith("socks") and find_spec("socksio") is None:
            raise UsageError(f"{variable} names a SOCKS proxy", hint="Install the package socksio beside batcher.")
        url = found.url  # without the login
        where = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        return Route(self._connections(httpcore.Proxy(where, found.raw_auth, ssl_context=tls)), scheme)

    def _connections(self, proxy: httpcore.Proxy | None = None, *, secure: bool = True) -> Connections:
        tls = self._trusted() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return Connections(tls, proxy)

    def _trusted(self) -> ssl.SSLContext:
        self._tls = self._tls or _tls(self._environment)
        return self._tls


def _variable(name: str) -> str:
    """How the environment spells a variable; else it is the system's own setting."""
    return next((found for found in os.environ if found.lower() == name), f"the system's {name}")


def _bypassed(url: httpx.URL) -> bool:
    """Whether NO_PROXY names a host: a name (and all below it), an address, a network; with its port or without."""
    host, port = host_of(url).rstrip("."), url.port or {"http": 80, "https": 443}.get(url.scheme)
    listed = urllib.request.getproxies().get("no", "").lower().split(",")
    entries = {entry.strip().removeprefix("*").lstrip(".").removesuffix(f":{port}") for entry in listed}
    if "*" in (entry.strip() for entry in listed) or is_loopback(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # The last is for a system's own exceptions; it reads NO_PROXY too.
        named = any(entry and f".{host}".endswith(f".{entry}") for entry in entries)
        return named or bool(urllib.request.proxy_bypass(host))
    return any(_holds(entry, address) for entry in entries)


def _holds(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False


def _tls(settings: bool) -> ssl.SSLContext:
    """The certificates to trust, and a key log if one is asked for. Raises UsageError naming the variable."""
    variable = ""
    try:
        for variable in _TLS_VARIABLES if settings else ():
            if os.environ.get(variable):
                _must_be_usable(variable)
        if settings:  # what is wrong now is in the certificates
            variable = next((v for v in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(v)), variable)
        context = httpx.create_ssl_context(trust_env=settings)
        if settings and (keylog := os.environ.get("SSLKEYLOGFILE")):
            context.keylog_filename = keylog
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        if not settings:
            raise
        raise UsageError(
            f"{variable}={os.environ.get(variable, '')} cannot be used: {_why(error)}",
            hint="Name what is there, or unset it. Nothing was sent.",
        ) from None
    return context


def _must_be_usable(variable: str) -> None:
    value = os.environ[variable]
    if variable != "SSL_CERT_DIR":
        with Path(value).open("rb" if variable == "SSL_CERT_FILE" else "ab"):
            return
    if not any(Path(part).is_dir() for part in value.split(os.pathsep)):
        raise NotADirectoryError("no folder is there")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "it holds no certificate"
    return getattr(error, "strerror", None) or str(error)
