"""A provider over a handler function, and the nouns it is fed with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import httpx2 as httpx
from virtual_time import VirtualClock

from batcher.clock import Moment
from batcher.jobs import FileReference, Intent, Job, JobId, Reference, Upload
from batcher.providers import Fatal, Retryable
from batcher.providers.rivya import Rivya

KEY = "rvya_sk_test-key-of-nobody"
API = "https://api.test"
TASK: dict[str, Any] = {"id": "task_1", "status": "queued", "reserved_credits": 10, "final_credits": 0}
INTENT = Intent(1, JobId("a" * 32), 1, "key-1", b'{"model":"m"}', "account", Moment(0.0), False)

Handler = Callable[[httpx.Request], httpx.Response]
T = TypeVar("T")


def ask(handler: Handler, use: Callable[[Rivya], Awaitable[T]], *, base_url: str = API, key: str = KEY) -> T:
    """Use a provider whose requests `handler` answers."""
    [found] = ask_each([handler], use, base_url=base_url, key=key)
    return found


def ask_each(
    handlers: Iterable[Handler], use: Callable[[Rivya], Awaitable[T]], *, base_url: str = API, key: str = KEY
) -> list[T]:
    """Use a provider again and again, each time with another handler."""
    clock = VirtualClock()

    async def main() -> list[T]:
        answering: list[Handler] = []
        transport = httpx.MockTransport(lambda request: answering[-1](request))
        provider, found = Rivya(base_url, key, clock, transport=transport), []
        try:
            for handler in handlers:
                answering.append(handler)
                found.append(await use(provider))
            return found
        finally:
            await provider.aclose()

    return clock.run(main)


def always(response: httpx.Response) -> Handler:
    """A handler that gives the same answer to everything."""
    return lambda request: response


def error(status: int, code: str | None, **headers: str) -> httpx.Response:
    """An error answer as the API's pages print it; without a code a proxy's page."""
    if code is None:
        return httpx.Response(status, text="<html>sorry</html>", headers=headers)
    body = {"error": {"code": code, "message": "Some words.", "requestId": "req_7"}}
    return httpx.Response(status, json=body, headers=headers)


def make_job(*, reference: Reference | None = None, params: dict[str, Any] | None = None) -> Job:
    """A job; only what a request's body is made of matters."""
    return Job(
        id=JobId("a" * 32),
        campaign="spring",
        model="grok-imagine-video",
        name="boat",
        prompt="Ein Boot – 船",
        params=params or {},
        reference=reference,
        take=1,
        price_class="p",
        catalog_credits=10,
        file_name="boat",
    )


PICTURE = FileReference(Path("/refs/böat.png"), "ab" * 32, 5, "image/png")


def make_upload(**changes: Any) -> Upload:
    """What the API says of an uploaded picture."""
    fields: dict[str, Any] = {
        "sha256": PICTURE.sha256,
        "url": "https://cdn.test/1.png",
        "kind": "image",
        "name": "boat.png",
        "mime": "image/png",
        "file_id": "file_1",
        "duration_token": None,
        "duration_seconds": None,
        "checked_at": 0.0,
    }
    return Upload(**fields | changes)


# Each use of a provider

Use = Callable[[Rivya], Awaitable[Any]]


async def submit(provider: Rivya) -> Any:
    return await provider.submit(INTENT)


async def poll(provider: Rivya) -> Any:
    return await provider.poll("task_1")


async def upload(provider: Rivya) -> Any:
    return await provider.upload(PICTURE, b"bytes", "grok-imagine-video")


async def wallet(provider: Rivya) -> Any:
    return await provider.credits()


async def models(provider: Rivya) -> Any:
    return await provider.models()


USES: dict[str, Use] = {"create": submit, "poll": poll, "upload": upload, "credits": wallet, "models": models}


def words(outcome: object) -> str:
    match outcome:
        case Fatal(reason=reason):
            return f"halt {reason}"
        case Retryable():
            flags = [("throttled", outcome.throttled), ("outage", outcome.outage), ("maybe", outcome.maybe_received)]
            flags += [("page", outcome.page)]
            return " ".join(["later"] + [name for name, there in flags if there])
        case _:
            return type(outcome).__name__.lower()


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("gone", request=request)
