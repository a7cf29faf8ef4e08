"""The parallel-request script: asyncio and httpx2, retries, an append-only JSONL of what was done.

    python -m benchmarks.peers.script BASE_URL FOLDER

The pattern of OpenAI's cookbook and of many a notebook, with its throttle left out, for no limit applies here: requests
from `work.jsonl` go out side by side, a failed one is tried again, and each result becomes a line of `results.jsonl`.
Started again, it skips the lines that are there. It has no idempotency key: the pattern gives a request no name that
outlives the process. Nothing is written before a request leaves; files are synced, as everybody's are here.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import httpx2

from benchmarks.bare import save

AT_ONCE = 64
ATTEMPTS = 5
PAUSE = 0.5  # seconds, doubled each time


def done(results: Path) -> set[int]:
    """The line numbers that an earlier start finished; a line that a kill cut off is none."""
    found = set()
    for line in results.read_text("utf-8").splitlines() if results.exists() else ():
        try:
            _, _, place = json.loads(line)
        except ValueError:
            continue
        found.add(place["line"])
    return found


async def one(client: httpx2.AsyncClient, base: str, body: dict[str, Any], target: Path) -> dict[str, Any]:
    """Buy one result and save it; returns the API's answer."""
    response = await client.post(f"{base}/api/v1/generations", json=body)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    film = await client.get(answer["result"]["primary_url"])
    film.raise_for_status()
    save(target, film.content)
    return answer


async def worker(
    client: httpx2.AsyncClient, base: str, folder: Path, work: Iterator[tuple[int, str]], results: TextIO
) -> None:
    """Take lines until there is none left."""
    for number, line in work:
        body = json.loads(line)
        for attempt in range(ATTEMPTS):
            try:
                answer = await one(client, base, body, folder / "files" / f"{number}.mp4")
            except httpx2.HTTPError as error:
                print(f"{number}: {error!r}", file=sys.stderr)
                await asyncio.sleep(PAUSE * 2**attempt)
                continue
            results.write(json.dumps([body, answer, {"line": number}]) + "\n")
            results.flush()
            break


async def main(base: str, folder: Path) -> None:
    results = folder / "results.jsonl"
    skip = done(results)
    with (folder / "work.jsonl").open(encoding="utf-8") as lines, results.open("a", encoding="utf-8") as out:
        work = ((number, line) for number, line in enumerate(lines, 1) if number not in skip)
        limits = httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        async with httpx2.AsyncClient(limits=limits, trust_env=False) as client:
            await asyncio.gather(*(worker(client, base, folder, work, out) for _ in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
