"""One run a ledger: an flock that the kernel frees when the process dies, so a dead run leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batcher.errors import LedgerLocked, StorageError

#: The lock file; it stays when a run has ended.
LOCK = "run.lock"


@contextmanager
def hold_lock(state: Path, *, started: str) -> Iterator[None]:
    """Hold the state folder's run lock for the block; `started` tells others since when.

    Raises LedgerLocked, naming the other run's pid and start, when somebody else holds it.
    """
    path = state / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}", hint="Make the state folder writable.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "just starting"
            raise LedgerLocked(
                f"another run holds {state / 'ledger.db'}: {holder}",
                hint="Wait for it, or stop it by that pid; `status` works meanwhile.",
            ) from None
        except OSError as error:
            raise StorageError(
                f"{path} cannot be locked: {error.strerror}", hint="Keep the state folder on a local disk."
            ) from error
        _sign(descriptor, path, started)
        yield
    finally:
        os.close(descriptor)


def _sign(descriptor: int, path: Path, started: str) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}, started {started}\n".encode(), 0)
    except OSError as error:
        raise StorageError(
            f"{path}: {error.strerror}", hint="Free some disk space, then run the same command again."
        ) from error
