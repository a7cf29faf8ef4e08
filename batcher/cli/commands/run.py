"""`batcher run`."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click

from batcher import simulated
from batcher.canary import NO_CONDITION, parse
from batcher.cli import options
from batcher.cli.alerting import targets_of
from batcher.cli.cluster import cluster_access, run_on_cluster
from batcher.cli.decide_command import asking
from batcher.cli.environment import read_access
from batcher.cli.left_behind import naming_fetch
from batcher.cli.places import Sought, find_state, knowing
from batcher.cli.plan_approval import is_approved, use_approval
from batcher.cli.plan_view import PlanRequest, tell_plan
from batcher.cli.price_probe import ask_for_probe
from batcher.cli.session import make_request, run_on_terminal
from batcher.cli.terminal import Terminal
from batcher.manifest import campaign_of
from batcher.saved_plan import is_saved
from batcher.workload import SelectionOptions, prepare, prepare_saved


@click.command()
@options.manifests
@options.named_state
@options.selection
@options.until
@options.allow_net
@click.option("--no-download", is_flag=True, help="Leave results where they are; a later run fetches them.")
@click.option(
    "--probe", is_flag=True, help="Buy one job of each price class of unknown price, after asking, and tell the price."
)
@click.option("--yes", is_flag=True, help="Do not ask before a --probe.")
@click.option(
    "--then",
    metavar="CONDITION",
    help='Go on by itself from the sample (else one job) to five times that, and to all, while "failed<10% and'
    ' price<=quote and checks=ok" holds.',
)
@click.option(
    "--decide",
    metavar="CMD",
    help="Ask this command (no shell; JSON on stdin) before each step of a canary goes on: exit 0 is a yes.",
)
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
@click.option("--approved", metavar="HASH", help="For programs: only as the saved plan that a person has approved so.")
@options.alerts
@options.verbose
@click.option("-q", "--quiet", is_flag=True, help="No plan and no progress; only the summary and what goes wrong.")
@options.as_json
def command(
    terminal: Terminal,
    *,
    paths: tuple[Path, ...],
    allow_paths: tuple[Path, ...],
    unchecked: bool,
    state: Path | None,
    until: float | None,
    allow_net: tuple[str, ...],
    no_download: bool,
    probe: bool,
    yes: bool,
    then: str | None,
    decide: str | None,
    dry_run: bool,
    simulate: bool,
    accept_old: bool,
    approved: str | None,
    quiet: bool,
    verbose: int,
    on: tuple[tuple[str, str], ...],
    notify_file: Path | None,
    **selection: Unpack[SelectionOptions],
) -> int:
    """Buy, wait for and fetch what the manifests ask for.

    The same command again goes on where the last one ended, whatever ended it. Nothing is paid twice.
    """
    condition = parse(then) if then is not None else NO_CONDITION
    with naming_fetch(lambda: [state] if state else knowing({campaign_of(p) or "": p.parent for p in paths})):
        if len(paths) == 1 and is_saved(paths[0]):
            given = [*selection.values(), allow_paths, unchecked or None, probe or None, then, decide]
            if any(value not in (None, (), "fair") for value in given):
                raise click.UsageError("a saved plan says itself what is bought: leave selection and budget out")
            workload = prepare_saved(paths[0])
        else:
            selection["ramp"] = bool(then or decide)
            workload = prepare(paths, allow_paths=allow_paths, unchecked=unchecked, **selection)
    cluster = None if simulate or dry_run else cluster_access(state)
    access = simulated.access() if simulate else read_access(terminal.warn, workload.provider)
    folder = find_state(terminal, state, Sought.by_manifests(workload.manifests, simulate=simulate))
    if not dry_run:
        if simulate:
            simulated.need_extra()
        access.need_key("; `--simulate` needs none and costs nothing")
    if probe:
        probing = ask_for_probe(workload, folder, access.account or "", terminal, yes=yes or dry_run)
        if probing is None:
            terminal.say("Nothing was bought.")
            return 1
        workload = probing
    if cluster:
        return run_on_cluster(
            *(workload, access, terminal, cluster, folder),
            quiet=quiet,
            download=not no_download,
            until=until,
            allow_net=allow_net,
            then=condition,
            decide=None if decide is None else asking(decide, folder),
            approved=is_approved(workload.saved, approved),
            targets=targets_of(notify_file, on),
            accept_old=accept_old,
        )
    if dry_run:
        return tell_plan(terminal, workload, folder, access, PlanRequest(until=until))
    targets = targets_of(notify_file, on)
    use_approval(workload.saved, approved, folder)
    asked = make_request(
        workload,
        folder,
        access,
        terminal,
        simulate=simulate,
        allow_net=allow_net,
        download=not no_download,
        until=until,
        accept_old=accept_old,
        then=condition,
        decide=None if decide is None else asking(decide, folder),
        outer=folder.parent if simulate and folder != state else None,
    )
    with naming_fetch(lambda: [folder]):
        return run_on_terminal(asked, terminal, quiet=quiet, verbose=verbose, targets=targets)
