"""`batcher run`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher import simulated
from batcher.cli import options
from batcher.cli.environment import read_access
from batcher.cli.left_behind import naming_fetch
from batcher.cli.places import Sought, find_state, knowing
from batcher.cli.plan_view import tell_plan
from batcher.cli.session import perform, request
from batcher.cli.terminal import Terminal
from batcher.manifest import campaign_of
from batcher.saved_plan import is_saved
from batcher.workload import prepare, prepare_saved


@click.command()
@options.manifests
@options.named_state
@options.selection
@options.until
@options.allow_net
@click.option("--no-download", is_flag=True, help="Leave results where they are; a later run fetches them.")
@click.option("--dry-run", is_flag=True, help="Only show the plan, as `batcher plan` does.")
@click.option(
    "--simulate", is_flag=True, help="Use the built-in simulator: no key, no cost; state under <state>/simulated/."
)
@click.option(
    "--accept-old-ledger",
    "accept_old",
    is_flag=True,
    help="Go on though the ledger does not know of logs or results that lie beside it.",
)
@click.option("-q", "--quiet", is_flag=True, help="No plan and no progress; only the summary and what goes wrong.")
@options.as_json
def command(
    terminal: Terminal,
    *,
    paths: tuple[Path, ...],
    allow_paths: tuple[Path, ...],
    max_jobs: int | None,
    state: Path | None,
    only: tuple[str, ...],
    marked: Path | None,
    limit: int | None,
    budget: int | None,
    sample: str | None,
    order: str,
    until: float | None,
    allow_net: tuple[str, ...],
    no_download: bool,
    dry_run: bool,
    simulate: bool,
    accept_old: bool,
    quiet: bool,
) -> int:
    """Buy, wait for and fetch what the manifests ask for.

    The same command again goes on where the last one ended, whatever ended it. Nothing is paid twice.
    """
    with naming_fetch(lambda: [state] if state else knowing({campaign_of(p) or "": p.parent for p in paths})):
        if len(paths) == 1 and is_saved(paths[0]):
            if allow_paths or only or marked or sample or any(each is not None for each in (limit, max_jobs, budget)):
                raise click.UsageError("a saved plan says itself what is bought: leave selection and budget out")
            workload = prepare_saved(paths[0])
        else:
            workload = prepare(
                paths,
                allow_paths=allow_paths,
                only=only,
                limit=limit,
                max_jobs=max_jobs,
                budget=budget,
                marked=marked,
                sample=sample,
                order=order,
            )
    access = simulated.access() if simulate else read_access(terminal.warn, workload.provider)
    folder = find_state(terminal, state, Sought.by_manifests(workload.manifests, simulate=simulate))
    if dry_run:
        return tell_plan(terminal, workload, folder, access)
    if simulate:
        simulated.need_extra()
    access.need_key("; `--simulate` needs none and costs nothing")
    asked = request(
        workload,
        folder,
        access,
        terminal,
        simulate=simulate,
        allow_net=allow_net,
        download=not no_download,
        until=until,
        accept_old=accept_old,
        outer=folder.parent if simulate and folder != state else None,
    )
    with naming_fetch(lambda: [folder]):
        return perform(asked, terminal, quiet=quiet)
