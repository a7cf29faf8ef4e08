"""What the simulator's tests share: a clock that stands still, and a client in the same process."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx2
from PIL import Image

from batcher.simulator.app import EventHook, Media, Simulator, stub_media
from batcher.simulator.faults import Faults, parse_all
from batcher.simulator.journal import Journal
from batcher.simulator.serve import running
from batcher.simulator.switches import DEFAULT_KEY, Switches
from batcher.simulator.world import World

START = 1_700_000_000.0
AUTH = {"Authorization": f"Bearer {DEFAULT_KEY}"}
JOB: dict[str, Any] = {"model": "grok-imagine-video", "prompt": "a watch"}


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


class Lab:
    """A world, its app and a client without a socket. Keyword arguments are switches."""

    def __init__(
        self,
        *,
        seed: int = 1,
        wallet: int = 1000,
        faults: list[object] | None = None,
        journal: Journal | None = None,
        media: Media = stub_media,
        clock: Clock | None = None,
        **switches: object,
    ) -> None:
        self.clock = clock or Clock()
        settings = Switches(queue_seconds=(2, 2), run_seconds=(10, 10))
        settings.set(switches)
        self.world = World(now=self.clock, seed=seed, wallet=wallet, switches=settings, journal=journal)
        self.app: Simulator = Simulator(self.world, Faults(parse_all(faults or []), seed=seed), media)
        self.events: list[str] = []
        self.app.on_event = lambda _number, name: self.events.append(name)

    def request(self, method: str, url: str, **options: Any) -> httpx2.Response:
        return anyio.run(lambda: self.send(method, url, **options))

    async def send(self, method: str, url: str, **options: Any) -> httpx2.Response:
        headers = AUTH | options.pop("headers", {})
        headers = {name: value for name, value in headers.items() if value is not None}
        transport = httpx2.ASGITransport(self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://simulator.test", trust_env=False) as client:
            return await client.request(method, url, headers=headers, **options)

    def get(self, url: str, **headers: str) -> httpx2.Response:
        return self.request("GET", url, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def create(self, key: str | None = "key-1", **changes: Any) -> httpx2.Response:
        return self.post(json.dumps(JOB | changes).encode(), key)

    def post(self, body: bytes, key: str | None = "key-1") -> httpx2.Response:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self.request("POST", "/api/v1/generations", headers=headers, content=body)

    def upload(self, data: bytes, name: str = "ring.png", **fields: str) -> httpx2.Response:
        form = {"kind": "image", "model": "grok-imagine-video"} | fields
        return self.request("POST", "/api/v1/files", files={"file": (name, data)}, data=form)

    def finished(self, key: str = "key-1", **changes: Any) -> dict[str, Any]:
        """A task that is at its end."""
        task = self.create(key, **changes).json()["id"]
        self.clock.time += 100
        found: dict[str, Any] = self.get(f"/api/v1/generations/{task}").json()
        return found

    def order(self, **orders: object) -> None:
        answer = self.request("POST", "/_simulator/orders", json=orders)
        assert answer.status_code == 200, answer.text


def error_of(response: httpx2.Response) -> tuple[int, str]:
    """Status and code of an error; its envelope is checked on the way."""
    error = response.json()["error"]
    assert set(error) == {"code", "message", "requestId"}
    assert error["message"]
    assert error["requestId"].startswith("req_")
    return response.status_code, error["code"]


def png(color: str = "orange") -> bytes:
    """A small picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def served(lab: Lab, on_event: EventHook | None = None) -> Iterator[Callable[[], httpx2.Client]]:
    """The lab behind a real socket; gives a maker of clients."""
    if on_event:
        lab.app.on_event = on_event
    with running(lab.app) as base_url:
        yield lambda: httpx2.Client(base_url=base_url, headers=AUTH, trust_env=False, timeout=10)
