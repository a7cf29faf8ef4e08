"""Bringing an expansion of a manifest into the ledger, in batches.

Each expansion has a number, taken before its first row is written. A job of an older number that is still
planned is not wanted any more; so an expansion that a crash cut short can never leave a job behind that the
manifest does not contain. A run may buy what is enrolled while the rest still comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from batcher.events import Event
from batcher.jobs import JobId, JobSpec
from batcher.ledger import expansion_cache
from batcher.ledger.expansion_cache import Origin
from batcher.ledger.queries.sql import placeholders
from batcher.ledger.reader import LedgerReader

from . import chains, rows
from .transaction import Transaction

Asked = Callable[[], Origin | None]
Write = AbstractContextManager[Transaction]
BATCH = 500
NOT_IN_MANIFEST = "not_in_manifest"

_INSERT = (
    f"INSERT INTO wanted ({', '.join(rows.SPEC_COLUMNS)}, expansion, position, status, created_at, updated_at)"
    f" VALUES ({placeholders(rows.SPEC_COLUMNS)}, ?, ?, 'planned', ?, ?)"
)

# The first place of a job in an expansion counts; a second one finds the number set already.
_UPDATE = (
    "UPDATE wanted SET expansion = ?1, position = ?2, name = ?3, reference = ?4, file_name = ?5, price_class = ?6,"
    " catalog_credits = ?7, reference_list = ?8, vars = ?9, tags = ?10 WHERE id = ?11 AND expansion <> ?1"
)

_REVIVE = (
    "UPDATE wanted SET status = 'planned', error_code = NULL, error_message = NULL, updated_at = ?"
    f" WHERE id = ? AND status = 'cancelled' AND error_code = '{NOT_IN_MANIFEST}'"
)

_PLANNED = (
    f"INSERT INTO events (at, run_id, job_id, event, detail) VALUES (?, ?, ?, '{Event.PLANNED}',"
    """ '{"to": "planned"}')"""
)


class Enrolled(NamedTuple):
    """What an enrolment, or a step of one, did: in jobs."""

    new: int = 0
    revived: int = 0
    cancelled: int = 0


#: A transaction of an enrolment.
EnrolmentStep = Callable[[], Enrolled]


def unknown() -> None:
    """The origin of specs of which nobody can tell where they came from."""


def enrolling(
    write: Write,
    read: LedgerReader,
    campaign: str,
    manifest: str,
    specs: Iterable[JobSpec],
    origin: Asked,
) -> Iterator[EnrolmentStep]:
    """The steps to where the ledger holds exactly the planned jobs of this expansion; what is bought stays as it is.

    Each is to be done before the next one is asked for: `specs` are gone through meanwhile. `origin` is asked at their
    end what they came from; None: nobody can tell for certain.
    """
    yield partial(_begin, write, campaign, manifest)
    expansion, position = read.figure("SELECT expansion FROM campaigns WHERE name = ?", (campaign,)), 0
    stream = iter(specs)
    while batch := list(islice(stream, BATCH)):
        yield partial(_enrol_batch, write, read, batch, expansion, position)
        position += len(batch)
    yield partial(_end, write, campaign, expansion, origin(), position)


def _begin(write: Write, campaign: str, manifest: str) -> Enrolled:
    with write as t:
        t.run(
            "INSERT INTO campaigns (name, manifest, expansion) VALUES (?, ?, 1)"
            " ON CONFLICT (name) DO UPDATE SET expansion = campaigns.expansion + 1, manifest = excluded.manifest",
            (campaign, manifest),
        )
        expansion_cache.forget(t, campaign)
    return Enrolled()


def _end(write: Write, campaign: str, expansion: int, found: Origin | None, entries: int) -> Enrolled:
    with write as t:
        chains.settle_all(t, campaign)
        cancelled = cancel_gone(t, campaign, expansion)
        if found is not None:
            expansion_cache.remember(t, campaign, found, entries)
    return Enrolled(cancelled=cancelled)


def cancel_gone(t: Transaction, campaign: str, expansion: int) -> int:
    """Cancel what is planned and not in the expansion; how many jobs that were."""
    gone = (campaign, expansion)
    where = "campaign = ? AND status = 'planned' AND expansion <> ?"
    t.run(
        "INSERT INTO events (at, run_id, job_id, event, detail)"
        f" SELECT ?, ?, id, '{Event.CANCELLED}', ? FROM wanted WHERE {where}",
        (t.at, t.run_id, json.dumps({"from": "planned", "to": "cancelled", "code": NOT_IN_MANIFEST}), *gone),
    )
    return t.run(
        f"UPDATE wanted SET status = 'cancelled', error_code = ?, error_message = ?, updated_at = ? WHERE {where}",
        (NOT_IN_MANIFEST, "the manifest does not contain it any more", t.at, *gone),
    ).rowcount


def _enrol_batch(write: Write, read: LedgerReader, batch: list[JobSpec], expansion: int, start: int) -> Enrolled:
    """Rows are plain tuples, for this is done to every job of every expansion."""
    places: dict[JobId, tuple[int, JobSpec]] = {}
    for position, spec in enumerate(batch, start):
        places.setdefault(spec.id, (position, spec))
    with write as t:
        known = read.known(list(places))
        fresh = [place for job_id, place in places.items() if job_id not in known]
        texts = _mappings(batch)
        t.many(_INSERT, [(*rows.spec_values(s, texts), expansion, position, t.at, t.at) for position, s in fresh])
        chains.enrol(t, [spec for _, spec in places.values()])
        t.many(_UPDATE, [_update(*place, expansion, texts) for job_id, place in places.items() if job_id in known])
        back = [job_id for job_id in places if job_id in known and known[job_id].error_code]
        revived = [job_id for job_id in back if t.run(_REVIVE, (t.at, job_id)).rowcount]
        planned = [spec.id for _, spec in fresh] + revived
        t.many(_PLANNED, [(t.at, t.run_id, job_id) for job_id in planned])
    return Enrolled(new=len(fresh), revived=len(revived))


def _mappings(batch: list[JobSpec]) -> dict[int, str]:
    """The mappings of specs as columns, by their `id`: one is shared by all jobs that set the same."""
    found = {id(mapping): mapping for spec in batch for mapping in (spec.params, spec.vars, spec.tags)}
    return {key: rows.mapping_column(mapping) for key, mapping in found.items()}


def _update(position: int, spec: JobSpec, expansion: int, texts: Mapping[int, str]) -> tuple[Any, ...]:
    reference, *_, every = rows.reference_values(spec.reference)
    changing = (spec.name, reference, spec.file_name, spec.price_class, spec.catalog_credits, every)
    return (expansion, position, *changing, texts[id(spec.vars)], texts[id(spec.tags)], spec.id)
