"""Jobs that a person has to judge, and how to find them. Reads only; `decisions` is what may become of them."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from batcher.errors import UnknownJob
from batcher.ledger.reader import LedgerReader
from batcher.ledger.store.amounts import HOLD
from batcher.statuses import SHORT_ID, JobId, Status

from .sql import UNSAVED, marks, of_jobs

_PAGE = 200
_CASE = (
    "SELECT w.seq, w.id, w.campaign, w.name, w.status, a.id AS attempt_id, a.task_id, a.final_credits,"
    " coalesce(w.error_code, a.error_code) AS code, coalesce(w.error_message, a.error_message) AS message,"
    f" {HOLD} AS credits, EXISTS"
    f" (SELECT 1 FROM files AS f WHERE f.attempt_id = w.attempt_id AND {UNSAVED}) AS unsaved"
    " FROM wanted AS w LEFT JOIN attempts AS a ON a.id = w.attempt_id"
)


class JobReview(NamedTuple):
    """A job as a person has to judge it.

    `hold` is what its latest attempt holds; `unsaved` says that a file of it is still to be fetched.
    """

    id: JobId
    campaign: str
    name: str
    status: Status
    code: str | None
    message: str | None
    attempt_id: int | None
    task_id: str | None
    hold: int
    unsaved: bool

    @property
    def short(self) -> str:
        return self.id[:SHORT_ID]

    @property
    def reason(self) -> str:
        """Why it failed, is doubtful or was cancelled; may be empty."""
        return ": ".join(filter(None, (self.code, self.message)))


def has_campaign(read: LedgerReader, name: str) -> bool:
    """Whether the ledger knows a campaign of exactly this name."""
    return read.row("SELECT 1 FROM campaigns WHERE name = ?", (name,)) is not None


def review_of(read: LedgerReader, job: JobId) -> JobReview:
    """One job. Raises UnknownJob."""
    row = read.row(f"{_CASE} WHERE w.id = ?", (job,))
    if row is None:
        raise UnknownJob(f"there is no job {job} in {read.path}")
    return _case(row)


def select(
    read: LedgerReader, *, campaign: str | None = None, statuses: Sequence[Status] = (), code: str | None = None
) -> Iterator[JobReview]:
    """Jobs in the order in which they came, as a stream; they may be decided about while it is read."""
    where, values = of_jobs(campaign, statuses, "w.")
    if code is not None:
        where.append("coalesce(w.error_code, a.error_code) = ?")
        values.append(code)
    chosen = _numbers(read, campaign, statuses)
    for start in range(0, len(chosen), _PAGE):
        page = chosen[start : start + _PAGE]
        sql = f"{_CASE} WHERE {' AND '.join([f'w.seq IN ({marks(page)})', *where])} ORDER BY w.seq"
        yield from map(_case, read.rows(sql, (*page, *values)))


def _numbers(read: LedgerReader, campaign: str | None, statuses: Sequence[Status]) -> array[int]:
    """Which jobs may be meant, eight bytes each: by an index, for where few are meant the table has far more."""
    names = [campaign] if campaign is not None else [r["name"] for r in read.rows("SELECT name FROM campaigns")]
    wanted = statuses or list(Status)
    found = read.stream(
        f"SELECT seq FROM wanted WHERE campaign IN ({marks(names)}) AND status IN ({marks(wanted)}) ORDER BY seq",
        [*names, *map(str, wanted)],
    )
    return array("q", (row["seq"] for row in found))


def _case(row: sqlite3.Row) -> JobReview:
    return JobReview(
        id=JobId(row["id"]),
        campaign=row["campaign"],
        name=row["name"],
        status=Status(row["status"]),
        code=row["code"],
        message=row["message"],
        attempt_id=row["attempt_id"],
        task_id=row["task_id"],
        hold=row["credits"] or 0 if row["final_credits"] is None else 0,
        unsaved=bool(row["unsaved"]),
    )
