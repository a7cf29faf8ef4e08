"""`batcher status`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from batcher.cli import options
from batcher.cli.doubtful import doubtful_json, doubtful_view
from batcher.cli.left_behind import left_behind_json, strays
from batcher.cli.open_ledger import need_reader
from batcher.cli.terminal import Grid, Styled, Terminal, table
from batcher.ledger.queries import jobs
from batcher.state import LEDGER
from batcher.statuses import Status
from batcher.text import moment, number, safe


@click.command()
@options.state
@options.as_json
@click.pass_obj
def command(terminal: Terminal, *, state: Path, as_json: bool) -> int:
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
    if as_json:
        terminal.document(
            {
                "ledger": str(path.absolute()),
                "unit": unit,
                "running": holder._asdict() if holder else None,
                "last_run": last,
                "campaigns": [campaign._asdict() for campaign in campaigns],
                "credits": {
                    "held": sum(c.held for c in campaigns),
                    "settled": sum(c.settled for c in campaigns),
                    "doubtful": sum(c.doubtful for c in campaigns),
                },
                "doubtful_jobs": doubtful_json(doubtful),
                "left_behind": left_behind_json([each for each, _ in left]),
                "missing_files": [target for target, how in missing if how == "missing"],
                "changed_files": [target for target, how in missing if how == "changed"],
            }
        )
        return 0
    terminal.show(f"Ledger {safe(path.absolute())}", _run_line(holder, last))
    if campaigns:
        terminal.show("", _table(campaigns))
    if missing:
        terminal.show("", damage_line([how for _, how in missing]))
    if left:
        terminal.show("", *(Styled((text, "yellow")) for _, text in left))
    if doubtful:
        terminal.show("", *doubtful_view(doubtful, state))
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
    headers = ["campaign", *shown, "files", "settled", "held"]
    rows = [
        [c.campaign, *(number(c.statuses.get(s, 0)) for s in shown), *map(number, (c.files, c.settled, c.held))]
        for c in campaigns
    ]
    if len(rows) > 1:
        sums = [sum(c.statuses.get(s, 0) for c in campaigns) for s in shown]
        sums += [sum(c.files for c in campaigns), sum(c.settled for c in campaigns), sum(c.held for c in campaigns)]
        rows.append(["total", *map(number, sums)])
    return table(headers, rows, right=headers[1:], total=len(rows) > 1)
