"""Where results are fetched from: no address that is not public, whatever name leads there, unless the API is local."""

from __future__ import annotations

import socket
from typing import Any

import anyio
import httpcore2 as httpcore
import pytest
from integration.providers.helpers import read_request, reply, server
from virtual_time import VirtualClock

from batcher.providers import Gone, Incoming, Redirected, Retryable
from batcher.providers.addresses import is_public, networks
from batcher.providers.rivya import Rivya
from batcher.providers.streams import Network

KEY = "rvya_sk_test"


def fetch(base_url: str, url: str, *allow_net: str) -> Any:
    async def main() -> Any:
        provider = Rivya(base_url, KEY, VirtualClock(), allow_net=allow_net)
        try:
            async with provider.result(url, offset=0, validator=None) as found:
                return found
        finally:
            await provider.aclose()

    return anyio.run(main)


ELSEWHERE = """
    198.18.0.1 198.19.255.254 100.64.0.1 10.0.0.7 192.168.1.1 fc00::7 64:ff9b::a00:1 203.0.113.5 2001:db8::1 240.0.0.1
"""
NOBODYS = """
    127.0.0.1 0.0.0.0 169.254.169.254 169.254.0.1 100.100.100.200 168.63.129.16 192.0.0.192 224.0.0.1 255.255.255.255
    ::1 :: fe80::1%eth0 ff02::1 fd00:ec2::254 ::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
    64:ff9b:1::7f00:1 2002:7f00:1:: ::7f00:1 ::a9fe:a9fe ::ffff:0:7f00:1
"""


@pytest.mark.parametrize("address", ELSEWHERE.split())
def test_a_network_can_be_allowed(address: str) -> None:
    everything = networks(["0.0.0.0/0", "::/0"])
    assert not is_public(address)
    assert is_public(address, everything)
    assert not is_public(address, networks(["172.16.0.0/12"]))


@pytest.mark.parametrize("address", NOBODYS.split())
def test_what_nobody_can_allow(address: str) -> None:
    assert not is_public(address, networks(["0.0.0.0/0", "::/0"]))


PRIVATE = """
    127.0.0.1 10.1.2.3 172.16.0.9 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255
    ::1 :: fe80::1%eth0 fc00::7 ::ffff:10.0.0.1 2002:7f00:1:: ff02::1
    198.18.0.1 192.0.2.1 198.51.100.1 203.0.113.1 192.0.0.8 192.88.99.1 240.0.0.1
    64:ff9b::a00:1 64:ff9b::7f00:1 64:ff9b:1::a00:1 64:ff9b:1:a00:1:: 2001::1 2001:db8::1 3fff::1 fec0::1 ::a00:1 100::1
    5f00::1 2001:2::1 2001:10::1 4000::1 8000::1
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_what_is_no_public_address(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "64:ff9b:1::101:101", "2002:101:101::"),
        "2a00:1450:4001::1",
    ],
)
def test_what_is_one(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.7", "[::1]", "[::ffff:192.168.0.1]", "169.254.169.254"])
def test_a_private_address_is_not_even_connected_to(host: str) -> None:
    found = fetch("https://rivya.test", f"https://{host}:9/a.mp4")
    assert isinstance(found, Gone)
    assert "not public" in found.message
    assert found.local == "address"


@pytest.mark.parametrize("address", ["198.18.0.9", "100.64.1.1"])
def test_fake_addresses_come_with_what_to_do(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """A VPN that answers every name with an address of its own: seen when the connection is made."""

    async def connect_tcp(*_: object, **__: object) -> Elsewhere:
        return Elsewhere(address)

    monkeypatch.setattr(Network, "connect_tcp", connect_tcp)
    found = fetch("https://rivya.test", "https://media.example/a.mp4")
    assert isinstance(found, Gone)
    assert found.local == "address"
    assert f"media.example is at {address}" in found.message
    assert "BATCHER_ALLOW_NET=1" in found.message
    assert "--allow-net 1" in found.message
    allowed = fetch("https://rivya.test", "https://media.example/a.mp4", "192.0.2.0/24", f"{address}/32")
    assert isinstance(allowed, Retryable), "it went on, to a TLS greeting that nobody answers"
    monkeypatch.setenv("BATCHER_ALLOW_NET", f"192.0.2.0/24, {address}/32")
    assert isinstance(fetch("https://rivya.test", "https://media.example/a.mp4"), Retryable)


class Elsewhere(httpcore.AsyncNetworkStream):
    """A connection to an address where nobody says anything."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get_extra_info(self, info: str) -> Any:
        return (self._address, 443) if info == "server_addr" else None

    async def start_tls(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("no greeting")

    async def aclose(self) -> None:
        pass


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that takes every name under `.example` for this machine."""
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if name.endswith(".example") else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.usefixtures("names")
def test_a_name_that_leads_to_this_machine_gets_no_byte() -> None:
    received: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        received.append(connection.recv(100))

    with server(listen) as local:
        port = local.rpartition(":")[2]
        found = fetch("https://rivya.test", f"https://media.example:{port}/a.mp4")
    assert isinstance(found, Gone)
    assert "media.example is at 127.0.0.1" in found.message
    assert received == [b""], "the connection was closed before anything was sent, the TLS greeting too"


@pytest.mark.usefixtures("names")
def test_a_local_api_may_name_local_results() -> None:
    """As the simulator does; the key goes to its own origin only."""
    seen: list[bytes] = []

    def give(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(reply(b"video"))

    with server(give) as local:
        port = local.rpartition(":")[2]
        assert isinstance(fetch("http://127.0.0.1:9", f"http://media.example:{port}/a.mp4"), Incoming)
    assert KEY.encode() not in seen[0]


@pytest.mark.parametrize("host", ["10.0.0.7", "169.254.169.254", "198.18.0.9", "0.0.0.0", "[fd00:ec2::254]"])
def test_a_local_api_may_name_no_others(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Neither by its address nor by a name that leads there."""

    async def connect_tcp(*_: object, **__: object) -> Elsewhere:
        return Elsewhere(host.strip("[]"))

    monkeypatch.setattr(Network, "connect_tcp", connect_tcp)
    for url in (f"http://{host}:9/a.mp4", "https://media.example/a.mp4"):
        found = fetch("http://127.0.0.1:9", url)
        assert isinstance(found, Gone)
        assert found.local == "address"


@pytest.mark.usefixtures("names")
def test_each_hop_of_a_redirect_is_a_request_of_its_own() -> None:
    """The transport follows none, so the next URL goes through the same checks."""

    def move(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply(b"", status="302 Found", headers="Location: https://169.254.169.254/meta\r\n"))

    with server(move) as local:
        found = fetch("http://127.0.0.1:9", f"{local}/a.mp4")
    assert found == Redirected("https://169.254.169.254/meta")
    assert isinstance(fetch("https://rivya.test", found.url), Gone)


@pytest.mark.usefixtures("names")
def test_a_proxy_decides_itself_whom_it_connects_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment may well have a private address."""
    seen: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(reply(b"", status="403 Forbidden"))

    with server(refuse) as local:
        monkeypatch.setenv("HTTPS_PROXY", local)
        found = fetch("https://rivya.test", "https://media.example/a.mp4")
    assert isinstance(found, Retryable)
    assert seen[0].startswith(b"CONNECT media.example:443 ")
