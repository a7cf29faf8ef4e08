"""What the HTML report asks of the ledger beside the figures: a row a job, and what changed when. Reads only.

What changed is summed up in a few steps of time, so that it stays small however many jobs there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from batcher.events import Event
from batcher.jobs import Status
from batcher.ledger.reader import LedgerReader
from batcher.ledger.store.amounts import HOLD, OPEN_HOLD, SETTLED

from .spend import AT, PAIRED, WAIT, WAITED, Scope, where_of
from .sql import DIFFERS, KEPT, LATEST, USED, from_json

#: Steps into which a time is cut: more than a chart has room for.
STEPS = 160
#: Days between an ISO 8601 time and the first of 1970, as SQLite counts them.
_EPOCH_DAYS = 2440587.5
# Every reference of a job; a file is known by its hash.
_EACH = (
    f"json_object('text', coalesce({USED.format(text='{text}', what='path')}, {{text}}),"
    " 'url', json(iif({sha256} IS NULL AND {text} NOT GLOB 'result:*', 'true', 'false')))"
)
_REFERENCES = (
    "CASE WHEN w.reference_list IS NOT NULL THEN (SELECT json_group_array("
    + _EACH.format(text="(e.value ->> 'reference')", sha256="(e.value ->> 'sha256')")
    + ") FROM json_each(w.reference_list) AS e) WHEN w.reference IS NULL THEN '[]' ELSE json_array("
    + _EACH.format(text="w.reference", sha256="w.reference_sha256")
    + ") END"
)
# What a job is made from, with the file that went along, if it was bought.
_SOURCES = (
    "(SELECT json_group_array(json_object('job', source_id, 'target', target, 'size', size)) FROM"
    " (SELECT s.source_id, f.target, f.size FROM sources AS s LEFT JOIN attempts AS b ON b.job_id = s.source_id"
    " AND b.number = a.used ->> ('$.\"' || s.source_id || '\".attempt')"
    " LEFT JOIN files AS f ON f.attempt_id = b.id AND f.number = 0 WHERE s.job_id = w.id ORDER BY s.position))"
)
_JSON = {"params": dict, "vars": dict, "tags": dict, "references": list, "sources": list, "files": list}


class Card(NamedTuple):
    """A job as the gallery shows it.

    `settled` and `held` are the credits of all its purchases, `files` the saved files of the latest one (relative to
    the state folder; width over height of the first is its `shape`), `task` the id of its task. `code` and `message`
    are the ledger's, `wait` is in seconds. Each of `references` has its `text`, and whether that is a `url` (else a
    path), each of `files` its `target` and `size` in bytes. Each of `sources` is a `job` whose result it is made from,
    with the `target` and `size` of the file that went along (None before it was bought).
    """

    id: str
    campaign: str
    name: str
    model: str
    prompt: str
    params: dict[str, Any]
    vars: dict[str, Any]
    tags: dict[str, Any]
    references: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    take: int
    status: str
    attempts: int
    settled: int
    held: int
    files: list[dict[str, Any]]
    shape: float | None
    task: str | None
    code: str | None
    message: str | None
    finished: str | None
    wait: float | None


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when, in seconds since the epoch."""

    start: float
    end: float

    @property
    def step(self) -> float:
        return max(self.end - self.start, 1.0) / STEPS


@dataclass(frozen=True, slots=True)
class Spent:
    """By how many credits a campaign's sums had changed at the end of a step (`at`: seconds since the epoch)."""

    campaign: str
    at: float
    settled: int
    held: int


@dataclass(frozen=True, slots=True)
class StatusChange:
    """How many jobs went from a status (None: they were new) to another in the step that ends at `at`."""

    at: float
    old: Status | None
    new: Status
    jobs: int


def cards(read: LedgerReader, scope: Scope, limit: int) -> Iterator[Card]:
    """The jobs that a report counts, by campaign and place in the manifest, `limit` of them at most, as a stream.

    Where there are more, those that have a file come first.
    """
    saved = f"f.attempt_id = a.id AND {KEPT}"
    has_file = f"EXISTS (SELECT 1 FROM files AS f WHERE {saved})"
    chosen = _first(read, scope, has_file, limit)
    chosen += _first(read, scope, f"NOT {has_file}", limit - len(chosen))
    sql = (
        "SELECT w.id, w.campaign, w.name, w.model, w.prompt, coalesce(a.params, w.params) AS params, w.vars, w.tags,"
        f' {_REFERENCES} AS "references", {_SOURCES} AS sources, w.take, w.status, coalesce(a.number, 0) AS attempts,'
        f" (SELECT coalesce(sum({SETTLED}), 0) FROM attempts WHERE job_id = w.id) AS settled,"
        f" (SELECT coalesce(sum({OPEN_HOLD}), 0) FROM attempts WHERE job_id = w.id) AS held,"
        " (SELECT json_group_array(json_object('target', target, 'size', size)) FROM"
        f" (SELECT f.target, f.size FROM files AS f WHERE {saved} ORDER BY f.number)) AS files,"
        " (SELECT round(1.0 * f.width / nullif(f.height, 0), 3) FROM files AS f"
        f" WHERE {saved} ORDER BY f.number LIMIT 1) AS shape,"
        " a.task_id AS task, coalesce(w.error_code, a.error_code) AS code,"
        f" coalesce(w.error_message, a.error_message, 'not as asked for: ' || {DIFFERS}) AS message,"
        " a.finished_at AS finished,"
        f" CASE WHEN {WAITED} THEN {WAIT} END AS wait {LATEST}"
        " WHERE w.seq IN (SELECT e.value FROM json_each(?) AS e) ORDER BY w.campaign, w.position, w.seq"
    )
    for row in read.stream(sql, [json.dumps(chosen)]):
        found = {name: from_json(row[name]) for name in _JSON}
        # what somebody else wrote there may be of another kind
        yield Card(*row)._replace(**{n: it if isinstance(it, _JSON[n]) else _JSON[n]() for n, it in found.items()})


def _first(read: LedgerReader, scope: Scope, such: str, limit: int) -> list[int]:
    """The places of the first `limit` jobs that are `such`."""
    where, values = where_of(scope, AT)
    ordered = f"SELECT w.seq {LATEST} WHERE {where} AND {such} ORDER BY w.campaign, w.position, w.seq LIMIT ?"
    return [row[0] for row in read.rows(ordered, [*values, limit])]


def span(read: LedgerReader, scope: Scope) -> Span | None:
    """From the first to the last change of what a report counts; None where nothing is."""
    of_jobs, values = _of_jobs(scope)
    first, last = read.one(
        f"SELECT min(e.at), max(e.at) {of_jobs} AND ifnull(e.at >= ?, 1)",
        [*values, scope.since],
    )
    if first is None:
        return None
    return Span(*read.one(f"SELECT {_seconds('?')}, {_seconds('?')}", [first, last]))


def spending(read: LedgerReader, scope: Scope, within: Span) -> list[Spent]:
    """What was held and settled by each campaign, step by step, of all purchases of the scope's jobs, whenever made.

    What came before the span stands in its first step, what came after it in its last: the sums are those of now.
    """
    chosen, limits = where_of(replace(scope, since=None, until=None), "")
    ended = "coalesce(a.finished_at, a.submitted_at, a.intended_at)"
    steps = [_step(at, within) for at in ("a.intended_at", f"coalesce(a.submitted_at, {ended})", ended)]
    found = read.rows(
        f"SELECT w.campaign, {', '.join(step for step, _ in steps)}, sum(a.quoted_credits),"
        f" sum({HOLD} - a.quoted_credits), sum({SETTLED}), sum({HOLD} - {OPEN_HOLD})"
        f" {PAIRED} WHERE {chosen} GROUP BY 1, 2, 3, 4",
        [*(value for _, values in steps for value in values), *limits],
    )
    changes: dict[tuple[str, int], list[int]] = {}
    for campaign, intended, answered, finished, quoted, raised, final, freed in found:
        parts = ((intended, 0, quoted), (answered, 0, raised), (finished, final, -freed))
        for step, settled, held in parts:
            sums = changes.setdefault((campaign, step), [0, 0])
            sums[0], sums[1] = sums[0] + settled, sums[1] + held
    return [
        Spent(campaign, within.start + (step + 1) * within.step, *sums)
        for (campaign, step), sums in sorted(changes.items())
    ]


def moves(read: LedgerReader, scope: Scope, within: Span) -> list[StatusChange]:
    """How the jobs that a report counts went from status to status, step by step, from their beginnings on."""
    of_jobs, limits = _of_jobs(scope)
    step, values = _step("at", within)
    # A job that is planned again after it had left the manifest has an event like that of its beginning. Only of those
    # that ever left it an earlier one is looked for: all others' have a place of their own in the index.
    old = (
        "CASE WHEN e.detail ->> '$.from' IS NULL AND e.job_id IN"
        f" (SELECT job_id FROM events WHERE event = '{Event.CANCELLED}')"
        " AND EXISTS (SELECT 1 FROM events AS b WHERE b.job_id = e.job_id AND b.id < e.id) THEN 'cancelled'"
        " ELSE e.detail ->> '$.from' END"
    )
    # A number for all three (step, old, new) is sorted in a fraction of the time that their words take.
    words = [None, *Status]
    digit = " ".join(f"WHEN '{word}' THEN {place}" for place, word in enumerate(words) if word)
    found = read.rows(
        f"SELECT 100 * {step} + 10 * CASE {old} {digit} ELSE 0 END + CASE e.detail ->> '$.to' {digit} END AS move,"
        f" count(*) {of_jobs} AND e.detail ->> '$.to' IS NOT NULL GROUP BY 1 HAVING move IS NOT NULL ORDER BY 1",
        [*values, *limits],
    )
    return [
        StatusChange(
            within.start + (move // 100 + 1) * within.step, words[move // 10 % 10], Status(words[move % 10]), jobs
        )
        for move, jobs in found
    ]


def _of_jobs(scope: Scope) -> tuple[str, list[Any]]:
    """The events `e` of the jobs that a report counts, and the values of the question marks."""
    if scope == Scope():
        # In the order of the file: the index of events by job would only lead up and down in it.
        return "FROM events AS e NOT INDEXED WHERE e.job_id IS NOT NULL", []
    where, values = where_of(scope, AT)
    return f"FROM events AS e WHERE e.job_id IN (SELECT w.id {LATEST} WHERE {where})", values


def _seconds(at: str) -> str:
    return f"(julianday({at}) - {_EPOCH_DAYS}) * 86400"


def _step(at: str, within: Span) -> tuple[str, list[float]]:
    """The number of the step in which a time lies, from 0, and the values of its question marks."""
    place = f"cast(({_seconds(at)} - ?) / ? AS INTEGER)"
    return f"max(0, min({STEPS - 1}, {place}))", [within.start, within.step]
