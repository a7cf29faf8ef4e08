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

ADDRESS = Gone("198.18.0.7 is no public address", "addresses of 198.18.0.0/15 are not public")
CERTIFICATE = Retryable("certificate", "it is not trusted here", cause="certificate")
ELSEWHERE = Retryable("refused", "nobody listens there", cause="refused")


@pytest.mark.parametrize(
    ("trouble", "every", "told"),
    [
        (ADDRESS, 1, "addresses of 198.18.0.0/15 are not public"),
        (ADDRESS, 3, None),
        (CERTIFICATE, 1, "certificate"),
        (CERTIFICATE, 3, None),
        (ELSEWHERE, 3, None),
    ],
)
def test_buying_stops_when_every_download_ends_for_the_same_local_cause(
    bench: Bench, trouble: Gone | Retryable, every: int, told: str | None
) -> None:
    class Fake(Rivya):
        @asynccontextmanager
        async def result(
            self, url: str, *, offset: int, validator: str | None
        ) -> AsyncIterator[Incoming | Redirected | Gone | Refused | Retryable]:
            asked.append(url)
            if blocked and len(asked) % every == 0:
                yield trouble
            else:
                async with super().result(url, offset=offset, validator=validator) as found:
                    yield found

    asked: list[str] = []
    blocked = [True]
    bench.client = Fake
    limits = "limits: {submit: 1000/second, requests: 1000/second, in_flight: 5}\npolling: {first: 1s, every: 1s}\n"
    path = manifest(bench, *(f"Boat {n}" for n in range(40)), fast=limits)
    ending = bench.run(path)
    if told is None:
        done(ending)
        return
    assert ending.kind is Kind.CAPPED
    assert ending.reason == f"downloads_blocked: {told}"
    assert statuses(bench).count("succeeded") <= 5 + 5 + 3
    blocked.clear()
    done(bench.run(path))
    bench.check()
