"""`batcher plan`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.environment import read_access
from batcher.cli.places import Sought, find_state
from batcher.cli.plan_view import tell_plan
from batcher.cli.terminal import Terminal
from batcher.workload import prepare


@click.command()
@options.manifests
@options.named_state
@options.selection
@options.as_json
def command(
    terminal: Terminal,
    *,
    paths: tuple[Path, ...],
    allow_paths: tuple[Path, ...],
    max_jobs: int | None,
    state: Path | None,
    only: tuple[str, ...],
    limit: int | None,
    budget: int | None,
) -> int:
    """Show what a run would do and cost. Offline; changes nothing."""
    workload = prepare(paths, allow_paths=allow_paths, only=only, limit=limit, max_jobs=max_jobs, budget=budget)
    account = read_access(terminal.warn, workload.provider).account
    folder = find_state(terminal, state, Sought.by_manifests(workload.manifests))
    tell_plan(terminal, workload, folder, account)
    return 0
