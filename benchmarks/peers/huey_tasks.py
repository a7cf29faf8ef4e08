"""What the huey consumer imports: the queue in SQLite, and the task. See `huey_command`.

huey gives each task an id, which stays the same when huey itself retries it: that is the idempotency key here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2
from huey import SqliteHuey

from benchmarks.bare import save

THREADS = 16
BASE, FOLDER = os.environ["PEERS_BASE"], Path(os.environ["PEERS_FOLDER"])

huey = SqliteHuey("peers", filename=str(FOLDER / "huey.db"))
client = httpx2.Client(limits=httpx2.Limits(max_connections=THREADS), trust_env=False)


@huey.task(retries=5, retry_delay=1, context=True)
def job(number: int, body: dict[str, Any], task: Any = None) -> None:
    """Buy the result of line `number` and save it, whole or not at all."""
    answer = client.post(f"{BASE}/api/v1/generations", json=body, headers={"Idempotency-Key": task.id})
    answer.raise_for_status()
    film = client.get(answer.json()["result"]["primary_url"])
    film.raise_for_status()
    save(FOLDER / "files" / f"{number}.mp4", film.content)
