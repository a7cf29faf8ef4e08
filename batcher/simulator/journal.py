"""What the simulator keeps over a restart: one JSON document a line, appended; and the bytes of uploads."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from .records import Json


class Journal:
    """Where a world writes what happened. This one forgets: for tests and for a simulator without a folder."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def records(self) -> Iterator[Json]:
        """What was appended in earlier lives, in order."""
        return iter(())

    def append(self, record: Json) -> None:
        """Keep a record; it outlives this process when this returns."""

    def keep(self, name: str, data: bytes) -> None:
        """Keep bytes under a name (a hash)."""
        self._kept[name] = data

    def load(self, name: str) -> bytes | None:
        """The bytes that were kept under that name."""
        return self._kept.get(name)


class Folder(Journal):
    """A journal in a folder: `journal.jsonl` and `uploads/`.

    Lines are flushed to the operating system, not to the disk: a killed process loses nothing, a power cut may.
    One process at a time: a second one waits for the first to end, since a demo that was killed and is started
    again at once may meet its old simulator on the way out.
    """

    def __init__(self, path: Path) -> None:
        self._uploads = path / "uploads"
        self._uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path / "journal.jsonl"
        self._file = self._path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another simulator to leave {path}", file=sys.stderr)
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def records(self) -> Iterator[Json]:
        """What was appended in earlier lives, in order; a torn last line is dropped from the file.

        Raises ValueError, naming the line, when an earlier one cannot be read.
        """
        whole = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                try:
                    record = json.loads(line)
                except ValueError:
                    raise ValueError(f"{self._path}:{number}: not a line of the simulator's journal") from None
                yield record
        self._file.truncate(whole)

    def append(self, record: Json) -> None:
        """Append a line and hand it to the operating system."""
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def keep(self, name: str, data: bytes) -> None:
        """Write a file that is either whole or absent."""
        target = self._uploads / name
        partial = target.with_name(f"{name}.part")
        partial.write_bytes(data)
        partial.replace(target)

    def load(self, name: str) -> bytes | None:
        """The bytes that were kept under that name."""
        path = self._uploads / name
        return path.read_bytes() if path.is_file() else None

    def close(self) -> None:
        """Let go of the folder."""
        self._file.close()
