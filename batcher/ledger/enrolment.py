"""Bringing an expansion of a manifest into the ledger, in batches.

Each expansion has a number, taken before its first row is written. A job of an older number that is still
planned is not wanted any more; so an expansion that a crash cut short can never leave a job behind that the
manifest does not contain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from batcher.jobs import JobSpec

from . import origins, rows
from .origins import Origin
from .reader import LedgerReader
from .transaction import Transaction

if TYPE_CHECKING:
    from .writer import Ledger

Asked = Callable[[], Origin | None]
Write = AbstractContextManager[Transaction]
BATCH = 500
NOT_IN_MANIFEST = "not_in_manifest"

_COLUMNS = (
    *("id", "campaign", "name", "model", "prompt", "params"),
    *("reference", "reference_kind", "reference_sha256", "reference_size", "reference_mime"),
    *("take", "price_class", "catalog_credits", "file_name"),
)

_INSERT = (
    f"INSERT INTO wanted ({', '.join(_COLUMNS)}, expansion, position, status, created_at, updated_at)"
    f" VALUES ({', '.join(':' + c for c in _COLUMNS)}, :expansion, :position, 'planned', :at, :at)"
)

# The first place of a job in an expansion counts; a second one finds the number set already.
_UPDATE = (
    "UPDATE wanted SET name = :name, reference = :reference, file_name = :file_name, price_class = :price_class,"
    " catalog_credits = :catalog_credits, expansion = :expansion, position = :position"
    " WHERE id = :id AND expansion <> :expansion"
)

_REVIVE = (
    "UPDATE wanted SET status = 'planned', error_code = NULL, error_message = NULL, updated_at = :at"
    f" WHERE id = :id AND status = 'cancelled' AND error_code = '{NOT_IN_MANIFEST}'"
)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What an enrolment did, in jobs."""

    new: int
    revived: int
    cancelled: int


def unknown() -> None:
    """The origin of specs of which nobody can tell where they came from."""


def enrol(
    write: Write,
    read: LedgerReader,
    campaign: str,
    manifest: str,
    specs: Iterable[JobSpec],
    origin: Asked,
) -> Enrolled:
    """Make the ledger hold exactly the planned jobs of this expansion; what is bought stays as it is.

    `origin` is asked at the end of `specs` what they came from; None: nobody can tell for certain.
    """
    with write as t:
        t.run(
            "INSERT INTO campaigns (name, manifest, expansion) VALUES (?, ?, 1)"
            " ON CONFLICT DO UPDATE SET expansion = expansion + 1, manifest = excluded.manifest",
            (campaign, manifest),
        )
        expansion = t.value("SELECT expansion FROM campaigns WHERE name = ?", (campaign,))
        origins.forget(t, campaign)
    new = revived = position = 0
    stream = iter(specs)
    while batch := list(islice(stream, BATCH)):
        added, back = _enrol_batch(write, read, batch, expansion, position)
        new, revived, position = new + added, revived + back, position + len(batch)
    found = origin()
    with write as t:
        cancelled = _cancel_gone(t, campaign, expansion)
        if found is not None:
            origins.remember(t, campaign, found, position)
    return Enrolled(new, revived, cancelled)


def cancel_gone(ledger: Ledger, campaign: str, expansion: int) -> int:
    """Cancel what is planned and not in the expansion, for a person planned it again; how many jobs that were."""
    with ledger._write as t:
        return _cancel_gone(t, campaign, expansion)


def _cancel_gone(t: Transaction, campaign: str, expansion: int) -> int:
    gone = (campaign, expansion)
    where = "campaign = ? AND status = 'planned' AND expansion <> ?"
    t.run(
        "INSERT INTO events (at, run_id, job_id, event, detail)"
        f" SELECT ?, ?, id, 'cancelled', ? FROM wanted WHERE {where}",
        (t.at, t.run_id, json.dumps({"from": "planned", "to": "cancelled", "code": NOT_IN_MANIFEST}), *gone),
    )
    return t.run(
        f"UPDATE wanted SET status = 'cancelled', error_code = ?, error_message = ?, updated_at = ? WHERE {where}",
        (NOT_IN_MANIFEST, "the manifest does not contain it any more", t.at, *gone),
    ).rowcount


def _enrol_batch(write: Write, read: LedgerReader, batch: list[JobSpec], expansion: int, start: int) -> tuple[int, int]:
    columns: dict[str, dict[str, Any]] = {}
    for offset, spec in enumerate(batch):
        columns.setdefault(spec.id, rows.spec_columns(spec) | {"expansion": expansion, "position": start + offset})
    with write as t:
        known = read.known([spec.id for spec in batch])
        for row in columns.values():
            row["at"] = t.at
        fresh = [row for job_id, row in columns.items() if job_id not in known]
        t.many(_INSERT, fresh)
        t.many(_UPDATE, [row for job_id, row in columns.items() if job_id in known])
        back = [row for job_id, row in columns.items() if job_id in known and known[row["id"]].error_code]
        revived = [row for row in back if t.run(_REVIVE, row).rowcount]
        t.many(
            "INSERT INTO events (at, run_id, job_id, event, detail) VALUES (?, ?, ?, 'planned', ?)",
            [(t.at, t.run_id, row["id"], '{"to": "planned"}') for row in fresh + revived],
        )
    return len(fresh), len(revived)
