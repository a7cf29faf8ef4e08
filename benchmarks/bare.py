"""A bare loop over the same requests as `batcher run`, whose files it saves and syncs: no ledger, no limits.

    python -m benchmarks.bare httpx2|aiohttp URL FOLDER JOBS
    python -m benchmarks.bare poll URL TASKS EVERY

`httpx2` is the client of batcher; `aiohttp` shows what another one would come to. `poll` asks by httpx2 for each of so
many tasks every so many seconds, evenly, until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

AT_ONCE = 32
#: POST a body under a key and return the answer's text; GET a URL and return its bytes.
Post = Callable[[str, bytes], Awaitable[bytes]]
Get = Callable[[str], Awaitable[bytes]]


def save(target: Path, film: bytes) -> None:
    """Whole or absent, and on the disk; a short file is not worth a thread."""
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        file.write(film)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)


async def work(jobs: Iterator[int], folder: Path, post: Post, get: Get) -> None:
    """Buy, fetch and save jobs until there are none."""
    for number in jobs:
        body = json.dumps({"model": "grok-imagine-video", "prompt": f"A boat on lake {number}, at dawn", "params": {}})
        task = json.loads(await post(f"key-{number}", body.encode()))
        save(folder / f"{number}.mp4", await get(task["result"]["primary_url"]))


def _headers(key: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "Idempotency-Key": key}


def by_httpx2(url: str) -> tuple[Post, Get]:
    """Calls by one client of httpx2."""
    import httpx2

    limits = httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    client = httpx2.AsyncClient(limits=limits, trust_env=False)

    async def post(key: str, body: bytes) -> bytes:
        return (await client.post(f"{url}/api/v1/generations", content=body, headers=_headers(key))).content

    async def get(where: str) -> bytes:
        return (await client.get(where)).content

    return post, get


def by_aiohttp(url: str) -> tuple[Post, Get]:
    """Calls by one session of aiohttp."""
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE))

    async def post(key: str, body: bytes) -> bytes:
        async with session.post(f"{url}/api/v1/generations", data=body, headers=_headers(key)) as answer:
            found: bytes = await answer.read()
            return found

    async def get(where: str) -> bytes:
        async with session.get(where) as answer:
            found: bytes = await answer.read()
            return found

    return post, get


async def main(kind: str, url: str, folder: Path, number: int) -> None:
    """Work with so many at once."""
    post, get = {"httpx2": by_httpx2, "aiohttp": by_aiohttp}[kind](url)
    jobs = iter(range(number))
    await asyncio.gather(*(work(jobs, folder, post, get) for _ in range(AT_ONCE)))


async def poll(url: str, tasks: int, every: float) -> None:
    """Ask for all tasks, again and again; the first round is as quick as it goes."""
    _, get = by_httpx2(url)
    for number in range(tasks):
        await get(f"{url}/api/v1/generations/open-{number}")
    begun = time.monotonic()
    for number in count():
        await asyncio.sleep(begun + number * every / tasks - time.monotonic())
        json.loads(await get(f"{url}/api/v1/generations/open-{number % tasks}"))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == "poll":
        with suppress(KeyboardInterrupt):
            asyncio.run(poll(arguments[1], int(arguments[2]), float(arguments[3])))
        sys.exit()
    Path(arguments[2]).mkdir()
    asyncio.run(main(arguments[0], arguments[1], Path(arguments[2]), int(arguments[3])))
