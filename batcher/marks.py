"""Marks that somebody set in a gallery, as a file: which jobs are favourites, which are rejects.

The page that wrote the file was in a browser, perhaps a client's: nothing of it is believed but ids of known jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from batcher.errors import ManifestError, Problem, StorageError
from batcher.ledger import LedgerReader
from batcher.ledger.queries import selectors
from batcher.ledger.queries.selectors import Condition
from batcher.statuses import SHORT_ID, JobId

#: The members of the file. docs/json.md has its shape.
VERSION = "batcher_marks"
FAVOURITES, REJECTS = "favourites", "rejects"
_ID = re.compile(r"[0-9a-f]{32}")
#: Room for the ids of some 400,000 jobs.
_MOST_BYTES = 16_000_000
_TOLD = 20


class MarkedJobs(NamedTuple):
    """The ids of the jobs that are marked."""

    favourites: tuple[JobId, ...] = ()
    rejects: tuple[JobId, ...] = ()


def load(path: Path) -> MarkedJobs:
    """Read a file of marks. Raises ManifestError with all that is wrong with it, StorageError where it cannot be read.

    Whether there are such jobs is not asked.
    """
    try:
        if path.exists() and not path.is_file():
            raise _wrong(path, ["it is no file"])
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise _wrong(path, ["there is no such file"]) from None
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
    if len(data) > _MOST_BYTES:
        raise _wrong(path, [f"it has more than {_MOST_BYTES:,} bytes"])
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ManifestError([Problem(str(path), f"it is no JSON: {error.msg}", error.lineno, error.colno)]) from None
    except (ValueError, RecursionError) as error:
        raise _wrong(path, [f"it is no JSON: {error}"]) from None
    if found := list(_faults(document)):
        raise _wrong(path, found)
    return MarkedJobs(*(tuple(dict.fromkeys(document.get(name, []))) for name in (FAVOURITES, REJECTS)))


def of_ledger(read: LedgerReader, path: Path) -> MarkedJobs:
    """Read a file of marks of this ledger's jobs. Raises ManifestError, too, for jobs that it does not have."""
    marked = load(path)
    ids = [*marked.favourites, *marked.rejects]
    known = read.known(ids)
    if strange := [each for each in ids if each not in known]:
        raise _wrong(path, [f"{each[:SHORT_ID]} is no job of {read.path}" for each in strange])
    return marked


def favourites(read: LedgerReader, path: Path) -> Condition:
    """The condition that a job is a favourite of this file. Raises as `of_ledger` does, and where it has none."""
    marked = of_ledger(read, path)
    if not marked.favourites:
        raise _wrong(path, ["it marks no favourite"])
    return selectors.favourite(marked.favourites)


def _faults(document: Any) -> Iterator[str]:
    if not isinstance(document, dict) or VERSION not in document:
        yield f"it is no file of marks: {VERSION} is missing. The gallery of a report saves one"
        return
    if document[VERSION] != 1 or isinstance(document[VERSION], bool):
        yield f"{VERSION} is {json.dumps(document[VERSION])[:_TOLD]}, and this batcher reads 1"
    for name in document.keys() - {VERSION, FAVOURITES, REJECTS}:
        yield f"unknown member {json.dumps(name)[:_TOLD]}"
    seen: dict[str, str] = {}
    for name in (FAVOURITES, REJECTS):
        ids = document.get(name, [])
        if not isinstance(ids, list):
            yield f"{name} is no list"
            continue
        for place, job_id in enumerate(ids):
            if not isinstance(job_id, str) or not _ID.fullmatch(job_id):
                yield f"{name}[{place}] is no id of a job: {json.dumps(job_id)[:40]}"
            elif seen.setdefault(job_id, name) != name:
                yield f"{name}[{place}]: {job_id[:SHORT_ID]} is a favourite and a reject"


def _wrong(path: Path, faults: list[str]) -> ManifestError:
    return ManifestError([Problem(str(path), each) for each in faults[:_TOLD]], more=max(0, len(faults) - _TOLD))
