"""`batcher plan`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.environment import read_access
from batcher.cli.places import Sought, find_state
from batcher.cli.plan_view import PlanRequest, tell_plan
from batcher.cli.terminal import Terminal
from batcher.workload import prepare


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
@click.option("--online", is_flag=True, help="Ask the API for the wallet, and compare it with the plan.")
@click.option("--fail-over", type=click.IntRange(min=0), metavar="N", help="Exit 3 if it costs more than N credits.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Save it; `run FILE` buys exactly that.",
)
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
) -> int:
    """Show what a run would do and cost, and how far its caps let it come. Offline, unless --online; buys nothing."""
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
    access = read_access(terminal.warn, workload.provider)
    folder = find_state(terminal, state, Sought.by_manifests(workload.manifests))
    options.need_csv(form, bom=bom)
    if form == "csv" and terminal.as_json:
        raise click.UsageError("--format csv and --json are two answers: ask for one of them")
    terminal.as_json = terminal.as_json or form == "json"
    asked = PlanRequest(
        jobs=jobs or rows is not None,
        rows=rows,
        form=form,
        bom=bom,
        online=online,
        fail_over=fail_over,
        out=out,
        options={
            "allow_paths": [str(each.absolute()) for each in allow_paths],
            "only": list(only),
            "limit": limit,
            "max_jobs": max_jobs,
            "budget": budget,
            "marked": None if marked is None else str(marked.absolute()),
            "sample": sample,
            "order": order,
        },
    )
    return tell_plan(terminal, workload, folder, access, asked)
