"""Alerts in the ledger: written down before anything is sent, each once by its cause, and what became of each target.

No address of a target stands here, only a name that tells it from others.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from batcher.events import Event
from batcher.jobs import JobId

from .queries.progress import first_event
from .queries.sql import among, placeholders
from .reader import LedgerReader
from .store.transaction import Transaction
from .store.writer import LedgerWriter

WAITING, SENT = "waiting", "sent"
#: So waits what is told by who follows the run (`batcher run` on PostgreSQL), not by who leads it.
FOLLOWED = "waiting for who follows"
#: How many of the newest alerts are looked through for targets that still wait.
_NEWEST = 1000


class RecordedAlert(NamedTuple):
    """An alert as it is sent: `document` is its JSON value, `targets` what became of each."""

    id: int
    at: str
    document: Mapping[str, Any]
    targets: Mapping[str, str]


class EventOfNote(NamedTuple):
    """An event that may be worth an alert; `price_class` and name are those of its job, if it has one."""

    id: int
    event: str
    detail: Mapping[str, Any]
    job_id: JobId | None
    campaign: str | None
    name: str | None
    price_class: str | None


class NewEvents(NamedTuple):
    """The newest event, and the newest of a job, after the one that was asked for (0: none)."""

    last: int
    of_job: int


def known(read: LedgerReader, causes: Sequence[str]) -> set[str]:
    """Those of the causes that an alert was recorded for."""
    found = read.rows(f"SELECT cause FROM alerts WHERE cause IN ({placeholders(causes)})", causes)
    return {row["cause"] for row in found}


def begins_at(read: LedgerReader, run_id: int, *, recent: str, alone: bool) -> int:
    """The event after which a run has to be told of: what an earlier alert has seen, or that before its own first.

    Of the run before it too where that was killed, or ended after a time (ISO 8601): it may not have come to tell. Not
    so where a run is not `alone`: others may go on, and its own is taken over.
    """
    if not alone:
        seen = read.row("SELECT seen FROM alerts WHERE run_id = ? ORDER BY id DESC LIMIT 1", (run_id,))
        return max(seen["seen"] if seen else 0, first_event(read, run_id) - 1)
    before = read.row("SELECT id, ended_at FROM runs WHERE id < ? ORDER BY id DESC LIMIT 1", (run_id,))
    if before is not None and (before["ended_at"] is None or before["ended_at"] >= recent):
        run_id = before["id"]
    return max(read.figure("SELECT (SELECT seen FROM alerts ORDER BY id DESC LIMIT 1)"), first_event(read, run_id) - 1)


def run_of(read: LedgerReader, event_id: int) -> int:
    """The run that wrote an event."""
    return read.figure("SELECT run_id FROM events WHERE id = ?", (event_id,))


def new_events(read: LedgerReader, after: int, run_id: int | None) -> NewEvents:
    """Whether there is news after an event, of a run or (None) any; costs as much as there is."""
    of_run, values = _of_run(run_id)
    sql = "SELECT max(CASE WHEN job_id IS NULL THEN 0 ELSE id END) AS of_job, max(id) AS last FROM events"
    row = read.one(f"{sql} WHERE {of_run} AND id > ?", (*values, after))
    return NewEvents(row["last"] or 0, row["of_job"] or 0)


def _of_run(run_id: int | None, column: str = "run_id") -> tuple[str, tuple[int, ...]]:
    return ("1 = 1", ()) if run_id is None else (f"{column} = ?", (run_id,))


def events_of_note(
    read: LedgerReader, after: int, upto: int, kinds: Sequence[Event], run_id: int | None
) -> Iterator[EventOfNote]:
    """The events of these kinds after one event and up to another, oldest first; of a run or (None) any."""
    of_run, values = _of_run(run_id, "e.run_id")
    sql = (
        "SELECT e.id, e.event, e.detail, e.job_id, w.campaign, w.name, w.price_class FROM events AS e"
        " LEFT JOIN wanted AS w ON w.id = e.job_id"
        f" WHERE {of_run} AND e.id > ? AND e.id <= ? AND e.event IN {among(*kinds)} ORDER BY e.id"
    )
    for row in read.rows(sql, (*values, after, upto)):
        yield EventOfNote(row["id"], row["event"], json.loads(row["detail"]), *tuple(row)[3:])


def record(
    ledger: LedgerWriter,
    run_id: int,
    documents: Sequence[Mapping[str, Any]],
    targets: Callable[[str], Mapping[str, str]],
    seen: int,
) -> None:
    """Write alerts down whose cause is new, each with the targets of its kind and how they wait for it from now on.

    Raises StorageError; nobody waits long for another program's lock.
    """

    def write() -> None:
        with ledger._write as t:
            for document in documents:
                _insert(t, run_id, document, targets(document["event"]), seen)

    _at_once(ledger, write)


def _insert(t: Transaction, run_id: int, document: Mapping[str, Any], targets: Mapping[str, str], seen: int) -> None:
    t.run(
        "INSERT OR IGNORE INTO alerts (at, run_id, cause, event, document, targets, seen) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            document["at"],
            run_id,
            document["cause"],
            document["event"],
            json.dumps(document),
            json.dumps(dict(targets)),
            seen,
        ),
    )


def told(ledger: LedgerWriter, alert_id: int, target: str, outcome: str) -> None:
    """Write down what became of an alert for a target. Raises StorageError, as `record` does."""

    def write() -> None:
        with ledger._write as t:
            row = t.run("SELECT targets FROM alerts WHERE id = ?", (alert_id,)).fetchone()
            found = json.loads(row["targets"]) | {target: outcome}
            t.run("UPDATE alerts SET targets = ? WHERE id = ?", (json.dumps(found), alert_id))

    _at_once(ledger, write)


def _at_once(ledger: LedgerWriter, write: Callable[[], None]) -> None:
    [failed] = ledger.commit_group([write], patient=False)
    if failed is not None:
        raise failed


def waiting(
    read: LedgerReader, *, since: str, after: int = 0, run_id: int | None = None, state: str = WAITING
) -> list[RecordedAlert]:
    """The alerts since a time (ISO 8601) and after an id for which a target still waits so, oldest first.

    Of a run, or (None) any.
    """
    of_run, values = _of_run(run_id)
    rows = read.rows(
        f"SELECT id, at, document, targets FROM alerts WHERE {of_run} AND id > ?"
        " AND id > (SELECT max(id) FROM alerts) - ? AND at >= ? ORDER BY id",
        (*values, after, _NEWEST, since),
    )
    return [found for found in map(_recorded, rows) if state in found.targets.values()]


def _recorded(row: sqlite3.Row) -> RecordedAlert:
    return RecordedAlert(row["id"], row["at"], json.loads(row["document"]), json.loads(row["targets"]))
