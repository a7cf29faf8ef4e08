"""A job of the ledger as programs get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batcher.statuses import Status, open_hold


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as the ledger has it, with its latest attempt. Credits are whole; times are ISO 8601, UTC, `Z`.

    `result_path` is where its first file lies, None until it has stood there whole. `held_credits` is what stays held
    for it, 0 once `final_credits` says what it cost.
    """

    id: str
    campaign: str
    name: str
    model: str
    prompt: str
    params: dict[str, Any]
    reference: str | None
    vars: dict[str, Any]
    tags: dict[str, Any]
    take: int
    status: Status
    attempt: int
    task_id: str | None
    quoted_credits: int | None
    held_credits: int
    final_credits: int | None
    result_url: str | None
    result_path: Path | None
    error_code: str | None
    error_message: str | None
    created_at: str
    submitted_at: str | None
    finished_at: str | None


_AS_THEY_ARE = [name for name in JobRecord.__slots__ if name not in ("result_path", "held_credits", "status")]


def record_of(row: Mapping[str, Any], state: Path) -> JobRecord:
    """A row of the view `jobs` of the ledger in that state folder."""
    path = row["result_path"]
    return JobRecord(
        **{name: row[name] for name in _AS_THEY_ARE},
        status=Status(row["status"]),
        held_credits=open_hold(row),
        result_path=state / path if path else None,
    )
