"""huey on SQLite: enqueue the work, run a consumer with threads until the queue is empty.

    python -m benchmarks.peers.huey_command BASE_URL FOLDER [--again]

huey takes a task off the queue before it works on it and does not acknowledge it afterwards (its guide says so), so
what a killed consumer had at hand is gone. Started again, the command goes on with what is left in the queue. With
`--again` it is what somebody writes who has read that: tasks have ids made from their lines (a recipe of huey's guide),
and every start enqueues what has neither its file nor a place in the queue; the id is the idempotency key.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(base: str, folder: Path, *, again: bool) -> None:
    os.environ |= {"PEERS_BASE": base, "PEERS_FOLDER": str(folder)}
    fresh = not (folder / "huey.db").exists()
    from .huey_tasks import THREADS, huey, job

    if fresh or again:
        waiting = {task.id for task in (*huey.pending(), *huey.scheduled())}
        with (folder / "work.jsonl").open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                known = {"id": f"line-{number}"} if again else {}
                if known.get("id") not in waiting and not (folder / "files" / f"{number}.mp4").exists():
                    huey.enqueue(job.s(number, json.loads(line), **known))
    consumer = subprocess.Popen(  # noqa: S603
        [
            *(sys.executable, "-m", "huey.bin.huey_consumer", "benchmarks.peers.huey_tasks.huey"),
            *("--workers", str(THREADS), "--no-periodic", "--quiet"),
        ]
    )
    while consumer.poll() is None and (huey.pending_count() or huey.scheduled_count()):
        time.sleep(0.1)
    consumer.send_signal(signal.SIGINT)  # its workers end what they have at hand
    sys.exit(consumer.wait())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), again="--again" in sys.argv)
