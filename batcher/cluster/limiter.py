"""A worker's limiter: what it may send beside the others of its account, whom `slots` is shared with."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.to_thread

from batcher.clock import Clock, age, moment, since_boot
from batcher.jobs import Intent, JobId
from batcher.ledger import Stale, Store
from batcher.limits import RateLimiter, SendKind
from batcher.limits.rate_limiter import LONGEST_WAIT, Permit
from batcher.providers import Retryable
from batcher.settings import Limits
from batcher.storage import Offload

from .slots import Grant, Sending, SharedLimits

#: Between two looks for a slot, in seconds at most: another worker may be let in or stopped meanwhile.
_LOOK_SECONDS = 1.0
#: A paid request that has not left so many seconds after its slot was asked for needs another one: that one counts from
#: then, and is free again a window later. It never leaves once its claim has ended.
_LEAVES_SECONDS = 5.0
#: How long everybody is held at the first trouble: the worker that met it asks the API at once, if it lives.
_FIRST_HELD_SECONDS = 5.0
#: How long everybody is held at an outage, unless the worker that met it says so again, once a minute at least.
_HELD_SECONDS = 70.0
#: A worker without an answer for this long, while another had one, is cut off alone.
ALONE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ClaimTerms:
    """What a worker's claims allow: `epoch_of` a job's claim here, and no key that is older than `key_seconds`.

    `give_back` plans an intent anew that was not sent; it is told the code for that, and why.
    """

    worker: str
    epoch_of: Callable[[JobId], int | None]
    key_seconds: float
    give_back: Callable[[Intent, str, str], Awaitable[None]]


class SharedPermit(Permit):
    """A wait for room of this worker's own, and then for a slot that all share."""

    def __init__(self, limiter: SharedLimiter, kind: SendKind, line: Any, *, probe: bool) -> None:
        super().__init__(limiter, kind, line)
        self._shared, self._sort, self._probe = limiter, kind, probe
        self._at = -math.inf

    async def stamp(self, at: float = 0.0) -> None:
        """Take a slot; returns right before the request is to be sent."""
        if await self._limiter.slept(at):
            self._give_back()
            await self._reserve()
        self._at = (await self._shared.take(self._sort, probe=self._probe)).at
        self.go()

    async def take(self, intent: Intent) -> Intent | None:
        """Wait for a slot and take it, if the claim of the intent's job lets it out then: the intent, and until when.

        None where it does not. Raises Stale where the intent would be sent first while its run is paused: it is given
        back.
        """
        asked, found = await self._shared.take_for(intent)
        if found is None:
            return None
        self._at = found.at
        return replace(intent, expires=asked + min(found.lasts, _LEAVES_SECONDS))

    def write(self) -> None:
        """Nothing is written down before the slot is taken."""

    def heard(self, outcome: object) -> None:
        super().heard(outcome)
        if self._probe and isinstance(outcome, Retryable) and outcome.outage:
            self._shared.hold_on()
        self._shared.told(self._sort, max(self._at, self._shared.newest.get(self._sort, -math.inf)), outcome)


class SharedLimiter(RateLimiter):
    """A worker's limiter: what it may send beside the others of its account (`SharedLimits`)."""

    def __init__(
        self,
        ledger: Store,
        limits: Limits,
        clock: Clock,
        commits: Callable[[Callable[[], None]], Awaitable[object]],
        account: str,
        shared: SharedLimits,
        terms: ClaimTerms,
        offload: Offload = anyio.to_thread.run_sync,
    ) -> None:
        super().__init__(ledger, limits, clock, commits, account)
        self._all = shared
        self._terms, self._offload = terms, offload
        self.newest = dict[SendKind, float]()  # when the newest slot of a kind was taken
        self._silent_since = -math.inf
        self.cut_off = False  # whether it is this worker alone that does not reach the API
        self._turns = {"submit": anyio.Lock(), "other": anyio.Lock(), "probe": anyio.Lock()}

    def slot(self, kind: SendKind, *, probing: bool = False) -> SharedPermit:
        line = "probe" if probing else "submit" if kind == "submit" else "other"
        return SharedPermit(self, kind, line, probe=probing)

    async def take(self, kind: SendKind, *, probe: bool = False) -> Grant:
        """Wait for room, and take a slot of each limit."""
        async with self._turns["probe" if probe else "submit" if kind == "submit" else "other"]:
            while (found := await self._ask(kind, probe=probe)).wait:
                await self._sleep(found.wait)
        return found

    async def take_for(self, intent: Intent) -> tuple[float, Grant | None]:
        """As `take`, for an intent that may be sent then; None where it may not. When that was asked for, too.

        In seconds since the machine's boot.
        """
        fresh = not intent.maybe_received
        async with self._turns["submit"]:
            while True:
                asked, epoch = since_boot(), self._terms.epoch_of(intent.job_id)
                if epoch is None:
                    return asked, None
                if fresh and self._grew_old(intent):
                    await self._plan_anew(intent, "not_sent", "its key was too old before there was room for it")
                sending = Sending(intent, self._terms.worker, epoch, self._terms.key_seconds)
                found = await self._ask("submit", fresh=fresh, sending=sending)
                if found.refused:
                    break
                if not found.wait:
                    return asked, found
                if found.held:
                    await self._plan_anew(intent, "paused", "the run was paused before it was sent")
                await self._sleep(found.wait)
        why = "its claim had ended, or its key was too old, before it was sent"
        await self._terms.give_back(intent, "not_sent", why)
        return asked, None

    async def _ask(self, kind: SendKind, **words: Any) -> Grant:
        found: Grant = await self._offload(lambda: self._all.take(kind, **words))
        if not found.wait and not found.refused:
            self.newest[kind] = found.at
        return found

    @staticmethod
    async def _sleep(wait: float) -> None:
        """Nobody knows who of those that wait elsewhere comes first; nor do they all come at once."""
        await anyio.sleep(min(wait, _LOOK_SECONDS) * random.uniform(1.0, 1.05))  # noqa: S311

    def _grew_old(self, intent: Intent) -> bool:
        """Whether the fence would not let an intent out any more."""
        passed = age(intent.intended, moment(self._clock))
        return passed is None or passed > self._terms.key_seconds

    async def _plan_anew(self, intent: Intent, code: str, why: str) -> None:
        await self._terms.give_back(intent, code, why)
        raise Stale(why)

    def told(self, kind: SendKind, at: float, outcome: object) -> None:
        """Share what came of a request."""
        match outcome:
            case Retryable(throttled=True, retry_after=wait):
                self._all.refused(kind, at, wait)
            case Retryable(retry_after=wait) if wait is not None:
                self._all.pause(min(wait, LONGEST_WAIT))
            case Retryable():
                pass
            case _:
                self._all.let_in(kind, at)

    def restate(self, limits: Limits) -> None:
        super().restate(limits)
        self.look_again()

    def look_again(self) -> None:
        """Others may state other limits now, or none any more."""
        self._all.changed = True

    def trouble(self) -> None:
        if not self.trouble_came.is_set():
            super().trouble()
            self._silent_since = self._clock.monotonic()
            self.hold(_FIRST_HELD_SECONDS)

    def hold(self, seconds: float) -> None:
        """Let nobody out for so long, but who asks whether the API answers again."""
        self._all.pause(seconds, column="held_until")

    def trouble_elsewhere(self) -> None:
        """Another worker could not reach the API: ask it from here, too, for that may be its own trouble."""
        if not self.trouble_came.is_set():
            super().trouble()
            self._silent_since = self._clock.monotonic()

    def hold_on(self) -> None:
        """Hold all for longer: the API still does not answer."""
        silent = self._clock.monotonic() - self._silent_since
        self.cut_off = self.cut_off or (silent >= ALONE_SECONDS and self._all.lifted())
        self.hold(_HELD_SECONDS)

    def release(self) -> None:
        super().release()
        self._all.release()

    def _remember(self, limits: Limits) -> None:
        """What was sent before is in the slots."""

    def _learn(self, *, but: int = 0) -> None:
        """What others send is in the slots."""
