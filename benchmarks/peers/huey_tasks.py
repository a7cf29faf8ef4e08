"""What the huey consumer imports: the queue in SQLite, and the task. See `huey_command`.

huey gives each task an id, which stays the same when huey itself retries it: that is the idempotency key here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import urllib3
from huey import SqliteHuey

THREADS = 16
BASE, FOLDER = os.environ["PEERS_BASE"], Path(os.environ["PEERS_FOLDER"])

huey = SqliteHuey("peers", filename=str(FOLDER / "huey.db"))
pool = urllib3.PoolManager(maxsize=THREADS)


@huey.task(retries=5, retry_delay=1, context=True)
def job(number: int, body: dict[str, Any], task: Any = None) -> None:
    """Buy the result of line `number` and save it, whole or not at all."""
    answer = pool.request("POST", f"{BASE}/api/v1/generations", json=body, headers={"Idempotency-Key": task.id})
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}")
    film = pool.request("GET", answer.json()["result"]["primary_url"])
    if film.status != 200:
        raise RuntimeError(f"{film.status}")
    part = FOLDER / "files" / f"{number}.part"
    part.write_bytes(film.data)
    part.replace(part.with_suffix(".mp4"))
