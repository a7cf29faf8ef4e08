"""The state folder: what lies in it, whether a folder may be one, making it one, and its ledger for who only looks."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from batcher.errors import StorageError, UsageError
from batcher.fs import below, disk_errors, whole_file
from batcher.ledger import LedgerReader, storage_errors
from batcher.ledger.store.connection import stands

LEDGER = "ledger.db"
#: Below the state folder: the state of `run --simulate`.
SIMULATED = "simulated"
#: The page of a sample that was bought.
SAMPLE = "sample.html"
#: What runs leave, beside what begins with `ledger.`, and the folders of runs and workers of a ledger on PostgreSQL.
_OURS = {"run.lock", "results", "logs", "unverified", "simulator", SIMULATED, SAMPLE}


def open_reader(state: Path) -> LedgerReader | None:
    """The ledger of a state folder; None when there is none yet. Raises StorageError when it cannot be read."""
    path = state / LEDGER
    with storage_errors(path):
        known = stands(path)
    return LedgerReader.open(path) if known else None


def prepare_folder(state: Path) -> None:
    """Make the state folder, for its owner only. Raises UsageError for a foreign one, which stays as it is.

    Raises StorageError where it cannot be made.
    """
    with disk_errors(state, "Name another folder with --state, or mend its permissions."):
        if state.exists():
            _check_own(state)
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if state.stat().st_mode & 0o077:
            state.chmod(0o700)


def keep_log(state: Path, name: str, text: str) -> Path:
    """Write `<state>/logs/<name>`, for its owner only; whole or absent. Raises StorageError."""
    path = below(state, f"logs/{name}")
    with disk_errors(path.parent):
        path.parent.mkdir(exist_ok=True, mode=0o700)
    with whole_file(path, replace=True, private=True) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    return path


def owner_of(path: Path) -> str | None:
    """The name of the other user who owns it; None when this user does. Raises OSError."""
    uid = path.stat().st_uid
    if uid == os.geteuid():
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _check_own(state: Path) -> None:
    status = state.stat()
    owner = owner_of(state)
    if owner is not None and os.geteuid() != 0:
        raise StorageError(
            f"{state} is the state folder of another user ({owner})",
            hint=f"Run as {owner}, or name a folder of your own with --state.",
        )
    if stands(state / LEDGER):
        return
    other = "Name a folder of its own with --state: it is made, or may be empty but for a README and dot files."
    if foreign := sorted(path.name for path in state.iterdir() if not _is_ours(path.name)):
        shown = ", ".join(foreign[:3]) + (" …" if len(foreign) > 3 else "")
        raise UsageError(f"{state.absolute()} is no state folder of batcher's: it holds {shown}", hint=other)
    if status.st_mode & 0o002:
        raise UsageError(f"{state.absolute()} is a folder that everybody may write to", hint=other)


def _is_ours(name: str) -> bool:
    return name in _OURS or name.startswith((".", "README", f"{LEDGER.partition('.')[0]}.", "run-", "worker-"))
