"""Virtual time: an event loop of asyncio whose clock jumps to the next timer whenever all of it waits.

It is the loop that users' runs have, but for time, so what comes first in a test comes first there. Its tasks come in
the same order each time; another BATCHER_TEST_SEED shuffles those that are ready together.
"""

from __future__ import annotations

import asyncio
import os
import random
import selectors
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

import anyio

from batcher.clock import Uptime

#: Another one gives every test other ledger ids and another order of tasks that are ready together.
SEED = os.environ.get("BATCHER_TEST_SEED", "0")
EPOCH = 1_800_000_000.0
T = TypeVar("T")
Args = TypeVarTuple("Args")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Nothing but time is other than in the loop that it is."""

    _ready: Any  # these two are BaseEventLoop's
    _scheduled: Any

    def __init__(self) -> None:
        self._virtual = 0.0
        self._chance = random.Random(SEED) if SEED != "0" else None
        self.before_step: Callable[[], object] | None = None  # of each step of a task, and of what else is due
        super().__init__(_Jumping(self.jump))

    def time(self) -> float:
        return self._virtual

    def jump(self) -> None:
        """Go to the next timer. Raises RuntimeError where there is none, for then nothing can happen any more."""
        if not self._scheduled:
            raise RuntimeError("all tasks wait, and no timer will wake one")
        self._virtual = max(self._virtual, self._scheduled[0].when())

    def call_soon(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        if self.before_step is None:
            return super().call_soon(callback, *args, context=context)

        def step() -> None:
            if self.before_step is not None:
                self.before_step()
            callback(*args)

        return super().call_soon(step, context=context)

    def _run_once(self) -> None:
        if self._chance:
            ready = list(self._ready)
            self._chance.shuffle(ready)
            self._ready.clear()
            self._ready.extend(ready)
        super()._run_once()  # type: ignore[misc]  # BaseEventLoop's, of which its types say nothing


class _Jumping(selectors.DefaultSelector):
    """Asks the files that are watched, and waits for none."""

    def __init__(self, jump: Callable[[], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout != 0:
            self._jump()
        return found


class VirtualClock:
    """Virtual seconds: those of the running loop on top of those of all loops before."""

    def __init__(self, start: float = EPOCH) -> None:
        self.start = start
        self.shift = 0.0  # a wall clock that somebody set back or forth
        self.boot = "boot-1"  # "" on a machine that does not tell its boots apart
        self.loop: VirtualLoop | None = None

    def monotonic(self) -> float:
        return self.start + (self.loop.time() if self.loop else 0.0)

    def wall(self) -> float:
        return self.monotonic() + self.shift

    def uptime(self) -> Uptime | None:
        return Uptime(self.boot, self.monotonic()) if self.boot else None

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run to the end on virtual time."""
        found: list[T] = []

        async def keep() -> None:  # its task has no result, which asyncio would write out, whatever its length
            found.append(await main())

        self.loop = VirtualLoop()
        try:
            anyio.run(keep, backend_options={"loop_factory": lambda: self.loop})
        finally:
            self.start, self.loop = self.monotonic(), None
        return found[0]
