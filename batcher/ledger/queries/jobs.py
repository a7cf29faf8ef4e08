"""What `status`, `jobs`, `show` and a run's summary ask of the ledger, and which jobs a person has to judge.

Reads only; `decisions` is what may become of these jobs.
"""

from __future__ import annotations

import re
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from batcher.errors import UnknownJob
from batcher.events import Event
from batcher.fs import look
from batcher.ledger.lock import holder_words, is_held
from batcher.ledger.reader import LedgerReader
from batcher.ledger.store.amounts import BOUGHT, OPEN_HOLD
from batcher.ledger.store.copies import is_mirror
from batcher.statuses import SHORT_ID, JobId, Status

from .selectors import Condition, jobs_meeting, meeting
from .sql import KEPT, LATEST, SUPERSEDED, UNSAVED, from_json, of_jobs, placeholders

_PAGE = 200
#: The columns of the view `jobs` that hold JSON.
_JSON = ("params", "references", "waiting_for", "vars", "tags", "differs")
_REVIEW = (
    "SELECT w.seq, w.id, w.campaign, w.name, w.status, a.id AS attempt_id, a.task_id,"
    " coalesce(w.error_code, a.error_code) AS code, coalesce(w.error_message, a.error_message) AS message,"
    f" {OPEN_HOLD} AS hold, EXISTS"
    f" (SELECT 1 FROM files AS f WHERE f.attempt_id = w.attempt_id AND {UNSAVED}) AS unsaved"
    f" {LATEST}"
)


class CampaignState(NamedTuple):
    """One campaign: jobs by status, files saved, credits; `doubtful` is the part of `held` that nobody knows of.

    `superseded` are failed jobs that the newest expansion does not ask for; they are not in `statuses`.
    """

    campaign: str
    manifest: str
    statuses: dict[str, int]
    superseded: int
    files: int
    held: int
    settled: int
    doubtful: int


class Bill(NamedTuple):
    """What one run bought, in credits; `doubtful` is the part of `held` that nobody knows of.

    `attempts` are those that were accepted or may have been received; `refused` ones were closed at no cost.
    """

    attempts: int
    refused: int
    quoted: int
    settled: int
    held: int
    doubtful: int


class Holder(NamedTuple):
    """The run that holds the ledger's lock; what is not known (yet) is None."""

    pid: int | None
    started: str | None


def campaigns(read: LedgerReader, names: Sequence[str] = ()) -> list[CampaignState]:
    """Every campaign of the ledger, or those named, in the order in which they came."""
    counts = read.counts(names)
    found = []
    for row in read.rows("SELECT name, manifest, files FROM campaigns ORDER BY rowid"):
        name = row["name"]
        if names and name not in names:
            continue
        money, statuses = read.spent(campaign=name), counts.get(name, {})
        superseded = read.figure(f"SELECT count(*) FROM wanted AS w WHERE w.campaign = ? AND {SUPERSEDED}", (name,))
        if superseded and (left := statuses.pop(Status.FAILED) - superseded):
            statuses[str(Status.FAILED)] = left
        found.append(
            CampaignState(
                campaign=name,
                manifest=row["manifest"],
                statuses=statuses,
                superseded=superseded,
                files=row["files"],
                held=money.held,
                settled=money.settled,
                doubtful=_doubtful(read, name),
            )
        )
    return found


def _doubtful(read: LedgerReader, campaign: str) -> int:
    return read.figure(
        f"SELECT coalesce(sum({OPEN_HOLD}), 0) FROM wanted AS w CROSS JOIN attempts AS a ON a.id = w.attempt_id"
        " WHERE w.campaign = ? AND w.status = 'doubtful'",
        (campaign,),
    )


def run(read: LedgerReader, run_id: int | None = None) -> dict[str, Any] | None:
    """A run, or the newest one, as a JSON value; None when there is none."""
    row = read.last_run() if run_id is None else read.row("SELECT * FROM runs WHERE id = ?", (run_id,))
    return None if row is None else _plain(row, decode=("campaigns", "settings"))


def fetched(read: LedgerReader, run_id: int) -> int:
    """How many jobs got their file in a run, or got one back."""
    sql = (
        f"SELECT count(*) FROM events WHERE run_id = ? AND (event = '{Event.RESTORED}'"
        f" OR (event = '{Event.SAVED}' AND json_extract(detail, '$.number') = 0))"
    )
    return int(read.rows(sql, (run_id,))[0][0])


def bill(read: LedgerReader, run_id: int) -> Bill:
    """What a run bought."""
    sums = (
        *(BOUGHT, f"NOT {BOUGHT}", f"CASE WHEN {BOUGHT} THEN quoted_credits END", "final_credits", OPEN_HOLD),
        f"CASE WHEN outcome = 'doubtful' THEN {OPEN_HOLD} END",
    )
    asked = ", ".join(f"coalesce(sum({each}), 0)" for each in sums)
    return Bill(*read.one(f"SELECT {asked} FROM attempts WHERE run_id = ?", (run_id,)))


def file_of(read: LedgerReader, job_id: JobId) -> tuple[str | None, str | None]:
    """The hash of a job's (first) saved file, and what a person has said of it."""
    row = read.row(
        "SELECT f.sha256, r.verdict FROM wanted AS w JOIN files AS f ON f.attempt_id = w.attempt_id AND f.number = 0"
        " AND f.saved_at IS NOT NULL AND f.forgotten_at IS NULL LEFT JOIN reviews AS r ON r.sha256 = f.sha256"
        " WHERE w.id = ? AND w.status = 'succeeded'",
        (job_id,),
    )
    return (None, None) if row is None else (row["sha256"], row["verdict"])


def jobs(
    read: LedgerReader,
    *,
    campaign: str | None = None,
    statuses: Sequence[str] = (),
    conditions: Sequence[Condition] = (),
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of the view `jobs` as JSON values, in manifest order, as a stream; at most `limit`.

    By status, failures that are superseded are left out.
    """
    where, values = of_jobs(campaign, statuses)
    if Status.FAILED in statuses:
        where.append(f"id NOT IN (SELECT w.id FROM wanted AS w WHERE {SUPERSEDED})")
    if conditions:
        meeting, more = jobs_meeting(conditions)
        where.append(f"id IN ({meeting})")
        values += more
    chosen = " AND ".join(["1", *where])
    sql = f"SELECT * FROM jobs WHERE {chosen} ORDER BY campaign, position LIMIT ?"
    for row in read.stream(sql, [*values, -1 if limit is None else limit]):
        yield _plain(row, decode=_JSON)


def job(read: LedgerReader, job_id: JobId) -> dict[str, Any]:
    """A job's row of the view `jobs`, with its attempts (each with its files) and its events, oldest first."""
    row = read.row("SELECT * FROM jobs WHERE id = ?", (job_id,))
    assert row is not None, "an id that the ledger has resolved"
    attempts = []
    for attempt in read.rows(
        f"SELECT *, {OPEN_HOLD} AS held_credits FROM attempts WHERE job_id = ? ORDER BY number", (job_id,)
    ):
        files = read.rows(
            f"SELECT number, CASE WHEN {KEPT} THEN target END AS target, sha256, size, saved_at, unverified,"
            " forgotten_at, seconds, width, height, differs FROM files AS f WHERE attempt_id = ? ORDER BY number",
            (attempt["id"],),
        )
        shown = _plain(attempt, decode=("body", "params", "used", "result_urls"))
        shown |= {
            "maybe_received": bool(attempt["maybe_received"]),
            "files": [_plain(file, decode=("differs",)) for file in files],
        }
        attempts.append(shown)
    events = read.rows("SELECT at, run_id, attempt, event, detail FROM events WHERE job_id = ? ORDER BY id", (job_id,))
    return {
        "job": _plain(row, decode=_JSON),
        "attempts": attempts,
        "events": [_plain(event, decode=("detail",)) for event in events],
    }


class KeptFile(NamedTuple):
    """A saved file of a job's latest attempt; `target` is relative to the state folder, `size` in bytes."""

    job_id: JobId
    number: int
    target: str
    size: int
    sha256: str


def kept_files(read: LedgerReader, campaign: str) -> Iterator[KeptFile]:
    """The campaign's saved files that are wanted, as a stream."""
    for row in read.stream(
        "SELECT w.id, f.number, f.target, f.size, f.sha256 FROM wanted AS w CROSS JOIN files AS f"
        f" ON f.attempt_id = w.attempt_id WHERE w.campaign = ? AND w.status = 'succeeded' AND {KEPT}",
        (campaign,),
    ):
        yield KeptFile(*row)


def damaged_files(read: LedgerReader, campaign: str, state: Path) -> Iterator[tuple[KeptFile, str]]:
    """Of these such as are `missing` or, by their size, `changed`; nothing is read of them.

    Beside a mirror no files lie: they are where the workers keep them.
    """
    if is_mirror(read.one):
        return
    for file in kept_files(read, campaign):
        if how := look(state, file.target, file.size):
            yield file, how


def job_name(read: LedgerReader, job_id: JobId) -> str:
    """The prompt's name of a job; empty for an unknown one."""
    row = read.row("SELECT name FROM wanted WHERE id = ?", (job_id,))
    return str(row["name"]) if row else ""


def about(read: LedgerReader, job_id: JobId) -> dict[str, str]:
    """What tells a job from others: id, campaign, name and model."""
    row = read.row("SELECT id, campaign, name, model FROM wanted WHERE id = ?", (job_id,))
    return dict(row) if row else {}


def _plain(row: sqlite3.Row, decode: Sequence[str] = ()) -> dict[str, Any]:
    """A row as a JSON value; `decode` names the columns that hold JSON."""
    found = {name: row[name] for name in row.keys()}  # noqa: SIM118  (iterating a Row gives its values)
    for name in decode:
        found[name] = from_json(found[name])
    return found


def holder(state: Path, read: LedgerReader) -> Holder | None:
    """Which run holds the state folder's lock now; None when none does.

    Only looks at the lock when the newest run has not ended, since trying it could turn away a run that starts at
    that very moment. In a database no lock is held: there a run goes on, by whichever worker, until it has ended.
    """
    last = read.last_run()
    if last is None or last["ended_at"] is not None:
        return None
    if is_mirror(read.one):
        return Holder(None, last["started_at"])
    if not is_held(state):
        return None
    match = re.fullmatch(r"pid (\d+), started (\S+)", holder_words(state))
    return Holder(int(match[1]), match[2]) if match else Holder(None, None)


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
    row = read.row(f"{_REVIEW} WHERE w.id = ?", (job,))
    if row is None:
        raise UnknownJob(f"there is no job {job} in {read.path}")
    return _review(row)


def select(
    read: LedgerReader,
    *,
    campaign: str | None = None,
    statuses: Sequence[Status] = (),
    conditions: Sequence[Condition] = (),
) -> Iterator[JobReview]:
    """Jobs in the order in which they came, as a stream; they may be decided about while it is read."""
    where, values = of_jobs(campaign, statuses, "w.")
    more, more_values = meeting(conditions)
    chosen = _numbers(read, campaign, statuses)
    for start in range(0, len(chosen), _PAGE):
        page = chosen[start : start + _PAGE]
        sql = f"{_REVIEW} WHERE {' AND '.join([f'w.seq IN ({placeholders(page)})', *where])}{more} ORDER BY w.seq"
        yield from map(_review, read.rows(sql, (*page, *values, *more_values)))


def _numbers(read: LedgerReader, campaign: str | None, statuses: Sequence[Status]) -> array[int]:
    """Which jobs may be meant, eight bytes each: by an index, for where few are meant the table has far more."""
    names = [campaign] if campaign is not None else [r["name"] for r in read.rows("SELECT name FROM campaigns")]
    wanted = statuses or list(Status)
    found = read.stream(
        f"SELECT seq FROM wanted WHERE campaign IN ({placeholders(names)})"
        f" AND status IN ({placeholders(wanted)}) ORDER BY seq",
        [*names, *map(str, wanted)],
    )
    return array("q", (row["seq"] for row in found))


def _review(row: sqlite3.Row) -> JobReview:
    return JobReview(
        id=JobId(row["id"]),
        campaign=row["campaign"],
        name=row["name"],
        status=Status(row["status"]),
        code=row["code"],
        message=row["message"],
        attempt_id=row["attempt_id"],
        task_id=row["task_id"],
        hold=row["hold"] or 0,
        unsaved=bool(row["unsaved"]),
    )
