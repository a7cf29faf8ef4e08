"""Jobs that are made from results of others: whether they wait, and what becomes of them when a source ends.

Where a source moves, gets its file, loses it or is judged, all that depend on it are looked at in the same transaction
(`settle`). So no crash can leave a job that may be sent without its sources, or one that waits for nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from batcher.events import Event
from batcher.jobs import FileReference, JobId, JobSpec, Reference, Status, sources_of
from batcher.ledger.queries.sql import SOURCE_STATES
from batcher.ledger.reader import LedgerReader
from batcher.settings import Selection

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
_OF_SOURCE = "(w.id = ?1 AND w.status = 'planned' OR w.id IN (SELECT job_id FROM sources WHERE source_id = ?1))"
_BEGIN = "UPDATE wanted SET begun = 1 WHERE NOT begun"
_BOUGHT = "SELECT 1 FROM sources AS s JOIN attempts AS a ON a.job_id = s.source_id WHERE s.job_id = wanted.id"
_STATES = f"SELECT * FROM {SOURCE_STATES} WHERE job_id = ? ORDER BY position"


def enrol(t: Transaction, specs: Iterable[JobSpec]) -> None:
    """Write down what each job is made from; that stays, for it is a part of what the job is, but for the gates."""
    edges = [(s.id, n, one.job_id, one.gate) for s in specs for n, one in enumerate(sources_of(s.reference))]
    t.many(
        "INSERT INTO sources VALUES (?, ?, ?, ?) ON CONFLICT (job_id, position) DO UPDATE SET gate = excluded.gate",
        edges,
    )
    t.many(f"{_BEGIN} AND id = ? AND EXISTS ({_BOUGHT})", [(job_id,) for job_id, n, *_ in edges if n == 0])


def begin(t: Transaction, source_id: JobId) -> None:
    """Mark those that are made from a job which is bought: the caps leave room for them."""
    t.tell(f"{_BEGIN} AND id IN (SELECT job_id FROM sources WHERE source_id = ?)", (source_id,))


def settle(t: Transaction, source_id: JobId) -> None:
    """Look at all that depend on a job that has moved."""
    _settle(t, _OF_SOURCE, source_id)


def settle_all(t: Transaction, campaign: str) -> None:
    """Look at all jobs of a campaign that have sources."""
    _settle(t, "w.campaign = ?1", campaign)


def _settle(t: Transaction, which: str, value: str) -> None:
    """Look at some jobs, then at those that depend on what moved by that.

    One after the other: a chain may be longer than Python's stack, and what depends on a job in two ways moves once.
    """
    t.to_settle.append((which, value))
    if len(t.to_settle) > 1:
        return  # whoever moved it comes to it
    while t.to_settle:
        which, value = t.to_settle[0]
        for row in t.run(f"{_WANTED} AND {which}", (value,)).fetchall():
            _settle_one(t, row)
        del t.to_settle[0]


def _settle_one(t: Transaction, row: sqlite3.Row) -> None:
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


def used(t: Transaction, job_id: JobId, reference: Reference | None) -> str:
    """Which files a purchase is made from, as `attempts.used` keeps it.

    Raises Stale where they are not ready, or not those that the purchase names, any more.
    """
    states = t.run(_STATES, (job_id,)).fetchall()
    named = {one.sha256 for one in (reference.each if reference else ()) if isinstance(one, FileReference)}
    if not all(each["ready"] and each["sha256"] in named for each in states):
        raise Stale(f"what job {job_id} is made from has changed")
    return json.dumps(
        {each["source_id"]: {name: each[name] for name in ("attempt", "sha256", "path")} for each in states}
    )


def review(t: Transaction, sha256: str, verdict: str) -> None:
    """Keep what a person says of a file, whoever made it, and look at all that wait for it."""
    t.run(
        "INSERT INTO reviews VALUES (?, ?, ?) ON CONFLICT (sha256) DO UPDATE SET verdict = excluded.verdict,"
        " at = excluded.at",
        (sha256, verdict, t.at),
    )
    sources = t.run(
        "SELECT DISTINCT a.job_id FROM files AS f JOIN attempts AS a ON a.id = f.attempt_id"
        " WHERE f.sha256 = ? AND f.sha256 IS NOT NULL AND f.number = 0",
        (sha256,),
    ).fetchall()
    for row in sources:
        settle(t, row["job_id"])


# Of jobs that are planned and of which a source was bought once, each with its sources, in order.
_BEGUN = (
    "SELECT w.id, w.name, w.price_class, w.catalog_credits, s.source_id, u.status AS source_status,"
    " EXISTS (SELECT 1 FROM sources WHERE source_id = w.id) AS goes_on FROM wanted AS w INDEXED BY wanted_begun"
    " CROSS JOIN sources AS s ON s.job_id = w.id CROSS JOIN wanted AS u ON u.id = s.source_id WHERE w.campaign = ?1"
    " AND w.status = 'planned' AND w.begun AND w.expansion = (SELECT expansion FROM campaigns WHERE name = ?1)"
    " ORDER BY w.position, s.position"
)
# The same counted, where each of them is made from what is begun, and nothing else from it.
_BEGUN_COUNTS = (
    "SELECT w.price_class, w.catalog_credits, count(*) AS jobs, sum(CASE WHEN"
    " EXISTS (SELECT 1 FROM sources AS t WHERE t.source_id = w.id)"
    " OR EXISTS (SELECT 1 FROM sources AS s CROSS JOIN wanted AS u WHERE s.job_id = w.id AND u.id = s.source_id"
    " AND u.status = 'planned') THEN 1 ELSE 0 END) AS needs_more FROM wanted AS w INDEXED BY wanted_begun"
    " WHERE w.campaign = ?1 AND w.status = 'planned' AND w.begun"
    " AND w.expansion = (SELECT expansion FROM campaigns WHERE name = ?1) GROUP BY w.price_class, w.catalog_credits"
)
_LINK = "SELECT w.id, w.name, w.campaign, w.price_class, w.catalog_credits FROM"
_NEEDS = f"{_LINK} sources AS s JOIN wanted AS w ON w.id = s.source_id WHERE s.job_id = ? AND w.status = 'planned'"
_MADE_FROM = (
    f"{_LINK} sources AS s JOIN wanted AS w ON w.id = s.job_id JOIN campaigns AS c ON c.name = w.campaign"
    " WHERE s.source_id = ? AND w.status = 'planned' AND w.expansion = c.expansion ORDER BY w.position"
)
_SERVED = (
    "SELECT 1 FROM sources AS s JOIN wanted AS w ON w.id = s.job_id WHERE s.source_id = ?"
    " AND w.status NOT IN ('planned', 'cancelled') LIMIT 1"
)


class Link(NamedTuple):
    """A planned job of a chain, with what its price goes by."""

    id: JobId
    name: str
    campaign: str
    price_class: str
    catalog_credits: int


def chain_from(read: LedgerReader, job: Link, selection: Selection) -> list[Link]:
    """A planned job with all that it needs besides, then the first job made from it with the same, to the end."""
    found: dict[JobId, Link] = {}
    step: Link | None = job
    while step is not None:
        stack = [step]
        while stack:
            each = stack.pop()
            if each.id not in found:
                found[each.id] = each
                stack += (Link(*row) for row in read.rows(_NEEDS, (each.id,)))
        made = (Link(*row) for row in read.stream(_MADE_FROM, (step.id,)))
        step = next((each for each in made if selection.may_send(each.name, each.id)), None)
    return list(found.values())


def begun_counts(read: LedgerReader, campaign: str) -> list[tuple[str, int, int]] | None:
    """Price class, catalogue's credits and number of the jobs that chains which are begun lack, whatever is selected.

    None where one of them needs more than itself: `begun_chains` has what.
    """
    found = read.rows(_BEGUN_COUNTS, (campaign,))
    if any(row["needs_more"] for row in found):
        return None
    return [(row["price_class"], row["catalog_credits"], row["jobs"]) for row in found]


def begun_chains(read: LedgerReader, campaign: str, selection: Selection) -> Iterator[list[Link]]:
    """What is still to be bought of chains that are begun, in manifest order.

    That is each job whose sources are all begun, and of a source of which nothing is made yet the first job.
    """
    first: dict[JobId, JobId] = {}
    for job, rows in groupby(read.rows(_BEGUN, (campaign,)), key=lambda row: JobId(row["id"])):
        row, *more = rows
        if not selection.may_send(row["name"], job):
            continue
        begun = [JobId(each["source_id"]) for each in (row, *more) if each["source_status"] != Status.PLANNED]
        for source in begun:
            first.setdefault(source, job)
        lacks = len(begun) <= len(more)
        link = Link(job, row["name"], campaign, row["price_class"], row["catalog_credits"])
        if not lacks or any(first[each] == job and not read.row(_SERVED, (each,)) for each in begun):
            yield chain_from(read, link, selection) if lacks or row["goes_on"] else [link]
