"""What is at work on a database's ledger: versions, workers by their claims, and jobs that nobody has."""

from __future__ import annotations

from typing import NamedTuple

from batcher.ledger.store.schema import MIGRATIONS

from . import schema
from .postgres import PostgresConnection


class WorkerState(NamedTuple):
    """A worker with claims: how many jobs it has, and how long the shortest of its leases runs on, in seconds."""

    name: str
    jobs: int
    left: float


class Overview(NamedTuple):
    """How a database's ledger stands; `abandoned` jobs are under way and have no claim that holds."""

    place: str
    server: str
    ledger_id: str
    version: str
    timezone: str
    jobs: int
    under_way: int
    abandoned: int
    connections: int
    workers: tuple[WorkerState, ...]


def overview(conninfo: str) -> Overview:
    """How a database's ledger stands now. Raises StorageError."""
    with PostgresConnection(conninfo, name="batcher status") as there:
        schema.check(there)
        [row] = there.query(
            "WITH busy AS (SELECT id FROM wanted WHERE status IN ('submitting', 'queued', 'processing'))"
            " SELECT current_setting('server_version') AS server, m.ledger_id, coalesce(m.timezone, '') AS timezone,"
            " (SELECT count(*) FROM wanted) AS jobs, (SELECT count(*) FROM busy) AS under_way,"
            " (SELECT count(*) FROM busy WHERE NOT EXISTS (SELECT 1 FROM claims AS c WHERE c.job_id = busy.id"
            " AND c.until > clock_timestamp())) AS abandoned,"
            " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'batcher%%') AS connections FROM meta AS m",
            (),
        )
        workers = there.query(
            "SELECT worker, count(*) AS jobs, extract(epoch FROM min(until) - clock_timestamp())::float8 AS left_over"
            " FROM claims WHERE until > clock_timestamp() GROUP BY worker ORDER BY worker"
        )
        return Overview(
            there.place,
            version=MIGRATIONS[-1][0],
            workers=tuple(WorkerState(each["worker"], each["jobs"], each["left_over"]) for each in workers),
            **{name: row[name] for name in row.keys()},  # noqa: SIM118
        )
