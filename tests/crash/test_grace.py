"""A signal comes while a paid POST is open and its answer does not come in time.

The API has taken the request: whatever the loop does with the cancellation, the attempt counts as maybe received, and
the next run asks with the same key instead of buying again.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx2 as httpx
import pytest
from support import Bench

from batcher.clock import SystemClock
from batcher.engine import Engine
from batcher.errors import Kind

MANIFEST = """
campaign: grace
model: grok-imagine-video
prompts: [A boat]
limits: {submit: 1000/second, requests: 1000/second}
polling: {first: 1s, every: 1s}
"""


def test_an_open_post_that_is_given_up_may_have_been_received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.engine.engine.GRACE_SECONDS", 0.05)
    bench = Bench(tmp_path)
    path = bench.write(MANIFEST)
    engines: list[Engine] = []
    answer = bench.api.handle_async_request

    async def silent(request: httpx.Request) -> httpx.Response:
        answered = await answer(request)
        if request.method != "POST":
            return answered
        engines[0].stop(Kind.INTERRUPTED, "test")
        await anyio.sleep_forever()
        raise AssertionError("it never answers")

    with monkeypatch.context() as patch:
        patch.setattr(bench.api, "handle_async_request", silent)
        virtual, bench.clock = bench.clock, SystemClock()  # type: ignore[assignment]
        bench.world.now = bench.clock.wall
        ending = bench.run(path, engine=engines.append, loop=anyio.run)
        virtual.start = bench.clock.wall()
        bench.clock = virtual
        bench.world.now = virtual.wall
    assert ending.kind is Kind.INTERRUPTED
    with bench.reader() as reader:
        [row] = reader.rows("SELECT maybe_received, final_credits FROM attempts")
    assert tuple(row) == (1, None)
    assert [job["status"] for job in bench.jobs()] == ["submitting"]
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    assert len(bench.world.oracle().tasks) == 1
