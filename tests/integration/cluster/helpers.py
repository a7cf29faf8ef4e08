"""Runs on a real PostgreSQL and the simulator, with workers as tasks of the test's own loop, or as processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import anyio
import psycopg
from forking import Command, started
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batcher.clock import SystemClock
from batcher.cluster.files import shared_files
from batcher.cluster.mirror import pull
from batcher.cluster.runs import ClusterTables
from batcher.cluster.start import Start, StartRequest
from batcher.cluster.worker import Worker, WorkerRequest
from batcher.errors import StorageError
from batcher.ledger import LedgerReader
from batcher.ledger.queries.lookup import Place
from batcher.providers import Provider
from batcher.providers.registry import RIVYA
from batcher.simulator.app import Simulator
from batcher.simulator.switches import DEFAULT_KEY
from batcher.simulator.world import World
from batcher.workload import Workload, prepare, remembered

LEASE = 2.0
MANIFEST = """
campaign: spring
model: grok-imagine-video
limits: {{submit: 600/minute, requests: 1200/minute, in_flight: 8, downloads: 4}}
polling: {{first: 20ms, every: 20ms}}
repeat: {jobs}
prompts: [A fox on a hill]
"""
SLOW_MANIFEST = MANIFEST.replace("20ms", "100ms")


class Machines:
    """A database, a place for results, an account of the simulator's (`world`); what is started is found by its run."""

    form = MANIFEST

    def __init__(self, conninfo: str, folder: Path, world: World, base_url: str) -> None:
        self.conninfo, self.folder, self.world, self.base_url = conninfo, folder, world, base_url
        self.shared = folder / "shared"
        self.shared.mkdir(exist_ok=True)
        self.tables = ClusterTables(conninfo)
        self.said: list[str] = []

    def manifest(self, jobs: int = 2) -> Path:
        path = self.folder / "spring.yaml"
        path.write_text(self.form.format(jobs=jobs))
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
        where = (str(self.shared), files, spool, spool / "mirror.db")
        request = StartRequest(workload, self.conninfo, account, Place.LOOPBACK, *where, **words)
        with Start(request) as start:
            yield start

    async def start(self, jobs: int) -> int:
        """A run that goes on by itself; its number."""
        with self.starting(self.workload(jobs)) as start:
            return await start.begin(self.tables)

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

    async def ended(self, run_id: int, seconds: float = 40) -> dict[str, Any]:
        with anyio.fail_after(seconds):
            while True:
                with suppress(StorageError):  # a test may have ended this connection too
                    if (ending := await self.tables.ending(run_id)) is not None:
                        return ending
                await anyio.sleep(0.05)

    async def until(self, status: str, jobs: int) -> None:
        with anyio.fail_after(30):
            while True:
                with suppress(StorageError):
                    if (await self.tables.progress(["spring"]))[status] >= jobs:
                        return
                await anyio.sleep(0.05)

    async def hears(self, words: str) -> None:
        """Wait until a worker has said so."""
        with anyio.fail_after(20):
            while not any(words in said for said in self.said):  # noqa: ASYNC110  (said by a callback)
                await anyio.sleep(0.05)

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
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def files(self) -> list[Path]:
        return sorted(self.shared.rglob("*.mp4"))

    def check(self, jobs: int) -> None:
        """Every job has its file, and was bought once."""
        oracle = self.world.oracle()
        assert oracle.violations == []
        assert len(oracle.tasks) == jobs
        assert len(self.files()) == jobs
        assert self.rows("SELECT status, count(*) FROM batcher.wanted GROUP BY status") == [("succeeded", jobs)]


#: A clock that is wrong by so many seconds.
_WRONG = "import time; right = time.time; time.time = lambda: right() + {seconds}\n"
State = Literal["open", "cut", "silent", "over"]
#: A host and port, or the path of a socket.
Target = tuple[str, int] | str


class Cluster(Machines):
    """The same with workers as processes, and a simulator that takes its time."""

    form = SLOW_MANIFEST

    def __init__(self, conninfo: str, folder: Path, app: Simulator, base_url: str) -> None:
        super().__init__(conninfo, folder, app.world, base_url)
        self.app = app

    @contextmanager
    def workers(self, number: int, lease: float = LEASE, *ways: Mapping[str, str]) -> Iterator[list[Command]]:
        """So many workers as processes, which are asked to leave in the end; none of their clocks is right.

        `ways`: the variables in which each differs from the others, and as `first` what it runs before it begins.
        """
        env = {"RIVYA_API_KEY": DEFAULT_KEY, "RIVYA_BASE_URL": self.base_url, "BATCHER_LEDGER": url_of(self.conninfo)}
        env |= {"BATCHER_RESULTS": str(self.shared), "PATH": os.environ["PATH"], "HOME": str(self.folder)}
        with ExitStack() as stack:
            found = []
            for place in range(number):
                own = dict(ways[place]) if ways else {}
                first = _WRONG.format(seconds=(-3600, 3600)[place % 2]) + own.pop("first", "")
                words = ("worker", "--lease", f"{lease:.0f}s", "--concurrency", "8")
                begun = started(*words, cwd=self.folder, env=env | own, first=first, stderr=subprocess.STDOUT)
                found.append(stack.enter_context(begun))
            try:
                yield found
            finally:
                for each in found:
                    each.send_signal(signal.SIGTERM)
                for each in found:
                    said, _ = each.communicate(20)
                    self.said.append(said)
                    print(said)
                    assert each.returncode in (0, 6, -signal.SIGKILL), said
                    assert "Traceback" not in said, said

    async def intending(self, connection: psycopg.Connection[Any]) -> tuple[int, list[str]]:
        """A worker that is just about to buy (its pid), and the jobs that it has intended."""
        sql = (
            "SELECT o.pid, array_agg(w.id) FROM batcher.wanted AS w JOIN batcher.claims AS c ON c.job_id = w.id"
            " JOIN batcher.workers AS o ON o.name = c.worker WHERE w.status = 'submitting' GROUP BY 1"
        )
        with anyio.fail_after(30):
            while (found := connection.execute(sql).fetchone()) is None:  # noqa: ASYNC110  (another process writes it)
                await anyio.sleep(0.05)
        return int(found[0]), list(found[1])

    async def bought(self, connection: psycopg.Connection[Any], jobs: list[str]) -> None:
        """Wait until these jobs have their tasks."""
        sql = "SELECT job_id FROM batcher.attempts WHERE job_id = ANY(%s) AND task_id IS NOT NULL"
        await self._asked(connection, sql, (jobs,), lambda found: len(found) == len(jobs))

    async def _asked(self, connection: Any, sql: str, values: Any, enough: Callable[[list[str]], bool]) -> list[str]:
        with anyio.fail_after(30):
            while True:
                if enough(found := [row[0] for row in connection.execute(sql, values).fetchall()]):
                    return found
                await anyio.sleep(0.05)


class Proxy:
    """Forwards connections to `port` of 127.0.0.1. `become` may be called from any thread."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._state: State = "open"
        self._loop = asyncio.new_event_loop()
        self._goes = asyncio.Event()
        self._goes.set()
        self._over = asyncio.Event()
        self._ends = set[asyncio.StreamWriter]()
        self.port = 0

    def become(self, state: State) -> None:
        """From now on: forward; or end all connections and take no more; or forward nothing, and end none."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._become, state, done)
        assert done.wait(5)

    def _become(self, state: State, done: threading.Event) -> None:
        self._state = state
        if state == "silent":
            self._goes.clear()
        else:
            self._goes.set()
        if state == "over":
            self._over.set()
        if state == "cut":
            for each in self._ends:
                each.transport.abort()
        done.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._state == "cut":
            writer.transport.abort()
            return
        try:
            if isinstance(self._target, str):
                there = await asyncio.open_unix_connection(self._target)
            else:
                there = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._ends |= {writer, there[1]}
        await asyncio.gather(self._forward(reader, there[1]), self._forward(there[0], writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._goes.wait()
                writer.write(data)
        writer.close()
        self._ends.discard(writer)

    async def _main(self, listens: threading.Event) -> None:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            listens.set()
            await self._over.wait()
            server.close()

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        listens = threading.Event()
        thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._main(listens)))
        thread.start()
        try:
            assert listens.wait(5)
            yield self
        finally:
            self.become("cut")
            self.become("over")
            thread.join()
            self._loop.close()


def url_of(conninfo: str) -> str:
    """A connection string as BATCHER_LEDGER has it."""
    return f"postgresql:///?{urlencode(conninfo_to_dict(conninfo))}"


@contextmanager
def on_the_way_to(conninfo: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before a database, and the connection string that goes by it."""
    parts = conninfo_to_dict(conninfo)
    host, port = str(parts.get("host") or "127.0.0.1"), int(parts.get("port") or 5432)
    with Proxy(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)).running() as proxy:
        yield proxy, make_conninfo(conninfo, host="127.0.0.1", port=proxy.port)
