"""A file that a command writes for somebody else: whole or absent, over nothing that is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from batcher.errors import UsageError
from batcher.fs import whole_file
from batcher.ledger.lock import LOCK
from batcher.state import LEDGER

#: As which a command writes to its output.
STDOUT = Path("-")


def write_lines(part: Path, lines: Iterable[str], *, bom: bool = False) -> int:
    """How many lines went into the file; `bom` stands before the first."""
    written = 0
    with part.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        for written, line in enumerate(lines, 1):  # noqa: B007
            file.write(f"{line}\n")
    return written


@contextmanager
def new_file(output: Path, state: Path, force: bool = False, *, private: bool = False) -> Iterator[Path]:
    """The file that is to become `output`. Raises UsageError where one stands already, unless `force`.

    Nothing takes the place of what the state folder keeps, whatever name or link leads there.
    """
    if _is_kept(output, state):
        raise UsageError(f"{output} is kept in the state folder", hint="Name another file; --force does not help.")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", hint="Make it, or name another.")
    exists = UsageError(f"{output} exists already", hint="It stays as it is; --force takes its place.")
    if output.exists() and not output.is_file():
        raise UsageError(f"{output} is no file", hint="Name a file, or - for stdout.")
    if output.exists() and not force:
        raise exists
    try:
        with whole_file(output, replace=force, private=private) as part:
            yield part
    except FileExistsError:  # it came meanwhile
        raise exists from None


def _is_kept(output: Path, state: Path) -> bool:
    """Whether a path leads to the ledger, what SQLite keeps beside it, the lock, or a result."""
    real = output.resolve()
    kept = [(state / name).resolve() for name in (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm", f"{LEDGER}-journal", LOCK)]
    linked = output.exists() and any(path.exists() and path.samefile(output) for path in kept)
    return linked or real in kept or real.is_relative_to((state / "results").resolve())
