"""Runs that go on by themselves: workers, as processes, on a real PostgreSQL and the simulator, in real time."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import anyio
import psycopg
import pytest
from integration.cluster.helpers import Cluster, Machines

from batcher.cli.observing import WorkerWatch
from batcher.cluster.queue import JobQueue
from batcher.cluster.spec import RunSpec, queue_of
from batcher.cluster.store import PostgresLedger
from batcher.controls import read_values
from batcher.ledger import control

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


@asynccontextmanager
async def eventually(seconds: float = 20) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Within so many seconds; what it gives waits for the next look."""
    with anyio.fail_after(seconds):
        yield lambda: anyio.sleep(0.1)


async def test_another_worker_takes_over_jobs_and_run_of_one_that_died(cluster: Cluster) -> None:
    """First of the one that coordinates the run, then of one that only works: a sweep finds its jobs."""
    coordinating = "SELECT pid FROM batcher.workers JOIN batcher.cluster_runs ON coordinator = name WHERE until > now()"
    working = "SELECT pid FROM batcher.workers JOIN batcher.claims ON worker = name WHERE until > clock_timestamp()"
    cluster.world.switches.set({"run_seconds": 1})
    run_id = await cluster.start(18)
    with cluster.workers(3) as workers, psycopg.connect(cluster.conninfo, autocommit=True) as connection:
        await cluster.until("succeeded", 2)
        [[first]] = connection.execute(coordinating).fetchall()
        next(each for each in workers if each.pid == first).kill()
        async with eventually() as again:
            while (second := connection.execute(coordinating).fetchone()) in (None, (first,)):
                await again()
            while not (others := set(connection.execute(working).fetchall()) - {(first,), second}):
                await again()
        next(each for each in workers if (each.pid,) in others).kill()
        ending = await cluster.ended(run_id)
    assert ending["kind"] == "done"
    cluster.check(18)


async def test_a_worker_that_was_stopped_beyond_its_lease_and_its_keys_life_sends_nothing(cluster: Cluster) -> None:
    """The trap of every engine: it stood right before a paid request, comes back, and goes on where it stood."""
    run_id = await cluster.start(12)
    with cluster.workers(2) as workers, psycopg.connect(cluster.conninfo, autocommit=True) as connection:
        await cluster.until("succeeded", 2)
        # As a Retry-After: intents are made, and nothing leaves.
        connection.execute(
            "INSERT INTO batcher.pauses AS p (account, until) SELECT account, 'infinity' FROM batcher.slots LIMIT 1"
            " ON CONFLICT (account) DO UPDATE SET until = 'infinity'"
        )
        pid, held = await cluster.intending(connection)
        stopped = next(each for each in workers if each.pid == pid)
        stopped.send_signal(signal.SIGSTOP)
        connection.execute("UPDATE batcher.pauses SET until = NULL")
        cluster.world.switches.set({"run_seconds": 2})  # so that the run outlives its awakening
        await cluster.bought(connection, held)
        cluster.world.switches.set({"key_lifetime": 0, "run_seconds": 0.2})  # now every key buys anew
        stopped.send_signal(signal.SIGCONT)
        ending = await cluster.ended(run_id)
    assert ending["kind"] == "done"
    cluster.check(12)


async def test_the_loss_of_all_of_the_queue_costs_nothing(machines: Machines) -> None:
    machines.world.switches.set({"run_seconds": 0.5})
    run_id = await machines.start(12)
    async with machines.worker(concurrency=8), machines.worker(concurrency=8):
        await machines.until("succeeded", 2)
        with psycopg.connect(machines.conninfo, autocommit=True) as connection:
            connection.execute("DROP SCHEMA procrastinate CASCADE")
        ending = await machines.ended(run_id)
    assert ending["kind"] == "done"
    machines.check(12)


async def test_a_worker_remembers_only_the_claims_that_it_works_at(machines: Machines) -> None:
    ledgers: list[Callable[[], PostgresLedger]] = []

    def watch(run_id: int, spec: RunSpec, get_ledger: Callable[[], PostgresLedger]) -> WorkerWatch:
        ledgers.append(get_ledger)
        return WorkerWatch(None, run_id, spec, get_ledger)

    run_id = await machines.start(6)
    async with machines.worker(concurrency=4, watch_of=watch):
        await machines.ended(run_id)
        assert machines.rows("SELECT count(*) FROM batcher.claims") == [(6,)]
        assert [get_ledger().epochs for get_ledger in ledgers] == [{}, {}], "one leads the run, one works at it"


async def test_deliveries_that_come_twice_buy_once(machines: Machines) -> None:
    machines.world.switches.set({"run_seconds": 0.5})
    run_id = await machines.start(10)
    async with machines.worker(concurrency=8), machines.worker(concurrency=8):
        await machines.until("succeeded", 1)
        with psycopg.connect(machines.conninfo) as connection:
            jobs = [row[0] for row in connection.execute("SELECT id FROM batcher.wanted").fetchall()]
            [[kind]] = connection.execute("SELECT kind FROM batcher.cluster_runs").fetchall()
        async with JobQueue(machines.conninfo) as queue:
            for _ in range(3):
                await queue.deliver(queue_of(kind), run_id, jobs)
        ending = await machines.ended(run_id)
    assert ending["kind"] == "done"
    machines.check(10)


async def test_what_is_asked_of_a_run_reaches_all_workers_and_outlives_its_coordinator(cluster: Cluster) -> None:
    run_id = await cluster.start(18)
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
        assert len(cluster.world.oracle().tasks) == bought < 18, "the next one finds it paused"
        ask("limits", "submit=900/minute in_flight=3")
        ask("resume")
        ending = await cluster.ended(run_id)
        [[slots]] = ledger.connection.query("SELECT count(*) FROM slots WHERE limit_name = 'submit'")
        assert slots == 900
        assert ledger.read.rows("SELECT * FROM commands") == []
    assert ending["kind"] == "done"
    cluster.check(18)


async def test_a_run_is_drained(machines: Machines) -> None:
    machines.world.switches.set({"run_seconds": 0.5})
    run_id = await machines.start(24)
    async with machines.worker():
        await machines.until("succeeded", 2)
        with closing(PostgresLedger.connect(machines.conninfo)) as ledger:
            control.ask_of(ledger, "drain", who="a test", run_id=run_id)
        ending = await machines.ended(run_id)
    assert (ending["kind"], ending["reason"]) == ("capped", "drained by a test")
    found = await machines.tables.progress(["spring"])
    assert set(found) == {"planned", "succeeded"}
    assert len(machines.world.oracle().tasks) == found["succeeded"]


@pytest.mark.parametrize("cluster", [["create:lost:rate=1"]], indirect=True)
async def test_a_job_that_no_other_can_judge_ends_its_run(cluster: Cluster) -> None:
    """Its repeats are spent; on one machine the run's end judges it, and workers do not end."""
    cluster.form = cluster.form.replace("repeat:", "retries: {{times: 2}}\nrepeat:")
    run_id = await cluster.start(1)
    with cluster.workers(1):
        ending = await cluster.ended(run_id)
    assert (ending["kind"], ending["reason"]) == ("unfinished", "1 submitting")
    assert len(cluster.world.oracle().tasks) == 1
