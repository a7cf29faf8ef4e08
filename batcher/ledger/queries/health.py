"""Is the ledger sound? What `batcher doctor` asks of it. Reads only, and also what other commands refuse."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from batcher.clock import iso
from batcher.ledger.reader import LedgerReader
from batcher.ledger.store import schema
from batcher.ledger.store.amounts import OPEN_HOLD, SETTLED
from batcher.ledger.store.connection import open_reader, storage_errors
from batcher.statuses import UNPRICED

from .spend import snapshot
from .sql import UNSAVED

#: `STRICT` tables came with this version.
SQLITE_NEEDED = (3, 37, 0)


def sqlite_version() -> str:
    """The version of the SQLite library that Python brings."""
    return sqlite3.sqlite_version


def sqlite_is_new_enough() -> bool:
    """Whether it can keep a ledger."""
    return sqlite3.sqlite_version_info >= SQLITE_NEEDED


@dataclass(frozen=True, slots=True)
class Health:
    """What is to be known of a ledger.

    `migrations` names its version; `older` when this batcher's is a later one (then nothing below is known).
    `damage` is what SQLite finds wrong with the file. `held` and `settled` are the attempts, added up by hand;
    `wrong_sums` names the runs, campaigns, days and allowances where `spent` differs. `open` attempts hold credits;
    `leaks` of them belong to no job that is under way, doubtful, or succeeded without a price. `ahead` is the newest
    time in the ledger that lies in the future, if one does.
    """

    migrations: tuple[str, ...]
    older: bool
    damage: tuple[str, ...] = ()
    held: int = 0
    settled: int = 0
    wrong_sums: tuple[str, ...] = ()
    open: int = 0
    leaks: int = 0
    ahead: str | None = None


def look(path: Path, *, now: float) -> Health:
    """Look at the ledger at `path`; a time later than `now` (seconds since the epoch) is in the future.

    Raises StorageError when it cannot be read, or is of a newer version.
    """
    with closing(open_reader(path)) as connection, storage_errors(path):
        applied = schema.applied(connection)
        migrations = tuple(name for name, _ in schema.MIGRATIONS if name in applied)
        if schema.pending(connection, path):
            return Health(migrations, older=True)
        damage = tuple(row[0] for row in connection.execute("PRAGMA quick_check(5)") if row[0] != "ok")
        damage = damage or tuple(schema.differences(connection))
        if damage:
            return Health(migrations, older=False, damage=damage)
        read = LedgerReader(connection, path)
        with snapshot(read):
            sums = f"SELECT coalesce(sum({OPEN_HOLD}), 0), coalesce(sum({SETTLED}), 0) FROM attempts"
            held, settled = read.one(sums)
            return Health(
                migrations,
                older=False,
                held=held,
                settled=settled,
                wrong_sums=tuple(_wrong_sums(read)),
                open=read.figure("SELECT count(*) FROM attempts WHERE final_credits IS NULL"),
                leaks=read.figure(
                    "SELECT count(*) FROM attempts AS a LEFT JOIN wanted AS w ON w.attempt_id = a.id"
                    " AND w.status IN ('submitting', 'queued', 'processing', 'succeeded', 'doubtful')"
                    " WHERE a.final_credits IS NULL AND w.id IS NULL",
                ),
                ahead=_ahead(read, iso(now)),
            )


def _wrong_sums(read: LedgerReader) -> Iterator[str]:
    by_hand = (
        f"SELECT a.run_id, w.campaign, a.day, coalesce(a.allowance, '') AS allowance,"
        f" a.price_class GLOB '*{UNPRICED}' AS unpriced, sum({OPEN_HOLD}) AS held,"
        f" sum({SETTLED}) AS settled FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id"
        " GROUP BY 1, 2, 3, 4, 5"
    )
    kept = "SELECT run_id, campaign, day, allowance, unpriced, held, settled FROM spent"
    rows = read.rows(
        f"SELECT DISTINCT run_id, campaign, day, allowance FROM (SELECT * FROM ({by_hand} EXCEPT {kept})"
        f" UNION ALL SELECT * FROM ({kept} EXCEPT {by_hand})) ORDER BY 1, 2, 3, 4"
    )
    for row in rows:
        allowance = f", allowance {row['allowance']}" if row["allowance"] else ""
        yield f"run {row['run_id']}, {row['campaign']}, {row['day']}{allowance}"


def _ahead(read: LedgerReader, now: str) -> str | None:
    (newest,) = read.one(
        "SELECT max(at) FROM (SELECT max(at) AS at FROM events UNION ALL SELECT max(at) FROM sends"
        " UNION ALL SELECT max(intended_at) FROM attempts)",
    )
    return str(newest) if newest is not None and newest > now else None


def parts(read: LedgerReader, names: dict[str, tuple[int, int]]) -> list[str]:
    """Of these part files (name: attempt and number) those that no download will take up."""
    found = []
    for name, (attempt, number) in names.items():
        wanted = read.row(
            "SELECT 1 FROM files AS f JOIN wanted AS w ON w.attempt_id = f.attempt_id AND w.status = 'succeeded'"
            f" WHERE f.attempt_id = ? AND f.number = ? AND {UNSAVED}",
            (attempt, number),
        )
        if wanted is None:
            found.append(name)
    return found
