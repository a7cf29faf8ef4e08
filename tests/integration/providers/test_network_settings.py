"""This machine's own settings, on raw sockets: proxies, certificates, key logs. What is wrong there is told before
anything is sent, and what fails before the API is reached was not received.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest
from integration.providers.helpers import TASK, read_request, reply, reset, server, submit
from virtual_time import VirtualClock

from batcher.errors import UsageError
from batcher.providers import Accepted, Retryable
from batcher.providers.rivya import Rivya
from batcher.providers.routes import Routes

HERE = "https://rivya.test"
KEY = "rvya_sk_test"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting but those of the test."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "BATCHER_ALLOW_NET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for rivya.test and this machine, with its key, made for these tests."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=rivya.test"
    names = "subjectAltName=DNS:rivya.test,IP:127.0.0.1"
    files = ["-addext", names, "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run([*words.split(), *files], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


# Told before anything is sent


@pytest.mark.parametrize(
    "value",
    [
        *(
            "socks5://",
            "socks4://127.0.0.1:9",
            "ftp://127.0.0.1",
            "http://",
            "http://[",
            "http://h:x",
            "http://h:99999",
        ),
        *("socks5://a b:9", "quic://h", "http://a\\b"),
    ],
)
@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"])
def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=variable):
        Rivya(HERE, KEY, VirtualClock())
    Rivya("http://127.0.0.1:9", KEY, VirtualClock(), account_name="simulator")  # which goes by none of these


def test_a_proxys_password_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks4://me:hidden-word@127.0.0.1:9")
    with pytest.raises(UsageError) as caught:
        Rivya(HERE, KEY, VirtualClock())
    assert "hidden-word" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "nowhere.pem"),
        ("SSL_CERT_FILE", "empty"),
        ("SSL_CERT_FILE", "."),
        ("SSL_CERT_DIR", "nowhere"),
        ("SSL_CERT_DIR", "empty"),
        ("SSLKEYLOGFILE", "nowhere/keys.log"),
        ("SSLKEYLOGFILE", "."),
        ("BATCHER_ALLOW_NET", "198.18.0.0/99"),
        ("BATCHER_ALLOW_NET", "198.18.0.0/15, everything"),
        ("BATCHER_ALLOW_NET", "198.18.0.1/15"),
    ],
)
def test_a_file_or_network_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    (tmp_path / "empty").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=variable):
        Rivya(HERE, KEY, VirtualClock())


def test_a_key_log_that_is_none_is_not_taken_for_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pem: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pem.with_suffix(".crt")))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "nowhere/keys.log"))
    with pytest.raises(UsageError, match="SSLKEYLOGFILE="):
        Rivya(HERE, KEY, VirtualClock())


def test_a_key_log_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pem: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    monkeypatch.setenv("SSL_CERT_FILE", str(pem.with_suffix(".crt")))
    assert isinstance(submit_tls(pem, answers), Accepted)
    assert "CLIENT" in (tmp_path / "keys.log").read_text()


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "https://rivya.ai", False),
        ("*", "https://rivya.ai", True),
        ("other.test, rivya.ai", "https://rivya.ai", True),
        ("rivya.ai", "https://cdn.rivya.ai/x", True),
        (".rivya.ai", "https://cdn.rivya.ai/x", True),
        ("*.rivya.ai", "https://cdn.rivya.ai/x", True),
        ("RIVYA.AI", "https://Rivya.ai", True),
        ("rivya.ai", "https://rivya.ai.", True),
        ("rivya.ai:443", "https://rivya.ai", True),
        ("rivya.ai:444", "https://rivya.ai", False),
        ("vya.ai", "https://rivya.ai", False),
        ("rivya.ai.test", "https://rivya.ai", False),
        ("10.0.0.0/8", "https://10.1.2.3/x", True),
        ("10.0.0.0/8", "https://11.1.2.3/x", False),
        ("10.1.2.3", "https://10.1.2.3/x", True),
        ("[2606:4700::1]", "https://[2606:4700::1]/x", True),
        ("2606:4700::/32", "https://[2606:4700::1]/x", True),
        (":://, /, [", "https://rivya.ai", False),
    ],
)
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, direct: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    routes = Routes(environment=True, secure=True)
    assert (routes.of(httpx.URL(url)).proxy == "") is direct


# Not received: nothing reached the API


def says(answer: bytes, *, read: int = 65536) -> Callable[[socket.socket], None]:
    def script(connection: socket.socket) -> None:
        connection.recv(read)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # until the client closes too
            pass

    return script


def closes(connection: socket.socket) -> None:
    connection.recv(65536)


def resets(connection: socket.socket) -> None:
    connection.recv(1)
    reset(connection)


CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
PROXY_FAULTS = {
    "407 to CONNECT": says(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
    "403 to CONNECT": says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n"),
    "502 to CONNECT": says(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
    "no HTTP": says(b"220 mail.example ESMTP\r\n"),
    "nothing": closes,
    "reset": resets,
    "no TLS behind it": says(CONNECTED + b"hello, this is no TLS\r\n"),
    "nothing behind it": says(CONNECTED),
}
SOCKS_FAULTS = {
    "wants a login": says(b"\x05\x02"),
    "no way in": says(b"\x05\xff"),
    "no SOCKS": says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "another version": says(b"\x04\x00"),
    "half an answer": says(b"\x05"),
    "nothing": closes,
    "reset": resets,
}


@pytest.mark.parametrize("fault", PROXY_FAULTS)
def test_what_ends_at_a_proxy_was_not_received(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    with server(PROXY_FAULTS[fault]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        [found] = submit(HERE)
    assert isinstance(found, Retryable)
    assert (found.code, found.maybe_received, found.cause, found.outage) == ("unreachable", False, "proxy", True), found


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks"])
@pytest.mark.parametrize("fault", SOCKS_FAULTS)
def test_what_ends_at_a_socks_proxy_was_not_received(monkeypatch: pytest.MonkeyPatch, fault: str, scheme: str) -> None:
    with server(SOCKS_FAULTS[fault]) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.replace("http", scheme))
        [found] = submit(HERE)
    assert isinstance(found, Retryable)
    assert (found.code, found.maybe_received, found.cause) == ("unreachable", False, "socks"), found


@pytest.mark.parametrize(("scheme", "cause"), [("http", "proxy"), ("socks5", "socks")])
def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch, scheme: str, cause: str) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:9")
    [found] = submit(HERE)
    assert isinstance(found, Retryable)
    assert (found.maybe_received, found.cause) == (False, cause)


# Received, or not known to be not


def tls(pem: Path, script: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """The script behind TLS."""

    def wrapped(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                script(secured)
        except OSError:
            return  # the client does not trust it

    return wrapped


def answers(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(reply(TASK))


def cuts(connection: socket.socket) -> None:
    read_request(connection)


def submit_tls(pem: Path, script: Callable[[socket.socket], None]) -> object:
    with server(tls(pem, script)) as base_url:
        [found] = submit(base_url.replace("http:", "https:"))
    return found


def behind_connect(pem: Path, script: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    def wrapped(connection: socket.socket) -> None:
        assert read_request(connection).startswith(b"CONNECT rivya.test:443 ")
        connection.sendall(CONNECTED)
        tls(pem, script)(connection)

    return wrapped


def behind_socks(pem: Path, script: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    def wrapped(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"\x05\x00")
        assert b"rivya.test" in connection.recv(100), "the name goes to the proxy"
        connection.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
        tls(pem, script)(connection)

    return wrapped


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h", "socks"])
@pytest.mark.parametrize("script", [answers, cuts])
def test_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, pem: Path, scheme: str, script: Callable[[socket.socket], None]
) -> None:
    behind = behind_connect if scheme == "http" else behind_socks
    monkeypatch.setenv("SSL_CERT_FILE", str(pem.with_suffix(".crt")))
    with server(behind(pem, script)) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.replace("http", scheme))
        [found] = submit(HERE)
    if script is answers:
        assert isinstance(found, Accepted)
    else:
        assert isinstance(found, Retryable)
        assert (found.maybe_received, found.cause) == (True, "cut")


def test_a_407_to_the_post_itself_proves_nothing() -> None:
    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply(b"<html>log in</html>", status="407 Proxy Authentication Required"))

    with server(script) as base_url:
        [found] = submit(base_url)
    assert isinstance(found, Retryable)
    assert (found.maybe_received, found.page) == (True, True)


def test_a_certificate_that_is_not_trusted(pem: Path) -> None:
    found = submit_tls(pem, answers)
    assert isinstance(found, Retryable)
    assert (found.maybe_received, found.cause) == (False, "certificate")
    assert "SSL_CERT_FILE" in found.message


@pytest.mark.parametrize("way", ["file", "folder"])
def test_a_certificate_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pem: Path, way: str
) -> None:
    certificate = pem.with_suffix(".crt")
    if way == "file":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    else:
        words = ["openssl", "x509", "-noout", "-hash", "-in", str(certificate)]
        name = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        shutil.copy(certificate, tmp_path / f"{name}.0")
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert isinstance(submit_tls(pem, answers), Accepted)


@pytest.mark.parametrize(
    ("base_url", "cause"), [("https://does-not-exist.invalid", "dns"), ("http://127.0.0.1:9", "refused")]
)
def test_the_cause_of_what_did_not_reach_the_api(base_url: str, cause: str) -> None:
    [found] = submit(base_url)
    assert isinstance(found, Retryable)
    assert (found.maybe_received, found.cause) == (False, cause)
