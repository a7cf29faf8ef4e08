"""Runs that go on by themselves: workers, as processes, on a real PostgreSQL and the simulator, in real time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import psycopg
import pytest
from forking import Command, started
from psycopg.conninfo import conninfo_to_dict

from batcher.cluster.engine import JobQueue
from batcher.cluster.files import shared_files
from batcher.cluster.runs import ClusterTables
from batcher.cluster.spec import queue_of
from batcher.cluster.start import Start, StartRequest
from batcher.cluster.store import PostgresLedger
from batcher.controls import read_values
from batcher.errors import StorageError
from batcher.ledger import control
from batcher.ledger.queries.lookup import Place
from batcher.providers.registry import RIVYA
from batcher.simulator.app import Simulator
from batcher.simulator.faults import Faults, parse_all
from batcher.simulator.media import plain
from batcher.simulator.serve import running
from batcher.simulator.switches import DEFAULT_KEY, Switches
from batcher.simulator.world import World
from batcher.workload import prepare

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]
LEASE = 2.0
MANIFEST = """
campaign: spring
model: grok-imagine-video
limits: {{submit: 600/minute, requests: 1200/minute, in_flight: 8, downloads: 4}}
polling: {{first: 100ms, every: 100ms}}
retries: {{replay_window: {replay}, times: 2}}
repeat: {jobs}
prompts: [A fox on a hill]
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Cluster:
    """A database, a place for results and the simulator; `world` is its account."""

    def __init__(self, conninfo: str, folder: Path, world: World, base_url: str) -> None:
        self.conninfo, self.folder, self.world, self.base_url = conninfo, folder, world, base_url
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.url = f"postgresql:///?{urlencode(conninfo_to_dict(conninfo))}"
        self.tables = ClusterTables(conninfo)

    async def start(self, jobs: int, replay: str = "1h") -> int:
        manifest = self.folder / "spring.yaml"
        manifest.write_text(MANIFEST.format(jobs=jobs, replay=replay))
        spool = self.folder / "start"
        spool.mkdir(exist_ok=True)
        account = RIVYA.account(self.base_url, DEFAULT_KEY)
        files = shared_files(str(self.shared))
        request = StartRequest(
            prepare([manifest]), self.conninfo, account, Place.LOOPBACK, str(self.shared), files, spool
        )
        with Start(request) as start:
            return await start.begin(self.tables)

    @contextmanager
    def workers(self, number: int, lease: float = LEASE) -> Iterator[list[Command]]:
        """So many workers as processes, which are asked to leave in the end."""
        env = {"RIVYA_API_KEY": DEFAULT_KEY, "RIVYA_BASE_URL": self.base_url, "BATCHER_LEDGER": self.url}
        env |= {"BATCHER_RESULTS": str(self.shared), "PATH": os.environ["PATH"], "HOME": str(self.folder)}
        words = ("worker", "--lease", f"{lease:.0f}s", "--concurrency", "8")
        with ExitStack() as stack:
            found = [
                stack.enter_context(started(*words, cwd=self.folder, env=env, stderr=subprocess.STDOUT))
                for _ in range(number)
            ]
            try:
                yield found
            finally:
                for each in found:
                    each.send_signal(signal.SIGTERM)
                for each in found:
                    said, _ = each.communicate(20)
                    print(said)
                    assert each.returncode in (0, -signal.SIGKILL), said
                    assert "Traceback" not in said, said

    async def ended(self, run_id: int, seconds: float = 40) -> dict[str, Any]:
        with anyio.fail_after(seconds):
            while True:
                with suppress(StorageError):  # a test may have ended this connection too
                    if (ending := await self.tables.ending(run_id)) is not None:
                        return ending
                await anyio.sleep(0.1)

    async def until(self, status: str, jobs: int) -> None:
        with anyio.fail_after(30):
            while True:
                with suppress(StorageError):
                    if (await self.tables.progress(["spring"]))[status] >= jobs:
                        return
                await anyio.sleep(0.05)

    async def intended_by(self, connection: psycopg.Connection[Any], pid: int) -> list[str]:
        """The jobs that a worker is just about to buy, once there are some."""
        return await self._asked(
            connection,
            "SELECT w.id FROM batcher.wanted AS w JOIN batcher.claims AS c ON c.job_id = w.id"
            " JOIN batcher.workers AS o ON o.name = c.worker WHERE w.status = 'submitting' AND o.pid = %s",
            (pid,),
            bool,
        )

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

    def check(self, jobs: int) -> None:
        """Every job has its file, and was bought once."""
        oracle = self.world.oracle()
        assert oracle.violations == []
        assert len(oracle.tasks) == jobs
        assert len(list(self.shared.rglob("*.mp4"))) == jobs
        with psycopg.connect(self.conninfo) as connection:
            rows = connection.execute("SELECT status, count(*) FROM batcher.wanted GROUP BY status").fetchall()
            assert rows == [("succeeded", jobs)]


@asynccontextmanager
async def eventually(seconds: float = 20) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Within so many seconds; what it gives waits for the next look."""
    with anyio.fail_after(seconds):
        yield lambda: anyio.sleep(0.1)


@pytest.fixture
async def cluster(postgres: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    switches = Switches(queue_seconds=(0.1, 0.2), run_seconds=(0.2, 0.5))
    world = World(now=time.time, wallet=100_000, switches=switches)
    with running(Simulator(world, Faults(parse_all(getattr(request, "param", []))), plain(400))) as base_url:
        found = Cluster(postgres, tmp_path, world, base_url)
        async with found.tables:
            yield found


async def test_another_worker_takes_over_jobs_and_run_of_one_that_died(cluster: Cluster) -> None:
    run_id = await cluster.start(24)
    with cluster.workers(3) as workers:
        await cluster.until("succeeded", 4)
        with psycopg.connect(cluster.conninfo) as connection:
            sql = "SELECT pid FROM batcher.workers JOIN batcher.cluster_runs ON coordinator = name"
            [[pid]] = connection.execute(sql).fetchall()
        [coordinator] = [each for each in workers if each.pid == pid]
        coordinator.kill()
        ending = await cluster.ended(run_id)
    assert ending["kind"] == "done"
    cluster.check(24)


async def test_a_worker_that_was_stopped_beyond_its_lease_and_its_keys_life_sends_nothing(cluster: Cluster) -> None:
    """The trap of every engine: it stood right before a paid request, comes back, and goes on where it stood."""
    run_id = await cluster.start(16)
    with cluster.workers(2) as workers, psycopg.connect(cluster.conninfo, autocommit=True) as connection:
        await cluster.until("succeeded", 2)
        # As a Retry-After: intents are made, and nothing leaves.
        connection.execute(
            "INSERT INTO batcher.pauses AS p (account, until) SELECT account, 'infinity' FROM batcher.slots LIMIT 1"
            " ON CONFLICT (account) DO UPDATE SET until = 'infinity'"
        )
        held = await cluster.intended_by(connection, workers[0].pid)
        workers[0].send_signal(signal.SIGSTOP)
        connection.execute("UPDATE batcher.pauses SET until = NULL")
        cluster.world.switches.set({"run_seconds": 2})  # so that the run outlives its awakening
        await cluster.bought(connection, held)
        cluster.world.switches.set({"key_lifetime": 0, "run_seconds": 0.2})  # now every key buys anew
        workers[0].send_signal(signal.SIGCONT)
        ending = await cluster.ended(run_id)
    assert ending["kind"] == "done"
    cluster.check(16)


async def test_the_loss_of_all_of_the_queue_costs_nothing(cluster: Cluster) -> None:
    run_id = await cluster.start(16)
    with cluster.workers(2):
        await cluster.until("succeeded", 2)
        with psycopg.connect(cluster.conninfo, autocommit=True) as connection:
            connection.execute("DROP SCHEMA procrastinate CASCADE")
        ending = await cluster.ended(run_id)
    assert ending["kind"] == "done"
    cluster.check(16)


async def test_a_run_outlives_the_loss_of_every_connection(cluster: Cluster) -> None:
    run_id = await cluster.start(16)
    with cluster.workers(2):
        for jobs in (1, 4, 8):
            await cluster.until("succeeded", jobs)
            with psycopg.connect(cluster.conninfo, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        ending = await cluster.ended(run_id)
    assert ending["kind"] == "done"
    cluster.check(16)


async def test_deliveries_that_come_twice_buy_once(cluster: Cluster) -> None:
    run_id = await cluster.start(12)
    with cluster.workers(2):
        await cluster.until("succeeded", 1)
        with psycopg.connect(cluster.conninfo) as connection:
            jobs = [row[0] for row in connection.execute("SELECT id FROM batcher.wanted").fetchall()]
            [[kind]] = connection.execute("SELECT kind FROM batcher.cluster_runs").fetchall()
        async with JobQueue(cluster.conninfo) as queue:
            for job in 3 * jobs:
                await queue.deliver(queue_of(kind), run_id, job)
        ending = await cluster.ended(run_id)
    assert ending["kind"] == "done"
    cluster.check(12)


async def test_what_is_asked_of_a_run_reaches_all_workers_and_outlives_its_coordinator(cluster: Cluster) -> None:
    run_id = await cluster.start(30)
    with closing(PostgresLedger.connect(cluster.conninfo)) as ledger, cluster.workers(2) as workers:

        def ask(word: control.Word, values: str = "") -> None:
            given = read_values(word, values.split()) if values else {}
            control.ask_of(ledger, word, given, who="a test", run_id=run_id)

        def coordinator() -> int:
            sql = "SELECT pid FROM batcher.workers JOIN batcher.cluster_runs ON coordinator = name"
            return int(ledger.connection.query(sql)[0][0])

        await cluster.until("succeeded", 2)
        ask("pause")
        async with eventually() as again:
            while set(await cluster.tables.progress(["spring"])) != {"planned", "succeeded"}:
                await again()
        bought, first = len(cluster.world.oracle().tasks), coordinator()
        next(each for each in workers if each.pid == first).kill()
        async with eventually() as again:
            while coordinator() == first:
                await again()
        await anyio.sleep(1.5)  # a look at what is asked, and one for jobs that nobody has
        assert len(cluster.world.oracle().tasks) == bought < 30, "the next one finds it paused"
        ask("limits", "submit=900/minute in_flight=3")
        ask("resume")
        ending = await cluster.ended(run_id)
        [[slots]] = ledger.connection.query("SELECT count(*) FROM slots WHERE limit_name = 'submit'")
        assert slots == 900
        assert ledger.read.rows("SELECT * FROM commands") == []
    assert ending["kind"] == "done"
    cluster.check(30)


async def test_a_run_is_drained(cluster: Cluster) -> None:
    run_id = await cluster.start(40)
    with cluster.workers(1):
        await cluster.until("succeeded", 2)
        with closing(PostgresLedger.connect(cluster.conninfo)) as ledger:
            control.ask_of(ledger, "drain", who="a test", run_id=run_id)
        ending = await cluster.ended(run_id)
    assert (ending["kind"], ending["reason"]) == ("capped", "drained by a test")
    found = await cluster.tables.progress(["spring"])
    assert set(found) == {"planned", "succeeded"}
    assert len(cluster.world.oracle().tasks) == found["succeeded"]


@pytest.mark.parametrize("cluster", [["create:lost:rate=1"]], indirect=True)
async def test_a_job_that_no_other_can_judge_ends_its_run(cluster: Cluster) -> None:
    """Its repeats are spent; on one machine the run's end judges it, and workers do not end."""
    run_id = await cluster.start(1)
    with cluster.workers(1):
        ending = await cluster.ended(run_id)
    assert (ending["kind"], ending["reason"]) == ("unfinished", "1 submitting")
    assert len(cluster.world.oracle().tasks) == 1
