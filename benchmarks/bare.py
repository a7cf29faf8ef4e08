"""A bare loop over the same requests as `batcher run`: no ledger, no limits, no files on disk, nothing that survives.

    python -m benchmarks.bare httpx|aiohttp URL JOBS

`httpx` is httpx with its own pool, `aiohttp` httpx over aiohttp's (`httpx-aiohttp`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

AT_ONCE = 32
#: POST a body under a key and return the answer's text; GET a URL and return its bytes.
Post = Callable[[str, bytes], Awaitable[bytes]]
Get = Callable[[str], Awaitable[bytes]]


async def work(jobs: Iterator[int], post: Post, get: Get) -> None:
    """Buy and fetch jobs until there are none."""
    for number in jobs:
        body = json.dumps({"model": "grok-imagine-video", "prompt": f"A boat on lake {number}, at dawn", "params": {}})
        task = json.loads(await post(f"key-{number}", body.encode()))
        await get(task["result"]["primary_url"])


async def by_httpx(url: str) -> tuple[Post, Get]:
    import httpx2 as httpx

    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    return _calls_of(httpx.AsyncClient(limits=limits, trust_env=False), url)


async def by_aiohttp(url: str) -> tuple[Post, Get]:
    import aiohttp
    import httpx
    from httpx_aiohttp import AiohttpTransport

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE))
    return _calls_of(httpx.AsyncClient(transport=AiohttpTransport(client=session), trust_env=False), url)


def _calls_of(client: Any, url: str) -> tuple[Post, Get]:
    async def post(key: str, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        content: bytes = (await client.post(f"{url}/api/v1/generations", content=body, headers=headers)).content
        return content

    async def get(where: str) -> bytes:
        content: bytes = (await client.get(where)).content
        return content

    return post, get


async def main(kind: str, url: str, number: int) -> None:
    make = {"httpx": by_httpx, "aiohttp": by_aiohttp}[kind]
    post, get = await make(url)
    jobs = iter(range(number))
    await asyncio.gather(*(work(jobs, post, get) for _ in range(AT_ONCE)))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(arguments[0], arguments[1], int(arguments[2])))
