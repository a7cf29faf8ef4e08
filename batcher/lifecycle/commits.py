"""Group commit: writes of many tasks that are ready at the same time share one commit, each before its task goes on.

A commit waits for the disk, whatever it holds. Who comes first waits until all who are ready have joined, and
commits for all. Nobody waits for a timer, so a lone write costs what it did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import anyio
from anyio.lowlevel import checkpoint

from batcher.ledger import Ledger

T = TypeVar("T")


@dataclass(slots=True)
class _Group:
    operations: list[Callable[[], Any]] = field(default_factory=list)
    done: anyio.Event = field(default_factory=anyio.Event)
    found: list[Any] = field(default_factory=list)
    error: BaseException | None = None


class Commits:
    """The one way from tasks to the ledger's disk. Safe to call from many tasks of one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._open: _Group | None = None

    async def __call__(self, operation: Callable[[], T]) -> T:
        """Do an operation (calls of the ledger's methods, no others) and return what it returns, once it is on disk.

        Raises what it raises; StorageError when it could not be written. It is done even if its task is cancelled
        meanwhile.
        """
        group = self._open
        if group is None:
            group = self._open = _Group([operation])
            place = 0
            try:
                await checkpoint()
            finally:
                self._commit(group)
        else:
            place = len(group.operations)
            group.operations.append(operation)
            await group.done.wait()
        if group.error is not None:
            raise group.error
        found = group.found[place]
        if isinstance(found, Exception):
            raise found
        return cast(T, found)

    def _commit(self, group: _Group) -> None:
        self._open = None
        try:
            group.found = self._ledger.together(group.operations)
        except BaseException as error:
            group.error = error
            raise
        finally:
            group.done.set()
