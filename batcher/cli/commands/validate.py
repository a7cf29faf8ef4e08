"""`batcher validate`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.plan_view import notes_json, tell_notes
from batcher.cli.terminal import Terminal
from batcher.planning import CampaignPlan
from batcher.text import count, safe
from batcher.workload import prepare


@click.command()
@options.manifests
@options.as_json
def command(
    terminal: Terminal,
    *,
    paths: tuple[Path, ...],
    allow_paths: tuple[Path, ...],
    unchecked: bool,
    max_jobs: int | None,
) -> int:
    """Find every error of the manifests and of the files they name. Offline."""
    workload = prepare(paths, allow_paths=allow_paths, unchecked=unchecked, max_jobs=max_jobs)
    plan = workload.plan(None, None)
    campaigns = plan.campaigns
    tell_notes(plan, terminal)
    found = [
        {"manifest": c.manifest, "campaign": c.campaign, "jobs": c.jobs, "duplicates": c.duplicates} for c in campaigns
    ]
    terminal.answer({"valid": True, "manifests": found, "notes": notes_json(plan)}, *map(_line, campaigns))
    return 0


def _line(c: CampaignPlan) -> str:
    twice = f", {count(c.duplicates, 'entry' if c.duplicates == 1 else 'entrie')} that ask for one of them again"
    return f"{safe(c.manifest)}: campaign {c.campaign}, {count(c.jobs, 'job')}{twice if c.duplicates else ''}"
