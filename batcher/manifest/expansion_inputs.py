"""What an expansion depends on, so that the same one need not be made again: its fingerprint, and what it looked at.

The fingerprint covers what is known beforehand: the manifest's bytes, its place, the folders that may be read, batcher,
the catalogue, Python and the libraries. What shows only while it is expanded is kept as inputs:

    source  a file of prompts     the hash of its bytes as they were read
    file    a reference           where it is, and size, times and inode
    glob    a glob                the hash of the list of files that it found

A reference is not hashed again, for that takes as long as expanding: whoever writes to a file, or puts another in its
place, changes its ctime or its inode, and no program can set a ctime. Only a file that changed at the very time of the
look could keep both (clocks of file systems tick every few milliseconds), so a file that is that young goes by its
hash. And were one missed all the same, nothing wrong would be bought: an upload hashes the bytes that it sends.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from batcher import __version__
from batcher.catalog import Model
from batcher.jobs import IDENTITY_VERSION, FileReference

from .files import Files
from .globs import MAGIC
from .open_inputs import open_regular
from .problems import Fault

#: A file that changed less than this ago may change again without its times showing it.
YOUNG_NS = 2_000_000_000
#: With more inputs than this nobody keeps count; the next run expands again.
MAX_INPUTS = 200_000
_CHUNK = 1 << 16
_LIBRARIES = ("PyYAML", "Jinja2", "pydantic")

#: Kind, name as the manifest has it, state.
Input = tuple[str, str, str]


def fingerprint(path: Path, text: str, files: Files, models: Iterable[Model]) -> str:
    """Of all that an expansion depends on and that is known beforehand; `text` is the hash of the manifest's bytes.

    Its `models` may be of the user's own files, which change without batcher.
    """
    parts = [
        *(__version__, IDENTITY_VERSION, _code(), sys.version, *_libraries(), os.geteuid()),
        [model.model_dump_json() for model in models],
        *(str(path.absolute()), [str(root) for root in files.roots], text),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@cache
def _libraries() -> list[str]:
    """Their versions; each is read from a file of the installation. The reader of workbooks may not be installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and a plan asks for none

    found = [version(name) for name in _LIBRARIES]
    with suppress(PackageNotFoundError):
        found.append(version("openpyxl"))
    return found


@cache
def _code() -> str:
    """The hash of what makes jobs of a manifest, catalogue and all: somebody may be at work on it."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    try:
        rooms = [path for room in ("manifest", "catalog") for path in sorted((package / room).iterdir())]
        for path in (*rooms, package / "jobs.py", package / "filetypes.py", package / "spelling.py"):
            if path.suffix in (".py", ".toml"):
                digest.update(path.read_bytes())
    except OSError:  # batcher in a zip file: nobody can tell
        return secrets.token_hex()
    return digest.hexdigest()


class PathResolver:
    """Finds files, each folder once: where a path leads, and how the file there is."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._parents: dict[str, str] = {}

    def look(self, text: str) -> tuple[str, os.stat_result]:
        """The resolved path and the status of what `text` names. Raises OSError."""
        parent, name = os.path.split(os.path.join(self._folder, text))  # noqa: PTH118  (100,000 of them in a second)
        real = self._parents.get(parent)
        if real is None:
            real = self._parents[parent] = os.path.realpath(parent)
        path = f"{real.rstrip('/')}/{name}"
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) or name in ("", ".", ".."):
            path = os.path.realpath(path)
            status = os.stat(path)  # noqa: PTH116
        return path, status


class InputRecorder(Files):
    """Files that remember what was asked of them."""

    def __init__(self, files: Files, now_ns: Callable[[], int] = time.time_ns) -> None:
        super().__init__(files.as_given, files.roots[1:])
        self._known = files._known  # what the plan has read is not read again for the rows
        self._now_ns = now_ns
        self._places = PathResolver(self.folder)
        self._seen: dict[tuple[str, str], str] = {}
        self._unsure = False

    def sealed(self) -> list[Input] | None:
        """What was looked at, once all is; None when something changed meanwhile, or was not looked at to its end."""
        return None if self._unsure else [(kind, name, state) for (kind, name), state in self._seen.items()]

    def names(self, text: str) -> list[str]:
        found = super().names(text)
        if MAGIC.search(text):
            self._keep("glob", text, _listing(found))
        return found

    def _file(self, text: str, model: Model) -> FileReference:
        try:
            path, status = self._places.look(text)
        except OSError:
            self._unsure = True  # gone, or about to come: what is found next is another state
            return super()._file(text, model)
        found = super()._file(text, model)
        self._unsure |= str(found.path) != path
        young = status.st_ctime_ns > self._now_ns() - YOUNG_NS
        self._keep("file", text, _hashed(found.sha256, path) if young else _known(path, status))
        return found

    def opened(self, text: str) -> BinaryIO:
        path = self.inside(text)

        def done(sha256: str | None) -> None:
            self._unsure |= sha256 is None
            self._keep("source", text, _hashed(sha256 or "", str(path)))

        return io.BufferedReader(_Hashed(open_regular(path), done), _CHUNK)

    def _keep(self, kind: str, name: str, state: str) -> None:
        self._unsure |= self._seen.setdefault((kind, name), state) != state or len(self._seen) > MAX_INPUTS
        if self._unsure:
            self._seen.clear()


class _Hashed(io.RawIOBase):
    """A file that tells, when it is closed, the hash of all its bytes; None when it was not read to its end."""

    def __init__(self, file: io.BufferedReader, done: Callable[[str | None], None]) -> None:
        self._file = file
        self._done = done
        self._digest = hashlib.sha256()
        self._at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._digest.update(memoryview(buffer)[:count])
        self._at_end = count == 0
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._done(self._digest.hexdigest() if self._at_end else None)
        super().close()


def still(files: Files, inputs: Iterable[Input]) -> bool:
    """Whether everything that an expansion looked at is as it was; also False where that cannot be found out."""
    places = PathResolver(files.folder)
    try:
        return all(_state(files, places, *each) == each[2] for each in inputs)
    except (Fault, OSError, ValueError):
        return False


def _state(files: Files, places: PathResolver, kind: str, name: str, state: str) -> str:
    if kind == "glob":
        return _listing(files.names(name))
    if kind == "source":
        path = files.inside(name)
        return _hashed(_sha256(path), str(path))
    found, status = places.look(name)
    return _hashed(_sha256(Path(found)), found) if state.startswith("sha256") else _known(found, status)


def _listing(names: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()


def _hashed(sha256: str, path: str) -> str:
    return f"sha256 {sha256} {path}"


def _known(path: str, status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino} {path}"


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
