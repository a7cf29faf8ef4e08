"""What the steps of jobs work with, in one value; and the ways of a paid request and of one that is not."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from batcher.clock import Clock
from batcher.jobs import Intent, TaskState
from batcher.ledger import Store
from batcher.limits import RateLimiter, SendKind
from batcher.providers import Accepted, Conflict, Fatal, Going, Provider, Refused, Retryable, Unknown
from batcher.settings import Settings
from batcher.storage import Artifacts

from .group_commit import Commits, Disk

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """Where a run's steps read and write, whom they ask, and whence they have time and chance."""

    ledger: Store
    commits: Commits
    provider: Provider
    limiter: RateLimiter
    artifacts: Artifacts
    disk: Disk
    clock: Clock
    settings: Settings
    rng: random.Random

    @property
    def account(self) -> str:
        """The account that this run buys with, as the ledger names it."""
        return self.provider.account.text

    async def ask(
        self,
        kind: SendKind,
        request: Callable[[], Awaitable[T]],
        *,
        probing: bool = False,
        at: float = 0.0,
        heeds: Callable[[T], bool] = lambda _: True,
    ) -> T:
        """Send a request that is not paid once the limits have room for it; returns what came of it.

        `probing` goes past all who are held; it is sent no sooner than `at` (monotonic seconds); `heeds` says whether
        what came of it counts for all other requests.
        """
        async with self.limiter.slot(kind, probing=probing) as slot:
            await slot.stamp(at)
            found = await request()
            if heeds(found):
                slot.heard(found)
        return found

    async def submit(self, intent: Intent) -> Accepted | Refused | Conflict | Fatal | Retryable:
        """Send a paid request that was let out (`Permit.take`)."""
        try:
            return await self.provider.submit(intent)
        except BaseException:
            # Given up at the deadline, or what nobody foresaw. `withdraw` trusts this mark, so it is set where the
            # request was cut off and hangs on no event loop's way of passing a cancellation on.
            self.ledger.maybe_received(intent, "given_up", "given up before the API answered")
            raise

    async def poll(self, task_id: str, at: float = 0.0) -> TaskState | Unknown | Going | Fatal | Retryable:
        """Ask for a task's state, no sooner than `at` (monotonic seconds)."""
        return await self.ask("poll", lambda: self.provider.poll(task_id), at=at)
