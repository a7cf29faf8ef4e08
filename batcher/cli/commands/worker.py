"""`batcher worker`."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options
from batcher.cli.alerting import targets_of, tell_of
from batcher.cli.cluster import cluster_access, own_folder
from batcher.cli.environment import need_no_loop, read_access
from batcher.cli.observing import WorkerWatch, log_shown, telemetry_maker
from batcher.cli.terminal import Terminal
from batcher.cli.working import leave_tasks, worker_for
from batcher.errors import Kind, UsageError, exit_code

if TYPE_CHECKING:
    from batcher.cluster.worker import Worker
#: In seconds. A shorter lease would run out while a busy machine draws breath.
_LEASES = (2.0, 600.0)


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
@options.alerts
@options.verbose
@click.pass_obj
def command(
    terminal: Terminal,
    *,
    concurrency: int,
    lease: float,
    spool: Path,
    allow_net: tuple[str, ...],
    on: tuple[tuple[str, str], ...],
    notify_file: Path | None,
    verbose: int,
) -> int:
    """Work at the runs of a ledger on PostgreSQL, until SIGTERM or Ctrl-C.

    Takes jobs of runs that buy with the key of this environment; the key never enters the database. BATCHER_LEDGER
    names the database, BATCHER_RESULTS where files go. A worker that leads a run tells its own --on and --notify-file.
    """
    cluster = cluster_access()
    if cluster is None:
        hint = "postgresql://USER@HOST/DATABASE, the password in PGPASSFILE."
        raise UsageError("BATCHER_LEDGER is not set", hint=hint)
    access = read_access(terminal.warn)
    access.need_key()
    need_no_loop()
    targets = targets_of(notify_file, on)
    words: dict[str, Any] = {"concurrency": concurrency, "lease": lease, "tell_of": tell_of(targets, terminal.say)}
    with own_folder(spool, "worker") as folder, ExitStack() as ended:
        ended.enter_context(log_shown(terminal.say, verbose))
        words["watch_of"] = partial(WorkerWatch, ended.enter_context(telemetry_maker()))
        for target in targets:
            ended.callback(target.close)
        worker = worker_for(access, cluster, folder, terminal.say, allow_net=allow_net, **words)
        return asyncio.run(_until_signal(worker))


async def _until_signal(worker: Worker) -> int:
    """Let a worker work; its exit code."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()
    code = exit_code(Kind.UNREACHABLE) if worker.cut_off else 0
    await leave_tasks(code)
    return code
