"""Rivya Public API v1: paths, fields, headers and error codes. Sections named are those of rivya-api.md.

What its pages leave open works either way: any 2xx may mean success, ids may be texts or numbers, unknown fields,
codes and states are tolerated.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import quote, urljoin

import httpx2 as httpx

from batcher.clock import Clock
from batcher.jobs import Account, FileReference, Intent, Job, Status, TaskState, Upload, UrlReference

from . import Accepted, Conflict, Going, Gone, Halt, Incoming, Later, Moved, Refused, TransferCut, Unknown
from .transport import TRANSFER_ERRORS, UPLOAD_SECONDS, Answer, Barred, Stream, Transport, check_base_url
from .values import as_content_range, as_count, as_credits, as_date, as_number, as_retry_after, as_text, as_words

API = "/api/v1"
_LONGEST_URL = 65536  # signed URLs are long

_STATES = {
    "queued": Status.QUEUED,
    "processing": Status.PROCESSING,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
}

# Section 1. Codes outrank status codes where they are known; unknown ones count by their class.
_CODES = {
    "api_key_missing": "key",
    "api_key_invalid": "key",
    "api_key_revoked": "key",
    "api_key_expired": "key",
    "api_scope_denied": "key",
    "insufficient_credits": "credits",  # its status code is not documented
    "rate_limited": "throttled",
    "public_api_disabled": "down",
    "idempotency_conflict": "conflict",
}
_STATUSES = {401: "key", 403: "key", 402: "credits", 408: "down", 409: "conflict", 425: "wait", 429: "throttled"}


def account_of(base_url: str, key: str, name: str | None = None) -> Account:
    """The account of a key; `name` stands for a base URL that changes (the simulator's port).

    Raises UsageError for a base URL that cannot be the API's.
    """
    return Account(name or check_base_url(base_url, key), hashlib.sha256(key.encode()).hexdigest()[:12])


class Rivya:
    """The provider for one key. Safe to use from many tasks at once."""

    def __init__(
        self,
        base_url: str,
        key: str,
        clock: Clock,
        *,
        connections: int = 128,
        transport: httpx.AsyncBaseTransport | None = None,
        account_name: str | None = None,
        fast: bool = False,
    ) -> None:
        self._http = Transport(base_url, key, connections=connections, transport=transport, fast=fast)
        self._clock = clock
        self._ahead: float | None = None  # the API's time less our monotonic one
        self.account = account_of(base_url, key, account_name)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    def api_time(self) -> float | None:
        """The API's own present time in seconds since the epoch, by the newest `Date` it sent; None before it has."""
        return None if self._ahead is None else self._clock.monotonic() + self._ahead

    async def _call(self, method: str, path: str, **options: Any) -> Answer | Later:
        answer = await self._http.call(method, path, **options)
        # What is no JSON may come from something in between, whose clock is not the API's.
        if isinstance(answer, Answer) and answer.json is not None:
            date = as_date(answer.headers.get("date", ""))
            self._ahead = self._ahead if date is None else date - self._clock.monotonic()
        return answer

    # Create and poll (sections 2 and 3)

    def body(self, job: Job, upload: Upload | None, client_request_id: str) -> bytes:
        """The exact bytes of a create request: model, prompt, params with the reference, and the trace id."""
        params: dict[str, Any] = dict(job.params)
        if item := _reference_item(job, upload):
            params["referenceMediaItems"] = [item]
        content = {
            "model": job.model,
            "prompt": job.prompt,
            "params": params,
            "client_request_id": client_request_id,
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    async def submit(self, intent: Intent) -> Accepted | Refused | Conflict | Halt | Later:
        """POST /api/v1/generations with the intent's key and bytes."""
        answer = await self._call(
            "POST",
            f"{API}/generations",
            content=intent.body,
            headers={"Content-Type": "application/json", "Idempotency-Key": intent.key},
        )
        if isinstance(answer, Later):
            return answer
        if answer.status < 300:
            task = _task(answer.json, word="unknown")
            # A success that cannot be read is a lost answer: the same key asks again.
            return Accepted(task) if task else _unreadable(answer)
        return self._sort(answer)

    async def poll(self, task_id: str) -> TaskState | Unknown | Going | Halt | Later:
        """GET /api/v1/generations/{taskId}."""
        answer = await self._call("GET", f"{API}/generations/{quote(task_id, safe='')}")
        if isinstance(answer, Later):
            return answer
        if answer.status < 300:
            task = _task(answer.json, task_id=task_id)
            return task if task and task.task_id == task_id else Going("", f"HTTP {answer.status} without a state")
        match self._sort(answer):
            case Refused(code, message) if answer.status in (404, 410) and code != f"http_{answer.status}":
                return Unknown(code, message)  # in the API's own words; a page of a proxy says nothing about a task
            case Refused(code, message) | Conflict(code, message):
                return Later(code, message)
            case other:
                return other

    # Files (section 4)

    async def upload(self, reference: FileReference, content: bytes, model: str) -> Upload | Refused | Halt | Later:
        """POST /api/v1/files, multipart."""
        answer = await self._call(
            "POST",
            f"{API}/files",
            data={"kind": reference.kind, "model": model, "client_request_id": f"batcher-{reference.sha256[:32]}"},
            files={"file": (reference.path.name, content, reference.mime)},
            seconds=UPLOAD_SECONDS,
        )
        if isinstance(answer, Later):
            return answer
        if answer.status >= 300:
            refused = self._sort(answer)
            return Refused(refused.code, refused.message) if isinstance(refused, Conflict) else refused
        found = answer.json if isinstance(answer.json, dict) else {}
        url = as_text(found.get("url"))
        if not url:
            return _unreadable(answer)
        return Upload(
            sha256=reference.sha256,
            url=url,
            kind=as_text(found.get("kind")) or reference.kind,
            name=reference.path.name,
            mime=as_text(found.get("mime_type")) or reference.mime,
            file_id=as_text(found.get("id")) or as_text(found.get("file_id")),
            duration_token=as_text(found.get("duration_token")),
            duration_seconds=as_number(found.get("duration_seconds")),
            checked_at=self._clock.wall(),
        )

    async def vouch(self, upload: Upload) -> bool | Later | None:
        """GET /api/v1/files/{fileId}; None when the API gave no id or an answer that says nothing of the file."""
        if not upload.file_id:
            return None
        answer = await self._call("GET", f"{API}/files/{quote(upload.file_id, safe='')}")
        if isinstance(answer, Later):
            return answer
        if answer.status < 300:
            return True
        sorted_ = self._sort(answer)
        if isinstance(sorted_, Later):
            return sorted_
        return False if answer.status in (404, 410) else None

    # Wallet and models (sections 6 and 7)

    async def credits(self) -> int | Halt | Later | Refused:
        """GET /api/v1/credits."""
        answer = await self._call("GET", f"{API}/credits")
        if isinstance(answer, Later):
            return answer
        if answer.status < 300:
            found = as_number(answer.json.get("current_credits")) if isinstance(answer.json, dict) else None
            # A wallet is rounded down where a price is rounded up: both err towards spending less.
            return _unreadable(answer) if found is None else math.floor(found)
        return _plain(self._sort(answer))

    async def models(self) -> list[dict[str, object]] | Halt | Later | Refused:
        """GET /api/v1/models."""
        answer = await self._call("GET", f"{API}/models")
        if isinstance(answer, Later):
            return answer
        if answer.status < 300:
            found = answer.json.get("data") if isinstance(answer.json, dict) else None
            return [m for m in found if isinstance(m, dict)] if isinstance(found, list) else _unreadable(answer)
        return _plain(self._sort(answer))

    # Results (section 9: host, lifetime and the need of a key are not documented)

    def is_own_host(self, url: str) -> bool:
        """Whether a URL is served by the API itself and so counts against its request limit."""
        return self._http.is_own_origin(url)

    @asynccontextmanager
    async def result(
        self, url: str, *, offset: int, validator: str | None
    ) -> AsyncIterator[Incoming | Moved | Gone | Refused | Later]:
        """GET a result URL; a range of it only under a strong validator (RFC 9110, 13.1.5 and 14).

        The key goes along to the API's own origin only.
        """
        headers = {"Range": f"bytes={offset}-", "If-Range": validator} if offset and validator else {}
        async with self._http.open(url, headers) as stream:
            if isinstance(stream, Later):
                yield stream
            elif isinstance(stream, Barred):
                yield Gone(stream.reason)
            elif 300 <= stream.status < 400 and (location := stream.headers.get("location")):
                yield _moved(url, location)
            else:
                yield self._incoming(stream, offset if headers else 0, own=self.is_own_host(url))

    def _incoming(self, stream: Stream, offset: int, *, own: bool) -> Incoming | Gone | Refused | Later:
        status, headers, chunks = stream.status, stream.headers, stream.chunks
        etag = headers.get("etag", "")
        # An encoded body has other bytes and another length than the file, so nothing vouches for a part of it.
        plain = headers.get("content-encoding", "identity") == "identity"
        validator = etag if plain and etag.startswith('"') and etag.isascii() else None
        if status == 206 and offset:
            start, total = as_content_range(headers.get("content-range", ""))
            if start == offset and plain:
                return Incoming(_uncut(chunks, self._http.mask), offset, total, validator)
            return Gone(f"the server sent another part than asked for ({headers.get('content-range')})")
        if status == 200:
            length = as_count(headers.get("content-length", "")) if plain else None
            return Incoming(_uncut(chunks, self._http.mask), 0, length, validator)
        if status in (401, 403, 404, 410, 416) or 300 <= status < 400:
            return Gone(f"HTTP {status} for the result")
        if status == 429 or status >= 500 or status == 408:
            wait = as_retry_after(headers.get("retry-after"), self._clock.wall())
            return Later(
                f"http_{status}",
                f"HTTP {status} for the result",
                retry_after=wait,
                throttled=status == 429,
                outage=own and status >= 500,  # of another host it says nothing about the API
            )
        return Refused(f"http_{status}", f"HTTP {status} for the result")

    def _sort(self, answer: Answer) -> Refused | Conflict | Halt | Later:
        """Every answer that is not a success, by its code and else by its class (product.md, promise 5)."""
        envelope = answer.json.get("error") if isinstance(answer.json, dict) else None
        error = envelope if isinstance(envelope, dict) else {}
        code = as_text(error.get("code")) or f"http_{answer.status}"
        message = as_words(error.get("message")) or f"HTTP {answer.status}"
        if request_id := as_text(error.get("requestId")):
            message += f" (request {request_id})"
        wait = as_retry_after(answer.headers.get("retry-after"), self._clock.wall())
        by_class = "down" if answer.status >= 500 else "redirect" if answer.status < 400 else "refused"
        sort = _CODES.get(code) or _STATUSES.get(answer.status) or by_class
        if sort != "down" and answer.status >= 500:
            sort = "down"  # whatever the code says: a 5xx may have been received
        match sort:
            case "key":
                return Halt("key", code, message)
            case "credits":
                return Halt("credits", code, message)
            case "conflict":
                return Conflict(code, message)
            case "throttled":
                return Later(code, message, retry_after=wait, throttled=True)
            case "down":
                return Later(code, message, retry_after=wait, maybe_received=True, outage=True)
            case "wait":
                return Later(code, message, retry_after=wait)
            case "redirect":
                target = answer.headers.get("location", "nowhere")[:200]
                return Later("redirected", f"the API redirects to {target}; is RIVYA_BASE_URL right?", outage=True)
            case _:
                return Refused(code, message)


def _plain(sorted_: Refused | Conflict | Halt | Later) -> Refused | Halt | Later:
    return Refused(sorted_.code, sorted_.message) if isinstance(sorted_, Conflict) else sorted_


def _unreadable(answer: Answer) -> Later:
    return Later("bad_answer", f"HTTP {answer.status} with a body that cannot be read", maybe_received=True)


def _reference_item(job: Job, upload: Upload | None) -> dict[str, Any] | None:
    """One entry of `params.referenceMediaItems` (sections 2 and 4)."""
    if isinstance(job.reference, UrlReference):
        return {"url": job.reference.url, "kind": job.reference.kind}
    if upload is None:
        return None
    item: dict[str, Any] = {"url": upload.url, "kind": upload.kind, "name": upload.name, "mimeType": upload.mime}
    if upload.duration_token is not None:
        item["durationToken"] = upload.duration_token
    if upload.duration_seconds is not None:
        item["durationSeconds"] = upload.duration_seconds
    return item


def _task(found: Any, *, task_id: str = "", word: str = "") -> TaskState | None:
    """A task object in our words; None when it is none. `task_id` and `word` stand for an id or status that is missing.

    A create's answer with an id and no status was paid for all the same; a poll's says nothing.
    """
    if not isinstance(found, dict):
        return None
    identity = as_text(found.get("id")) or task_id
    word = as_text(found.get("status")) or word
    if not identity or not word:
        return None
    result = found.get("result") if isinstance(found.get("result"), dict) else {}
    assert isinstance(result, dict)
    listed = result.get("urls") if isinstance(result.get("urls"), list) else []
    assert isinstance(listed, list)
    urls = [url for url in (as_text(u, _LONGEST_URL) for u in [result.get("primary_url"), *listed[:20]]) if url]
    error = found.get("error") if isinstance(found.get("error"), dict) else {}
    assert isinstance(error, dict)
    return TaskState(
        task_id=identity,
        status=_STATES.get(word, Status.PROCESSING),
        word=word,
        reserved_credits=as_credits(found.get("reserved_credits")),
        final_credits=as_credits(found.get("final_credits")),
        urls=tuple(dict.fromkeys(urls)),
        error_code=as_text(error.get("code")),
        error_message=as_words(error.get("message")),
        model=as_text(found.get("model")),
        created_at=as_text(found.get("created_at"), 40),
        updated_at=as_text(found.get("updated_at"), 40),
    )


def _moved(url: str, location: str) -> Moved | Gone:
    try:
        return Moved(urljoin(url, location))
    except ValueError:
        return Gone("the result redirects to what is no URL")


async def _uncut(chunks: AsyncGenerator[bytes, None], mask: Callable[[str], str]) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    except TRANSFER_ERRORS as error:
        raise TransferCut(mask(str(error)) or type(error).__name__) from error
