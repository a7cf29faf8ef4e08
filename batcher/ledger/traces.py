"""Traces of a ledger that knew more than this one: its WAL was lost, or an old copy was put back.

What such a ledger does not know as bought would be bought again. Times of change say nothing: a copy has new ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from batcher.errors import StorageError
from batcher.statuses import SHORT_ID

from .reader import LedgerReader
from .store.connection import storage_errors

_LOG = re.compile(r"(run-\d{1,18}-\d{8}T\d{6}Z?)\.(?:txt|json)")
_ID = re.compile(rf"(?=([0-9a-f]{{{SHORT_ID}}}))")
_ACCEPT = "If you know what was bought meanwhile, or that nothing was: `run --accept-old-ledger` goes on."
_SHOWN = 3
#: The files in the results of a campaign, as paths from there.
Results = Callable[[str], Iterable[str]]


def log_name(run_id: int, started: str) -> str:
    """The name, without suffix, of what `logs/` keeps of a run; `started` is its row's time."""
    return f"run-{run_id}-{re.sub(r'[-:]|[.][0-9]+', '', started)}"


def without_ledger(state: Path) -> list[str]:
    """Logs of runs and results in a state folder that has no ledger, if any."""
    found = [f"logs/{name}" for name in sorted(_logs(state))]
    return [*found, *(f"results/{name}" for name, _ in zip(_files(state / "results"), range(_SHOWN), strict=False))]


def of_runs(read: LedgerReader, state: Path) -> list[str]:
    """Logs of runs that the ledger does not know. Each run writes its log's name down before it buys."""
    logs = _logs(state)
    if logs:
        logs -= {log_name(row["id"], row["started_at"]) for row in read.stream("SELECT id, started_at FROM runs")}
    return _not_accepted(read, (f"logs/{name}" for name in sorted(logs)))


def results_of(state: Path) -> Results:
    """The results in a state folder."""
    return lambda campaign: _files(state / "results" / campaign)


def of_files(read: LedgerReader, results: Results, campaigns: Iterable[str]) -> list[str]:
    """Files in `results/` that carry the id of a planned job of which the ledger knows no file."""
    found = []
    for campaign in campaigns:
        if read.row("SELECT 1 FROM wanted WHERE campaign = ? AND status = 'planned' LIMIT 1", (campaign,)) is None:
            continue
        ids: dict[str, str] = {}
        for name in results(campaign):
            for short in _ID.findall(name.rpartition("/")[2]):
                ids.setdefault(short, f"results/{campaign}/{name}")
        for short, name in ids.items():
            planned = read.row(
                "SELECT id FROM wanted WHERE id BETWEEN ? AND ? AND campaign = ? AND status = 'planned'",
                (short, short.ljust(32, "f"), campaign),
            )
            if planned is not None and not _has_file(read, planned["id"]):
                found.append(name)
    return _not_accepted(read, found)


def has_files(state: Path, campaigns: Iterable[str]) -> bool:
    """Whether any file lies in the results of these campaigns."""
    return any(True for campaign in campaigns for _ in _files(state / "results" / campaign))


def refuse(path: Path, traces: list[str]) -> None:
    """Raises StorageError when there are traces; `path` is the ledger, which may not be there."""
    if not traces:
        return
    shown = ", ".join(traces[:_SHOWN]) + (f" and {len(traces) - _SHOWN} more" if len(traces) > _SHOWN else "")
    if path.exists():
        what = f"{path} does not know of what {path.parent} holds ({shown}): it is an old copy, or lost its newest part"
        hint = "Put back the newest ledger.db together with its ledger.db-wal: else what it forgot is bought again."
    else:
        what = f"{path.parent} holds what runs have left ({shown}), but no ledger"
        hint = "Put ledger.db back: without it everything is bought again."
    raise StorageError(what, hint=f"{hint} {_ACCEPT}")


def refuse_database(place: str, results: str, traces: list[str]) -> None:
    """Raises StorageError when there are traces of a database that knew more than the one at `place`."""
    if traces:
        shown = ", ".join(traces[:_SHOWN]) + (f" and {len(traces) - _SHOWN} more" if len(traces) > _SHOWN else "")
        what = f"{place} does not know of what {results} holds ({shown}): it is an old backup, or lost its newest part"
        raise StorageError(what, hint=f"Restore its newest state: else what it forgot is bought again. {_ACCEPT}")


def _has_file(read: LedgerReader, job_id: str) -> bool:
    return (
        read.row(
            "SELECT 1 FROM attempts AS a JOIN files AS f ON f.attempt_id = a.id"
            " WHERE a.job_id = ? AND f.target IS NOT NULL",
            (job_id,),
        )
        is not None
    )


def _not_accepted(read: LedgerReader, traces: Iterable[str]) -> list[str]:
    return [trace for trace in traces if read.row("SELECT 1 FROM accepted WHERE trace = ?", (trace,)) is None]


def _logs(state: Path) -> set[str]:
    folder = state / "logs"
    with storage_errors(folder):
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return {match[1] for name in names if (match := _LOG.fullmatch(name))}


def _files(folder: Path) -> Iterator[str]:
    """Every file below a folder, as a path from there. Raises StorageError for what nobody may look into."""
    with storage_errors(folder):
        for place, _, names in os.walk(folder, onerror=_not_missing):
            inner = os.path.relpath(place, folder)
            for name in names:
                yield name if inner == "." else f"{inner}/{name}"


def _not_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
