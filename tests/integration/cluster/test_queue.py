"""procrastinate behind its adapter, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import closing

import anyio
import psycopg
import pytest
from core_helpers import ManualClock

from batcher.cluster.coordinator import Deliveries
from batcher.cluster.queue import JobQueue
from batcher.cluster.runs import ClusterTables
from batcher.cluster.store import PostgresLedger
from batcher.jobs import JobId

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_worker_that_leaves_in_the_midst_of_jobs_leaves_no_task_behind(postgres: str) -> None:
    """One that is left does not end for sure when it is cancelled once more, and the process stays for ever."""
    before = asyncio.all_tasks()
    begun, stop = asyncio.Event(), asyncio.Event()

    async def perform(run_id: int, job_id: JobId) -> None:
        begun.set()
        await asyncio.sleep(60)

    async with JobQueue(postgres) as queue:
        await queue.create()
        await queue.deliver("jobs", 1, [JobId(f"job-{number}") for number in range(4)])
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(queue.work, ["jobs"], 4, perform, print, stop)
                await begun.wait()
                stop.set()
                group.cancel_scope.cancel()
    assert asyncio.all_tasks() == before


async def test_deliveries_of_workers_that_are_long_gone_do_not_stay(postgres: str) -> None:
    stop, done = asyncio.Event(), list[JobId]()

    async def perform(run_id: int, job_id: JobId) -> None:
        done.append(job_id)
        stop.set()

    async with JobQueue(postgres) as queue:
        await queue.create()
        await queue.deliver("jobs", 1, [JobId("a")])
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("SET search_path = procrastinate")
            connection.execute("UPDATE procrastinate_jobs SET status = 'doing'")
            await queue.deliver("jobs", 1, [JobId("a")])
            with anyio.fail_after(10):
                await queue.work(["jobs"], 4, perform, print, stop)
            assert connection.execute("SELECT count(*) FROM procrastinate.procrastinate_jobs").fetchall() == [(0,)]
    assert done == ["a"]


@pytest.mark.cluster
async def test_who_got_the_only_job_asks_for_no_other(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE \"{connection.info.dbname}\" SET track_functions = 'all'")
    done, stop = asyncio.Event(), asyncio.Event()

    async def perform(run_id: int, job_id: JobId) -> None:
        done.set()

    async with JobQueue(postgres) as queue:
        await queue.create()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(queue.work, ["jobs"], 4, perform, print, stop)
                for number in range(16):
                    await queue.deliver("jobs", 1, [JobId(f"job-{number}")])
                    await done.wait()
                    done.clear()
                    await asyncio.sleep(0.05)  # it asks once more, or does not
                stop.set()
    with psycopg.connect(postgres) as connection:
        sql = "SELECT sum(calls) FROM pg_stat_user_functions WHERE funcname LIKE 'procrastinate_fetch_job%'"
        [asked] = connection.execute(sql).fetchone() or [0]
    assert 16 <= asked <= 26  # in place of 33: a busy machine may tell of a delivery after it was taken


async def test_deliveries_go_together_and_one_that_is_on_its_way_holds_up_no_other(postgres: str) -> None:
    async with JobQueue(postgres) as queue:
        await queue.create()
        await queue.deliver("jobs", 1, [JobId("a"), JobId("b")])
        await queue.deliver("jobs", 1, [JobId("c"), JobId("b"), JobId("d")])
        assert await queue.missing([JobId(each) for each in "abcde"]) == ["e"]
    with psycopg.connect(postgres) as connection:
        rows = connection.execute("SELECT queueing_lock FROM procrastinate.procrastinate_jobs ORDER BY 1").fetchall()
    assert [row[0] for row in rows] == ["a", "b", "c", "d"]


async def test_a_connection_that_ended_while_it_was_idle_is_not_used(postgres: str) -> None:
    async with JobQueue(postgres, connections=1) as queue:
        await queue.create()
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert await queue.missing([JobId("a")]) == ["a"]


async def test_the_last_word_on_a_job_gives_it_back(postgres: str) -> None:
    async with ClusterTables(postgres) as tables:
        with closing(PostgresLedger.connect(postgres)) as ledger:
            epoch = ledger.claim(JobId("a"), "one", 30)
            assert epoch == 1
            await tables.report(1, JobId("a"), epoch, "moved", last=False)
            assert ledger.claim(JobId("a"), "two", 30) is None
            await tables.report(1, JobId("a"), epoch, "done", last=True)
            assert ledger.claim(JobId("a"), "two", 30) == 2
            await tables.report(1, JobId("a"), epoch, "late", last=True)
            assert ledger.claim(JobId("a"), "three", 30) is None
        assert await tables.reports(1) == [("a", "moved"), ("a", "done")]


async def test_a_job_that_was_brought_just_now_is_not_taken_for_lost() -> None:
    clock = ManualClock()
    deliveries = Deliveries(clock)
    for job_id in "ab":
        deliveries.put(JobId(job_id))
    assert deliveries.take_all() == ["a", "b"]
    clock.now += 1.5
    deliveries.put(JobId("a"))  # a worker gave it back
    assert deliveries.take_all() == ["a"]
    clock.now += 1
    for job_id in "abc":
        deliveries.put_lost(JobId(job_id))
    assert deliveries.take_all() == ["b", "c"]
