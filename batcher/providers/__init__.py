"""What a provider promises: every outcome of a request sorted into a few types, money first.

A provider knows the HTTP contract of one API and nothing of ledgers, retries or jobs in a queue. It never
raises for what a server or a network does; it says what that means.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from batcher.jobs import Account, FileReference, Intent, Job, TaskState, Upload


@dataclass(frozen=True, slots=True)
class Accepted:
    """The API has the task."""

    task: TaskState


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite no to this request as it is; repeating it changes nothing."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The API says that our idempotency key is in use otherwise."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The API does not know what was asked for (a task, a file)."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Halt:
    """No request can succeed for long: the key, its scope, or the wallet need a person, or the API asks to wait."""

    reason: Literal["key", "credits", "wait"]
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Later:
    """No definite answer, or "not now": wait and repeat.

    `maybe_received` says whether the request can have reached the API (always true unless no connection was
    made, or the API itself said that it did not take it). `retry_after` in seconds, as the API asked.
    `throttled` marks 429s, `outage` a dead network or API.
    """

    code: str
    message: str
    maybe_received: bool = False
    retry_after: float | None = None
    throttled: bool = False
    outage: bool = False


@dataclass(frozen=True, slots=True)
class Incoming:
    """A result on its way. `total` is the length of the whole file in bytes, if it is known.

    `offset` is where `chunks` begins in the file; `validator` a strong ETag under which it may go on.
    Iterating raises TransferCut when the transfer breaks.
    """

    chunks: AsyncGenerator[bytes, None]
    offset: int
    total: int | None
    validator: str | None


@dataclass(frozen=True, slots=True)
class Gone:
    """The result's URL is not served any more; the API may name another one."""

    message: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The result is served from another URL; asking there is a request of its own."""

    url: str


class TransferCut(Exception):
    """A download broke off; what arrived is kept."""


class Provider(Protocol):
    """One API, one key. Safe to call from many tasks at once."""

    @property
    def account(self) -> Account: ...

    def body(self, job: Job, upload: Upload | None, client_request_id: str) -> bytes:
        """The exact bytes of a create request. Pure."""
        ...

    async def submit(self, intent: Intent) -> Accepted | Refused | Conflict | Halt | Later:
        """Send a paid request; takes nothing but what is on disk."""
        ...

    async def poll(self, task_id: str) -> TaskState | Unknown | Halt | Later:
        """Ask for a task's state."""
        ...

    async def upload(self, reference: FileReference, content: bytes, model: str) -> Upload | Refused | Halt | Later:
        """Give the API a reference file."""
        ...

    async def vouch(self, upload: Upload) -> bool | Later | None:
        """Whether the API still has an upload; None when it cannot be known."""
        ...

    async def credits(self) -> int | Halt | Later | Refused:
        """The wallet's credits."""
        ...

    async def models(self) -> list[dict[str, object]] | Halt | Later | Refused:
        """The API's own list of models."""
        ...

    def is_own_host(self, url: str) -> bool:
        """Whether a URL is served by the API itself and so counts against its request limit."""
        ...

    def result(
        self, url: str, *, offset: int, validator: str | None
    ) -> AbstractAsyncContextManager[Incoming | Moved | Gone | Refused | Later]:
        """Open a result for reading, from `offset` on if the server vouches that it is the same file."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
