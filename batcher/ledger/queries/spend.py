"""What reports ask of the ledger: sums, waits, prices, caps. Reads only; one pass each, whatever the number of jobs.

Money is counted purchase by purchase, at the time of the intent, as the caps count it. A job is counted once: at the
intent of its latest attempt or, if it was never bought, when its status moved last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from batcher.events import Event
from batcher.jobs import ParamValue, Status
from batcher.ledger.reader import LedgerReader
from batcher.ledger.store.amounts import COMMITTED, HOLD, OPEN_HOLD, SETTLED

from .selectors import Condition, Selector, meeting
from .sql import DIFFERENCE, KEPT, LATEST, SUPERSEDED, UNSAVED, placeholders

# In the order of the file: an index would only lead up and down in it.
ALL = "FROM attempts AS a NOT INDEXED"
JOINED = f"{ALL} CROSS JOIN wanted AS w ON w.id = a.job_id"
# Each job with its latest purchase, which lies near to it, or without any; and with each earlier one, of which there
# are few. By their jobs' ids, which are hashes, each purchase would be looked for in all of the file.
_PAIRS = (
    "FROM (SELECT seq AS job, attempt_id AS purchase FROM wanted UNION ALL SELECT w.seq, a.id FROM attempts AS b"
    " NOT INDEXED CROSS JOIN attempts AS a ON a.job_id = b.job_id AND a.number = b.number - 1"
    " CROSS JOIN wanted AS w ON w.id = a.job_id WHERE b.number > 1) AS p CROSS JOIN wanted AS w ON w.seq = p.job"
)
#: The same rows as of `JOINED`, for whoever wants most of them.
PAIRED = f"{_PAIRS} CROSS JOIN attempts AS a ON a.id = p.purchase"
# The latest purchase is that with which a job counts.
_EVERY = f"{_PAIRS} LEFT JOIN attempts AS a ON a.id = p.purchase"
_COUNTS = "w.attempt_id IS a.id"
# When a job counts.
AT = "coalesce(a.intended_at, w.updated_at)"
# Closed at no cost and planned again (no key, short wallet, no connection): nobody's failure.
_UNSENT = (
    "CASE WHEN a.outcome = 'refused' THEN EXISTS (SELECT 1 FROM events AS e WHERE e.job_id = a.job_id"
    f" AND e.attempt = a.number AND e.event = '{Event.REFUSED}'"
    " AND json_extract(e.detail, '$.to') = 'planned') ELSE 0 END"
)
# A wall clock that was set in between says nothing about how long it took.
WAITED = (
    "a.outcome IS 'succeeded' AND a.submitted_at IS NOT NULL AND a.finished_at >= a.submitted_at AND NOT a.clock_jumped"
)
# julianday counts milliseconds in whole numbers; a difference of its doubles is off by less than 0.1 ms.
WAIT = "round((julianday(a.finished_at) - julianday(a.submitted_at)) * 86400, 3)"
_ATTEMPTS = {
    "total": "count(a.id)",
    "succeeded": "sum(a.outcome IS 'succeeded')",
    "failed": "sum(a.outcome IS 'failed')",
    "refused": f"sum(a.outcome IS 'refused') - sum({_UNSENT})",
    "unsent": f"sum({_UNSENT})",
    "resolved": "sum(a.outcome IS 'resolved')",
    "doubtful": "sum(a.outcome IS 'doubtful')",
    "open": "count(a.id) - count(a.outcome)",
}
_CREDITS = {
    "quoted": "sum(quoted_credits)",
    "reserved": f"sum({HOLD})",
    "held": f"sum({OPEN_HOLD})",
    "doubtful": f"sum(iif(a.outcome IS 'doubtful', {OPEN_HOLD}, 0))",
    "settled": f"sum({SETTLED})",
    "returned": f"sum(max(0, {HOLD} - {COMMITTED}))",
}
_FILE_COUNT = "(SELECT count(*) FROM files AS f WHERE f.attempt_id = a.id AND f.saved_at IS NOT NULL)"
_FILES = f"sum({_FILE_COUNT})"
# The columns of a group: jobs by status, purchases by how they ended, credits, files.
_SUMS = (
    *(f"sum({_COUNTS} AND w.status = '{status}')" for status in Status),
    *_ATTEMPTS.values(),
    *(f"coalesce({sum_}, 0)" for sum_ in _CREDITS.values()),  # a job that was never bought has none
    _FILES,
)
# What codes of a refusal for content have in them, as they come: no provider documents all of its own.
_CONTENT = " OR ".join(f"a.error_code LIKE '%{word}%'" for word in ("moderation", "nsfw", "content_policy", "safety"))

Key = tuple[ParamValue | None, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which purchases: since <= intent < until (ISO 8601, UTC; None: open), of these campaigns; none named: all.

    Of their jobs those that meet all `conditions`.
    """

    since: str | None = None
    until: str | None = None
    campaigns: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def of_all_jobs(self) -> bool:
        """Whether nothing has to be known of a purchase's job."""
        return not (self.campaigns or self.conditions)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Purchases by how they ended; `open` ones have not. Their sum is `total`.

    `unsent` ones were closed at no cost and their jobs planned again; `refused` ones, at no cost too, failed them.
    """

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    refused: int = 0
    unsent: int = 0
    resolved: int = 0
    doubtful: int = 0
    open: int = 0

    @property
    def turned_away(self) -> int:
        """What was refused at no cost, whatever became of the job."""
        return self.refused + self.unsent

    @property
    def bought(self) -> int:
        """What was accepted, may have been received, or has no answer yet."""
        return self.total - self.turned_away


@dataclass(frozen=True, slots=True)
class Credits:
    """Credits of purchases: `reserved + over = held + settled + returned`, and `doubtful` is a part of `held`.

    `reserved` is the report's word for the sum of all holds, whatever the API said that it reserved.
    """

    quoted: int = 0
    reserved: int = 0
    held: int = 0
    doubtful: int = 0
    settled: int = 0
    returned: int = 0

    @property
    def over(self) -> int:
        """What was settled above the hold."""
        return self.held + self.settled + self.returned - self.reserved


class Group(NamedTuple):
    """The sums of a group, in the order of `_SUMS`, and its waits: numbers with commas, for they may be many."""

    sums: tuple[int, ...]
    waited: str

    @property
    def jobs(self) -> dict[Status, int]:
        """How many jobs have which status."""
        return {status: count for status, count in zip(Status, self.sums, strict=False) if count}

    @property
    def attempts(self) -> Attempts:
        return Attempts(*self.sums[len(Status) : -1 - len(_CREDITS)])

    @property
    def credits(self) -> Credits:
        return Credits(*self.sums[-1 - len(_CREDITS) : -1])

    @property
    def files(self) -> int:
        """How many files are saved."""
        return self.sums[-1]

    @property
    def waits(self) -> list[float]:
        """Seconds from submission to result of each purchase that has both, in no order."""
        return list(map(float, json.loads(f"[{self.waited}]")))


@dataclass(frozen=True, slots=True)
class FailureCount:
    """Why so many jobs have failed or are doubtful; `message` and `job_id` are those of the newest of them."""

    status: str
    error_code: str | None
    jobs: int
    message: str | None
    job_id: str


@dataclass(frozen=True, slots=True)
class ContentRefusals:
    """Purchases that the API refused for what was asked for, how many of them it charged, and for how many credits."""

    purchases: int = 0
    charged: int = 0
    settled: int = 0


@dataclass(frozen=True, slots=True)
class WaitingTimes:
    """Seconds from submission to result over `count` succeeded purchases: the median and the 90th percentile."""

    count: int
    median: float
    p90: float


@contextmanager
def snapshot(read: LedgerReader) -> Iterator[None]:
    """One state of the ledger for several questions, whatever a run writes meanwhile."""
    read.rows("SAVEPOINT snapshot")
    try:
        yield
    finally:
        read.rows("RELEASE snapshot")


# What there is


def campaign_names(read: LedgerReader, conditions: Sequence[Condition] = ()) -> list[str]:
    """Every campaign, in the order in which they came; with conditions those that have a job which meets them."""
    more, values = meeting(conditions)
    having = f" WHERE name IN (SELECT w.campaign {LATEST} WHERE 1{more})" if conditions else ""
    return [row["name"] for row in read.rows(f"SELECT name FROM campaigns{having} ORDER BY rowid", values)]


def accounts(read: LedgerReader) -> list[tuple[str, str]]:
    """Every account with its provider, in the order in which they came."""
    return [(row[0], row[1]) for row in read.rows("SELECT account, provider FROM accounts ORDER BY rowid")]


def models(read: LedgerReader) -> list[str]:
    """The ids of all models that jobs ask for."""
    return [row["model"] for row in read.rows("SELECT DISTINCT model FROM wanted ORDER BY model")]


# Groups


def groups(read: LedgerReader, scope: Scope, axes: Sequence[Selector]) -> Iterator[tuple[Key, Group]]:
    """Each group of jobs and purchases; none where there are none."""
    keys, values = _keys(axes)
    where, limits = where_of(scope, AT)
    columns = ", ".join([*keys, *_SUMS, f"group_concat(CASE WHEN {WAITED} THEN {WAIT} END)"])
    grouping = ", ".join(str(place + 1) for place in range(len(axes)))
    sql = f"SELECT {columns} {_EVERY} WHERE {where} GROUP BY {grouping or 'NULL'}"
    for row in read.stream(sql, [*values, *limits]):
        *found, waited = row
        yield tuple(found[: len(axes)]), Group(tuple(found[len(axes) :]), waited or "")


def fold(found: Iterable[tuple[Key, Group]], axes: int) -> dict[Key, Group]:
    """The groups by their first `axes` values."""
    parts: dict[Key, list[Group]] = {}
    for key, group in found:
        parts.setdefault(key[:axes], []).append(group)
    return {key: _added(mine) for key, mine in parts.items()}


def _added(parts: Sequence[Group]) -> Group:
    if len(parts) == 1:
        return parts[0]
    sums = zip(*(part.sums for part in parts), strict=True)
    return Group(tuple(map(sum, sums)), ",".join(part.waited for part in parts if part.waited))


class Charged(NamedTuple):
    """Purchases of one account, and the credits of its `unit` that they come to.

    `what` is `file` (settled, and a file of it was saved), `no_file` (charged all the same) or `held`. `to_fetch` is
    how many of them have a file that was not fetched yet.
    """

    account: str
    provider: str
    unit: str
    what: str
    purchases: int
    files: int
    credits: int
    to_fetch: int


def charged(read: LedgerReader, scope: Scope, axes: Sequence[Selector]) -> Iterator[tuple[Key, Charged]]:
    """What purchases come to, by group, account and what came of them; nothing for those that cost nothing."""
    keys, values = _keys(axes)
    where, limits = where_of(scope, "a.intended_at")
    what = f"CASE WHEN a.final_credits IS NULL THEN 'held' WHEN {_FILE_COUNT} > 0 THEN 'file' ELSE 'no_file' END"
    unfetched = f"EXISTS (SELECT 1 FROM files AS f WHERE f.attempt_id = a.id AND {UNSAVED})"
    columns = [*keys, "a.account", "coalesce(u.provider, '')", "coalesce(u.unit, '')", what]
    sums = ["count(*)", _FILES, f"sum({COMMITTED})", f"sum({unfetched})"]
    groups = ", ".join(str(place + 1) for place in range(len(columns)))
    sql = (
        f"SELECT {', '.join([*columns, *sums])} {JOINED} LEFT JOIN accounts AS u ON u.account = a.account"
        f" WHERE {where} AND {COMMITTED} > 0 GROUP BY {groups} ORDER BY {groups}"
    )
    for row in read.stream(sql, [*values, *limits]):
        yield tuple(row)[: len(axes)], Charged(*tuple(row)[len(axes) :])


def troubles(read: LedgerReader, scope: Scope) -> list[FailureCount]:
    """Why jobs have failed, are doubtful, or have a file that is not what was asked for; the most frequent first.

    Failures that are superseded are left out.
    """
    where, values = where_of(scope, AT)
    found = read.rows(
        "SELECT w.status, coalesce(w.error_code, a.error_code) AS code, count(*) AS jobs,"
        " coalesce(w.error_message, a.error_message), w.id, max(w.seq)"
        f" {LATEST} WHERE {where} AND w.status IN ('failed', 'doubtful') AND NOT ({SUPERSEDED})"
        " GROUP BY 1, 2 UNION ALL"
        f" SELECT w.status, 'differs_' || (d.value ->> 'of'), count(DISTINCT w.id), {DIFFERENCE}, w.id, max(w.seq)"
        " FROM files AS f NOT INDEXED CROSS JOIN attempts AS a ON a.id = f.attempt_id"
        " CROSS JOIN wanted AS w ON w.id = a.job_id AND w.attempt_id = a.id JOIN json_each(f.differs) AS d"
        f" WHERE f.differs IS NOT NULL AND {where} AND {KEPT} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
        [*values, *values],
    )
    return [FailureCount(*row[:-1]) for row in found]


def content_refusals(read: LedgerReader, scope: Scope) -> ContentRefusals:
    """What of the purchases was refused for its content, whatever became of their jobs."""
    where, values = where_of(scope, "a.intended_at")
    row = read.one(
        f"SELECT count(*), coalesce(sum(a.final_credits > 0), 0), coalesce(sum({SETTLED}), 0)"
        f" {ALL if scope.of_all_jobs else JOINED} WHERE {where}"
        f" AND a.outcome IN ('failed', 'refused') AND ({_CONTENT})",
        values,
    )
    return ContentRefusals(*row)


def waiting_times(waits: Sequence[float]) -> WaitingTimes | None:
    """The median and the 90th percentile; None where nothing was waited for."""
    if not waits:
        return None
    ordered, n = sorted(waits), len(waits)
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return WaitingTimes(n, round(median, 3), ordered[(9 * n + 9) // 10 - 1])


def _keys(axes: Sequence[Selector]) -> tuple[list[str], list[Any]]:
    """The columns to group by, and the values of their question marks."""
    return [axis.sql for axis in axes], [value for axis in axes for value in axis.values]


def where_of(scope: Scope, at: str) -> tuple[str, list[Any]]:
    where, values = ["1"], list[Any]()
    if scope.campaigns:
        where.append(f"w.campaign IN ({placeholders(scope.campaigns)})")
        values += scope.campaigns
    for bound, sign in ((scope.since, ">="), (scope.until, "<")):
        if bound is not None:
            where.append(f"{at} {sign} ?")
            values.append(bound)
    more, more_values = meeting(scope.conditions)
    return " AND ".join(where) + more, values + more_values
