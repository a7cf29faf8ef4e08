"""One run as a library: who looks on cannot end it, who stops it does, and its row is ended whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import httpx2 as httpx
import pytest
from support import KEY, Bench

from batcher.clock import SystemClock
from batcher.errors import Kind, Stopped, StorageError
from batcher.ledger import Change
from batcher.providers import Provider
from batcher.run import Run

MANIFEST = """
campaign: run
model: grok-imagine-video
prompts: [A boat, A kite]
limits: {submit: 1000/second, requests: 1000/second, in_flight: 1}
polling: {first: 1s, every: 1s}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def last_row(bench: Bench) -> tuple[Any, ...]:
    with bench.reader() as read:
        row = read.row("SELECT exit_code, reason, ended_at IS NOT NULL FROM runs ORDER BY id DESC")
    assert row is not None
    return tuple(row)


def test_an_observer_that_fails_hears_no_more_and_the_others_are_told_once(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    calls: list[str] = []

    def bad(change: Change) -> None:
        calls.append(change.event)
        if change.event == "intended":
            raise RuntimeError(f"no {KEY}")

    def good(change: Change) -> None:
        heard.append(change.event)
        with pytest.raises(FrozenInstanceError):
            change.event = "other"  # type: ignore[misc]
        with pytest.raises(TypeError):
            change.detail["charged"] = 0  # type: ignore[index]

    with bench.make(bench.request(bench.write(MANIFEST)), bad, good) as run:
        outcome = run.execute(loop=bench.clock.run)
    assert outcome.ending.kind is Kind.DONE
    assert (calls.count("intended"), heard.count("intended")) == (1, 2)
    assert calls[-1] == "intended"
    assert heard.count("observer_failed") == 1
    assert outcome.dropped == ("an observer ended: RuntimeError: no [key]; the run goes on",)
    assert capfd.readouterr() == ("", ""), "a library prints nothing"
    bench.check()


def test_what_runs_beside_it_may_fail(bench: Bench) -> None:
    async def beside(ready: Callable[[], None]) -> None:
        raise RuntimeError("no screen")

    with bench.make(bench.request(bench.write(MANIFEST))) as run:
        outcome = run.execute(beside, loop=bench.clock.run)
    assert outcome.ending.kind is Kind.DONE
    assert outcome.dropped == ("what ran beside it ended: RuntimeError: no screen; the run goes on",)


@pytest.mark.parametrize("when", ["before", "while jobs are enrolled", "while it works", "afterwards"])
def test_stop(bench: Bench, when: str) -> None:
    """From another thread, at any time; the row says so, and the next run goes on."""
    path = bench.write(MANIFEST)

    def stop() -> None:
        thread = Thread(target=lambda: run.stop(Kind.TERMINATED, "enough"))
        thread.start()
        thread.join()

    def observe(change: Change) -> None:
        if change.event == {"while jobs are enrolled": "run_started", "while it works": "intended"}.get(when):
            stop()

    with bench.make(bench.request(path), observe) as run:
        if when == "before":
            stop()
        ending = run.execute(loop=bench.clock.run).ending
        if when == "afterwards":
            stop()
    assert ending.kind is (Kind.DONE if when == "afterwards" else Kind.TERMINATED)
    assert last_row(bench)[:2] == ((0 if when == "afterwards" else 143), ending.reason)
    assert len(bench.world.oracle().tasks) == {"while it works": 1, "afterwards": 2}.get(when, 0)
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    assert len(bench.world.oracle().tasks) == 2


@pytest.mark.parametrize("answered", [True, False])
def test_cancelled_while_a_paid_request_is_open(bench: Bench, answered: bool) -> None:
    """It ends as after a signal: the open request gets up to 10 s, what is known is written down, the row is ended."""
    path = bench.write(MANIFEST)
    seconds: list[float] = []

    async def main() -> None:
        sent = anyio.Event()
        answer = bench.api.handle_async_request

        async def slow(request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                sent.set()
                if not answered:
                    await answer(request)
                    await anyio.sleep_forever()
                await anyio.sleep(3)
            return await answer(request)

        with pytest.MonkeyPatch.context() as patch, bench.make(bench.request(path)) as run:
            patch.setattr(bench.api, "handle_async_request", slow)
            async with anyio.create_task_group() as group:
                group.start_soon(run.aexecute)
                await sent.wait()
                began = anyio.current_time()
                group.cancel_scope.cancel()
            seconds.append(anyio.current_time() - began)

    bench.clock.run(main)
    assert last_row(bench) == (130, "cancelled", 1)
    assert [job["status"] for job in bench.jobs()] == ["queued" if answered else "submitting", "planned"]
    assert seconds == [pytest.approx(3.1 if answered else 10.0, abs=0.3)]
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    assert len(bench.world.oracle().tasks) == 2


def test_cancelled_natively_and_again(bench: Bench) -> None:
    """asyncio cancels a task, not a scope, and an impatient caller does it twice: what is paid is known still."""
    bench.api.seconds = 0.01
    bench.switches.queue_seconds = bench.switches.run_seconds = (0.01, 0.01)

    async def main() -> None:
        posted = asyncio.Event()
        bench.api.before = lambda request: posted.set() if request.method == "POST" else None
        with Run(bench.request(bench.write(MANIFEST))) as run:
            task = asyncio.create_task(run.aexecute())
            await posted.wait()
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    clock, bench.world.now = bench.clock, SystemClock().wall
    asyncio.run(main())
    assert last_row(bench) == (130, "cancelled", 1)
    assert [(job["attempt"], bool(job["task_id"])) for job in bench.jobs()] == [(1, True), (0, False)]
    bench.clock, bench.world.now = clock, clock.wall


@pytest.mark.parametrize(
    "error", [RuntimeError(f"boom {KEY}"), StorageError("full"), Stopped(Kind.TERMINATED, "enough")]
)
@pytest.mark.parametrize("where", ["connect", "engine"])
def test_the_row_is_ended_whatever_breaks_the_run_off(bench: Bench, error: BaseException, where: str) -> None:
    def fail(*_: object) -> None:
        raise error

    @contextmanager
    def connect() -> Iterator[Provider]:
        if where == "connect":
            fail()
        yield bench.provider()

    with bench.make(replace(bench.request(bench.write(MANIFEST)), connect=connect)) as run:
        if where == "engine":
            run.look = fail
        if isinstance(error, Stopped):
            assert run.execute(loop=bench.clock.run).ending.kind is Kind.TERMINATED
        else:
            with pytest.raises(type(error)):
                run.execute(loop=bench.clock.run)
    expected = {RuntimeError: (1, "RuntimeError: boom [key]", 1), StorageError: (7, "StorageError: full", 1)}
    assert last_row(bench) == expected.get(type(error), (143, "enough", 1))
