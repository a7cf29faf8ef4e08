"""Jobs that are made from results of others: whether they wait, and what becomes of them when a source ends.

Where a source moves, gets its file, loses it or is judged, all that depend on it are looked at in the same transaction
(`settle`). So no crash can leave a job that may be sent without its sources, or one that waits for nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple

from batcher.events import Event
from batcher.jobs import FileReference, JobId, JobSpec, Reference, Status, sources_of
from batcher.ledger.queries.sql import SOURCE_STATES
from batcher.ledger.reader import LedgerReader

from .transaction import Stale, Transaction

#: `error_code` of a job whose source came to no file, or to one that a person rejected.
SOURCE_FAILED = "source_failed"
SOURCE_REJECTED = "source_rejected"
_MESSAGES = {
    SOURCE_FAILED: "what it is made from came to no file; it comes back when that is bought again",
    SOURCE_REJECTED: "a person rejected what it is made from; another take, or `batcher approve`, brings it back",
}
_WANTED = (
    "SELECT w.id, w.status, w.waiting FROM wanted AS w JOIN campaigns AS c ON c.name = w.campaign"
    " WHERE w.waiting IS NOT NULL AND (w.status = 'planned' OR w.status = 'cancelled'"
    f" AND w.error_code IN ('{SOURCE_FAILED}', '{SOURCE_REJECTED}') AND w.expansion = c.expansion)"
)
_STATES = f"SELECT * FROM {SOURCE_STATES} WHERE job_id = ? ORDER BY position"


def enrol(t: Transaction, specs: Iterable[JobSpec]) -> None:
    """Write down what each job is made from; that stays, for it is a part of what the job is, but for the gates."""
    edges = [(s.id, n, one.job_id, one.gate) for s in specs for n, one in enumerate(sources_of(s.reference))]
    t.many("INSERT INTO sources VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET gate = excluded.gate", edges)


def settle(t: Transaction, source_id: JobId) -> None:
    """Look at all that depend on a job that has moved."""
    of = "(w.id = ?1 AND w.status = 'planned' OR w.id IN (SELECT job_id FROM sources WHERE source_id = ?1))"
    _settle(t, t.run(f"{_WANTED} AND {of}", (source_id,)))


def settle_all(t: Transaction, campaign: str) -> None:
    """Look at all jobs of a campaign that have sources."""
    _settle(t, t.run(f"{_WANTED} AND w.campaign = ?", (campaign,)))


def _settle(t: Transaction, rows: Iterable[sqlite3.Row]) -> None:
    for row in list(rows):
        code, waiting = judge(t.run(_STATES, (row["id"],)).fetchall())
        if waiting != row["waiting"]:
            t.run("UPDATE wanted SET waiting = ? WHERE id = ?", (waiting, row["id"]))
        old = Status(row["status"])
        if code and old is Status.PLANNED:
            t.move(row["id"], old, Status.CANCELLED, code=code, message=_MESSAGES[code])
            t.event(Event.CANCELLED, job_id=row["id"], old=old, new=Status.CANCELLED, detail={"code": code})
        elif not code and old is Status.CANCELLED:
            t.move(row["id"], old, Status.PLANNED)
            t.event(Event.PLANNED, job_id=row["id"], old=old, new=Status.PLANNED)


def judge(sources: Sequence[sqlite3.Row]) -> tuple[str, int]:
    """Why a job cannot be made at present ("": it can, in time), and how many of its sources it waits for."""
    ended = (None, Status.FAILED, Status.CANCELLED)
    if any(each["status"] in ended or each["forgotten"] for each in sources):
        return SOURCE_FAILED, len(sources)
    if any(each["gate"] and each["has_file"] and each["verdict"] == "rejected" for each in sources):
        return SOURCE_REJECTED, len(sources)
    return "", sum(not each["ready"] for each in sources)


def used(t: Transaction, job_id: JobId, reference: Reference | None) -> str | None:
    """Which files a purchase is made from, as `attempts.used` keeps it; None for a job without sources.

    Raises Stale where they are not ready, or not those that the purchase names, any more.
    """
    states = t.run(_STATES, (job_id,)).fetchall()
    if not states:
        return None
    named = {one.sha256 for one in (reference.each if reference else ()) if isinstance(one, FileReference)}
    if not all(each["ready"] and each["sha256"] in named for each in states):
        raise Stale(f"what job {job_id} is made from has changed")
    return json.dumps(
        {each["source_id"]: {name: each[name] for name in ("attempt", "sha256", "path")} for each in states}
    )


def review(t: Transaction, sha256: str, verdict: str) -> None:
    """Keep what a person says of a file, whoever made it, and look at all that wait for it."""
    t.run("INSERT OR REPLACE INTO reviews VALUES (?, ?, ?)", (sha256, verdict, t.at))
    sources = t.run(
        "SELECT DISTINCT a.job_id FROM files AS f JOIN attempts AS a ON a.id = f.attempt_id"
        " WHERE f.sha256 = ? AND f.sha256 IS NOT NULL AND f.number = 0",
        (sha256,),
    ).fetchall()
    for row in sources:
        settle(t, row["job_id"])


_OPEN = (
    "SELECT w.id, w.price_class, w.catalog_credits, s.source_id, u.status, u.price_class AS source_class,"
    " u.catalog_credits AS source_credits FROM wanted AS w JOIN sources AS s ON s.job_id = w.id"
    " JOIN wanted AS u ON u.id = s.source_id WHERE w.campaign = ?1 AND w.status = 'planned' AND w.waiting IS NOT NULL"
    " AND w.expansion = (SELECT expansion FROM campaigns WHERE name = ?1) ORDER BY w.position, s.position"
)


class _Made(NamedTuple):
    """A planned job that is made from results: its price, and those of its sources that are not begun, by id."""

    price: int
    missing: dict[JobId, int]


def kept_room(read: LedgerReader, campaign: str, job_id: JobId, quote: Callable[[str, int], int]) -> int:
    """What is to be left free beside the price of a job, so that caps leave whole chains; in credits.

    That is the first job which is made from it, with what that needs besides, and so on to the chain's end. Before a
    new chain is begun, it is the same of each that is begun already, and of all jobs whose sources are all begun.
    """
    if not read.is_source(job_id):
        return 0
    price, made, first, begun = cache(quote), dict[JobId, _Made](), dict[JobId, JobId](), dict[JobId, None]()
    for row in read.rows(_OPEN, (campaign,)):
        job = made.setdefault(row["id"], _Made(price(row["price_class"], row["catalog_credits"]), {}))
        first.setdefault(row["source_id"], row["id"])
        if row["status"] == Status.PLANNED:
            job.missing[row["source_id"]] = price(row["source_class"], row["source_credits"])
        else:
            begun[row["source_id"]] = None
    room: dict[JobId, int] = {}
    ends = [job_id]
    if job_id not in made:
        ends += begun
        room = {each: job.price for each, job in made.items() if not job.missing}
        ends += room
    for end in ends:
        step = first.get(end)
        while step is not None:
            room |= {step: made[step].price, **made[step].missing}
            step = first.get(step)
    room.pop(job_id, None)
    return sum(room.values())
