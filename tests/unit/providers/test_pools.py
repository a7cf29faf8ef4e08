"""A pool a request in flight: which one is taken, and how many are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import httpx2 as httpx
import pytest

from batcher.providers import routes
from batcher.providers.routes import Pools


class Body(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"yes"


class Pool(httpx.AsyncBaseTransport):
    def __init__(self, made: list[Pool]) -> None:
        self.asked: list[str] = []
        self.closed = False
        self.breaks = False
        made.append(self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.breaks:
            raise httpx.ReadError("cut")
        return httpx.Response(200, stream=Body())

    async def aclose(self) -> None:
        self.closed = True


def test_each_request_in_flight_has_a_pool_and_the_newest_idle_one_of_its_origin_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routes, "_KEPT", 3)
    made: list[Pool] = []
    pools = Pools(lambda: Pool(made))

    async def ask(path: str, host: str = "api.example") -> httpx.Response:
        return await pools.handle_async_request(httpx.Request("GET", f"https://{host}{path}"))

    async def main() -> None:
        first, second = await ask("/1"), await ask("/2")
        assert [pool.asked for pool in made] == [["/1"], ["/2"]]
        assert [part async for part in first.stream] == [b"yes"]  # type: ignore[union-attr]
        for answer in (second, first, first):
            await answer.aclose()
        await (await ask("/3")).aclose()
        assert made[0].asked == ["/1", "/3"], "it was given back last, and once only"
        made[0].breaks = True
        with pytest.raises(httpx.ReadError):
            await ask("/4")
        made[0].breaks = False
        await (await ask("/5")).aclose()
        assert made[0].asked[-1] == "/5", "a request that failed gives it back too"
        others = [await ask("/6", "one.example"), await ask("/7", "two.example")]
        for answer in others:
            await answer.aclose()
        assert [pool.closed for pool in made] == [False, True, False, False], "of four idle ones the oldest is closed"
        await pools.aclose()
        assert all(pool.closed for pool in made)

    anyio.run(main)
