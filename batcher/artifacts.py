"""Bytes to files: whole or absent, never over somebody else's (product.md, promise 6).

A download grows as a part file. When it is whole it is synced, its hash and target are committed (by the caller),
and only then it gets its name, by a hard link that fails where a file stands already.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from enum import Enum
from io import BufferedRandom
from pathlib import Path
from typing import TypeVar

from batcher import filetypes
from batcher.errors import StorageError
from batcher.filetypes import FileType

#: A result longer than this many bytes is not taken.
RESULT_BYTES = 4 * 1024**3
#: A result of so many bytes is kept in memory until it is whole, and then written in one go.
_HELD_BYTES = 256 * 1024
#: The member of a sidecar that names the file beside it, by which we know our own; nobody's is longer.
SIDECAR_OF = "sidecar_of"
_SIDECAR_BYTES = 1024**2
T = TypeVar("T")


class Unusable(Exception):
    """What arrived is not the result: wrong length, wrong type, too long."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A part file that is complete and on disk."""

    sha256: str
    size: int
    type: FileType


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
        self._parts = state / "results" / ".parts"
        self._parts_made = False

    def part(self, attempt_id: int, number: int) -> Path:
        """Where a file of an attempt grows; made with its folder."""
        if not self._parts_made:
            with _disk_errors(self._parts):
                self._parts.mkdir(parents=True, exist_ok=True)
            self._parts_made = True
        return self._parts / f"{attempt_id}-{number}.part"

    async def receive(self, part: Path, chunks: AsyncGenerator[bytes, None], *, offset: int) -> bytes | None:
        """Take in `chunks`, which belong at `offset`; what was there behind it is dropped.

        Returns all of a short result, for `finish` to write; None when the part file has it. When the chunks break off
        with an error, all that came is written. Raises Unusable when the result is too long.
        """
        arriving = _Arriving(part, offset)
        async with aclosing(chunks):
            try:
                async for chunk in chunks:
                    arriving.add(chunk)
            except BaseException:
                arriving.write()
                raise
        return arriving.end()

    def finish(self, part: Path, content: bytes | None, *, total: int | None, kind: str) -> Whole:
        """Check length and type of a part file and sync it; `content` is all of it if it is not written yet.

        `kind` is what the model makes; "" takes any. Raises Unusable, after removing the part file, when it is not
        that.
        """
        with _disk_errors(part), _filled(part, content) as file:
            head = file.read(filetypes.HEAD_BYTES)
            size = file.seek(0, os.SEEK_END)
            found = filetypes.sniff(head)
            fault = ""
            if total is not None and size != total:
                fault = f"{size} bytes arrived, {total} were announced"
            elif found is None or (kind and found.kind != kind):
                fault = f"it is {found.mime if found else 'of no known type'}, not {kind or 'a media file'}"
            if not fault and found:
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
                return Whole(digest, size, found)
        self.drop(part)
        raise Unusable(fault)

    def place(self, part: Path, target: str, sha256: str) -> bool:
        """Give a whole part file its name, durably; False when another file has that name."""
        dirty: set[Path] = set()
        named = self.name(part, target, sha256, dirty)
        with _disk_errors(part):
            for folder in dirty:
                _sync(folder)
        if named:
            self.drop(part)
        return named

    def name(self, part: Path, target: str, sha256: str, dirty: set[Path]) -> bool:
        """Give a whole part file another name; False when another file has it. Its folder, to be synced, gets `dirty`.

        A file with the same hash under that name is ours: a crash came between naming and recording.
        """
        path = self._state / target
        with _disk_errors(path):
            _make_folder(path.parent)
            try:
                _link(part, path)
            except FileExistsError:
                if not self.holds(target, sha256):
                    return False
        dirty.add(path.parent)
        return True

    def together(self, operations: Sequence[Callable[[set[Path]], T]]) -> list[T | Exception]:
        """Do operations, then sync the folders that they name, each once; what each operation returned or raised."""
        dirty: set[Path] = set()
        found = [_tried(operation, dirty) for operation in operations]
        for folder in dirty:
            with _disk_errors(folder):
                _sync(folder)
        return found

    def adopt(self, part: Path, target: str, sha256: str) -> bool:
        """Give a whole part file its name, or find it there already; False when neither has that hash."""
        with _disk_errors(part):
            ours = self.holds(target, sha256) or (part.exists() and self.digest(part) == sha256)
        return ours and self.place(part, target, sha256)

    def holds(self, target: str, sha256: str) -> bool:
        """Whether the file under `target` has that hash."""
        path = self._state / target
        with _disk_errors(path):
            return path.is_file() and not path.is_symlink() and self.digest(path) == sha256

    def digest(self, path: Path) -> str:
        """SHA-256 of a file's bytes, in hexadecimal."""
        with _disk_errors(path), path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def size(self, part: Path) -> int:
        """Bytes of a part file; 0 when there is none."""
        with _disk_errors(part):
            return part.stat().st_size if part.exists() else 0

    def drop(self, part: Path) -> None:
        """Remove a part file."""
        with _disk_errors(part):
            part.unlink(missing_ok=True)

    def beside(self, target: str, facts: Mapping[str, object]) -> Sidecar:
        """Write `<target>.json`, the sidecar of a saved file, or bring ours up to date; never over another's file."""
        path = self._state / target
        side = path.with_name(f"{path.name}.json")
        text = json.dumps({SIDECAR_OF: path.name, **facts}, indent=2, ensure_ascii=False) + "\n"
        with _disk_errors(side):
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


def keep_log(state: Path, name: str, text: str) -> Path:
    """Write `<state>/logs/<name>`, for its owner only; whole or absent. Raises StorageError."""
    path = state / "logs" / name
    with _disk_errors(path.parent):
        path.parent.mkdir(exist_ok=True, mode=0o700)
    with whole_file(path, replace=True, private=True) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    return path


@contextmanager
def whole_file(path: Path, *, replace: bool = False, private: bool = False) -> Iterator[Path]:
    """A file that is whole or absent: fill the empty one that is yielded; at the block's end it is synced and named.

    `private`: for its owner only. Raises FileExistsError, at the end, where a file stands already, unless `replace`;
    StorageError when the disk cannot be used.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with _disk_errors(path):
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o666))
            yield part
            _sync(part)
            free = _name(part, path, replace)
            _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)
    if not free:
        raise FileExistsError(str(path))


def _name(part: Path, path: Path, replace: bool) -> bool:
    if replace:
        part.replace(path)
        return True
    try:
        _link(part, path)
    except FileExistsError:
        return False
    return True


def _read_sidecar(side: Path, name: str) -> str | None:
    """The text of a sidecar of ours for the file of that name; None when there is none, or another's file."""
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
        self._written = offset
        self._held = bytearray()

    def add(self, chunk: bytes) -> None:
        self._held += chunk
        if self._written + len(self._held) > RESULT_BYTES:
            raise Unusable(f"the result is longer than {RESULT_BYTES} bytes")
        if len(self._held) > _HELD_BYTES:
            self.write()

    def write(self) -> None:
        with _disk_errors(self._part), _open_at(self._part, self._written) as file:
            file.write(self._held)
        self._written += len(self._held)
        self._held.clear()

    def end(self) -> bytes | None:
        if not self._written:
            return bytes(self._held)
        self.write()
        return None


@contextmanager
def _filled(part: Path, content: bytes | None) -> Iterator[BufferedRandom]:
    """A part file to be read, with this content if there is one."""
    with part.open("r+b") if content is None else _open_at(part, 0) as file:
        if content is not None:
            file.write(content)
            file.seek(0)
        yield file


def _open_at(part: Path, offset: int) -> BufferedRandom:
    file = part.open("r+b" if part.exists() else "w+b")
    file.truncate(offset)
    file.seek(offset)
    return file


def _link(part: Path, path: Path) -> None:
    """Name `part` as `path` unless that exists. Raises FileExistsError."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (exFAT): an empty file of ours reserves the name, then the rename replaces it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            part.replace(path)
        except OSError:
            path.unlink()
            raise


def _make_folder(folder: Path) -> None:
    """Make a folder so that it outlasts a power cut: each new one is written down in the folder above."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)  # another thread may have made it meanwhile
        _sync(folder.parent)


def _sync(path: Path) -> None:
    """A file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tried(operation: Callable[[set[Path]], T], dirty: set[Path]) -> T | Exception:
    try:
        return operation(dirty)
    except Exception as error:
        return error


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: {error.strerror or error}", hint="Check the disk and the permissions; nothing bought is lost."
        ) from error
