"""What `export` and `results` ask of the ledger: rows as a stream, however many, also while a run writes.

Each stream is one query, hence one state of the ledger; nothing is kept in memory but the row at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from batcher.errors import UsageError
from batcher.fs import is_below
from batcher.ledger.reader import LedgerReader
from batcher.ledger.store import copies
from batcher.ledger.store.amounts import OPEN_HOLD

from .selectors import jobs_meeting
from .spend import AT, Scope, where_of
from .sql import KEPT, USED, from_json, placeholders

Rows = Generator[dict[str, Any], None, None]


@dataclass(frozen=True, slots=True)
class Sheet:
    """How a table goes out: its own columns, and `more` of them (name: SQL) that make a row readable by itself.

    `in_campaign` is the condition for a campaign, `job` the id of the row's job, "" if the rows belong to none;
    `at` is what a scope bounds.
    Columns in `values` hold JSON, those in `flags` 0 or 1, those in `texts` bytes,
    those in `paths` a path below the state folder, which is left out where it leads elsewhere.
    """

    source: str
    at: str
    order: str
    in_campaign: str = "+w.campaign = ?"
    job: str = "w.id"
    more: tuple[tuple[str, str], ...] = ()
    values: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


_WHOSE = (("campaign", "w.campaign"), ("name", "w.name"))

#: What can be exported, by the name of its table or view. The + keeps SQLite from an index that it would have to sort.
SHEETS: Mapping[str, Sheet] = {
    "jobs": Sheet(
        source="jobs AS t",
        at="t.updated_at",
        order="t.campaign, t.position, t.id",
        in_campaign="t.campaign = ?",
        job="t.id",
        values=("params", "references", "waiting_for", "vars", "tags", "differs"),
    ),
    "attempts": Sheet(
        source="attempts AS t JOIN wanted AS w ON w.id = t.job_id",
        at="t.intended_at",
        order="t.id",
        more=(*_WHOSE, ("held_credits", OPEN_HOLD)),
        values=("params", "used", "result_urls"),
        flags=("maybe_received",),
        texts=("body",),
    ),
    "events": Sheet(
        source="events AS t LEFT JOIN wanted AS w ON w.id = t.job_id",
        at="t.at",
        order="t.id",
        more=_WHOSE,
        values=("detail",),
    ),
    "files": Sheet(
        source="files AS t JOIN attempts AS a ON a.id = t.attempt_id JOIN wanted AS w ON w.id = a.job_id",
        at="t.saved_at",
        order="t.attempt_id, t.number",
        more=(("job_id", "w.id"), *_WHOSE),
        values=("differs",),
        paths=("target", "unverified"),
    ),
    "runs": Sheet(
        source="runs AS t",
        at="t.started_at",
        order="t.id",
        in_campaign="EXISTS (SELECT 1 FROM json_each(t.campaigns) AS c WHERE c.value = ?)",
        job="",
        values=("campaigns", "settings"),
    ),
    "uploads": Sheet(
        source="uploads AS t", at="t.uploaded_at", order="t.uploaded_at, t.sha256", in_campaign="", job=""
    ),
}


def columns(read: LedgerReader, what: str) -> list[str]:
    """The columns of a sheet, in order: those of its table, then what makes a row readable by itself."""
    own = [row["name"] for row in read.rows(f"PRAGMA table_info({what})")]
    return own + [name for name, _ in SHEETS[what].more]


def sheet(read: LedgerReader, what: str, scope: Scope) -> Rows:
    """The rows of a sheet within a scope, as JSON values. Raises UsageError if rows of no job are asked by one."""
    chosen = SHEETS[what]
    if scope.conditions and not chosen.job:
        raise UsageError(f"{what} belong to no job", hint="Leave --where out.")
    if scope.campaigns and not chosen.in_campaign:
        raise UsageError(f"{what} belong to no campaign", hint="Leave --campaign out.")
    where, values = where_of(Scope(scope.since, scope.until), chosen.at)
    if scope.campaigns:
        where += f" AND ({' OR '.join([chosen.in_campaign] * len(scope.campaigns))})"
        values += scope.campaigns
    if scope.conditions:
        of_jobs, more_values = jobs_meeting(scope.conditions)
        where += f" AND {chosen.job} IN ({of_jobs})"
        values += more_values
    more = "".join(f", {sql} AS {name}" for name, sql in chosen.more)
    sql = f"SELECT t.*{more} FROM {chosen.source} WHERE {where} ORDER BY {chosen.order}"
    return _values(read, sql, values, chosen)


def _values(read: LedgerReader, sql: str, values: Sequence[str], chosen: Sheet) -> Rows:
    decode: dict[str, Callable[[Any], Any]] = {
        **dict.fromkeys(chosen.values, from_json),
        **dict.fromkeys(chosen.flags, bool),
        **dict.fromkeys(chosen.texts, lambda body: body.decode(errors="replace")),
        **dict.fromkeys(chosen.paths, lambda path: path if path is not None and is_below(path) else None),
    }
    for row in read.stream(sql, values):
        yield {name: decode[name](row[name]) if name in decode else row[name] for name in row.keys()}  # noqa: SIM118


def copy(read: LedgerReader, target: Path) -> None:
    """Fill the empty file `target` with a copy of the ledger as it is at this moment; a run may go on writing.

    The copy is one plain file (no WAL), and says that it is one: nobody buys with it. Raises StorageError.
    """
    # The connection is read-only in any case; `query_only` counts the new file as a write.
    read.row("PRAGMA query_only = OFF")
    try:
        read.row("VACUUM INTO ?", (str(target),))
    finally:
        read.row("PRAGMA query_only = ON")
    copies.mark_export(target, str(read.path.absolute()))


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved file of a job's latest attempt, and all that is worth keeping beside it.

    `target` is relative to the state folder, `size` in bytes; credits are null while they are not known.
    """

    id: str
    campaign: str
    name: str
    model: str
    prompt: str
    params: dict[str, Any]
    reference: str | None
    reference_sha256: str | None
    vars: dict[str, Any]
    tags: dict[str, Any]
    take: int
    status: str
    attempt: int
    task_id: str | None
    client_request_id: str
    quoted_credits: int
    reserved_credits: int | None
    final_credits: int | None
    created_at: str
    intended_at: str
    submitted_at: str | None
    finished_at: str | None
    number: int
    target: str
    sha256: str
    size: int
    saved_at: str

    @property
    def plain(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)

    @property
    def sidecar(self) -> dict[str, Any]:
        """What stands in the sidecar of the file: how it came to be, and what it cost. No key, no address."""
        return {
            "version": 1,
            "job": self.id,
            **self._some("campaign", "name", "model", "prompt", "params", "reference", "reference_sha256", "take"),
            **self._some("attempt", "task_id", "client_request_id"),
            "credits": {
                "quoted": self.quoted_credits,
                "reserved": self.reserved_credits,
                "final": self.final_credits,
            },
            "times": self._some("created_at", "intended_at", "submitted_at", "finished_at", "saved_at"),
            "file": self._some("number", "sha256", "size"),
        }

    def _some(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}


def saved(read: LedgerReader, scope: Scope, statuses: Sequence[str]) -> Iterator[Saved]:
    """The saved files of a scope's jobs with these statuses, by campaign and place in the manifest, as a stream."""
    where, values = where_of(scope, AT)
    order = "w.campaign, w.position, w.seq, f.number"
    return _saved(read, f"{where} AND w.status IN ({placeholders(statuses)}) ORDER BY {order}", (*values, *statuses))


def saved_of(read: LedgerReader, attempt_id: int, number: int) -> Iterator[Saved]:
    """One file of an attempt, if it is saved and the attempt is its job's latest."""
    return _saved(read, "f.attempt_id = ? AND f.number = ?", (attempt_id, number))


def _saved(read: LedgerReader, where: str, values: Sequence[object]) -> Iterator[Saved]:
    for row in read.stream(
        "SELECT w.id, w.campaign, w.name, w.model, w.prompt, coalesce(a.params, w.params) AS params,"
        f" coalesce({USED.format(text='w.reference', what='path')}, w.reference) AS reference,"
        f" coalesce(w.reference_sha256, {USED.format(text='w.reference', what='sha256')}) AS reference_sha256,"
        " w.vars, w.tags, w.take,"
        " w.status, a.number AS attempt, a.task_id, a.client_request_id, a.quoted_credits, a.reserved_credits,"
        " a.final_credits, w.created_at, a.intended_at, a.submitted_at, a.finished_at, f.number, f.target, f.sha256,"
        " f.size, f.saved_at FROM wanted AS w JOIN attempts AS a ON a.id = w.attempt_id"
        f" JOIN files AS f ON f.attempt_id = a.id WHERE {KEPT} AND {where}",
        values,
    ):
        found = {name: row[name] for name in row.keys()}  # noqa: SIM118
        yield Saved(**found | {name: from_json(found[name]) for name in ("params", "vars", "tags")})
