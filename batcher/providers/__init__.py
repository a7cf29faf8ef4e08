"""What a provider promises: every outcome of a request sorted into a few types, money first.

A provider knows the HTTP contract of one API and nothing of ledgers, retries or jobs in a queue. It never
raises for what a server or a network does; it says what that means.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from batcher.jobs import Account, FileReference, Intent, Job, TaskState, Upload


@dataclass(frozen=True, slots=True)
class Accepted:
    """The API has the task."""

    task: TaskState


#: What keeps an answer from coming: told to people, and compared by whoever asks whether all have the same trouble.
Cause = Literal["", "certificate", "dns", "refused", "proxy", "socks", "timeout", "cut", "page", "server"]


class _Said:
    """An answer in words: `bare` is the same for the same reason, `request_id` the API's own name for the request."""

    __slots__ = ()
    bare: str
    request_id: str

    @property
    def message(self) -> str:
        """The words for people, at whose end the request's name stands if there is one."""
        return f"{self.bare} (request {self.request_id})" if self.request_id else self.bare


@dataclass(frozen=True, slots=True)
class Refused(_Said):
    """A definite no to this request as it is; repeating it changes nothing.

    `request_id` is the API's own name for the request, here and below; "" where it gave none.
    """

    code: str
    bare: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Conflict(_Said):
    """The API says that our idempotency key is in use otherwise."""

    code: str
    bare: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Unknown(_Said):
    """The API does not know what was asked for (a task, a file)."""

    code: str
    bare: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Going:
    """A success that names no state that we know: the task is still going, as far as anybody can say.

    `word` is what stood where the state belongs ("" when nothing did), `message` says what came.
    """

    word: str
    message: str


@dataclass(frozen=True, slots=True)
class Fatal(_Said):
    """No request can succeed for long: the key, its scope, or the wallet need a person, or the API asks to wait."""

    reason: Literal["key", "credits", "wait"]
    code: str
    bare: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Retryable(_Said):
    """No definite answer, or "not now": wait and repeat.

    `maybe_received` says whether the request can have reached the API (always true unless no connection was
    made, or the API itself said that it did not take it). `retry_after` in seconds, as the API asked.
    `throttled` marks 429s, `outage` a dead network or API. `page` marks an answer that is neither the API's error
    envelope nor a task: something in between has answered. `cause` names what keeps an answer from coming.
    """

    code: str
    bare: str
    maybe_received: bool = False
    retry_after: float | None = None
    throttled: bool = False
    outage: bool = False
    page: bool = False
    cause: Cause = ""
    request_id: str = ""

    @property
    def local(self) -> str:
        """The cause on this machine for which no other request to such a host can go well, as `Gone` has it."""
        return self.cause if self.cause == "certificate" else ""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A result on its way. `total` is the length of the whole file in bytes that the server stated, which what arrives
    is held against; None where the body is chunked, encoded, or ends with its connection.

    `offset` is where `chunks` begins in the file; `validator` a strong ETag under which it may go on.
    Iterating raises TransferCut when the transfer breaks.
    """

    chunks: AsyncGenerator[bytes, None]
    offset: int
    total: int | None
    validator: str | None


@dataclass(frozen=True, slots=True)
class Gone:
    """The result's URL is not served any more; the API may name another one.

    `local` names a cause on this machine or network ("" else): an address that is not public. Another URL of the same
    host will not help then, so that buying stops when every download ends for the same one.
    """

    message: str
    local: str = ""


@dataclass(frozen=True, slots=True)
class Redirected:
    """The result is served from another URL; asking there is a request of its own."""

    url: str


class TransferCut(Exception):
    """A download broke off; what arrived is kept."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an API can do, as far as money hangs on it.

    `repeat` says how a paid request that may have been received can be sent again without being paid twice: under its
    own key ("replay"), or not at all ("none"). Amounts are whole numbers of `unit`.
    """

    repeat: Literal["replay", "none"]
    unit: str


class Provider(Protocol):
    """One API, one key. Safe to call from many tasks at once."""

    @property
    def account(self) -> Account: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def body(self, job: Job, uploads: Sequence[Upload], client_request_id: str) -> bytes:
        """The exact bytes of a create request, with the uploads of the job's files in their order. Pure."""
        ...

    async def submit(self, intent: Intent) -> Accepted | Refused | Conflict | Fatal | Retryable:
        """Send a paid request; takes nothing but what is on disk."""
        ...

    async def poll(self, task_id: str) -> TaskState | Unknown | Going | Fatal | Retryable:
        """Ask for a task's state."""
        ...

    async def upload(
        self, reference: FileReference, content: bytes, model: str
    ) -> Upload | Refused | Fatal | Retryable:
        """Give the API a reference file."""
        ...

    async def verify_upload(self, upload: Upload) -> Upload | Literal[False] | Retryable | None:
        """An upload as the API has it now; False when it has it no more, None when it cannot be known."""
        ...

    async def credits(self) -> int | Fatal | Retryable | Refused:
        """The wallet's credits."""
        ...

    async def models(self) -> list[dict[str, object]] | Fatal | Retryable | Refused:
        """The API's own list of models."""
        ...

    def api_time(self) -> float | None:
        """The API's own present time in seconds since the epoch, by the newest `Date` it sent; None before it has."""
        ...

    def is_own_host(self, url: str) -> bool:
        """Whether a URL is served by the API itself and so counts against its request limit."""
        ...

    def result(
        self, url: str, *, offset: int, validator: str | None
    ) -> AbstractAsyncContextManager[Incoming | Redirected | Gone | Refused | Retryable]:
        """Open a result for reading, from `offset` on if the server vouches that it is the same file."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
