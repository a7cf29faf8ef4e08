"""`batcher plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click

from batcher import simulated
from batcher.cli import options
from batcher.cli.cron import cron_line
from batcher.cli.environment import read_access
from batcher.cli.places import Sought, find_state
from batcher.cli.plan_approval import approve_plan
from batcher.cli.plan_view import PlanRequest, tell_plan
from batcher.cli.terminal import Terminal
from batcher.workload import SelectionOptions, prepare


@click.command(short_help="Show what a run would do and cost.")
@options.manifests
@options.named_state
@options.selection
@click.option("--jobs", is_flag=True, help="Show every job: final text, params, references, price, what stops it.")
@click.option("--rows", type=click.IntRange(min=0), metavar="N", help="Of the jobs only the first N.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "csv", "json")),
    default="text",
    help="csv: the jobs, a row each; json: as --json.",
)
@options.bom
@options.until
@click.option("--simulate", is_flag=True, help="As `run --simulate` would do it: by its ledger, for its account.")
@click.option("--online", is_flag=True, help="Ask the API for the wallet, and compare it with the plan.")
@click.option("--fail-over", type=click.IntRange(min=0), metavar="N", help="Exit 3 if it costs more than N credits.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Save it; `run FILE` buys exactly that.",
)
@click.option(
    "--approve",
    is_flag=True,
    help="Let a program buy this saved plan, once (`batcher mcp`); asks, and needs a person at a terminal.",
)
@click.option("--cron", is_flag=True, help="Only print a line for crontab that runs this at ten every evening.")
@options.as_json
def command(
    terminal: Terminal,
    *,
    jobs: bool,
    rows: int | None,
    form: str,
    bom: bool,
    online: bool,
    fail_over: int | None,
    out: Path | None,
    cron: bool,
    approve: bool,
    until: float | None,
    simulate: bool,
    paths: tuple[Path, ...],
    allow_paths: tuple[Path, ...],
    unchecked: bool,
    state: Path | None,
    **selection: Unpack[SelectionOptions],
) -> int:
    """Show what a run would do and cost, and how far its caps let it come. Offline, unless --online; buys nothing."""
    if approve:
        return approve_plan(terminal, paths, state, simulate=simulate)
    options.need_csv(form, bom=bom)
    if form == "csv" and terminal.as_json:
        raise click.UsageError("--format csv and --json are two answers: ask for one of them")
    if out is not None and until is not None:
        raise click.UsageError("a saved plan knows no time of the day: give --until to `run` with it")
    if online and simulate:
        raise click.UsageError("the simulator answers only while a run goes on: leave --online out")
    workload = prepare(paths, allow_paths=allow_paths, unchecked=unchecked, **selection)
    access = simulated.access() if simulate else read_access(terminal.warn, workload.provider)
    folder = find_state(terminal, state, Sought.by_manifests(workload.manifests, simulate=simulate))
    terminal.as_json = terminal.as_json or form == "json"
    if cron:
        if terminal.as_json or form != "text" or jobs or online or bom or (rows, fail_over, out) != (None,) * 3:
            raise click.UsageError("--cron prints a line for crontab and nothing else: leave out what shows or saves")
        terminal.line(cron_line(terminal.typed, Path.cwd()))
        return 0
    asked = PlanRequest(
        jobs=jobs or rows is not None,
        rows=rows,
        form=form,
        bom=bom,
        online=online,
        fail_over=fail_over,
        until=until,
        out=out,
        options={
            **selection,
            "unchecked": unchecked,
            "allow_paths": [str(each.absolute()) for each in allow_paths],
            "marked": str(marked.absolute()) if (marked := selection["marked"]) else None,
        },
    )
    return tell_plan(terminal, workload, folder, access, asked)
