"""procrastinate behind its adapter, on a real PostgreSQL."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from batcher.cluster.engine import JobQueue
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
        for number in range(4):
            await queue.deliver("jobs", 1, JobId(f"job-{number}"))
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(queue.work, ["jobs"], 4, perform, print, stop)
                await begun.wait()
                stop.set()
                group.cancel_scope.cancel()
    assert asyncio.all_tasks() == before
