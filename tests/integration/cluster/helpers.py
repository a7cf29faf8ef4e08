"""Runs on a real PostgreSQL and the simulator, with workers as tasks of the test's own loop."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import psycopg

from batcher.clock import SystemClock
from batcher.cluster.files import shared_files
from batcher.cluster.mirror import pull
from batcher.cluster.runs import ClusterTables
from batcher.cluster.start import Start, StartRequest
from batcher.cluster.worker import Worker, WorkerRequest
from batcher.ledger import LedgerReader
from batcher.ledger.queries.lookup import Place
from batcher.providers import Provider
from batcher.providers.registry import RIVYA
from batcher.simulator.switches import DEFAULT_KEY
from batcher.simulator.world import World
from batcher.workload import Workload, prepare, remembered

MANIFEST = """
campaign: spring
model: grok-imagine-video
limits: {{submit: 600/minute, requests: 1200/minute, in_flight: 8, downloads: 4}}
polling: {{first: 20ms, every: 20ms}}
repeat: {jobs}
prompts: [A fox on a hill]
"""


class Machines:
    """A database, a place for results, an account of the simulator's (`world`); what is started is found by its run."""

    def __init__(self, conninfo: str, folder: Path, world: World, base_url: str) -> None:
        self.conninfo, self.folder, self.world, self.base_url = conninfo, folder, world, base_url
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.tables = ClusterTables(conninfo)
        self.said: list[str] = []

    def manifest(self, jobs: int = 2) -> Path:
        path = self.folder / "spring.yaml"
        path.write_text(MANIFEST.format(jobs=jobs))
        return path

    def workload(self, jobs: int = 2, **selection: Any) -> Workload:
        return prepare([self.manifest(jobs)], **selection)

    @contextmanager
    def starting(self, workload: Workload, **words: Any) -> Iterator[Start]:
        """A run that is planned, by what is as of another machine each time."""
        spool = self.folder / f"start-{time.monotonic_ns()}"
        spool.mkdir()
        account = RIVYA.account(self.base_url, DEFAULT_KEY)
        files = shared_files(str(self.shared))
        request = StartRequest(
            workload, self.conninfo, account, Place.LOOPBACK, str(self.shared), files, spool, **words
        )
        with Start(request) as start:
            yield start

    @asynccontextmanager
    async def worker(self, **words: Any) -> AsyncIterator[Worker]:
        """A worker for the block."""

        @contextmanager
        def connect(networks: tuple[str, ...]) -> Iterator[Provider]:
            yield RIVYA.connect(self.base_url, DEFAULT_KEY, SystemClock(), allow_net=networks)

        spool = self.folder / f"worker-{time.monotonic_ns()}"
        spool.mkdir()
        account, files = RIVYA.account(self.base_url, DEFAULT_KEY), shared_files(str(self.shared))
        request = WorkerRequest(self.conninfo, account, connect, str(self.shared), files, spool, lease=2.0, **words)
        async with anyio.create_task_group() as group:
            worker = Worker(request, self.said.append)
            group.start_soon(worker.run)
            yield worker
            worker.stop()

    async def ended(self, run_id: int) -> dict[str, Any]:
        with anyio.fail_after(30):
            while (ending := await self.tables.ending(run_id)) is None:  # noqa: ASYNC110  (another process may end it)
                await anyio.sleep(0.05)
        return ending

    async def done(self, workload: Workload, *, working: bool = True, **words: Any) -> dict[str, Any]:
        """A run to its end; with a worker of its own, unless others work."""
        async with AsyncExitStack() as stack:
            if working:
                await stack.enter_async_context(self.worker(buys=words.get("buys", True)))
            with self.starting(workload, **words) as start:
                return await self.ended(await start.begin(self.tables))

    async def fetched(self, **words: Any) -> dict[str, Any]:
        """What `batcher fetch` does, by a worker of its own."""
        with self.reading() as read:
            workload = remembered(read, ["spring"], [])
        return await self.done(workload, buys=False, **words)

    @contextmanager
    def reading(self) -> Iterator[LedgerReader]:
        """The ledger as everybody reads it: by a mirror."""
        pull(self.conninfo, self.folder / "mirror.db")
        with closing(LedgerReader.open(self.folder / "mirror.db")) as read:
            yield read

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    def files(self) -> list[Path]:
        return sorted(self.shared.rglob("*.mp4"))
