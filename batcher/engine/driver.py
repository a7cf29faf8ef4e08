"""An engine in an event loop: how it is stopped from outside, what runs beside it, and what a cancellation does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import anyio

from batcher.errors import Kind

from . import Ending, Engine

#: Runs beside the engine, which begins once this has called what it is given; cancelled when the engine has ended.
Companion = Callable[[Callable[[], None]], Awaitable[None]]


class Driver:
    """Drives one engine. `failed` is told of a companion that raised; that ends the companion only."""

    def __init__(self, failed: Callable[[Exception], object]) -> None:
        self._failed = failed
        self._wake: Callable[[], object] | None = None
        self.asked: tuple[Kind, str] | None = None  # to stop, and why
        self.ending: Ending | None = None

    def stop(self, kind: Kind, reason: str) -> None:
        """Have the engine stop, now or when it begins. Safe in a signal handler, and from other threads; the first call
        counts."""
        if self.asked is not None:
            return
        self.asked = (kind, reason)
        if self._wake is not None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._wake()

    async def drive(
        self, compose: Callable[[], Engine], close: Callable[[], Awaitable[None]], beside: Companion | None
    ) -> Ending:
        """Let the engine work, then `close`. A cancellation stops it as `stop` does, and goes on when all is done.

        `ending` is known then. Raises StorageError, and whatever else breaks the engine off.
        """
        outcome: list[Ending | BaseException] = []
        over = anyio.Event()

        async def work() -> None:
            try:
                with anyio.CancelScope(shield=True):
                    outcome.append(await self._work(compose, close, beside))
            except BaseException as error:
                outcome.append(error)  # raised below, where no task group wraps it
            over.set()

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(work)
                try:
                    await over.wait()
                except anyio.get_cancelled_exc_class():
                    self.stop(Kind.INTERRUPTED, "cancelled")
                    raise
        finally:
            for found in outcome:
                if isinstance(found, BaseException):
                    raise found
                self.ending = found
        assert self.ending is not None, "else something was raised"
        return self.ending

    async def _work(
        self, compose: Callable[[], Engine], close: Callable[[], Awaitable[None]], beside: Companion | None
    ) -> Ending:
        try:
            engine = compose()
            woken, ready = anyio.Event(), anyio.Event()
            self._wake = partial(asyncio.get_running_loop().call_soon_threadsafe, woken.set)
            if self.asked is not None:
                woken.set()

            async def stop() -> None:
                await woken.wait()
                assert self.asked is not None
                engine.stop(*self.asked)

            async def accompany() -> None:
                try:
                    if beside is not None:
                        await beside(ready.set)
                except Exception as error:
                    self._failed(error)
                ready.set()

            async with anyio.create_task_group() as group:
                group.start_soon(accompany)
                await ready.wait()
                group.start_soon(stop)
                try:
                    outcome: Ending | BaseException = await engine.run()
                except BaseException as error:
                    outcome = error  # raised below, where no task group wraps it
                group.cancel_scope.cancel()
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome
        finally:
            self._wake = None
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await close()
