"""Bytes to files: whole or absent, never over somebody else's (product.md, promise 6).

A download grows as a part file. When it is whole it is synced, its hash and target are committed (by the caller),
and only then it gets its name, by a hard link that fails where a file stands already.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from enum import Enum
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import anyio

from batcher import containers, filetypes, fs
from batcher.containers import Said
from batcher.filetypes import FileType
from batcher.fs import DATA_MODE, below, disk_errors, whole_file
from batcher.measures import UNMEASURED, Measures, measure

#: Folders of the state folder that hold results and what becomes results.
RESULTS = "results"
UNVERIFIED = "unverified"
_PARTS = f"{RESULTS}/.parts"
#: A result longer than this many bytes is not taken.
RESULT_BYTES = 4 * 1024**3
#: A download that brings fewer bytes than this in so many seconds gives its place to others (a twentieth of 20 kB/s).
LEAST_BYTES = 32 * 1024
LEAST_SECONDS = 30.0
#: A result of so many bytes is kept in memory until it is whole, and then written in one go; a longer one in pieces of
#: that many.
_HELD_BYTES = 1024**2
#: The member of a sidecar that names the file beside it, by which batcher's own are known; none is longer.
SIDECAR_OF = "sidecar_of"
_SIDECAR_BYTES = 1024**2
T = TypeVar("T")
#: Runs a function that waits for the disk: here and now, or on a thread.
Offload = Callable[[Callable[[], Any]], Awaitable[Any]]


class Unusable(Exception):
    """What arrived is not the result: wrong length, nothing at all, too long, too slow."""


class TooSlow(Exception):
    """So little comes that others should have the place; what arrived is kept."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A part file that has arrived and is on disk.

    `doubt` says why it may not be whole or not be the result ("" where nothing speaks against it); `again`: a second
    answer of the same bytes would make it whole. `note` is what is odd about it, for people.
    """

    sha256: str
    size: int
    type: FileType
    doubt: str = ""
    again: bool = False
    note: str = ""
    measures: Measures = UNMEASURED


class Sidecar(Enum):
    """What became of a sidecar that was wanted."""

    WRITTEN = "written"
    SAME = "unchanged"
    FOREIGN = "not written: a file of somebody else has the name"
    ALONE = "not written: the file that it belongs to is not there"


class Artifacts:
    """The results below one state folder. Raises StorageError when the disk cannot be used."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._parts = state / _PARTS
        self._parts_made = False

    def check(self, campaigns: Sequence[str]) -> None:
        """Raises Outside where the results of a campaign would land elsewhere: before anything is bought."""
        for folder in (_PARTS, *(f"{RESULTS}/{campaign}" for campaign in campaigns)):
            below(self._state, f"{folder}/file")

    def part(self, attempt_id: int, number: int) -> Path:
        """Where a file of an attempt grows; made with its folder."""
        if not self._parts_made:
            below(self._state, f"{_PARTS}/file")
            with disk_errors(self._parts):
                self._parts.mkdir(parents=True, exist_ok=True)
            self._parts_made = True
        return self._parts / f"{attempt_id}-{number}.part"

    async def receive(
        self, part: Path, chunks: AsyncGenerator[bytes, None], *, offset: int, aside: Offload
    ) -> bytes | None:
        """Take in `chunks`, which belong at `offset`; what was there behind it is dropped. Pieces are written `aside`.

        Returns all of a short result, for `finish` to write; None when the part file has it. When the chunks break off
        with an error, all that came is written. Raises Unusable when the result is too long, TooSlow when so little
        comes that others should have the place.
        """
        fresh = 0
        with closing(_Arriving(part, offset)) as arriving:
            async with aclosing(chunks):
                try:
                    with anyio.move_on_after(LEAST_SECONDS) as patience:
                        async for chunk in chunks:
                            fresh += len(chunk)
                            if fresh >= LEAST_BYTES:
                                fresh, patience.deadline = 0, anyio.current_time() + LEAST_SECONDS
                            if arriving.add(chunk):
                                await aside(arriving.write)
                    if patience.cancelled_caught:
                        raise TooSlow(f"less than {LEAST_BYTES:,} bytes came in {LEAST_SECONDS:.0f} s")
                except BaseException:
                    arriving.write()
                    raise
                return arriving.end()

    def finish(self, part: Path, content: bytes | None, *, total: int | None, kind: str) -> Whole:
        """Judge a part file and sync it; `content` is all of it if it is not written yet (product.md, promise 6).

        `total` is the announced length in bytes, None where there was none; `kind` is what the model makes, "" any.
        Raises Unusable, after removing the part file, for another length or nothing.
        """
        with disk_errors(part), _opened(part) if content is None else io.BytesIO(content) as file:
            size = file.seek(0, os.SEEK_END)
            if size and total in (None, size):
                whole = _judged(file, size, total is not None, kind)
                if content is not None:
                    _write(part, content)
                else:
                    fs.fsync(file.fileno())
                return whole
        self.drop(part)
        raise Unusable("nothing arrived" if not size else f"{size} bytes arrived, {total} were announced")

    def settle(self, part: Path, whole: Whole) -> bool:
        """Hold a doubtful part file against the longest one that came before; whether it is whole by that.

        If not, the longer of the two is kept for later.
        """
        kept = _longest(part)
        with disk_errors(part):
            if fs.is_own(kept):
                if whole.again and self.digest(kept) == whole.sha256:
                    return True
                if kept.stat().st_size >= whole.size:
                    self.drop(part)
                    return False
            part.replace(kept)
        return False

    def set_aside(self, part: Path, names: Callable[[str], Iterator[str]]) -> tuple[str, Whole] | None:
        """Give the longest of what came its name under `unverified/`; None when nothing did.

        `names` gives names for an extension, the wished one first.
        """
        kept = _longest(part)
        if not fs.is_own(kept):
            return None
        whole = self.finish(kept, None, total=None, kind="")
        for name in names(whole.type.extension):
            if self.place(kept, f"{UNVERIFIED}/{name}", whole.sha256):
                return f"{UNVERIFIED}/{name}", whole
        return None  # pragma: no cover

    def has_kept(self, part: Path) -> bool:
        """Whether something came before that could not be shown to be whole."""
        return fs.is_own(_longest(part))

    def place(self, part: Path, target: str, sha256: str) -> bool:
        """Give a whole part file its name, durably; False when another file has that name."""
        dirty: set[Path] = set()
        named = self.name(part, target, sha256, dirty)
        with disk_errors(part):
            for folder in dirty:
                fs.sync(folder)
        if named:
            self.drop(part)
        return named

    def name(self, part: Path, target: str, sha256: str, dirty: set[Path]) -> bool:
        """Give a whole part file another name; False when another file has it. Its folder, to be synced, gets `dirty`.

        A file with the same hash under that name is the job's: a crash came between naming and recording.
        """
        path = below(self._state, target)
        with disk_errors(path):
            fs.make_folder(path.parent)
            try:
                _make_data(part)
                fs.link(part, path)
            except FileExistsError:
                if not self.holds(target, sha256):
                    return False
        dirty.add(path.parent)
        return True

    def sync_group(self, operations: Sequence[Callable[[set[Path]], T]]) -> list[T | Exception]:
        """Do operations, then sync the folders that they name, each once; what each operation returned or raised."""
        dirty: set[Path] = set()
        found = [_tried(operation, dirty) for operation in operations]
        for folder in dirty:
            with disk_errors(folder):
                fs.sync(folder)
        return found

    def adopt(self, part: Path, target: str, sha256: str) -> bool:
        """Give a whole part file its name, or find it there already; False when neither has that hash."""
        with disk_errors(part):
            ours = self.holds(target, sha256) or (fs.is_own(part) and self.digest(part) == sha256)
        if not ours or not self.place(part, target, sha256):
            return False
        self.drop(part, all_of_it=True)  # a crash after the naming left what was doubtful before
        return True

    def holds(self, target: str, sha256: str) -> bool:
        """Whether the file under `target` has that hash."""
        path = below(self._state, target)
        with disk_errors(path):
            return path.is_file() and not path.is_symlink() and self.digest(path) == sha256

    def look(self, target: str, size: int) -> str:
        """What has become of a saved file (`fs.look`)."""
        return fs.look(self._state, target, size)

    def stands(self, target: str) -> bool:
        """Whether anything has that name."""
        return os.path.lexists(below(self._state, target))

    def path(self, target: str) -> Path:
        """Where a target is. Raises Outside."""
        return below(self._state, target)

    def reference(self, path: Path, sha256: str) -> Path:  # noqa: ARG002
        """Where the file of a reference with that path and hash can be read."""
        return path

    def digest(self, path: Path) -> str:
        """SHA-256 of a file's bytes, in hexadecimal."""
        with disk_errors(path), _opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def measured(self, path: Path) -> tuple[FileType | None, Measures]:
        """The type of a file by its first bytes, and what it measures."""
        with disk_errors(path), os.fdopen(fs.open_regular(path), "rb") as file:
            kind = filetypes.sniff(file.read(filetypes.HEAD_BYTES))
            return kind, measure(file, kind)

    def size(self, part: Path) -> int:
        """Bytes of a part file; 0 when this user has none there."""
        with disk_errors(part):
            return part.stat().st_size if fs.is_own(part) else 0

    def drop(self, part: Path, *, all_of_it: bool = False) -> None:
        """Remove a part file; also what came before it and was doubtful, if `all_of_it` is meant."""
        with disk_errors(part):
            part.unlink(missing_ok=True)
            if all_of_it:
                _longest(part).unlink(missing_ok=True)

    def beside(self, target: str, facts: Mapping[str, object]) -> Sidecar:
        """Write `<target>.json`, the sidecar of a saved file, or bring it up to date; never over another's file."""
        path = below(self._state, target)
        side = path.with_name(f"{path.name}.json")
        text = json.dumps({SIDECAR_OF: path.name, **facts}, indent=2, ensure_ascii=False) + "\n"
        with disk_errors(side):
            if not path.is_file():
                return Sidecar.ALONE
            found = _read_sidecar(side, path.name)
        if found == text:
            return Sidecar.SAME
        try:
            with whole_file(side, replace=found is not None) as part:
                part.write_text(text, encoding="utf-8", newline="\n")
        except FileExistsError:
            return Sidecar.FOREIGN
        return Sidecar.WRITTEN


def _judged(file: BufferedReader | io.BytesIO, size: int, announced: bool, kind: str) -> Whole:
    file.seek(0)
    head = file.read(filetypes.HEAD_BYTES)
    found = filetypes.sniff(head)
    said = containers.judge(file, size, found)
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    doubt, note, again = "", "", False
    if found is None and filetypes.is_page(head):
        doubt = f"it is a text, not {kind or 'a media file'}: {head[:60].decode(errors='replace')!r}"
    elif announced:
        note = "its container says that it is longer" if said is Said.CUT else ""
    elif said is Said.CUT:
        doubt = "no length was announced, and its container says that it is cut off"
    elif said is Said.NOTHING:
        doubt, again = "no length was announced, and nothing in it says whether it is whole", True
    if not note and found is None:
        note = f"it is of no known type, not {kind or 'a media file'}"
    return Whole(digest, size, found or filetypes.UNKNOWN, doubt, again, note, measure(file, found))


def _longest(part: Path) -> Path:
    """Where the longest of what came for a part file is kept while nobody can tell whether it is whole."""
    return part.with_suffix(".longest")


def _read_sidecar(side: Path, name: str) -> str | None:
    """Return the text of the sidecar for the file of that name; None when there is none, or another's file."""
    if side.is_symlink() or not side.is_file() or side.stat().st_size > _SIDECAR_BYTES:
        return None
    try:
        text = side.read_text("utf-8")
        found = json.loads(text)
    except ValueError:
        return None
    return text if isinstance(found, dict) and found.get(SIDECAR_OF) == name else None


class _Arriving:
    """What comes for a part file: the last of it in memory, all before that written."""

    def __init__(self, part: Path, offset: int) -> None:
        self._part = part
        self._end = offset
        self._held, self._bytes = list[bytes](), 0
        self._file: BufferedRandom | None = None

    def add(self, chunk: bytes) -> bool:
        """Hold a chunk; whether what is held is to be written."""
        self._held.append(chunk)
        self._bytes += len(chunk)
        self._end += len(chunk)
        if self._end > RESULT_BYTES:
            raise Unusable(f"the result is longer than {RESULT_BYTES} bytes")
        return self._bytes > _HELD_BYTES

    def write(self) -> None:
        """Write what is held, as it came: to put it together first would take as long again."""
        with disk_errors(self._part):
            if self._file is None:
                self._file = fs.open_own(self._part, self._end - self._bytes)
            self._file.writelines(self._held)
            self._file.flush()
        self._held.clear()
        self._bytes = 0

    def end(self) -> bytes | None:
        if self._bytes == self._end:
            return b"".join(self._held)
        self.write()
        return None

    def close(self) -> None:
        if self._file is not None:
            with disk_errors(self._part):
                self._file.close()


def _opened(part: Path) -> BufferedReader:
    return os.fdopen(fs.open_regular(part), "rb")


def _write(part: Path, content: bytes) -> None:
    """Let a part file hold this and nothing else, on the disk."""
    with fs.open_own(part, 0) as file:
        file.write(content)
        file.flush()
        fs.fsync(file.fileno())


def _make_data(part: Path) -> None:
    """Nobody may run what is downloaded, whatever a part file was before."""
    with suppress(FileNotFoundError):  # its name was given before a crash
        descriptor = fs.open_regular(part)
        try:
            if (mode := os.fstat(descriptor).st_mode) & 0o7111:
                os.fchmod(descriptor, mode & DATA_MODE)
        finally:
            os.close(descriptor)


def _tried(operation: Callable[[set[Path]], T], dirty: set[Path]) -> T | Exception:
    try:
        return operation(dirty)
    except Exception as error:
        return error
