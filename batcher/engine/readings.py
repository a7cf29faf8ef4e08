"""Readings of the wallet by a run: one before it buys, and where some of it is to be kept, again and again."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from batcher.errors import Kind
from batcher.lifecycle import Lifecycle
from batcher.providers import Fatal

from .ending import Halted, halt_reason
from .preflight import Preflight

#: Seconds between two readings, and before one that failed is tried again.
_SECONDS = 60.0
_AGAIN_SECONDS = 10.0
#: What becomes of a run that cannot go on.
HALTS = {"key": Kind.KEY, "credits": Kind.CAPPED, "wait": Kind.UNREACHABLE}


class Readings:
    """Reads the wallet. `changed` is called when others may have spent from it, `halted` when it cannot be read."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        preflight: Preflight,
        times: int,
        halted: Halted,
        is_halted: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        """A reading that fails is tried again so many `times`."""
        self._lifecycle = lifecycle
        self._preflight = preflight
        self._times = times
        self._halted, self._is_halted = halted, is_halted
        self._changed = changed
        self._lock, self._count = anyio.Lock(), 0

    async def look(self) -> None:
        """Tell how far the wallet goes; what is to be kept of it has to be known, else buying may go on without."""
        if (keep := self._lifecycle.caps.keep) is None:
            if short := await self._preflight.at_wallet():
                self._halted(*short)
            return
        await self._read()
        if self._count:
            self._preflight.tell_kept(keep)

    async def _read(self) -> None:
        """Know the wallet before the next purchase, if some of it is to be kept; else there is none."""
        trouble = None
        for _ in range(self._times + 1):
            trouble = await self._lifecycle.read_wallet()
            if trouble is None:
                self._count += 1
                return
            if isinstance(trouble, Fatal):
                break
            await anyio.sleep(_AGAIN_SECONDS)
        if isinstance(trouble, Fatal) and not self._count:
            self._halted(HALTS[trouble.reason], trouble.message, trouble.code)
        else:  # what is bought goes on, whatever keeps the wallet from being read
            why = halt_reason(trouble.message, trouble.code) if trouble else ""
            self._halted(Kind.CAPPED, f"the wallet could not be read, which budget.keep needs ({why})")

    async def again(self) -> bool:
        """Have the wallet read by one of those that wait for it; False when it cannot be, or the run is halted."""
        known = self._count
        async with self._lock:
            if known == self._count and not self._is_halted():
                await self._read()
            return known != self._count and not self._is_halted()

    async def watch(self) -> None:
        """Read the wallet now and then: others spend from it too."""
        while True:
            await anyio.sleep(_SECONDS)
            await self._lifecycle.read_wallet()
            self._changed()
