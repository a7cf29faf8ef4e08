"""`batcher worker`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options
from batcher.cli.cluster import cluster_access, own_folder
from batcher.cli.crash import redact
from batcher.cli.environment import need_no_loop, read_access
from batcher.cli.terminal import Terminal
from batcher.clock import SystemClock
from batcher.errors import UsageError
from batcher.providers import Provider
from batcher.text import safe

if TYPE_CHECKING:
    from batcher.cluster.worker import Worker
#: In seconds. A shorter lease would run out while a busy machine draws breath.
_LEASES = (2.0, 600.0)

#: Seconds that tasks which are left get to end, and after which they are cancelled once more.
_LEAVING_SECONDS = 5.0
_AGAIN_SECONDS = 0.5


class _Lease(click.ParamType[float]):
    """`30s` or `2m`, in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d{1,6})(s|m)?", str(value))
        seconds = int(found[1]) * (60.0 if found[2] == "m" else 1.0) if found else 0.0
        if not _LEASES[0] <= seconds <= _LEASES[1]:
            self.fail(f"{value!r} is no time between 2s and 10m.", param, ctx)
        return seconds


@click.command()
@click.option(
    "--concurrency", type=click.IntRange(1, 10_000), default=50, show_default=True, metavar="N", help="Jobs at once."
)
@click.option(
    "--lease",
    type=_Lease(),
    default="30s",
    show_default=True,
    metavar="TIME",
    help="After so long without a sign of life others take its jobs.",
)
@click.option(
    "--spool",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("state"),
    show_default=True,
    help="Where downloads grow until they are whole, on this machine.",
)
@options.allow_net
@click.pass_obj
def command(terminal: Terminal, *, concurrency: int, lease: float, spool: Path, allow_net: tuple[str, ...]) -> int:
    """Work at the runs of a ledger on PostgreSQL, until SIGTERM or Ctrl-C.

    Takes jobs of runs that buy with the key of this environment; the key never enters the database. BATCHER_LEDGER
    names the database, BATCHER_RESULTS where files go.
    """
    cluster = cluster_access()
    if cluster is None:
        hint = "postgresql://USER@HOST/DATABASE, the password in PGPASSFILE."
        raise UsageError("BATCHER_LEDGER is not set", hint=hint)
    access = read_access(terminal.warn)
    key = access.need_key()
    need_no_loop()

    from batcher.cluster.worker import Worker, WorkerRequest

    @contextmanager
    def connect(networks: tuple[str, ...]) -> Iterator[Provider]:
        nets = (*networks, *allow_net)
        yield access.provider.connect(access.base_url, key, SystemClock(), account_name=access.name, allow_net=nets)

    with own_folder(spool, "worker") as folder:
        request = WorkerRequest(
            cluster.conninfo,
            access.provider.account(access.base_url, key, access.name),
            connect,
            cluster.results,
            cluster.files,
            folder,
            concurrency=concurrency,
            lease=lease,
        )
        worker = Worker(request, lambda message: terminal.say(safe(redact(message))))
        asyncio.run(_until_signal(worker))
    return 0


async def _until_signal(worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()
    # All is written down. Where the database is away, a library's task may still wait for it, and not end when it is
    # cancelled: procrastinate waits for its last word on a job, and with Python 3.11 a cancellation may get lost.
    ends = loop.time() + _LEAVING_SECONDS
    while (left := asyncio.all_tasks() - {asyncio.current_task()}) and loop.time() < ends:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_AGAIN_SECONDS)
    if left:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
