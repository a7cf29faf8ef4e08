"""A plan's jobs one by one, and how far a run of it comes, in words and as data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from batcher.catalog import whole_params
from batcher.clock import iso_seconds, local_day, local_time
from batcher.jobs import SHORT_ID
from batcher.ledger.cap_room import TIMES
from batcher.planning.forecast import JobLine, Outlook
from batcher.text import amount, count, number, safe

#: The members of a job's row, in the order of the CSV's columns.
JOB_COLUMNS = (
    "id",
    "campaign",
    "name",
    "standing",
    "model",
    "prompt",
    "params",
    "references",
    "take",
    "credits",
    "source",
    "stopped_by",
)
_INDENT = "    "


def job_row(line: JobLine) -> dict[str, Any]:
    """A job as docs/json.md has it; params with the model's defaults, as they are sent."""
    spec = line.spec
    values = (
        spec.id,
        spec.campaign,
        spec.name,
        line.standing,
        spec.model,
        spec.prompt,
        whole_params(spec.model, spec.params),
        [each.text for each in spec.reference.each] if spec.reference else [],
        spec.take,
        line.credits,
        line.source or None,
        line.stopped_by or None,
    )
    return dict(zip(JOB_COLUMNS, values, strict=True))


def job_view(line: JobLine) -> Iterator[str]:
    """The same for people, in a few lines."""
    row = job_row(line)
    price = "" if line.credits is None else f", {amount(line.credits)} ({line.source})"
    cap = "" if line.stopped_by in TIMES else "cap "
    stopped = f"; stopped by {cap}{_stop(line.stopped_by)}" if line.stopped_by else ""
    words = {"unselected": "not selected", "under_way": "under way"}.get(line.standing, line.standing)
    yield ""
    yield safe(f"{row['name']}  {row['id'][:SHORT_ID]}  {row['campaign']}: {words}{price}{stopped}")
    for text in row["prompt"].splitlines():
        yield f"{_INDENT}{text}"
    yield f"{_INDENT}{row['model']}: " + ", ".join(f"{name}={value}" for name, value in row["params"].items())
    for reference in row["references"]:
        yield f"{_INDENT}reference {reference}"


def _stop(name: str) -> str:
    return {"until": "the time of --until", "window": "the window closes"}.get(name, name)


def outlook_view(ahead: Outlook) -> Iterator[str]:
    """How far a run of the plan comes, in one line; nothing where there is nothing to buy."""
    if not ahead.of:
        return
    after = f" after {safe(ahead.stops_after)}" if ahead.stops_after else ""
    stops = f"; stops{after} ({', '.join(map(safe, map(_stop, ahead.stopped_by)))})" if ahead.stopped_by else ""
    yield f"Buys {number(ahead.jobs)} of {count(ahead.of, 'job')} for {amount(ahead.credits)}{stops}{_ready(ahead)}."


def chains_view(ahead: Outlook) -> Iterator[str]:
    """How many whole chains that are; nothing where nothing is made from results."""
    if ahead.chains_of:
        fit = f"{number(ahead.chains)} of {number(ahead.chains_of)}"
        yield f"Whole chains: {fit}, each a job with all that it is made from."


def _ready(ahead: Outlook) -> str:
    if not ahead.jobs:
        return ""
    at = _minute(ahead)
    day = f"{local_day(at, None)} " if ahead.seconds >= 86_400 else ""
    if ahead.seconds_known:
        return f"; done by {day}{local_time(at)}"
    return f"; all sent by {day}{local_time(at)} at the earliest (how long such jobs take is not known yet)"


def _minute(ahead: Outlook) -> float:
    """When it is ready, to the next full minute, in seconds since the epoch."""
    return -(-(time.time() + ahead.seconds) // 60) * 60


def outlook_json(ahead: Outlook) -> dict[str, Any]:
    """How far a run of the plan comes, as docs/json.md has it."""
    done_by = iso_seconds(_minute(ahead)) if ahead.seconds_known and ahead.jobs else None
    return {**asdict(ahead), "stopped_by": list(ahead.stopped_by), "done_by": done_by}
