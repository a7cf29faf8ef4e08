"""The send log: every request to the API's host, written down right before it left, for the rate windows."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from batcher.clock import Moment, iso
from batcher.ledger.reader import LedgerReader

from . import rows
from .transaction import Transaction

#: No more rows than this are kept, however often the machine is booted.
_KEPT = 100_000


class Send(NamedTuple):
    """A request to an API's host, and when it was written down; `account` is None where nobody knows whose it was."""

    id: int
    sent: Moment
    kind: str
    account: str | None


def after(read: LedgerReader, send_id: int) -> list[Send]:
    """The rows after `send_id`, oldest first."""
    return list(map(_send, read.rows("SELECT * FROM sends WHERE id > ? ORDER BY id", (send_id,))))


def newest(read: LedgerReader, count: int, *, account: str | None = None, submissions: bool = False) -> list[Send]:
    """The newest `count` rows that count for an account (None: all rows), oldest first; only `submissions` or all.

    A row of no account counts for every account. No index has the accounts: rows of another one are passed over, once
    a run, and there is a day of them at most.
    """
    which = "kind = 'submit'" if submissions else "id > 0"  # word for word as the index `sends_of_submissions` has it
    found = read.rows(
        f"SELECT * FROM sends WHERE {which}"
        " AND (CAST(?1 AS TEXT) IS NULL OR account IS NULL OR account = ?1) ORDER BY id DESC LIMIT ?2",
        (account, count),
    )
    return list(map(_send, reversed(found)))


def last(read: LedgerReader) -> int:
    """The id of the newest row, whosever it is; 0 where there is none."""
    return read.figure("SELECT max(id) FROM sends")


def _send(row: sqlite3.Row) -> Send:
    return Send(row["id"], rows.moment(row, "at"), row["kind"], row["account"])


def write(t: Transaction, kind: str, account: str | None) -> int:
    """Write a request of an account down (None: it counts for every account); returns the row id."""
    boot, up = t.boot
    return t.insert("sends", at=t.at, kind=kind, boot_id=boot, boot_seconds=up, account=account)


def forget(t: Transaction, seconds: float) -> None:
    """Drop what every clock says is older than that; what is younger is not looked at.

    The uptime says which requests of this boot those are, wherever the wall clock has gone since; those of an earlier
    boot are at least as old as this one, and the wall clock, which may be wrong after it, is not believed alone.
    """
    boot, up = t.boot
    believed = up is None or up >= seconds
    t.run(
        "DELETE FROM sends WHERE id < coalesce((SELECT id FROM sends"
        " WHERE CASE WHEN boot_id = ? THEN boot_seconds >= ? ELSE at >= ? OR (boot_id IS NOT NULL AND ? = 0) END"
        " AND id > (SELECT max(id) - ? FROM sends) ORDER BY id LIMIT 1), (SELECT max(id) + 1 FROM sends))",
        (boot, (up or 0.0) - seconds, iso(t.moment.wall - seconds), believed, _KEPT),
    )
