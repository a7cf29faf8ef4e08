"""`batcher fetch`: what is paid does not wait for a manifest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from batcher import simulated
from batcher.cli import options
from batcher.cli.cluster import cluster_access, own_folder, run_on_cluster
from batcher.cli.environment import read_access
from batcher.cli.job_actions import Targets, decisive_ledger, find_targets
from batcher.cli.open_ledger import need_reader
from batcher.cli.places import DEFAULT_STATE
from batcher.cli.session import make_request, run_on_terminal
from batcher.cli.terminal import Terminal
from batcher.cli.working import accept_on_cluster
from batcher.clock import iso_seconds
from batcher.errors import UsageError
from batcher.jobs import JobId, Status
from batcher.ledger import LedgerReader, hold_lock
from batcher.ledger.queries.jobs import select
from batcher.lifecycle.download import accept
from batcher.state import SIMULATED
from batcher.storage import Artifacts
from batcher.text import count, safe
from batcher.workload import remembered


@click.command(short_help="Poll and download what is bought, bring back missing files; without a manifest.")
@click.argument("words", metavar="[CAMPAIGN|JOB...]", nargs=-1)
@click.option("--forget", is_flag=True, help="These files are not wanted any more, until `fetch JOB`.")
@click.option("--accept", "accepting", is_flag=True, help="Take what is kept under unverified/ as the result.")
@click.option("--simulate", is_flag=True, help="For what `run --simulate` has bought.")
@options.verbose
@click.option("-q", "--quiet", is_flag=True, help="No progress; only the summary and what goes wrong.")
@options.ledger
def command(
    terminal: Terminal,
    *,
    words: tuple[str, ...],
    forget: bool,
    accepting: bool,
    simulate: bool,
    quiet: bool,
    verbose: int,
    state: Path,
) -> int:
    """Ask for what the API has, download it, and hold every saved file against its hash: a missing one is brought back;
    of a changed one the original is put beside it. Buys nothing, and needs no manifest. Without a name: everything."""
    if forget and accepting:
        raise UsageError("--forget and --accept do not go together")
    if (forget or accepting) and not words:
        raise UsageError("whose files?", hint="Name jobs or campaigns.")
    folder = state / SIMULATED if simulate and state.name != SIMULATED else state
    with closing(need_reader(folder)) as read:
        targets = find_targets(read, words, terminal)
        campaigns = _campaigns(read, targets, everything=not words)
        workload = remembered(read, campaigns, _jobs(read, targets))
    if forget:
        return _forget(terminal, folder, targets)
    if accepting:
        return _accept(terminal, folder, targets)
    if targets.jobs:  # named one by one: wanted, whatever was said before
        with decisive_ledger(folder) as ledger:
            for job in targets.jobs:
                ledger.forget(job.id, forgotten=False)
    access = simulated.access() if simulate else read_access(terminal.warn)
    if not simulate and (cluster := cluster_access()):
        return run_on_cluster(workload, access, terminal, cluster, folder, quiet=quiet, buys=False)
    if simulate:
        simulated.need_extra()
    access.need_key()
    asked = make_request(workload, folder, access, terminal, simulate=simulate, buys=False)
    return run_on_terminal(asked, terminal, quiet=quiet, verbose=verbose)


def _campaigns(read: LedgerReader, targets: Targets, *, everything: bool) -> list[str]:
    if everything:
        return list(read.counts())
    return list(dict.fromkeys([*targets.campaigns, *(job.campaign for job in targets.jobs)]))


def _jobs(read: LedgerReader, targets: Targets) -> list[JobId]:
    """The jobs that are meant, one by one; none where whole campaigns are meant only."""
    if not targets.jobs:
        return []
    whole = [job.id for name in targets.campaigns for job in select(read, campaign=name)]
    return whole + [job.id for job in targets.jobs]


def _meant(read: LedgerReader, targets: Targets) -> Sequence[JobId]:
    found = [job.id for name in targets.campaigns for job in select(read, campaign=name, statuses=[Status.SUCCEEDED])]
    return list(dict.fromkeys([*found, *(job.id for job in targets.jobs)]))


def _forget(terminal: Terminal, folder: Path, targets: Targets) -> int:
    with decisive_ledger(folder) as ledger:
        files = sum(ledger.forget(job_id) for job_id in _meant(ledger.read, targets))
    told = f"{count(files, 'file')} not wanted any more; what lies on the disk stays there."
    terminal.answer({"forgotten": files}, told)
    return 0


def _accept(terminal: Terminal, folder: Path, targets: Targets) -> int:
    taken: list[str] = []
    where = str(folder)
    if cluster := cluster_access() if folder.name != SIMULATED else None:
        with closing(need_reader(folder)) as read:
            jobs = _meant(read, targets)
        with own_folder(DEFAULT_STATE, "run") as spool:
            taken, where = accept_on_cluster(cluster, spool, jobs), cluster.results
    else:
        artifacts = Artifacts(folder)
        with hold_lock(folder, started=iso_seconds(time.time())), decisive_ledger(folder) as ledger:
            for job_id in _meant(ledger.read, targets):
                taken += accept(ledger, artifacts, ledger.read.load(job_id))
    if not taken:
        raise UsageError("nothing is kept for these that could be accepted", hint="`batcher show JOB` tells of it.")
    terminal.answer({"accepted": taken}, *(f"Taken as the result: {safe(f'{where}/{path}')}" for path in taken))
    return 0
