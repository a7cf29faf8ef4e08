"""`batcher status`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from batcher.cli import options
from batcher.cli.doubtful_jobs import doubtful_json, doubtful_view
from batcher.cli.left_behind import left_behind_json, strays
from batcher.cli.open_ledger import need_reader
from batcher.cli.terminal import Grid, Styled, Terminal, with_total
from batcher.ledger.queries import jobs
from batcher.state import LEDGER
from batcher.statuses import Status
from batcher.text import moment, number, safe


@click.command()
@options.ledger
def command(terminal: Terminal, *, state: Path) -> int:
    """Show how every campaign stands. Reads the ledger alone, also while a run is going."""
    path = state / LEDGER
    with closing(need_reader(state)) as read:
        holder = jobs.holder(state, read)
        last = jobs.run(read)
        campaigns = jobs.campaigns(read)
        missing = [
            (file.target, how)
            for campaign in campaigns
            for file, how in jobs.damaged_files(read, campaign.campaign, state)
        ]
        left = strays(read, state)
        doubtful = list(jobs.select(read, statuses=[Status.DOUBTFUL]))
        unit = read.unit
    document = {
        "ledger": str(path.absolute()),
        "unit": unit,
        "running": holder._asdict() if holder else None,
        "last_run": last,
        "campaigns": [campaign._asdict() for campaign in campaigns],
        "credits": {name: sum(getattr(c, name) for c in campaigns) for name in ("held", "settled", "doubtful")},
        "doubtful_jobs": doubtful_json(doubtful),
        "left_behind": left_behind_json([each for each, _ in left]),
        "missing_files": [target for target, how in missing if how == "missing"],
        "changed_files": [target for target, how in missing if how == "changed"],
    }
    parts: list[Iterable[str | Styled | Grid]] = [
        [_table(campaigns)] if campaigns else [],
        [damage_line([how for _, how in missing])] if missing else [],
        [Styled((text, "yellow")) for _, text in left],
        list(doubtful_view(doubtful, state)),
    ]
    shown = [line for part in parts if part for line in ("", *part)]
    terminal.answer(document, f"Ledger {safe(path.absolute())}", _run_line(holder, last), *shown)
    return 0


def damage_line(found: list[str]) -> str:
    """How many saved files are missing or changed, and what brings them back."""
    what = [f"{number(found.count(how))} {how}" for how in ("missing", "changed") if how in found]
    return f"Saved files: {', '.join(what)}; `batcher fetch` brings them back, and writes over none."


def _run_line(holder: jobs.Holder | None, last: dict[str, Any] | None) -> str:
    if holder:
        who = "" if holder.pid is None else f": pid {holder.pid}, started {moment(holder.started)}"
        return f"A run is going{safe(who)}."
    if last is None:
        return "No run yet."
    if last["ended_at"] is None:
        return f"No run is going. The last one, of {moment(last['started_at'])}, was cut off; run it again to go on."
    end = f"ended {moment(last['ended_at'])} with exit code {last['exit_code']}: {safe(last['reason'])}"
    return f"No run is going. The last one {end}."


def _table(campaigns: list[jobs.CampaignState]) -> Grid:
    shown = [str(s) for s in Status if any(c.statuses.get(s) for c in campaigns)]
    apart = ["superseded"] if any(c.superseded for c in campaigns) else []
    headers = ["campaign", *shown, *apart, "files", "settled", "held"]
    rows = [
        [
            *(c.campaign, *(c.statuses.get(status, 0) for status in shown)),
            *(*(c.superseded for _ in apart), c.files, c.settled, c.held),
        ]
        for c in campaigns
    ]
    return with_total(headers, rows)
