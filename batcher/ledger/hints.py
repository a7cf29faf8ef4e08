"""Hints from outside that something has happened to a task. They are believed in nothing: a run asks the API sooner."""

from __future__ import annotations

from collections.abc import Collection

from batcher.clock import iso
from batcher.jobs import JobId

from .queries.sql import placeholders
from .reader import LedgerReader
from .store.writer import LedgerWriter

#: Hints that are older, in seconds, are forgotten when another comes.
_KEPT_SECONDS = 3600.0


def open_jobs(read: LedgerReader, task_ids: Collection[str]) -> list[JobId]:
    """The jobs that wait for one of these tasks; a task that nobody waits for is none of this ledger's business."""
    found = read.rows(
        "SELECT w.id FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id AND w.attempt_id = a.id"
        f" WHERE a.task_id IN ({placeholders(list(task_ids))}) AND w.status IN ('queued', 'processing')",
        list(task_ids),
    )
    return [JobId(row["id"]) for row in found]


def give(ledger: LedgerWriter, jobs: Collection[JobId], now: float) -> None:
    """Let the run that goes on ask for the tasks of these jobs; `now` in seconds since the epoch.

    Raises StorageError.
    """
    with ledger._write as t:
        t.run("DELETE FROM hints WHERE at < ?", (iso(now - _KEPT_SECONDS),))
        for job_id in jobs:
            t.run("DELETE FROM hints WHERE job_id = ?", (job_id,))  # it has a new number each time
            t.run("INSERT INTO hints (job_id, at) VALUES (?, ?)", (job_id, t.at))
