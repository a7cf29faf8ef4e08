"""One transaction: its statements, its legal moves, its events."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batcher.clock import iso
from batcher.errors import BatcherError
from batcher.jobs import MOVES, JobId, Status


class Stale(BatcherError):
    """The job has moved since it was read (a person decided meanwhile): read it again."""


@dataclass(frozen=True, slots=True)
class Change:
    """A fact after its commit, for observers; they cannot change the run."""

    event: str
    job_id: JobId | None = None
    old: Status | None = None
    new: Status | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class Transaction:
    """What happens between BEGIN and COMMIT; collects the facts that observers get afterwards."""

    def __init__(self, connection: sqlite3.Connection, seconds: float, run_id: int | None) -> None:
        self._connection = connection
        self.seconds = seconds
        self.at = iso(seconds)
        self.run_id = run_id
        self.changes: list[Change] = []

    def run(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)

    def many(self, sql: str, values: Sequence[Any]) -> None:
        self._connection.executemany(sql, values)

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        return self._connection.execute(sql, values).fetchone()[0]

    def insert(self, table: str, **columns: Any) -> int:
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        cursor = self.run(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def forget_sends(self, seconds: float) -> None:
        """Drop what the send log has of requests older than that; what is younger is not looked at."""
        self.run(
            "DELETE FROM sends WHERE id < coalesce((SELECT id FROM sends WHERE at >= ? ORDER BY id LIMIT 1),"
            " (SELECT max(id) + 1 FROM sends))",
            (iso(self.seconds - seconds),),
        )

    def attempt(self, attempt_id: int) -> sqlite3.Row:
        row: sqlite3.Row = self.run("SELECT * FROM attempts WHERE id = ?", (attempt_id,)).fetchone()
        return row

    def status(self, job_id: JobId, attempt_id: int) -> Status | None:
        """The job's status; None when this is not its latest attempt."""
        row = self.run("SELECT status, attempt_id FROM wanted WHERE id = ?", (job_id,)).fetchone()
        return Status(row["status"]) if row["attempt_id"] == attempt_id else None

    def latest(self, job_id: JobId, attempt_id: int) -> Status:
        """The job's status, provided that this is its latest attempt. Raises Stale."""
        found = self.status(job_id, attempt_id)
        if found is None:
            raise Stale(f"attempt {attempt_id} is not the latest of job {job_id}")
        return found

    def move(
        self,
        job_id: JobId,
        old: Status,
        new: Status,
        *,
        attempt_id: int | None = None,
        code: str | None = None,
        message: str | None = None,
    ) -> None:
        """Compare and set: a legal move of a job that is still in `old`. Raises Stale."""
        if new not in MOVES[old]:
            raise Stale(f"job {job_id} cannot go from {old} to {new}")
        moved = self.run(
            "UPDATE wanted SET status = ?, attempt_id = coalesce(?, attempt_id), error_code = ?, error_message = ?,"
            " updated_at = ? WHERE id = ? AND status = ?",
            (new, attempt_id, code, message, self.at, job_id, old),
        ).rowcount
        if not moved:
            raise Stale(f"job {job_id} is not {old} any more")

    def event(
        self,
        event: str,
        *,
        job_id: JobId | None = None,
        attempt: int | None = None,
        old: Status | None = None,
        new: Status | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Write an event row and keep the fact for the observers."""
        if job_id is not None and attempt is None:
            attempt = self.value("SELECT max(number) FROM attempts WHERE job_id = ?", (job_id,))
        moved = {} if new is None else {"from": old and str(old), "to": str(new)}
        self.run(
            "INSERT INTO events (at, run_id, job_id, attempt, event, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (self.at, self.run_id, job_id, attempt, event, json.dumps(moved | (detail or {}))),
        )
        self.changes.append(Change(event, job_id, old, new, detail or {}))
