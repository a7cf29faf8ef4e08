"""Saved plans that a person has approved: a program may buy each of them, exactly as it stands, once."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from batcher.errors import UsageError

from .reader import LedgerReader
from .store.writer import LedgerWriter


class Approval(NamedTuple):
    """A plan by its hash, and where its file lay when it was approved; `used_at` is None before it is bought."""

    plan: str
    path: Path
    at: str
    who: str
    used_at: str | None


def find(read: LedgerReader, plan: str) -> Approval:
    """The approval of a plan that was not used yet. Raises UsageError where there is none."""
    row = read.row("SELECT * FROM approvals WHERE plan = ?", (plan,))
    if row is None:
        raise UsageError(
            "no person has approved a plan of this hash", hint="At a terminal: batcher plan --approve plan.json"
        )
    if row["used_at"] is not None:
        raise UsageError(
            f"this plan's approval was used at {row['used_at']}; it holds once",
            hint="A person may approve it again, or go on with it by hand: batcher run plan.json",
        )
    return Approval(row["plan"], Path(row["path"]), row["at"], row["who"], row["used_at"])


def approve(ledger: LedgerWriter, plan: str, path: Path, who: str) -> None:
    """A person lets a program buy the plan once, from now on. Raises StorageError."""
    with ledger._write as t:
        t.run(
            "INSERT INTO approvals (plan, path, at, who) VALUES (?, ?, ?, ?) ON CONFLICT (plan) DO UPDATE"
            " SET path = excluded.path, at = excluded.at, who = excluded.who, used_at = NULL",
            (plan, str(path), t.at, who),
        )


def use(ledger: LedgerWriter, plan: str) -> None:
    """Take the approval for the run that is about to begin. Raises UsageError where there is none to take."""
    with ledger._write as t:
        find(ledger.read, plan)
        t.run("UPDATE approvals SET used_at = ? WHERE plan = ?", (t.at, plan))
