"""What many tasks ask of the disk at the same time is done at once, and each goes on when its own is done.

A commit, or a sync of a folder, takes the disk as long for many as for one. Who comes first waits until all who are
ready have joined, and does it for all. Nobody waits for a timer, so a lone write costs what it did, nearly.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import anyio
from anyio.lowlevel import checkpoint

from batcher.ledger import Locked, Store
from batcher.storage import Artifacts, Offload

T = TypeVar("T")
Operation = TypeVar("Operation")
#: Turns of the event loop in which others may join: what many answers bring about is not ready in the same one.
_TURNS = 4
#: Between two tries for a ledger that another program holds.
_AGAIN_SECONDS = 0.2


@dataclass(slots=True)
class _Group(Generic[Operation]):
    operations: list[Operation]
    done: anyio.Event = field(default_factory=anyio.Event)
    found: Sequence[Any] = ()
    error: BaseException | None = None


class _Groups(Generic[Operation]):
    """Groups the operations of tasks that are ready together. Safe to call from many tasks of one event loop.

    `perform` does all operations of a group; it returns what each returned or raised, or raises when none was done.
    """

    def __init__(self, perform: Callable[[Sequence[Operation]], Awaitable[Sequence[Any]]]) -> None:
        self._perform = perform
        self._joining: _Group[Operation] | None = None

    async def join(self, operation: Operation) -> Any:
        group = self._joining
        if group is None:
            group, place = _Group([operation]), 0
            self._joining = group
            try:
                for _ in range(_TURNS):
                    await checkpoint()
            finally:
                await self._do(group)  # for the others too, whatever happens to this task
        else:
            place = len(group.operations)
            group.operations.append(operation)
            await group.done.wait()
        if group.error is not None:
            raise group.error
        found = group.found[place]
        if isinstance(found, Exception):
            raise found
        return found

    async def _do(self, group: _Group[Operation]) -> None:
        self._joining = None
        try:
            with anyio.CancelScope(shield=True):
                group.found = await self._perform(group.operations)
        except BaseException as error:
            group.error = error
            raise
        finally:
            group.done.set()


async def inline(work: Callable[[], Any]) -> Any:
    """Do it here and now: for virtual time, which does not wait for threads."""
    return work()


class Commits:
    """Group commit: the one way from tasks to the ledger; on a thread, if `offload` says so (a store on a network)."""

    def __init__(self, ledger: Store, offload: Offload = inline) -> None:
        self._ledger = ledger
        self._offload = offload
        self._groups = _Groups(self._perform)

    async def __call__(self, operation: Callable[[], T]) -> T:
        """Do an operation (calls of the ledger's methods, no others) and return what it returns, once it is on disk.

        Raises what it raises; StorageError when it could not be written. It is done even if its task is cancelled
        meanwhile.
        """
        return cast(T, await self._groups.join(operation))

    async def _perform(self, operations: Sequence[Callable[[], Any]]) -> Sequence[Any]:
        while True:
            try:
                found: Sequence[Any] = await self._offload(lambda: self._ledger.commit_group(operations, patient=False))
                return found
            except Locked:
                # Another program writes. Others move meanwhile, and what the API said of a purchase waits here.
                if not self._ledger.still_waits():
                    raise
            await anyio.sleep(_AGAIN_SECONDS)


class Disk:
    """Work on files that waits for the disk: in groups, and on a thread if `offload` says so."""

    def __init__(self, artifacts: Artifacts, offload: Offload = inline) -> None:
        self._artifacts = artifacts
        self.offload = offload
        self._groups = _Groups(self._perform)

    async def __call__(self, operation: Callable[[set[Path]], T]) -> T:
        """Do an operation and return what it returns. It gets a set to put folders in that are to be synced first.

        Raises what it raises; StorageError when a folder could not be synced.
        """
        return cast(T, await self._groups.join(operation))

    async def _perform(self, operations: Sequence[Callable[[set[Path]], Any]]) -> Sequence[Any]:
        found: Sequence[Any] = await self.offload(lambda: self._artifacts.sync_group(operations))
        return found
