"""Result URLs and Locations as an attacker writes them; the key may reach the API's own origin only.

    python tests/fuzz/fuzz_urls.py 1000000 [SEED]

A few thousand are in the suite (test_key_stays_home.py). What counts is where the client connects: the sockets are
replaced, all else is the real client.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest.mock import patch

import anyio
import httpcore2 as httpcore

from batcher.clock import SystemClock
from batcher.providers import Redirected
from batcher.providers.rivya import Rivya
from batcher.providers.streams import Network

KEY = "rvya_sk_key-of-nobody"
API_HOST, API_PORT = "127.0.0.1", 8123
API = f"http://{API_HOST}:{API_PORT}"


def _words(text: str) -> list[str]:
    return text.split()


_HOSTS = _words("""
    127.0.0.1 127.0.0.1:8123 127.0.0.1:8123 127.0.0.1:8123 evil.test evil.test:8123 127.0.0.1.evil.test
    evil.test.127.0.0.1 LOCALHOST localhost:8123 127.1:8123 0x7f.1 2130706433:8123 [::1]:8123 [::ffff:127.0.0.1]:8123
    127.0.0.1. 127.0.0.1.:8123 127.0.0.1:08123 127.0.0.1:8123:80 127.0.0.1%2eevil.test evil.test%00
    127。0。0。1:8123 １２７.0.0.1:8123 еvil.test xn--evil.test evil.test# evil.test?
""")
_BITS = [
    *_words(r"\ / // /// @ : ; ? # %40 %2f %5c %00 %0d%0a ＠ ／ ： 。 [ ] .. . & = | ^ a é"),
    *_words(r"user:pw@ user@ 127.0.0.1:8123@ @127.0.0.1:8123 127.0.0.1:8123\@"),
    *"\t\n\r\x00 \u00a0\u3000\u2028\ufeff\u200b\ud800",
]
_SCHEMES = ["", *_words("http:// http:// HTTP:// hTTp:// https:// http: http:/ http:/// // / ftp:// data:")]


def urls(number: int, seed: int) -> Iterator[str]:
    """That many URLs, the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(number):
        parts = [rng.choice(_SCHEMES)]
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            parts += rng.choices(_BITS, k=rng.choice((0, 0, 0, 1, 2)))
            parts.append(rng.choice(_HOSTS))
        parts += rng.choices(_BITS, k=rng.choice((0, 0, 0, 1, 2)))
        parts.append(rng.choice(("", "/x.mp4", "/a/../b?c=d#e", "/\\x", "?x", "#x")))
        yield "".join(parts)


class _Wire(httpcore.AsyncNetworkStream):
    """A connection to somebody who answers with a redirect to the next URL, and whatever it is sent."""

    def __init__(self, seen: Callable[[bytes], None], location: bytes) -> None:
        self._seen = seen
        self._answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n"
        self._answer += b"Location: " + location + b"\r\n\r\n"

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._seen(buffer)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        answer, self._answer = self._answer[:max_bytes], self._answer[max_bytes:]
        return answer

    async def start_tls(self, *_: object, **__: object) -> NoReturn:
        raise httpcore.ConnectError("nobody speaks TLS here")

    async def aclose(self) -> None:
        pass

    def get_extra_info(self, info: str) -> Any:
        return ("93.184.216.34", 443) if info == "server_addr" else None  # every name leads to it


class Strangers:
    """Everybody there is to connect to; knows to whom the key went."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.with_key: Counter[tuple[str, int]] = Counter()
        self.location = b"http://evil.test/"

    @contextmanager
    def instead_of_sockets(self) -> Iterator[None]:
        async def connect_tcp(_: Network, host: str, port: int, **__: Any) -> _Wire:
            where = (host, port)

            def seen(data: bytes) -> None:
                self.asked[where] += 1
                self.with_key[where] += KEY.encode() in data

            return _Wire(seen, self.location)

        with patch.object(Network, "connect_tcp", connect_tcp):
            yield


async def try_all(number: int, seed: int) -> Strangers:
    """Fetch that many URLs, and each where it redirects to. Raises AssertionError when the key went to a stranger."""
    strangers = Strangers()
    provider = Rivya(API, KEY, SystemClock())
    targets = urls(number, seed + 1)
    try:
        with strangers.instead_of_sockets():
            for url in urls(number, seed):
                target = next(targets)
                bad = set("\r\n\x00") & set(target)
                strangers.location = b"http://evil.test/" if bad else target.encode("utf-8", "replace")
                async with provider.result(url, offset=0, validator=None) as found:
                    own = provider.is_own_host(url)
                if isinstance(found, Redirected):
                    async with provider.result(found.url, offset=0, validator=None):
                        pass
                thieves = {where for where, times in strangers.with_key.items() if times} - {(API_HOST, API_PORT)}
                assert not thieves, (url, target, own, thieves)
    finally:
        await provider.aclose()
    return strangers


def main() -> None:
    number, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    began = time.monotonic()
    strangers = anyio.run(try_all, number, seed)
    home, places = strangers.with_key[API_HOST, API_PORT], len(strangers.asked)
    print(
        f"{number} URLs and {number} Locations, seed {seed}: {strangers.asked.total()} requests to {places} places,"
        f" {home} of them with the key, all to {API_HOST}:{API_PORT}; {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
