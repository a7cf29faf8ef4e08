"""What the post-mortem asks of the ledger: runs, and what happened in them. Reads only.

Events of jobs come summed up by minute, so that what is read grows with the time looked at, not with the jobs.
The order of what happened is that of the events' row ids: a clock can be set back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from batcher.events import Event
from batcher.ledger.reader import LedgerReader
from batcher.ledger.store.amounts import BOUGHT, OPEN_HOLD, SETTLED

from .run_settings import of_kind, read_settings, texts
from .spend import ALL, JOINED, Scope, where_of
from .sql import UNSAVED, placeholders

#: What happens to a run as a whole (`cap_reached`: {cap, message}; `looked`: {of, message};
#: `wallet_odd`: {what, message}; `commanded`: {command, message}; `commands_kept`: {state, message}).
NOTES = (
    *(Event.HALTED, Event.OUTAGE_BEGAN, Event.OUTAGE_ENDED, Event.LIMIT_CUT, Event.LIMIT_RESTORED, Event.CAP_REACHED),
    *(Event.RUN_ENDED, Event.LOOKED, Event.WALLET_ODD, Event.COMMANDED, Event.COMMANDS_KEPT, Event.CANARY),
)
_TROUBLES = (Event.FAILED, Event.REFUSED, Event.DOUBTFUL, Event.MAYBE_RECEIVED, Event.LATE_ANSWER)
_JOB_EVENTS = (
    *_TROUBLES,
    *(Event.PRICE_ROSE, Event.HOLDS_RAISED, Event.FINAL_UNKNOWN, Event.FINAL_CHANGED, Event.FINAL_IGNORED),
    *(Event.UNKNOWN_STATE, Event.MODEL_DIFFERS),
    *(Event.RETRIED, Event.RESOLVED, Event.CANCELLED),
)
#: With these a job that an earlier run had bought goes on.
_NEWS = (Event.SUCCEEDED, Event.FAILED, Event.DOUBTFUL, Event.REFUSED, Event.SAVED)

# Columns of `events AS e`. Somebody may have edited a ledger by hand: what is no JSON says nothing.
_DETAIL = "iif(json_valid(e.detail), e.detail, '{}')"


def _text(member: str) -> str:
    return f"CAST(json_extract({_DETAIL}, '$.{member}') AS TEXT)"


# `unsent`: closed at no cost, the job planned again. `reference`: nothing was sent, for the reference was not usable.
_KIND = (
    f"CASE e.event WHEN '{Event.REFUSED}' THEN iif({_text('to')} IS 'planned', 'unsent', 'refused')"
    f" WHEN '{Event.FAILED}' THEN iif({_text('from')} IS 'planned', 'reference', 'failed')"
    f" WHEN '{Event.MAYBE_RECEIVED}' THEN 'unanswered' ELSE e.event END"
)
_CODE = f"CASE e.event WHEN '{Event.RESOLVED}' THEN {_text('as')} ELSE {_text('code')} END"
# Events that set one figure or word in another's place: the members of their detail.
_INSTEAD = {
    Event.PRICE_ROSE: ("taken", "expected"),
    Event.FINAL_CHANGED: ("now", "was"),
    Event.FINAL_IGNORED: ("said", "charged"),
    Event.MODEL_DIFFERS: ("said", "asked"),
}
_MESSAGE = (
    "CASE e.event"
    + "".join(
        f" WHEN '{event}' THEN {_text(new)} || ' instead of ' || {_text(old)}" for event, (new, old) in _INSTEAD.items()
    )
    + f" WHEN '{Event.HOLDS_RAISED}' THEN {_text('attempts')} || ' open, ' || {_text('credits')} || ' each now'"
    f" WHEN '{Event.FINAL_UNKNOWN}' THEN {_text('credits')} WHEN '{Event.UNKNOWN_STATE}' THEN {_text('word')}"
    f" ELSE {_text('message')} END"
)
# Whether a job is still as an event of that kind and code has left it.
_OPEN = (
    "CASE t.kind WHEN 'doubtful' THEN w.status = 'doubtful' AND {same} WHEN 'unsent' THEN w.status = 'planned'"
    " WHEN 'unanswered' THEN w.status = 'submitting' WHEN '{late}' THEN 0"
    " ELSE w.status = 'failed' AND {same} END"
).format(same="coalesce(w.error_code, a.error_code) IS t.code", late=Event.LATE_ANSWER)
# julianday counts milliseconds in whole numbers; a difference of its doubles is off by less than 0.1 ms.
_SECONDS = "round((julianday({1}) - julianday({0})) * 86400, 3)"


@dataclass(frozen=True, slots=True)
class RunTraces:
    """The ids of a run's first and last event, its stated rates (requests, seconds) by name, whom it bought from."""

    first: int
    last: int
    limits: Mapping[str, tuple[int, float]]
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run, `ended`, `going` or `killed`: its end was never written, and `until` is its last sign of life.

    Credits are those of its own purchases; `refused` attempts were closed at no cost. `went_on` counts jobs that an
    earlier run had bought and this one took on.
    `left` counts why jobs did not come to their end, where that was written down.
    """

    id: int
    state: str
    since: str
    until: str
    exit_code: int | None
    reason: str | None
    campaigns: tuple[str, ...]
    bought: int = 0
    refused: int = 0
    quoted: int = 0
    settled: int = 0
    held: int = 0
    saved: int = 0
    went_on: int = 0
    left: Mapping[str, int] = field(default_factory=dict)
    traces: RunTraces = field(default=RunTraces(0, 0, {}), compare=False)

    @property
    def idle(self) -> bool:
        """Whether it came to its end and changed nothing."""
        return self.state == "ended" and not (self.bought or self.refused or self.saved or self.went_on)


class Note(NamedTuple):
    """An event of a run as a whole."""

    id: int
    at: str
    run_id: int
    event: str
    detail: Mapping[str, Any]


class Batch(NamedTuple):
    """Events of one kind and code in one minute of a run; message and job are those of the newest."""

    id: int
    run_id: int | None
    kind: str
    code: str | None
    events: int
    first: str
    last: str
    job_id: str
    message: str | None


@dataclass(frozen=True, slots=True)
class FailureCause:
    """Why so many jobs, or runs, went wrong. `open` are still so; job and message are those of the newest."""

    kind: str
    code: str | None
    count: int
    open: int
    job_id: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Wait:
    """A task that was waited for: seconds from submission to its end, or until now while it is `open`."""

    seconds: float
    open: bool
    job_id: str
    name: str
    campaign: str
    submitted_at: str


class Gap(NamedTuple):
    """A time in which a run wrote nothing; `id` is the event before it."""

    id: int
    run_id: int
    since: str
    until: str
    seconds: float


def runs(read: LedgerReader, scope: Scope, *, going: int | None = None) -> list[RunEntry]:
    """The runs of these campaigns that touch the scope's time, oldest first; `going` is the one that goes on.

    What a run bought is told whole, also where the scope has only a part of its time.
    """
    where, values = ["1"], list[Any]()
    if scope.until is not None:
        where.append("started_at < ?")
        values.append(scope.until)
    if scope.since is not None:
        where.append("coalesce(ended_at, ?) >= ?")
        values += [scope.since, scope.since]
    rows = read.rows(
        "SELECT runs.*, accounts.provider FROM runs LEFT JOIN accounts USING (account)"
        f" WHERE {' AND '.join(where)} ORDER BY id",
        values,
    )
    lives = _lives(read, scope, rows[0]["id"], rows[-1]["id"]) if rows else {}
    bought, went_on = _purchases(read, scope), _went_on(read, scope)
    found = []
    for row in rows:
        run, campaigns = row["id"], texts(row["campaigns"])
        first, last, last_at, saved = lives.get(run, (0, 0, row["started_at"], 0))
        until = row["ended_at"] or last_at
        if scope.campaigns and not set(scope.campaigns) & set(campaigns):
            continue
        if scope.since and until < scope.since:
            continue
        found.append(
            RunEntry(
                id=run,
                state="ended" if row["ended_at"] else "going" if run == going else "killed",
                since=row["started_at"],
                until=until,
                exit_code=row["exit_code"],
                reason=row["reason"],
                campaigns=campaigns,
                saved=saved,
                went_on=went_on.get(run, 0),
                traces=RunTraces(first, last, read_settings(row["settings"]).limits, row["provider"]),
                **bought.get(run, {}),
            )
        )
    return found


def _lives(read: LedgerReader, scope: Scope, first: int, last: int) -> dict[int, tuple[int, int, str, int]]:
    saved, join, values = f"e.event = '{Event.SAVED}'", "", list[Any]()
    if scope.campaigns:
        saved += f" AND w.campaign IN ({placeholders(scope.campaigns)})"
        join, values = " LEFT JOIN wanted AS w ON w.id = e.job_id", list(scope.campaigns)
    sql = (
        f"SELECT e.run_id, min(e.id), max(e.id), max(e.at), sum({saved}) FROM events AS e NOT INDEXED{join}"
        " WHERE e.run_id BETWEEN ? AND ? GROUP BY 1"
    )
    return {row[0]: (row[1], row[2], row[3], row[4] or 0) for row in read.stream(sql, [*values, first, last])}


def _purchases(read: LedgerReader, scope: Scope) -> dict[int, dict[str, Any]]:
    """What each run bought for these campaigns, whenever; by run."""
    where, values = where_of(Scope(None, None, scope.campaigns), "")
    found = read.rows(
        f"SELECT a.run_id, sum({BOUGHT}) AS bought, sum(NOT {BOUGHT}) AS refused,"
        f" sum(CASE WHEN {BOUGHT} THEN quoted_credits ELSE 0 END) AS quoted,"
        f" sum({SETTLED}) AS settled, sum({OPEN_HOLD}) AS held"
        f" {JOINED if scope.campaigns else ALL} WHERE {where} GROUP BY 1",
        values,
    )
    return {row["run_id"]: {name: row[name] for name in row.keys()[1:]} for row in found}


def _went_on(read: LedgerReader, scope: Scope) -> dict[int, int]:
    """With how many jobs that earlier runs had bought each run went on."""
    source, where, values = _source(scope, _NEWS)
    found = read.rows(
        f"SELECT e.run_id, count(DISTINCT e.job_id) {source} CROSS JOIN attempts AS a"
        f" ON a.job_id = e.job_id AND a.number = e.attempt WHERE {where} AND a.run_id < e.run_id GROUP BY 1",
        values,
    )
    return {row[0]: row[1] for row in found}


def notes(read: LedgerReader, runs: Collection[int]) -> Iterator[Note]:
    """What happened to these runs as a whole, in the order of its writing."""
    sql = (
        f"SELECT e.id, e.at, e.run_id, e.event, {_DETAIL} AS detail FROM events AS e NOT INDEXED"
        f" WHERE e.job_id IS NULL AND e.event IN ({placeholders(NOTES)}) AND e.run_id BETWEEN ? AND ? ORDER BY e.id"
    )
    for row in read.stream(sql, [*NOTES, min(runs), max(runs)]) if runs else ():
        if row["run_id"] in runs:
            yield Note(row["id"], row["at"], row["run_id"], row["event"], of_kind(row["detail"], dict))


def _source(scope: Scope, events: Sequence[str]) -> tuple[str, str, list[Any]]:
    where, values = where_of(scope, "e.at")
    join = " CROSS JOIN wanted AS w ON w.id = e.job_id" if scope.campaigns else ""
    wanted = f"e.job_id IS NOT NULL AND e.event IN ({placeholders(events)}) AND {where}"
    return f"FROM events AS e NOT INDEXED{join}", wanted, [*events, *values]


def batches(read: LedgerReader, scope: Scope) -> Iterator[Batch]:
    """What happened to jobs, in the order of its writing, but for what is meant to happen."""
    source, where, values = _source(scope, _JOB_EVENTS)
    groups = (
        f"SELECT e.run_id, {_KIND} AS kind, {_CODE} AS code, substr(e.at, 1, 16) AS minute, count(*) AS n,"
        f" min(e.id) AS first, max(e.id) AS newest, min(e.at) AS since, max(e.at) AS until {source} WHERE {where}"
        " GROUP BY 1, 2, 3, 4"
    )
    sql = (
        f"SELECT g.first, g.run_id, g.kind, g.code, g.n, g.since, g.until, e.job_id, {_MESSAGE} FROM ({groups}) AS g"
        " CROSS JOIN events AS e ON e.id = g.newest ORDER BY 1"
    )
    for row in read.stream(sql, values):
        yield Batch(*row)


def troubles(read: LedgerReader, scope: Scope) -> list[FailureCause]:
    """Which troubles jobs met, the most frequent first; a job counts once for each."""
    source, where, values = _source(scope, _TROUBLES)
    each = (
        f"SELECT e.job_id, {_KIND} AS kind, {_CODE} AS code, {_MESSAGE} AS message, max(e.id) AS id"
        f" {source} WHERE {where} GROUP BY 1, 2, 3"
    )
    found = read.rows(
        f"SELECT t.kind, t.code, count(*) AS jobs, sum({_OPEN}), t.job_id, t.message, max(t.id) FROM ({each}) AS t"
        " CROSS JOIN wanted AS w ON w.id = t.job_id LEFT JOIN attempts AS a ON a.id = w.attempt_id"
        " GROUP BY 1, 2 ORDER BY jobs DESC, 1, 2",
        values,
    )
    return [FailureCause(*row[:-1]) for row in found]


def without_file(read: LedgerReader, scope: Scope) -> FailureCause | None:
    """Succeeded jobs of which a file is not saved, if there are any."""
    where, values = where_of(scope, "a.intended_at")
    row = read.row(
        "SELECT count(DISTINCT w.id), w.id, max(a.id) FROM files AS f JOIN attempts AS a ON a.id = f.attempt_id"
        " JOIN wanted AS w ON w.attempt_id = a.id AND w.id = a.job_id"
        f" WHERE {UNSAVED} AND w.status = 'succeeded' AND {where}",
        values,
    )
    return FailureCause("without_file", None, row[0], row[0], row[1], None) if row and row[0] else None


def slowest(read: LedgerReader, scope: Scope, *, now: str, count: int) -> list[Wait]:
    """The tasks bought in the scope that were waited for longest, also such as are still with the API."""
    where, values = where_of(scope, "a.intended_at")
    found = read.rows(
        f"SELECT {_SECONDS.format('a.submitted_at', 'coalesce(a.finished_at, ?)')} AS seconds,"
        f" a.finished_at IS NULL, w.id, w.name, w.campaign, a.submitted_at {JOINED} WHERE {where}"
        " AND a.submitted_at IS NOT NULL AND a.task_id IS NOT NULL AND a.outcome IS NOT 'doubtful'"
        " AND a.outcome IS NOT 'resolved' ORDER BY seconds DESC, a.id LIMIT ?",
        [now, *values, count],
    )
    return [Wait(row[0], bool(row[1]), *row[2:]) for row in found]


def gaps(read: LedgerReader, scope: Scope, *, longer: float) -> list[Gap]:
    """The times of more than so many seconds in which a run wrote nothing."""
    where, values = where_of(Scope(scope.since, scope.until), "at")
    found = read.rows(
        f"SELECT id, run_id, before, at, {_SECONDS.format('before', 'at')} AS seconds FROM"
        " (SELECT at, run_id, lag(id) OVER steps AS id, lag(at) OVER steps AS before, lag(run_id) OVER steps AS same"
        " FROM events NOT INDEXED"
        f" WHERE {where} WINDOW steps AS (ORDER BY id)) WHERE run_id = same AND seconds > ?",
        [*values, longer],
    )
    return [Gap(*row) for row in found]


def sends(read: LedgerReader, scope: Scope) -> Iterator[tuple[str, int, int]]:
    """How many submissions, and how many requests in all, each second had: `YYYY-MM-DDTHH:MM:SS`, as long as kept."""
    where, values = where_of(Scope(scope.since, scope.until), "at")
    sql = f"SELECT substr(at, 1, 19), sum(kind = 'submit'), count(*) FROM sends WHERE {where} GROUP BY 1 ORDER BY 1"
    for row in read.stream(sql, values):
        yield row[0], row[1], row[2]
