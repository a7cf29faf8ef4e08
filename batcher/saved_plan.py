"""A plan in a file: made for a look, then bought exactly as it stands, or not at all.

What it holds is judged again before anything is sent (`moved`). What the plan itself has bought is no move: its runs
carry its id in their settings, so the same command goes on where the last run of it ended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from batcher.catalog import whole_params
from batcher.errors import UsageError
from batcher.fs import whole_file
from batcher.jobs import SHORT_ID, JobId, JobSpec, ResultReference, source_text
from batcher.ledger import LedgerReader
from batcher.ledger.queries.jobs import file_of
from batcher.ledger.queries.plan_moves import changed_by_others, last_event, unbought, used_by
from batcher.planning import Plan
from batcher.planning.forecast import JobLine

VERSION = 1
_MARK = "batcher_plan"
#: Moves that are told one by one.
_TOLD = 10
_HEAD_BYTES = 200
_AGAIN = "Make it again: batcher plan --out"


class _Part(BaseModel):
    """What a plan's file has to hold, for what is read of it; it may have been written by anybody."""

    model_config = ConfigDict(strict=True)


class _ManifestFile(_Part):
    path: str
    sha256: str


class _Reference(_Part):
    made_of: tuple[str, str] = Field(alias="is", strict=False)
    file: str | None = None


class _PlannedJob(_Part):
    id: str
    references: list[_Reference]


class _Options(_Part):
    model_config = ConfigDict(extra="forbid")

    only: list[str]
    limit: int | None
    max_jobs: int | None
    budget: int | None
    unpriced: int | None
    order: str
    sample: str | None
    marked: str | None
    allow_paths: list[str]
    unchecked: bool


class _Document(_Part):
    account: str
    ledger: str | None
    event: int
    manifests: list[_ManifestFile]
    expansion: str
    options: _Options
    total: int
    ceilings: dict[str, int]
    jobs: list[_PlannedJob]


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What a plan's file says; docs/json.md has its members. `id` is the hash of all others."""

    id: str
    document: Mapping[str, Any]

    @property
    def manifests(self) -> list[Path]:
        return [Path(each["path"]) for each in self.document["manifests"]]

    @property
    def options(self) -> dict[str, Any]:
        """What was selected, as `workload.prepare` takes it."""
        found = dict(self.document["options"])
        return found | {"allow_paths": [Path(each) for each in found["allow_paths"]]}

    @property
    def jobs(self) -> frozenset[JobId]:
        return frozenset(JobId(job["id"]) for job in self.document["jobs"])

    @property
    def ceilings(self) -> dict[str, int]:
        """What a job of each price class may cost, in credits."""
        return dict(self.document["ceilings"])

    def left(self, ledger: LedgerReader | None) -> int:
        """What its runs may still commit, in credits."""
        return max(0, int(self.document["total"]) - (used_by(ledger, self.id) if ledger else 0))


def is_saved(path: Path) -> bool:
    """Whether a file is a saved plan, known by `"batcher_plan"` in its first line or two; a pipe is none."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return head.lstrip().startswith(b"{") and f'"{_MARK}"'.encode() in head


def load(path: Path) -> SavedPlan:
    """Read a saved plan. Raises UsageError where it is none, or is not as it was written."""
    try:
        document = json.loads(path.read_bytes())
        name = document.pop("id")
        if document.pop(_MARK) != VERSION:
            raise UsageError(f"{path} is a plan of another version of batcher", hint=_AGAIN)
        _Document.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise UsageError(f"{path} is no whole plan: {where}: {fault['msg']}", hint=_AGAIN) from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is no whole plan: {error}", hint=_AGAIN) from None
    if name != _hash(document):
        raise UsageError(f"{path} was changed since it was made", hint=_AGAIN)
    return SavedPlan(name, document)


def save(
    path: Path,
    lines: Iterable[JobLine],
    *,
    manifests: Sequence[Path],
    specs: Iterable[JobSpec],
    options: Mapping[str, Any],
    account: str | None,
    unit: str,
    ledger: LedgerReader | None,
    made: str,
) -> SavedPlan:
    """Write down what a run would buy now: exactly the jobs for which the caps have room. For its owner only (0600).

    Raises UsageError without a key, where nothing would be bought, or where another file has that name.
    """
    if account is None:
        raise UsageError("a plan is saved for one account, and no key is set", hint="Set the key of the API first.")
    if path.exists() and not is_saved(path):
        raise UsageError(f"{path} exists already, and is no plan", hint="It stays as it is: name another file.")
    bought = [line for line in lines if line.is_bought]
    if not bought:
        raise UsageError("there is nothing that this plan would buy")
    document = {
        "made": made,
        "account": account,
        "unit": unit,
        "ledger": ledger.ledger_id if ledger else None,
        "event": last_event(ledger) if ledger else 0,
        "manifests": [{"path": str(each.absolute()), "sha256": _file_hash(each)} for each in manifests],
        "expansion": digest(specs),
        "options": options,
        "total": sum(line.hold for line in bought),
        "ceilings": {line.spec.price_class: line.hold for line in bought},
        "jobs": [_job(line, ledger) for line in bought],
    }
    document = json.loads(json.dumps(document))
    found = SavedPlan(_hash(document), document)
    with whole_file(path, replace=True, private=True) as part:
        part.write_text(json.dumps({_MARK: VERSION, "id": found.id, **document}, indent=1) + "\n", "utf-8")
    return found


def moved(
    saved: SavedPlan,
    plan: Plan,
    specs: Iterable[JobSpec],
    ceilings: Mapping[str, int],
    account: str,
    ledger: LedgerReader | None,
) -> Iterator[str]:
    """What is not as the saved plan has it, in words.

    `plan` is of its rest, `ceilings` what jobs of that cost now, in credits by price class.
    """
    document = saved.document
    if account != document["account"]:
        yield f"it was made for the account {document['account']}, and this is {account}"
    if document["ledger"] and (ledger is None or ledger.ledger_id != document["ledger"]):
        yield "it was made against another ledger"
    for each in document["manifests"]:
        if _file_hash(Path(each["path"])) != each["sha256"]:
            yield f"the manifest {each['path']} has changed"
    if digest(specs) != document["expansion"]:
        yield "what the manifests come to has changed (a source, a reference or the catalogue)"
    if ledger is not None:
        for job_id, what in changed_by_others(ledger, sorted(saved.jobs), saved.id, document["event"]):
            yield f"job {job_id[:SHORT_ID]} {what}"
        yield from _other_files(document["jobs"], ledger)
    for name, credits_ in ceilings.items():
        if credits_ > document["ceilings"].get(name, 0):
            yield f"{name} costs {credits_:,} now, above its ceiling of {document['ceilings'].get(name, 0):,}"
    for cap in plan.caps:
        if cap.bites:
            used = f"{cap.used:,} used, {cap.wanted:,} wanted"
            yield f"the cap {cap.words} of {cap.limit:,} has no room for the rest: {used}"


def refuse_moved(moves: Iterable[str]) -> None:
    """Raise UsageError where anything has moved."""
    found = list(moves)
    if not found:
        return
    more = [f"… and {len(found) - _TOLD:,} more"] if len(found) > _TOLD else []
    raise UsageError(
        "the plan does not hold any more, and nothing was sent:\n"
        + "\n".join(["  " + each for each in found[:_TOLD] + more]),
        hint="Make it again: batcher plan … --out",
    )


def digest(specs: Iterable[JobSpec]) -> str:
    """The hash of an expansion: every job with all that its body and its file's name are made of, in order."""
    found = hashlib.sha256()
    for spec in specs:
        whole = sorted(whole_params(spec.model, spec.params).items())
        told = (spec.id, spec.name, spec.file_name, spec.price_class, spec.catalog_credits, whole)
        found.update(json.dumps(told).encode() + b"\n")
    return found.hexdigest()


def _other_files(jobs: Sequence[Mapping[str, Any]], ledger: LedgerReader) -> Iterator[str]:
    """The jobs still to be bought of which a source had a file when the plan was made, and has that one no more."""
    still = unbought(ledger, [job["id"] for job in jobs])
    for job in jobs:
        for each in job["references"] if job["id"] in still else ():
            if (was := each.get("file")) and file_of(ledger, source := each["is"][1])[0] != was:
                yield f"job {job['id'][:SHORT_ID]} was to be made from a file that job {source[:SHORT_ID]} has no more"


def _job(line: JobLine, ledger: LedgerReader | None) -> dict[str, Any]:
    spec = line.spec
    return {
        "id": spec.id,
        "campaign": spec.campaign,
        "name": spec.name,
        "model": spec.model,
        "prompt": spec.prompt,
        "params": whole_params(spec.model, spec.params),
        "references": [
            {"name": each.text, "is": json.loads(source_text(each))}
            | ({"file": file_of(ledger, each.job_id)[0]} if ledger and isinstance(each, ResultReference) else {})
            for each in (spec.reference.each if spec.reference else ())
        ],
        "take": spec.take,
        "price_class": spec.price_class,
        "credits": line.credits,
        "hold": line.hold,
    }


def _hash(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
