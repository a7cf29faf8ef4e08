"""Which URLs and addresses may be fetched.

A URL is read once, by the parser of the client that sends it: what is judged here is the very value that goes on the
wire. Two parsers that read one text apart have sent keys to strangers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import httpx2 as httpx

from batcher.errors import UsageError

#: Networks, beside the public ones, that results may be fetched from: a fact of this machine, never of a manifest.
ALLOW_NET = "BATCHER_ALLOW_NET"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Origin = tuple[str, bytes, int | None]

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_PORTS = {"http": 80, "https": 443}

# Neither a proxy nor a VPN gives these to a public host, so nobody can allow them: this machine, its links, and where
# clouds tell a machine its own secrets.
_NEVER = [
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
        *("::/127", "fe80::/10", "ff00::/8", "fd00:ec2::/32"),
    )
]
# IPv6 addresses with an IPv4 one inside, and how many bits stand right of that (RFC 6052, 8215, 3056, 4291).
_EMBEDDING = [
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b:1::/96"), 0),  # of the /48 only so much says where in it the IPv4 address is
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
]
# Not of the open internet, whatever the standard library of this Python says of them: site-local, Teredo (its servers
# are gone), documentation, benchmarking, ORCHID, discard, dummy, segment routing, translation that is local by its
# definition, and the unassigned rest outside of 2000::/3.
_NOT_PUBLIC = [
    ipaddress.ip_network(text)
    for text in (
        *("fec0::/10", "2001::/32", "2001:db8::/32", "3fff::/20", "2001:2::/48", "2001:10::/28", "2001:20::/28"),
        *("100::/64", "100:0:0:1::/64", "5f00::/16", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4"),
    )
]
_FAKE_IP = [ipaddress.ip_network("198.18.0.0/15"), ipaddress.ip_network("100.64.0.0/10")]
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")


class Unfit(Exception):
    """A URL that is not to be fetched, whoever names it; says why."""


_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")


def has_odd_characters(text: str) -> bool:
    """Whether a URL has what parsers read apart: backslashes, white space, control characters."""
    return "\\" in text or " " in text or not text.isprintable()  # no other white space is printable


def joined(base: str, url: str) -> str:
    """The URL that one from outside means, seen from `base`. What is absolute, or cannot be read, stays as it is."""
    if _SCHEME.match(url) or has_odd_characters(url):
        return url
    try:
        return str(httpx.URL(base).join(url))
    except (httpx.InvalidURL, ValueError):
        return url


@lru_cache(maxsize=1024)  # each poll of a task asks for the same one
def parse_url(text: str) -> httpx.URL:
    """A URL that may be judged and sent. Raises Unfit."""
    if text[:5].lower() == "data:":
        raise Unfit(f"it is a data: URL ({text[5:60].partition(',')[0]}), the file itself in place of a link to it")
    if has_odd_characters(text):
        raise Unfit("it has a backslash, white space or a control character")
    authority = re.split("[/?#]", text.partition("//")[2], maxsplit=1)[0]
    if "@" in authority:
        raise Unfit("it has a user name in it")
    port = authority.rpartition("]")[2].partition(":")[2]
    if port and not (port.isascii() and port.isdecimal()):
        raise Unfit("its port is none")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise Unfit(f"it is no URL: {error}") from None
    if url.userinfo or not has_host(url):
        raise Unfit("its host or port is none")
    return url


def has_host(url: httpx.URL) -> bool:
    """Whether a URL names a host, and a port that there can be or none."""
    host = host_of(url)
    named = bool(_NAME.fullmatch(host)) or is_address(host)
    return named and (url.port is None or 0 < url.port < 65536)


def host_of(url: httpx.URL) -> str:
    """The host as it is sent; httpx's `host` decodes IDNA, and raises for names that are sent all the same."""
    return url.raw_host.decode("ascii")


def origin_of(url: httpx.URL) -> Origin:
    """Scheme, host and port, as the sender has them."""
    return url.scheme, url.raw_host, url.port or _PORTS.get(url.scheme)


def is_address(host: str) -> bool:
    """Whether a host is an address, not a name that is to be looked up."""
    return _literal(host) is not None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    address = _literal(host)
    return host == "localhost" if address is None else address.is_loopback


def is_public(address: str, allowed: Iterable[Network] = (), *, here: bool = False) -> bool:
    """Whether an IP address is one of the open internet (not of this machine, of a local network, or reserved), or
    one that somebody has allowed; `here` allows this machine's own.
    """
    ip = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    if here and ip.is_loopback:
        return True
    if any(ip in network for network in _NEVER):
        return False
    if any(ip in network for network in allowed):
        return True
    reserved = any(ip in network for network in _NOT_PUBLIC) or (ip.version == 6 and ip not in _GLOBAL_V6)
    return ip.is_global and not ip.is_multicast and not reserved


def is_private_literal(host: str, allowed: Iterable[Network], *, here: bool) -> bool:
    """Whether a URL's host is an address, and not a public one."""
    return is_address(host) and not is_public(host.strip("[]"), allowed, here=here)


def hint_for(address: str) -> str:
    """What somebody can do about an address that is not public; "" for nothing."""
    ip = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    for network in _FAKE_IP:
        if ip in network and is_public(str(ip), [network]):
            return (
                "; a VPN or proxy of this machine answers names with addresses of its own: allow them with"
                f" {ALLOW_NET}={network} or run --allow-net {network}"
            )
    return ""


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks from their CIDR notation. Raises UsageError for what is none."""
    found = []
    for text in texts:
        try:
            found += [ipaddress.ip_network(text.strip())] if text.strip() else []
        except ValueError as error:
            raise UsageError(
                f"{ALLOW_NET} or --allow-net: {text[:100]!r} is no network ({error})", hint="Write 198.18.0.0/15."
            ) from None
    return tuple(found)


def _literal(host: str) -> Address | None:
    address, _, zone = host.strip("[]").partition("%")
    if zone and ":" not in address:
        return None  # only IPv6 has zones: `127.0.0.1%2eevil.example` is a name
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None


def _embedded(ip: Address) -> Address:
    """An IPv4 address in disguise is judged as what it is."""
    if isinstance(ip, ipaddress.IPv6Address) and int(ip) > 1:
        for network, right in _EMBEDDING:
            if ip in network:
                return ipaddress.IPv4Address(int(ip) >> right & 0xFFFFFFFF)
    return ip


class PrivateAddress(Exception):
    """A host of the open internet, by its name, that turned out to be none."""


class PublicOnly:
    """Watches one request's own connection being made, and ends it before a byte goes out if its address is not public.

    The address is that of the connected socket, so that no name can answer one address here and another one there.
    Not for connections through a proxy: then the proxy decides whom it connects to.
    """

    def __init__(self, host: str, allowed: Iterable[Network], *, here: bool) -> None:
        self._host = host
        self._allowed = allowed
        self._here = here

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("connect_tcp.complete"):
            stream = info["return_value"]
            address = stream.get_extra_info("server_addr")[0]
            if not is_public(address, self._allowed, here=self._here):
                await stream.aclose()
                raise PrivateAddress(
                    f"the result's host {self._host} is at {address}, which is no public address{hint_for(address)}"
                )
