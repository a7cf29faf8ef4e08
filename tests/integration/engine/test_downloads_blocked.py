"""What cannot be fetched for a cause on this machine is not bought on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from integration.lifecycle.helpers import done, manifest, statuses
from support import Bench

from batcher.errors import Kind
from batcher.providers import Gone, Incoming, Redirected, Refused, Retryable
from batcher.providers.rivya import Rivya


@pytest.mark.parametrize(("every", "stops"), [(1, True), (3, False)])
def test_buying_stops_when_every_download_ends_for_the_same_local_cause(bench: Bench, every: int, stops: bool) -> None:
    class Fake(Rivya):
        @asynccontextmanager
        async def result(
            self, url: str, *, offset: int, validator: str | None
        ) -> AsyncIterator[Incoming | Redirected | Gone | Refused | Retryable]:
            asked.append(url)
            if blocked and len(asked) % every == 0:
                yield Gone("198.18.0.7 is no public address", "addresses of 198.18.0.0/15 are not public")
            else:
                async with super().result(url, offset=offset, validator=validator) as found:
                    yield found

    asked: list[str] = []
    blocked = [True]
    bench.client = Fake
    limits = "limits: {submit: 1000/second, requests: 1000/second, in_flight: 5}\npolling: {first: 1s, every: 1s}\n"
    path = manifest(bench, *(f"Boat {n}" for n in range(40)), fast=limits)
    ending = bench.run(path)
    if not stops:
        done(ending)
        return
    assert ending.kind is Kind.CAPPED
    assert ending.reason == "downloads_blocked: addresses of 198.18.0.0/15 are not public"
    assert statuses(bench).count("succeeded") <= 5 + 5 + 3
    blocked.clear()
    done(bench.run(path))
    bench.check()
