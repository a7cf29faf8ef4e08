"""One run a ledger: an flock that the kernel frees when the process dies, so a dead run leaves nothing behind.

It lies on the state folder itself: a file in it could be deleted and made anew, and then two would hold "the" lock.
`run.lock` only says who holds it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from batcher.errors import LedgerLocked, StorageError
from batcher.fs import open_regular

#: Says who holds the lock, or held it last; it stays when a run has ended.
LOCK = "run.lock"
_WORDS = 200


@contextmanager
def hold_lock(state: Path, *, started: str) -> Iterator[None]:
    """Hold the state folder's run lock for the block; `started` tells others since when.

    Raises LedgerLocked, naming the other run's pid and start, when somebody else holds it.
    """
    try:
        folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(state, error) from error
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerLocked(
                f"another run holds {state / 'ledger.db'}: {holder_words(state) or 'just starting'}",
                hint="Wait for it, or stop it by that pid; `status` works meanwhile.",
            ) from None
        except OSError as error:
            raise StorageError(
                f"{state} cannot be locked: {error.strerror}", hint="Keep the state folder on a local disk."
            ) from error
        _sign(state, f"pid {os.getpid()}, started {started}\n")
        yield
    finally:
        os.close(folder)


def is_held(state: Path) -> bool:
    """Whether a run holds the lock now. Trying it could turn away a run that starts at that very moment."""
    try:
        folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(folder)


def holder_words(state: Path) -> str:
    """What `run.lock` says of the run that holds the lock, or held it last; empty when it says nothing."""
    with suppress(OSError):
        descriptor = open_regular(state / LOCK)
        try:
            return os.pread(descriptor, _WORDS, 0).decode(errors="replace").strip()
        finally:
            os.close(descriptor)
    return ""


def _sign(state: Path, words: str) -> None:
    path = state / LOCK
    try:
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if path.is_symlink():
            raise StorageError(f"{path} is a link to another file", hint="Remove it; a run makes it.") from error
        raise _unusable(path, error) from error
    try:
        if os.fstat(descriptor).st_nlink > 1:
            raise StorageError(f"{path} is a file of another place (a hard link)", hint="Remove it; a run makes it.")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, words.encode(), 0)
    except OSError as error:
        raise StorageError(
            f"{path}: {error.strerror}", hint="Free some disk space, then run the same command again."
        ) from error
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: {error.strerror}", hint="Make the state folder writable.")
