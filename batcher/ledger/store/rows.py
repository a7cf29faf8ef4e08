"""Rows of the ledger as the nouns of the house, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batcher.clock import Moment, Uptime, from_iso
from batcher.jobs import (
    RESULT,
    Ended,
    FileReference,
    Intent,
    Job,
    JobId,
    JobSpec,
    OneReference,
    Phase,
    Planned,
    Reference,
    ResultFile,
    ResultReference,
    SeveralReferences,
    Status,
    Submitting,
    Succeeded,
    Upload,
    UrlReference,
    Waiting,
    sources_of,
)

#: A wanted job as columns of `wanted`, in the order of `spec_values`.
SPEC_COLUMNS = (
    *("id", "campaign", "name", "model", "prompt", "params"),
    *("reference", "reference_kind", "reference_sha256", "reference_size", "reference_mime", "reference_list"),
    *("take", "price_class", "catalog_credits", "file_name", "vars", "tags", "waiting"),
)


def spec_values(spec: JobSpec, texts: Mapping[int, str]) -> tuple[Any, ...]:
    """A wanted job as values of `SPEC_COLUMNS`; `texts` has its mappings, by their `id`, as `mapping_column` does."""
    return (
        *(spec.id, spec.campaign, spec.name, spec.model, spec.prompt, texts[id(spec.params)]),
        *reference_values(spec.reference),
        *(spec.take, spec.price_class, spec.catalog_credits, spec.file_name),
        *(texts[id(spec.vars)], texts[id(spec.tags)], len(sources_of(spec.reference)) or None),
    )


def mapping_column(values: Mapping[str, Any]) -> str:
    """Params, variables or tags as JSON."""
    return json.dumps(dict(values), sort_keys=True, ensure_ascii=False)


def reference_values(reference: Reference | None) -> tuple[Any, ...]:
    """A reference as columns: text, kind, hash, size and type of the first, and where there are more, all as JSON."""
    match reference:
        case None:
            return (None, None, None, None, None, None)
        case SeveralReferences(each=each):
            every = [dict(zip(_REFERENCE, reference_values(one), strict=False)) for one in each]
            return (*reference_values(each[0])[:-1], json.dumps(every))
        case FileReference(sha256=sha256, size=size, mime=mime, kind=kind):
            return (reference.text, kind, sha256, size, mime, None)
        case UrlReference(kind=kind) | ResultReference(kind=kind):
            return (reference.text, kind, None, None, None, None)


_REFERENCE = ("reference", "kind", "sha256", "size", "mime")


def _reference(row: sqlite3.Row) -> Reference | None:
    if row["reference"] is None:
        return None
    if row["reference_list"] is not None:
        return SeveralReferences(tuple(_one(*each.values()) for each in json.loads(row["reference_list"])))
    return _one(*(row[name] for name in SPEC_COLUMNS[6:11]))


def _one(text: str, kind: str, sha256: str | None, size: int, mime: str) -> OneReference:
    if text.startswith(RESULT):
        return ResultReference(JobId(text.removeprefix(RESULT)), kind)
    return UrlReference(text, kind) if sha256 is None else FileReference(Path(text), sha256, size, mime, kind)


def job(wanted: sqlite3.Row, attempt: sqlite3.Row | None, files: list[sqlite3.Row]) -> Job:
    """A job with its phase, from its row, its latest attempt and that attempt's files."""
    return Job(
        id=JobId(wanted["id"]),
        campaign=wanted["campaign"],
        model=wanted["model"],
        name=wanted["name"],
        prompt=wanted["prompt"],
        params=json.loads(wanted["params"]),
        reference=_reference(wanted),
        take=wanted["take"],
        price_class=wanted["price_class"],
        catalog_credits=wanted["catalog_credits"],
        file_name=wanted["file_name"],
        phase=_phase(Status(wanted["status"]), attempt, files),
    )


def _phase(status: Status, attempt: sqlite3.Row | None, files: list[sqlite3.Row]) -> Phase:
    if status is Status.PLANNED:
        return Planned()
    if attempt is None or status in (Status.FAILED, Status.DOUBTFUL, Status.CANCELLED):
        return Ended(status)
    if status is Status.SUBMITTING:
        return Submitting(intent(attempt))
    if attempt["task_id"] is None:  # a row that somebody edited: there is nothing to ask for
        return Ended(status)
    if status is Status.SUCCEEDED:
        return Succeeded(
            attempt["id"],
            attempt["task_id"],
            result_files(attempt, files),
            account=attempt["account"],
            settled=attempt["final_credits"] is not None,
            finished_at=from_iso(attempt["finished_at"] or attempt["intended_at"]),
        )
    return Waiting(
        attempt_id=attempt["id"],
        task_id=attempt["task_id"],
        status=status,
        submitted_at=from_iso(attempt["submitted_at"] or attempt["intended_at"]),
        account=attempt["account"],
        intended=moment(attempt, "intended_at"),
    )


def moment(row: Mapping[str, Any] | sqlite3.Row, at: str) -> Moment:
    """When an attempt was intended, or a request sent: the column `at` is the wall clock's stamp."""
    boot, api = row["boot_id"], row["api_at"] if "api_at" in row.keys() else None  # noqa: SIM118
    return Moment(
        from_iso(row[at]),
        None if boot is None else Uptime(boot, row["boot_seconds"]),
        None if api is None else from_iso(api),
    )


def intent(attempt: sqlite3.Row) -> Intent:
    """The intent of an attempt's row: what is on disk is what is sent."""
    return Intent(
        attempt_id=attempt["id"],
        job_id=JobId(attempt["job_id"]),
        number=attempt["number"],
        key=attempt["idempotency_key"],
        body=attempt["body"],
        account=attempt["account"],
        intended=moment(attempt, "intended_at"),
        maybe_received=bool(attempt["maybe_received"]),
    )


def result_files(attempt: sqlite3.Row, files: list[sqlite3.Row]) -> tuple[ResultFile, ...]:
    """One entry a result URL; a URL that is missing yet is the empty text."""
    urls = json.loads(attempt["result_urls"])
    return tuple(
        ResultFile(
            number=row["number"],
            url=urls[row["number"]] if row["number"] < len(urls) else "",
            validator=row["validator"],
            announced=row["announced"],
            unverified=row["unverified"],
            unverified_sha256=row["unverified_sha256"],
            forgotten=row["forgotten_at"] is not None,
            target=row["target"],
            sha256=row["sha256"],
            saved=row["saved_at"] is not None,
        )
        for row in files
    )


def upload(row: sqlite3.Row) -> Upload:
    """An upload from its row."""
    return Upload(
        sha256=row["sha256"],
        url=row["url"],
        kind=row["kind"],
        name=row["name"],
        mime=row["mime"],
        file_id=row["file_id"],
        duration_token=row["duration_token"],
        duration_seconds=row["duration_seconds"],
        checked_at=from_iso(row["checked_at"]),
    )
