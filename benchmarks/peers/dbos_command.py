"""DBOS on SQLite: a durable workflow a job with a step for the purchase and one for the file, on a queue.

    python -m benchmarks.peers.dbos_command BASE_URL FOLDER

A workflow's id is made from its line, so that enqueueing it again changes nothing; DBOS calls it an idempotency key,
and so it is the one that the API gets. Started again, DBOS takes up each workflow behind its last finished step.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
from dbos import DBOS, DBOSConfig, SetWorkflowID

from benchmarks.bare import save as save_file

AT_ONCE = 32  # more made it no faster
BASE, FOLDER = sys.argv[1], Path(sys.argv[2])
DATABASE = FOLDER / "dbos.sqlite"

client = httpx2.Client(limits=httpx2.Limits(max_connections=AT_ONCE), trust_env=False)


@DBOS.step(retries_allowed=True, max_attempts=5)
def buy(body: dict[str, Any]) -> str:
    """Returns the result's URL."""
    key = {"Idempotency-Key": DBOS.workflow_id or ""}
    answer = client.post(f"{BASE}/api/v1/generations", json=body, headers=key)
    answer.raise_for_status()
    url: str = answer.json()["result"]["primary_url"]
    return url


@DBOS.step(retries_allowed=True, max_attempts=5)
def save(url: str, number: int) -> None:
    """Fetch the file of line `number`."""
    film = client.get(url)
    film.raise_for_status()
    save_file(FOLDER / "files" / f"{number}.mp4", film.content)


@DBOS.workflow()
def job(number: int, body: dict[str, Any]) -> None:
    """Buy the result of line `number` and save it."""
    save(buy(body), number)


def main() -> None:
    # DBOS leaves SQLite's default, a rollback journal; a write-ahead log makes it a fifth faster here.
    with closing(sqlite3.connect(DATABASE)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    config: DBOSConfig = {
        "name": "peers",
        "system_database_url": f"sqlite:///{DATABASE}",
        "application_version": "1",  # workflows of another version are not taken up
        "max_executor_threads": 2 * AT_ONCE,
        "notification_listener_polling_interval_sec": 0.1,
        "log_level": "WARNING",
        "run_admin_server": False,
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue("jobs", worker_concurrency=AT_ONCE, polling_interval_sec=0.05)
    handles = []
    with (FOLDER / "work.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            with SetWorkflowID(f"line-{number}"):
                handles.append(DBOS.enqueue_workflow("jobs", job, number, json.loads(line)))
    for handle in handles:
        handle.get_result()
    DBOS.destroy()


if __name__ == "__main__":
    main()
