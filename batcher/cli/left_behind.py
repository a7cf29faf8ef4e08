"""Campaigns that are left behind with paid jobs, in one sentence: `plan`, `run`, `status` and `doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from batcher.errors import ManifestError, StorageError
from batcher.ledger import LedgerReader
from batcher.ledger.queries import jobs
from batcher.ledger.queries.left_behind import LeftBehind, left_behind, without_manifest
from batcher.text import amount, count, safe

from .open_ledger import need_reader, state_words
from .terminal import Styled

#: Where manifests were named, and hold it not.
NOT_NAMED = "stands in none of these manifests"


def sentence(found: LeftBehind, state: Path, why: str = NOT_NAMED) -> str:
    """What is under way, why nobody would go on with it, and what does."""
    parts = [f"{count(found.jobs, 'job')} under way"] if found.jobs else []
    parts += [f"{count(found.files, 'result')} to fetch"] if found.files else []
    parts += [f"{amount(found.held)} held"] if found.held else []
    name = safe(found.campaign)
    fetch = f"`batcher fetch{state_words(state)} {name}` brings them home, and buys nothing"
    return f"Campaign {name} has {', '.join(parts)}, and {why}: {fetch}."


def left_behind_view(found: Sequence[LeftBehind], state: Path) -> Iterator[Styled]:
    """A line for each campaign that is in none of the manifests that were named."""
    for each in found:
        yield Styled((sentence(each, state), "yellow"))


def left_behind_json(found: Sequence[LeftBehind]) -> list[dict[str, Any]]:
    """The same as docs/json.md has it."""
    return [each._asdict() for each in found]


def strays(read: LedgerReader, state: Path) -> list[tuple[LeftBehind, str]]:
    """The campaigns whose manifest is gone or names another one now, with the sentence; none while a run is going."""
    if jobs.holder(state, read) is not None:
        return []
    return [
        (each, sentence(each, state, _why(each.manifest, name))) for each, name in without_manifest(left_behind(read))
    ]


def _why(manifest: str, name: str) -> str:
    where = safe(manifest)
    return f"its manifest {where} now names the campaign {safe(name)}" if name else f"its manifest {where} is gone"


@contextmanager
def naming_fetch(folders: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """What is paid does not wait for a manifest: where something is under way in one of these state folders, errors
    of manifests name `batcher fetch`."""
    try:
        yield
    except ManifestError as error:
        with suppress(StorageError):
            for state in folders():
                with closing(need_reader(state)) as read:
                    jobs = sum(read.under_way(name, unsaved=True).total() for name in read.counts())
                if jobs:
                    error.hint += (
                        f" {count(jobs, 'job')} bought before: `batcher fetch{state_words(state)}` goes on with them."
                    )
        raise
