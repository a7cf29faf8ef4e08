"""Reading the ledger: by id, by prefix, in pages. Nothing here writes.

Rows are named tuples: a dataclass takes six times as long to make at the start of each command.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from batcher.clock import find_zone, from_iso, local_day
from batcher.errors import AmbiguousJob, StorageError, UnknownJob
from batcher.statuses import JobId, Status

from .answers import ChainPart
from .answers import CreditSum as CreditSum
from .answers import KnownJob as KnownJob
from .answers import PlannedJob as PlannedJob
from .answers import PromptOutcome as PromptOutcome
from .answers import SourceState as SourceState
from .queries.sql import OF_CLASS, SOURCE_STATES, UNSAVED, like, placeholders
from .store import schema
from .store.amounts import TAKEN_SINCE, spent_sum
from .store.connection import open_reader, storage_errors

if TYPE_CHECKING:
    from batcher.jobs import Account, Job, Upload

_PAGE = 500
# From the few that lack a file, whatever the planner thinks of their number.
_UNSAVED = (
    f"FROM (SELECT DISTINCT f.attempt_id FROM files AS f WHERE {UNSAVED}) AS u CROSS JOIN attempts AS a"
    " ON a.id = u.attempt_id CROSS JOIN wanted AS w ON w.id = a.job_id AND w.attempt_id = a.id"
    " WHERE w.campaign = ?1 AND w.status = 'succeeded'"
)
# The price class of the first planned job that is made from a job of `{of}`, and that of the next of its chain.
_FIRST_MADE = (
    "coalesce((SELECT {to}.price_class || '\n' || {more} FROM sources AS of_{to} CROSS JOIN wanted AS {to}"
    " ON {to}.id = of_{to}.job_id WHERE of_{to}.source_id = {of}.id AND {to}.status = 'planned'"
    " ORDER BY {to}.position LIMIT 1), '')"
)
_MAKES = _FIRST_MADE.format(of="wanted", to="u", more=_FIRST_MADE.format(of="u", to="v", more="''"))


class LedgerReader:
    """A ledger that can only be read; also while a run is writing it.

    Every method raises StorageError when the file cannot be read.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._errors = storage_errors(path)
        self.path = path
        self.is_far = hasattr(connection, "several")  # each question waits for a network
        connection.create_function("ledger_day", 1, self._day)
        connection.create_function("ledger_like", 2, like, deterministic=True)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open `path` read-only. Raises StorageError when there is none or it is of another version."""
        connection = open_reader(path)
        try:
            with storage_errors(path):
                if schema.pending(connection, path):
                    raise StorageError(
                        f"{path} was written by an older version of batcher",
                        hint="The next `batcher run` brings it up to date, after a copy.",
                    )
                schema.check(connection, path)
        except BaseException:
            connection.close()
            raise
        return cls(connection, path)

    def close(self) -> None:
        self._connection.close()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query; for few."""
        with self._errors:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row of a query, if any."""
        with self._errors:
            found: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return found

    def one(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Row:
        """The row of a question that always has one, such as a sum over all."""
        row = self.row(sql, values)
        assert row is not None
        return row

    def figure(self, sql: str, values: Sequence[Any] = ()) -> int:
        """The one number that is asked for; 0 for none."""
        return int(self.one(sql, values)[0] or 0)

    def several(self, questions: Sequence[tuple[str, Sequence[Any]]]) -> list[list[sqlite3.Row]]:
        """The rows of several queries, asked at once: only where it `is_far`."""
        with self._errors:
            found: list[list[sqlite3.Row]] = cast(Any, self._connection).several(questions)
            return found

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[sqlite3.Row]:
        """The rows of a query one after the other; for many."""
        with self._errors:
            for row in self._connection.execute(sql, values):  # noqa: UP028  (it would close a closed ledger's cursor)
                yield row

    # Identity and jobs

    @cached_property
    def zone(self) -> tzinfo | None:
        """The time zone in which this ledger counts days; None is this machine's. Raises StorageError."""
        name = str(self.one("SELECT timezone FROM meta")["timezone"] or "")
        try:
            return find_zone(name)
        except LookupError as error:
            raise StorageError(
                f"{self.path} counts its days in the time zone {name!r}, which this machine does not know",
                hint="Install the time zones of the system (the package tzdata), then run the same command again.",
            ) from error

    def _day(self, at: str) -> str:
        """The day of a time of the ledger; SQL calls it `ledger_day`."""
        return local_day(from_iso(at), self.zone)

    @property
    def ledger_id(self) -> str:
        """The random id that went into every idempotency key of this ledger."""
        return str(self.one("SELECT ledger_id FROM meta")["ledger_id"])

    def load(self, job_id: JobId) -> Job:
        """A job with its phase. Raises UnknownJob."""
        from .store import rows  # brings all of `jobs` along, which the commands that only look do without

        wanted = self.row("SELECT * FROM wanted WHERE id = ?", (job_id,))
        if wanted is None:
            raise UnknownJob(f"there is no job {job_id} in {self.path}")
        attempt, files = None, list[sqlite3.Row]()
        if (attempt_id := wanted["attempt_id"]) is not None and wanted["status"] != Status.PLANNED:
            attempt = self.row("SELECT * FROM attempts WHERE id = ?", (attempt_id,))
            if wanted["status"] == Status.SUCCEEDED:
                files = self.rows("SELECT * FROM files WHERE attempt_id = ? ORDER BY number", (attempt_id,))
        return rows.job(wanted, attempt, files)

    def resolve(self, prefix: str) -> JobId:
        """The one job whose id begins with `prefix`. Raises UnknownJob, AmbiguousJob."""
        low = prefix.lower()
        found = self.rows("SELECT id FROM wanted WHERE id >= ? AND id < ? LIMIT 3", (low, low + "g"))
        if len(found) == 1 and low:
            return JobId(found[0]["id"])
        if found:
            raise AmbiguousJob(f"{prefix!r} is the beginning of several job ids", hint="Type more of it.")
        raise UnknownJob(f"there is no job {prefix!r} in {self.path}", hint="`batcher jobs` lists them.")

    def known(self, ids: Sequence[JobId]) -> dict[JobId, KnownJob]:
        """Of these jobs the ones that the ledger has, with their status."""
        found: dict[JobId, KnownJob] = {}
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            sql = f"SELECT id, status, error_code FROM wanted WHERE id IN ({placeholders(page)})"
            for job_id, status, error_code in self.rows(sql, page):
                found[JobId(job_id)] = KnownJob(Status(status), error_code)
        return found

    def classes(self, campaign: str, status: Status) -> list[str]:
        """The price classes of the campaign's jobs of a status, a search each."""
        chosen = "FROM wanted WHERE campaign = ?1 AND status = ?2"
        found = self.rows(
            f"WITH RECURSIVE classes (name) AS (SELECT (SELECT min(price_class) {chosen}) UNION ALL"
            f" SELECT (SELECT min(price_class) {chosen} AND price_class > classes.name) FROM classes"
            " WHERE classes.name IS NOT NULL) SELECT name FROM classes WHERE name IS NOT NULL",
            (campaign, status),
        )
        return [row["name"] for row in found]

    def pending_classes(self, campaign: str) -> list[str]:
        """The price classes of the campaign's planned jobs of its newest expansion."""
        newest = "AND expansion = (SELECT expansion FROM campaigns WHERE name = ?1)"
        sql = f"SELECT 1 FROM wanted WHERE campaign = ?1 AND status = 'planned' AND price_class = ?2 {newest} LIMIT 1"
        return [name for name in self.classes(campaign, Status.PLANNED) if self.row(sql, (campaign, name))]

    def pending(
        self, campaign: str, price_class: str, *, after: int, limit: int, part: ChainPart = "none"
    ) -> list[PlannedJob]:
        """A page of the planned jobs of a class in the campaign's newest expansion, in manifest order.

        Those without sources (`source`: from which others are made, `none`: the rest) or, if `ready`, those whose
        sources all have a file that may be used.
        """
        of = "EXISTS (SELECT 1 FROM sources WHERE source_id = wanted.id)"
        which = {"none": f"IS NULL AND NOT {of}", "source": f"IS NULL AND {of}", "ready": "= 0"}[part]
        makes = _MAKES if part != "none" else "''"
        found = self.rows(
            f"SELECT id, name, position, catalog_credits, {makes} FROM wanted"
            f" WHERE campaign = ?1 AND status = 'planned' AND waiting {which}"
            " AND price_class = ?2 AND expansion = (SELECT expansion FROM campaigns WHERE name = ?1)"
            " AND position > ?3 ORDER BY position LIMIT ?4",
            (campaign, price_class, after, limit),
        )
        return [
            PlannedJob(JobId(job_id), campaign, name, position, catalog_credits, price_class, part, made)
            for job_id, name, position, catalog_credits, made in found
        ]

    def sources(self, job_id: JobId) -> list[SourceState]:
        """Where the sources of a job stand, in its order."""
        columns = ", ".join(SourceState._fields)
        found = self.rows(f"SELECT {columns} FROM {SOURCE_STATES} WHERE job_id = ? ORDER BY position", (job_id,))
        return [SourceState._make(row)._replace(ready=bool(row["ready"])) for row in found]

    def has_chains(self) -> bool:
        """Whether any job is made from the result of another."""
        return self.row("SELECT 1 FROM sources LIMIT 1") is not None

    def for_review(self, campaign: str) -> list[tuple[JobId, str]]:
        """Planned jobs of the newest expansion, with their names, that wait for a person to judge a file."""
        found = self.rows(
            "SELECT id, name FROM wanted WHERE campaign = ?1 AND status = 'planned' AND waiting > 0"
            " AND expansion = (SELECT expansion FROM campaigns WHERE name = ?1)"
            f" AND EXISTS (SELECT 1 FROM {SOURCE_STATES} WHERE job_id = id AND gate AND has_file AND verdict IS NULL)",
            (campaign,),
        )
        return [(JobId(row["id"]), row["name"]) for row in found]

    def is_source(self, job_id: JobId) -> bool:
        """Whether other jobs are made from this one's result."""
        return self.row("SELECT 1 FROM sources WHERE source_id = ? LIMIT 1", (job_id,)) is not None

    def unsettled(self, campaign: str) -> list[tuple[JobId, Status]]:
        """The campaign's jobs that are bought and not at an end, oldest first."""
        found = self.rows(
            "SELECT id, status FROM wanted WHERE campaign = ?"
            " AND status IN ('submitting', 'queued', 'processing') ORDER BY seq",
            (campaign,),
        )
        return [(JobId(row["id"]), Status(row["status"])) for row in found]

    def without_final(self, campaign: str) -> list[JobId]:
        """The campaign's succeeded jobs whose price the API has not named, oldest first."""
        found = self.rows(
            "SELECT w.id FROM attempts AS a CROSS JOIN wanted AS w ON w.id = a.job_id AND w.attempt_id = a.id"
            " WHERE a.final_credits IS NULL AND a.outcome = 'succeeded' AND w.campaign = ? AND w.status = 'succeeded'"
            " ORDER BY a.id",
            (campaign,),
        )
        return [JobId(row["id"]) for row in found]

    def unsaved(self, campaign: str, *, of_sources: bool = False) -> list[JobId]:
        """The campaign's succeeded jobs of which a file is still to be fetched; only those others are made from."""
        only = " AND EXISTS (SELECT 1 FROM sources AS s WHERE s.source_id = w.id)" if of_sources else ""
        return [JobId(row["id"]) for row in self.rows(f"SELECT w.id {_UNSAVED}{only}", (campaign,))]

    def under_way(self, campaign: str, *, unsaved: bool) -> Counter[Status]:
        """How many of the campaign's jobs are bought and not at an end, and if so asked how many lack a file."""
        found = Counter(status for _, status in self.unsettled(campaign))
        if unsaved and (row := self.row(f"SELECT count(*) {_UNSAVED}", (campaign,))):
            found[Status.SUCCEEDED] = row[0]
        return found

    # Money

    def hints(self, after: int) -> list[tuple[int, JobId]]:
        """The jobs whose tasks are said to have moved, with the number of each hint after this one, in order."""
        found = self.rows("SELECT id, job_id FROM hints WHERE id > ? ORDER BY id", (after,))
        return [(row["id"], JobId(row["job_id"])) for row in found]

    def waits(self, account: str, price_class: str, limit: int) -> list[tuple[float, float]]:
        """Of the newest tasks of a class that succeeded, oldest first: when last seen unfinished, and when finished.

        In seconds since the API's answer to the create.
        """
        found = self.rows(
            "SELECT unfinished_for, (julianday(finished_at) - julianday(submitted_at)) * 86400 AS seconds FROM attempts"
            f" WHERE {OF_CLASS} AND unfinished_for IS NOT NULL AND NOT clock_jumped"
            " AND finished_at >= submitted_at ORDER BY finished_at DESC LIMIT ?3",
            (account, price_class, limit),
        )
        return [(row["unfinished_for"], row["seconds"]) for row in reversed(found) if row["seconds"] is not None]

    def spent(
        self,
        *,
        campaign: str | None = None,
        day: str | None = None,
        run_id: int | None = None,
        allowance: str | None = None,
        unpriced: bool | None = None,
    ) -> CreditSum:
        """Credits held and settled, of all attempts or of one campaign, local day, run or allowance.

        `unpriced`: of jobs without a price beforehand, or of the others.
        """
        given = {"run_id": run_id, "campaign": campaign, "day": day, "allowance": allowance, "unpriced": unpriced}
        return CreditSum(*self.one(*spent_sum(given)))

    def taken_since(self, account: str, attempt_id: int) -> int:
        """Credits that attempts newer than `attempt_id` hold or have settled, and what older ones may still take.

        That is what they hold above the API's reserve: a wallet that was read has not felt it. Where the API named no
        reserve, nobody knows whether it takes anything before the end.
        """
        return self.figure(TAKEN_SINCE, (account, attempt_id))

    def newest_attempt(self) -> int:
        """The newest attempt (row id); 0 without any."""
        return self.figure("SELECT max(id) FROM attempts")

    def wallet_mark(self) -> int:
        """The newest attempt (row id) that a wallet reading, asked for now, has felt for certain; 0 without any.

        An attempt without an answer may be charged after the reading, so it and all newer ones are not among them;
        whatever key it was bought with, for two keys may draw from one wallet.
        """
        return self.figure(
            "SELECT coalesce((SELECT min(attempt_id) - 1 FROM wanted WHERE status = 'submitting'"
            " AND campaign IN (SELECT name FROM campaigns)), (SELECT max(id) FROM attempts), 0)"
        )

    # Uploads, runs, sums

    @property
    def unit(self) -> str | None:
        """What the amounts are whole numbers of: credits before anything is bought, None where accounts differ."""
        units = [row["unit"] for row in self.rows("SELECT DISTINCT unit FROM accounts")]
        return None if len(units) > 1 else units[0] if units else "credits"

    def upload(self, account: Account, sha256: str) -> Upload | None:
        """The upload of a file in an account, if there is one."""
        from .store import rows

        row = self.row("SELECT * FROM uploads WHERE account = ? AND sha256 = ?", (account.text, sha256))
        return rows.upload(row) if row else None

    def usual_size(self, attempt_id: int, number: int, same: str | None) -> tuple[int, int] | None:
        """Width and height in pixels of the newest other file of an attempt's price class, of the last few.

        `same` is a param in which both have the same value; jobs with a reference are left out, for these have sizes
        of their own.
        """
        row = self.row(
            "SELECT f.width, f.height FROM attempts AS own CROSS JOIN (SELECT a.* FROM attempts AS a JOIN attempts AS o"
            " ON o.id = ?1 AND a.class_id = o.class_id AND a.id <> o.id"
            " ORDER BY a.id DESC LIMIT 50) AS a JOIN files AS f ON f.attempt_id = a.id AND f.number = ?2"
            " JOIN wanted AS w ON w.id = a.job_id WHERE own.id = ?1 AND f.saved_at IS NOT NULL AND f.width IS NOT NULL"
            " AND w.reference IS NULL AND (CAST(?3 AS TEXT) IS NULL"
            " OR coalesce(a.params ->> ?3, '') = coalesce(own.params ->> ?3, ''))"
            " ORDER BY a.id DESC LIMIT 1",
            (attempt_id, number, same),
        )
        return (row["width"], row["height"]) if row else None

    def counts(self, campaigns: Sequence[str] = ()) -> dict[str, dict[str, int]]:
        """How many jobs of each campaign have which status; of all campaigns when none is named."""
        found: dict[str, dict[str, int]] = {name: {} for name in campaigns}
        where = f"WHERE campaign IN ({placeholders(campaigns)})" if campaigns else ""
        sql = f"SELECT campaign, status, count(*) AS n FROM wanted {where} GROUP BY campaign, status"
        for row in self.stream(sql, campaigns):
            found.setdefault(row["campaign"], {})[row["status"]] = row["n"]
        return found

    def outcome(self, campaign: str, *, named: bool = True) -> Iterator[PromptOutcome]:
        """How the jobs of the campaign's newest expansion stand that did not come to a good end, by prompt name.

        These are all but cancelled ones and succeeded ones with their files. Without `named` the names are empty: then
        no job has to be looked up.
        """
        name = "w.name" if named else "CAST('' AS TEXT)"
        newest = "(SELECT expansion FROM campaigns WHERE name = ?1)"
        yield from (
            PromptOutcome(row["name"], Status(row["status"]), saved=True, jobs=row["n"])
            for row in self.stream(
                f"SELECT {name} AS name, w.status, count(*) AS n FROM wanted AS w WHERE w.campaign = ?1 AND w.status IN"
                " ('planned', 'submitting', 'queued', 'processing', 'failed', 'doubtful')"
                f" AND w.expansion = {newest} GROUP BY w.status, {name}",
                (campaign,),
            )
        )
        yield from (
            PromptOutcome(row["name"], Status.SUCCEEDED, saved=False, jobs=row["n"])
            for row in self.stream(
                f"SELECT {name} AS name, count(*) AS n {_UNSAVED} AND w.expansion = {newest} GROUP BY {name}",
                (campaign,),
            )
        )

    def last_run(self) -> sqlite3.Row | None:
        """The newest run, if there was one."""
        return self.row("SELECT * FROM runs ORDER BY id DESC LIMIT 1")
