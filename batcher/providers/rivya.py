"""Rivya Public API v1: paths, fields and headers. Sections named are those of rivya-api.md.

What an answer means when it is no success is in `outcomes`, what one holds in `answers`.
"""

from __future__ import annotations

import hashlib
import json
import math
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

import httpx2 as httpx

from batcher.clock import Clock
from batcher.jobs import Account, FileReference, Intent, Job, TaskState, Upload, UrlReference

from . import Accepted, Conflict, Fatal, Going, Gone, Incoming, Redirected, Refused, Retryable, TransferCut, Unknown
from .addresses import joined
from .answers import read_task, read_upload
from .encodings import codings
from .outcomes import Answer, sort
from .registry import RIVYA
from .transport import TRANSFER_ERRORS, UPLOAD_SECONDS, Barred, Stream, Transport, check_base_url
from .uploads import echoed, usable_url
from .values import as_content_range, as_count, as_date, as_number, as_retry_after

API = "/api/v1"
# What the standard library's table lacks or names otherwise on some machines.
_MIMES = {
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".m4a": "audio/mp4",
    ".webm": "video/webm",
}
_EXTENSIONS = {mime: extension for extension, mime in _MIMES.items()} | {"image/jpeg": ".jpg", "audio/mpeg": ".mp3"}


def account_of(base_url: str, key: str, name: str | None = None) -> Account:
    """The account of a key; `name` stands for a base URL that changes (the simulator's port).

    Raises UsageError for a base URL that cannot be the API's.
    """
    fingerprint = hashlib.sha256(key.encode()).hexdigest()[:12]
    return Account(name or check_base_url(base_url, RIVYA, key), fingerprint, RIVYA.name, RIVYA.capabilities.unit)


class Rivya:
    """The provider for one key. Safe to use from many tasks at once."""

    capabilities = RIVYA.capabilities

    def __init__(
        self,
        base_url: str,
        key: str,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        account_name: str | None = None,
        allow_net: Iterable[str] = (),
    ) -> None:
        """Raises UsageError for a base URL, a key or a setting of this machine with which no request can go out.

        `allow_net` names networks (CIDR), beside those of BATCHER_ALLOW_NET, that results may be fetched from although
        they are not public.
        """
        self._http = Transport(
            base_url, key, RIVYA, transport=transport, allow_net=allow_net, environment=account_name is None
        )
        self._clock = clock
        self._ahead: float | None = None  # the API's time less our monotonic one
        self.account = account_of(base_url, key, account_name)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    def api_time(self) -> float | None:
        """The API's own present time in seconds since the epoch, by the newest `Date` it sent; None before it has."""
        return None if self._ahead is None else self._clock.monotonic() + self._ahead

    async def _call(self, method: str, path: str, **options: Any) -> Answer | Retryable:
        answer = await self._http.call(method, path, **options)
        # What is no JSON may come from something in between, whose clock is not the API's.
        if isinstance(answer, Answer) and answer.json is not None:
            date = as_date(answer.headers.get("date", ""))
            self._ahead = self._ahead if date is None else date - self._clock.monotonic()
        return answer

    # Create and poll (sections 2 and 3)

    def body(self, job: Job, uploads: Sequence[Upload], client_request_id: str) -> bytes:
        """The exact bytes of a create request: model, prompt, params with the references, and the trace id."""
        params: dict[str, Any] = dict(job.params)
        there = iter(uploads)
        if each := job.reference.each if job.reference else ():
            params["referenceMediaItems"] = [
                _url_item(one) if isinstance(one, UrlReference) else _upload_item(next(there)) for one in each
            ]
        content: dict[str, Any] = {"model": job.model, "prompt": job.prompt, "params": params}
        if not job.prompt:  # of a model that takes none
            del content["prompt"]
        content["client_request_id"] = client_request_id
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    async def submit(self, intent: Intent) -> Accepted | Refused | Conflict | Fatal | Retryable:
        """POST /api/v1/generations with the intent's key and bytes."""
        answer = await self._call(
            "POST",
            f"{API}/generations",
            content=intent.body,
            headers={"Content-Type": "application/json", "Idempotency-Key": intent.key},
            expires=intent.expires,
        )
        if isinstance(answer, Retryable):
            return answer
        task = self._task(read_task(answer.json, absolute=self._http.absolute, word="unknown"))
        if task and answer.is_success:
            return Accepted(task)
        # A success that names no task is a lost answer: the same key asks again.
        return self._sort(answer)

    async def poll(self, task_id: str) -> TaskState | Unknown | Going | Fatal | Retryable:
        """GET /api/v1/generations/{taskId}."""
        answer = await self._call("GET", f"{API}/generations/{quote(task_id, safe='')}")
        if isinstance(answer, Retryable):
            return answer
        if answer.is_success:
            task = self._task(read_task(answer.json, absolute=self._http.absolute, task_id=task_id))
            if task and task.task_id == task_id:
                return task
            whose = f" of another task ({task.task_id[:80]})" if task else ""
            return Going("", self._http.mask(f"HTTP {answer.status} without a state{whose}: {answer.text[:100]!r}"))
        match self._sort(answer):
            case Refused(code, bare, request_id) if answer.status in (404, 410) or code == "not_found":
                return Unknown(code, bare, request_id)
            case Refused(code, bare, request_id) | Conflict(code, bare, request_id):
                return Retryable(code, bare, request_id=request_id)
            case other:
                return other

    def _task(self, task: TaskState | None) -> TaskState | None:
        """A task whose words can be kept; None without an id that can. The key is nobody's id or URL."""
        if task is None or self._http.holds_key(task.task_id):
            return None
        mask = self._http.mask
        return replace(
            task,
            word=mask(task.word),
            urls=tuple(url for url in task.urls if not self._http.holds_key(url)),
            error_code=mask(task.error_code) if task.error_code else None,
            error_message=mask(task.error_message) if task.error_message else None,
            model=mask(task.model) if task.model else None,
        )

    # Files (section 4)

    async def upload(
        self, reference: FileReference, content: bytes, model: str
    ) -> Upload | Refused | Fatal | Retryable:
        """POST /api/v1/files, multipart."""
        answer = await self._call(
            "POST",
            f"{API}/files",
            data={"kind": reference.kind, "model": model, "client_request_id": f"batcher-{reference.sha256[:32]}"},
            files={"file": (_file_name(reference), content, reference.mime)},
            seconds=UPLOAD_SECONDS,
        )
        if isinstance(answer, Retryable):
            return answer
        found = self._named(answer)
        if not answer.is_success or not found["url"]:
            return self._plain(answer)
        named = echoed(reference.kind, reference.mime, found["kind"], found["mime_type"])
        if named is None:
            says = f"the API took the file for {found['kind'] or ''} {found['mime_type'] or ''}, it is {reference.mime}"
            return Refused("upload_mistaken", self._http.mask(says))
        return Upload(
            sha256=reference.sha256,
            url=found["url"],
            kind=named[0],
            name=_file_name(reference),
            mime=named[1],
            file_id=found["file_id"],
            duration_token=found["duration_token"],
            duration_seconds=found["duration_seconds"],
            checked_at=self._clock.wall(),
        )

    def _named(self, answer: Answer) -> dict[str, Any]:
        """What the API says of an uploaded file; a URL that no create can name counts as absent."""
        found = {name: self._kept(value) for name, value in read_upload(answer.json).items()}
        return found if usable_url(found["url"]) else found | {"url": None}

    def _kept(self, value: Any) -> Any:
        """A value that is acted on; one with the key in it counts as absent, for it could not be kept."""
        return None if isinstance(value, str) and self._http.holds_key(value) else value

    async def verify_upload(self, upload: Upload) -> Upload | Literal[False] | Retryable | None:
        """GET /api/v1/files/{fileId}: the upload with the URL and duration token that it has now.

        False when the API has it no more; None when it gave no id or an answer that says nothing of the file.
        """
        if not upload.file_id:
            return None
        answer = await self._call("GET", f"{API}/files/{quote(upload.file_id, safe='')}")
        if isinstance(answer, Retryable):
            return answer
        if answer.is_success:
            found, now = self._named(answer), self._clock.wall()
            url, token = found["url"] or upload.url, found["duration_token"] or upload.duration_token
            return replace(upload, url=url, duration_token=token, checked_at=now)
        sorted_ = self._sort(answer)
        if isinstance(sorted_, Retryable):
            return sorted_
        return False if answer.status in (404, 410) or sorted_.code == "not_found" else None

    # Wallet and models (sections 6 and 7)

    async def credits(self) -> int | Fatal | Retryable | Refused:
        """GET /api/v1/credits."""
        answer = await self._call("GET", f"{API}/credits")
        if isinstance(answer, Retryable):
            return answer
        found = as_number(answer.json.get("current_credits")) if isinstance(answer.json, dict) else None
        if answer.is_success and found is not None:
            return math.floor(found)  # a wallet is rounded down where a price is rounded up: both spend less
        return self._plain(answer)

    async def models(self) -> list[dict[str, object]] | Fatal | Retryable | Refused:
        """GET /api/v1/models."""
        answer = await self._call("GET", f"{API}/models")
        if isinstance(answer, Retryable):
            return answer
        found = answer.json.get("data") if isinstance(answer.json, dict) else None
        if answer.is_success and isinstance(found, list):
            holds_key = self._http.holds_key
            return [model for model in found if isinstance(model, dict) and not holds_key(json.dumps(model))]
        return self._plain(answer)

    def _plain(self, answer: Answer) -> Refused | Fatal | Retryable:
        """An answer to a request that no idempotency key goes with."""
        found = self._sort(answer)
        return Refused(found.code, found.bare, found.request_id) if isinstance(found, Conflict) else found

    def _sort(self, answer: Answer) -> Refused | Conflict | Fatal | Retryable:
        return sort(answer, self._clock.wall(), self._http.mask, RIVYA)

    # Results (section 9: host, lifetime and the need of a key are not documented)

    def is_own_host(self, url: str) -> bool:
        """Whether a URL is served by the API itself and so counts against its request limit."""
        return self._http.is_own_origin(url)

    @asynccontextmanager
    async def result(
        self, url: str, *, offset: int, validator: str | None
    ) -> AsyncIterator[Incoming | Redirected | Gone | Refused | Retryable]:
        """GET a result URL; a range of it only under a strong validator (RFC 9110, 13.1.5 and 14).

        The key goes along to the API's own origin only.
        """
        headers = {"Range": f"bytes={offset}-", "If-Range": validator} if offset and validator else {}
        async with self._http.open(url, headers) as stream:
            if isinstance(stream, Retryable):
                yield stream
            elif isinstance(stream, Barred):
                yield Gone(stream.reason, stream.local)
            elif 300 <= stream.status < 400 and (location := stream.headers.get("location")):
                yield self._moved(joined(url, location.strip()))
            else:
                begun = (offset, validator or "") if headers else (0, "")
                yield self._incoming(stream, *begun)

    def _moved(self, url: str) -> Redirected | Gone:
        return (
            Gone("the result redirects to a URL that holds the key") if self._http.holds_key(url) else Redirected(url)
        )

    def _incoming(self, stream: Stream, offset: int, begun: str) -> Incoming | Gone | Refused | Retryable:
        """What is sent, from `offset` on if it is a part of the version that was `begun` (a validator)."""
        status, headers = stream.status, stream.headers
        chunks = _uncut(stream.chunks, self._http.mask)
        etag = headers.get("etag", "")
        # An encoded body has other bytes and another length than the file, so nothing vouches for a part of it.
        plain = not codings(headers.get("content-encoding", ""))
        strong = plain and etag.startswith('"') and etag.isascii() and not self._http.holds_key(etag)
        validator = etag if strong else None
        if status == 206 and offset:
            said = headers.get("content-range", "")
            first, last, total = as_content_range(said)
            length = _length(headers)
            fits = last is not None and (total is None or last < total) and length in (None, last - offset + 1)
            same = etag in ("", begun)  # a cache that heeds no If-Range sends a part of whatever it has now
            if first == offset and fits and plain and same:
                return Incoming(chunks, offset, total, validator)
            return Gone(self._http.mask(f"the server sent another part than asked for ({said[:100]})"))
        if status == 200:
            return Incoming(chunks, 0, _length(headers) if plain else None, validator)
        if status in (401, 403, 404, 410, 416) or 300 <= status < 400:
            return Gone(f"HTTP {status} for the result")
        if status == 429 or status >= 500 or status == 408:
            sent_at = as_date(headers.get("date", ""))
            wait = as_retry_after(headers.get("retry-after"), self._clock.wall() if sent_at is None else sent_at)
            return Retryable(
                f"http_{status}",
                f"HTTP {status} for the result",
                retry_after=wait,
                throttled=status == 429,
                outage=stream.own and status >= 500,  # of another host it says nothing about the API
                cause="server",
            )
        return Refused(f"http_{status}", f"HTTP {status} for the result")


def _length(headers: Mapping[str, str]) -> int | None:
    """The length that was announced of what is sent; none where the body is chunked (RFC 9112, 6.3)."""
    return None if "transfer-encoding" in headers else as_count(headers.get("content-length", ""))


def _file_name(reference: FileReference) -> str:
    """The name that an upload gets: the extension is that of its bytes, whatever the file is called here."""
    path = reference.path
    if mimetypes.guess_type(path.name)[0] == reference.mime:
        return path.name
    return path.stem + (_EXTENSIONS.get(reference.mime) or mimetypes.guess_extension(reference.mime) or path.suffix)


def _url_item(reference: UrlReference) -> dict[str, Any]:
    """An entry of `params.referenceMediaItems` (sections 2 and 4) for a URL that the API fetches itself."""
    item: dict[str, Any] = {"url": reference.url, "kind": reference.kind}
    if name := PurePosixPath(unquote(urlsplit(reference.url).path)).name:
        item["name"] = name
        mime = _MIMES.get(PurePosixPath(name).suffix.lower()) or mimetypes.guess_type(name)[0]
        if mime and mime.startswith(f"{reference.kind}/"):
            item["mimeType"] = mime
    return item


def _upload_item(upload: Upload) -> dict[str, Any]:
    """The same for a file that the API has."""
    item: dict[str, Any] = {"url": upload.url, "kind": upload.kind, "name": upload.name, "mimeType": upload.mime}
    if upload.duration_token is not None:
        item["durationToken"] = upload.duration_token
    if upload.duration_seconds is not None:
        item["durationSeconds"] = upload.duration_seconds
    return item


async def _uncut(chunks: AsyncGenerator[bytes, None], mask: Callable[[str], str]) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    except TRANSFER_ERRORS as error:
        raise TransferCut(mask(str(error)) or type(error).__name__) from error
