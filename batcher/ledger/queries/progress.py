"""What `watch` asks of the ledger: how the work of a run stands, and what has happened since. Reads only."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batcher.events import Event
from batcher.jobs import JobId, Status
from batcher.ledger.reader import LedgerReader
from batcher.ledger.store.transaction import Change
from batcher.settings import Selection

from .sql import UNSAVED, among

#: Events by which a job comes to its end, or shows that something is wrong with it.
_ENDS = among(Event.SUCCEEDED, Event.SAVED, Event.FAILED, Event.REFUSED, Event.DOUBTFUL)
_TROUBLES = among(Event.FAILED, Event.REFUSED, Event.DOUBTFUL, Event.MAYBE_RECEIVED)
_TROUBLES_TOLD = 3


@dataclass(frozen=True, slots=True)
class RunProgress:
    """What a run has to do and what came of it: jobs by status; `saved` of the succeeded ones have their file."""

    counts: Counter[Status]
    saved: int


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row of `events`: which run wrote it (None: a person's decision), when (ISO 8601, UTC), what changed."""

    id: int
    at: str
    run_id: int | None
    change: Change


def version(read: LedgerReader) -> int:
    """A number that changes whenever somebody else has committed; costs next to nothing."""
    return read.figure("PRAGMA data_version")


def first_event(read: LedgerReader, run_id: int) -> int:
    """The event with which a run began."""
    row = read.row("SELECT id FROM events WHERE run_id = ? AND event = ? ORDER BY id DESC", (run_id, Event.RUN_STARTED))
    return int(row["id"]) if row else 0


def last_event(read: LedgerReader) -> int:
    """The newest event; 0 without any."""
    return read.figure("SELECT max(id) FROM events")


def run_progress(
    read: LedgerReader, run_id: int, *, campaigns: Sequence[str], selection: Selection, download: bool, first: int
) -> RunProgress:
    """How the work of a run stands: what it may still start, goes on with, and has brought to its end.

    `first` is the event with which it began.
    """
    counts: Counter[Status] = Counter()
    for campaign in campaigns:
        counts[Status.PLANNED] += _planned(read, campaign, selection)
        for row in read.rows(
            "SELECT status, count(*) AS n FROM wanted WHERE campaign = ?"
            " AND status IN ('submitting', 'queued', 'processing') GROUP BY status",
            (campaign,),
        ):
            counts[Status(row["status"])] += row["n"]
        if download:
            counts[Status.SUCCEEDED] += _unsaved(read, campaign)
    if selection.limit is not None:
        bought = read.figure("SELECT count(*) FROM attempts WHERE run_id = ?", (run_id,))
        counts[Status.PLANNED] = min(counts[Status.PLANNED], max(0, selection.limit - bought))
    saved = 0
    for row in read.rows(
        "SELECT w.status, f.saved_at IS NOT NULL AS saved, count(*) AS n FROM wanted AS w"
        " LEFT JOIN files AS f ON f.attempt_id = w.attempt_id AND f.number = 0"
        " WHERE w.status IN ('succeeded', 'failed', 'doubtful') AND w.id IN"
        f" (SELECT job_id FROM events WHERE id >= ? AND run_id = ? AND event IN {_ENDS}) GROUP BY 1, 2",
        (first, run_id),
    ):
        status = Status(row["status"])
        if status is Status.SUCCEEDED and download:
            if not row["saved"]:
                continue  # counted above, with those that earlier runs have left
            saved += row["n"]
        counts[status] += row["n"]
    return RunProgress(counts, saved)


def _planned(read: LedgerReader, campaign: str, selection: Selection) -> int:
    where = (
        "FROM wanted WHERE campaign = ?1 AND status = 'planned'"
        " AND expansion = (SELECT expansion FROM campaigns WHERE name = ?1)"
    )
    if not selection.only:  # then no job has to be looked up
        return read.figure(f"SELECT count(*) {where}", (campaign,))
    found = read.rows(f"SELECT name, count(*) AS n {where} GROUP BY name", (campaign,))
    return sum(row["n"] for row in found if selection.takes(row["name"]))


def _unsaved(read: LedgerReader, campaign: str) -> int:
    return read.figure(
        "SELECT count(*) FROM files AS f JOIN attempts AS a ON a.id = f.attempt_id"
        " JOIN wanted AS w ON w.id = a.job_id AND w.attempt_id = a.id"
        f" WHERE {UNSAVED} AND f.number = 0 AND w.campaign = ? AND w.status = 'succeeded'",
        (campaign,),
    )


def lately(read: LedgerReader, run_id: int, *, first: int, since: str) -> Iterator[EventRow]:
    """Of a run's events since `first`: those since a time, what stopped it, and its last few troubles; oldest first."""
    yield from _events(
        read,
        "id >= ?1 AND run_id = ?2 AND (at >= ?3 OR event = ?4 OR id IN (SELECT id FROM events"
        f" WHERE id >= ?1 AND run_id = ?2 AND event IN {_TROUBLES} ORDER BY id DESC LIMIT {_TROUBLES_TOLD}))",
        (first, run_id, since, Event.HALTED),
    )


def events_after(read: LedgerReader, event_id: int) -> Iterator[EventRow]:
    """Every event after this one, oldest first, as a stream."""
    yield from _events(read, "id > ?", (event_id,))


def commands_after(read: LedgerReader, run_id: int, event_id: int) -> list[EventRow]:
    """What people have asked of a run after this event, oldest first."""
    return list(_events(read, "id > ? AND run_id = ? AND event = ?", (event_id, run_id, Event.COMMANDED)))


def _events(read: LedgerReader, where: str, values: Sequence[object]) -> Iterator[EventRow]:
    for row in read.stream(f"SELECT * FROM events WHERE {where} ORDER BY id", values):
        yield EventRow(row["id"], row["at"], row["run_id"], _change(row))


def _change(row: sqlite3.Row) -> Change:
    """The row as the run's own observers got it."""
    detail = json.loads(row["detail"])
    old, new = detail.pop("from", None), detail.pop("to", None)
    job = row["job_id"]
    return Change(row["event"], job and JobId(job), Status(old) if old else None, Status(new) if new else None, detail)
