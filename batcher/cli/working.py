"""A worker of a ledger on PostgreSQL, made of what the environment says: as `worker`, and within `fetch`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcher.access import Access
from batcher.clock import SystemClock
from batcher.errors import UsageError
from batcher.jobs import SHORT_ID, JobId
from batcher.providers import Provider
from batcher.text import safe

from .crash import redact

if TYPE_CHECKING:
    from batcher.cluster.worker import Worker

    from .cluster import ClusterAccess

#: Seconds that tasks which are left get to end, and after which they are cancelled once more.
_LEAVING_SECONDS = 5.0
_AGAIN_SECONDS = 0.5
#: Nobody else has a job while a file of it is accepted, which takes no longer.
_ACCEPTING_SECONDS = 60.0


def worker_for(
    access: Access,
    cluster: ClusterAccess,
    spool: Path,
    tell: Callable[[str], object],
    *,
    allow_net: tuple[str, ...] = (),
    **words: Any,
) -> Worker:
    """A worker with the key of this environment; `words` as WorkerRequest has them. Raises UsageError, StorageError."""
    from batcher.cluster.worker import Worker, WorkerRequest

    key = access.need_key()

    @contextmanager
    def connect(networks: tuple[str, ...]) -> Iterator[Provider]:
        nets = (*networks, *allow_net)
        yield access.provider.connect(access.base_url, key, SystemClock(), account_name=access.name, allow_net=nets)

    account = access.provider.account(access.base_url, key, access.name)
    request = WorkerRequest(cluster.conninfo, account, connect, cluster.results, cluster.files, spool, **words)
    return Worker(request, lambda message: tell(safe(redact(message))))


async def leave_tasks(code: int) -> None:
    """End what is left beside this task; where that does not end, the process, by this exit code.

    All is written down by then. Where the database is away, a library's task may still wait for it, and not end when it
    is cancelled: procrastinate waits for its last word on a job, and with Python 3.11 a cancellation may get lost.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + _LEAVING_SECONDS
    while (left := asyncio.all_tasks() - {asyncio.current_task()}) and loop.time() < ends:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_AGAIN_SECONDS)
    if left:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def accept_on_cluster(cluster: ClusterAccess, spool: Path, jobs: Sequence[JobId]) -> list[str]:
    """Take what is kept aside of jobs as their results; the paths. Raises UsageError where a worker has one of them."""
    from batcher.cluster.files import SharedArtifacts
    from batcher.cluster.store import PostgresLedger
    from batcher.lifecycle.download import accept

    taken: list[str] = []
    with closing(PostgresLedger.connect(cluster.conninfo)) as ledger:
        artifacts = SharedArtifacts(spool, cluster.files)
        for job_id in jobs:
            epoch = ledger.claim(job_id, "batcher fetch --accept", _ACCEPTING_SECONDS)
            if epoch is None:
                hint = "Wait until its run has ended, or `batcher ctl drain`."
                raise UsageError(f"a worker is at work on job {job_id[:SHORT_ID]}", hint=hint)
            try:
                taken += accept(ledger, artifacts, ledger.read.load(job_id))
            finally:
                ledger.release(job_id, epoch)
    return taken
