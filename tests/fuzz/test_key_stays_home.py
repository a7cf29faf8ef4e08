"""The key goes to no other origin, whatever a URL or a Location looks like; see fuzz_urls."""

from __future__ import annotations

import anyio
import pytest
from fuzz.fuzz_urls import API, API_HOST, API_PORT, KEY, Strangers, try_all

from batcher.clock import SystemClock
from batcher.providers import Gone
from batcher.providers.rivya import Rivya


def test_some_thousand_urls() -> None:
    strangers = anyio.run(try_all, 3000, 7)
    assert strangers.with_key[API_HOST, API_PORT] > 20, "some are the API's own"
    assert len(strangers.asked) > 10, "some are strangers'"


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.test\\@127.0.0.1:8123/x",
        "http://evil.test:8123\\@127.0.0.1:8123/x",
        "http://evil.test@127.0.0.1:8123/x",
        "http://127.0.0.1:8123@evil.test/x",
        "http://127.0.0.1:8123\\.evil.test/x",
        "http://127.0.0.1:8123 .evil.test/x",
        "http://127.0.0.1:8123\t@evil.test/x",
        "//evil.test\\@127.0.0.1:8123/x",
        "http://127.0.0.1%2eevil.test:8123/x",
        "http://127.0.0.1%2eevil.testxn--evil.test/x",  # whose name cannot be decoded either
    ],
)
@pytest.mark.parametrize("way", ["named", "redirected to"])
def test_what_parsers_read_apart_is_not_fetched(url: str, way: str) -> None:
    strangers = Strangers()
    strangers.location = url.encode()

    async def main() -> object:
        provider = Rivya(API, KEY, SystemClock())
        async with provider.result(url if way == "named" else "http://cdn.test/1", offset=0, validator=None) as found:
            first = found
        target = getattr(first, "url", None)
        if target is not None:
            async with provider.result(target, offset=0, validator=None) as found:
                first = found
        await provider.aclose()
        return first

    with strangers.instead_of_sockets():
        found = anyio.run(main)
    assert isinstance(found, Gone)
    assert set(strangers.asked) <= {("cdn.test", 80)}
    assert strangers.with_key.total() == 0
