"""Files as they have to be: below the folder where they belong, whoever names them; synced; whole or absent.

A state folder may have come with a clone (product.md, promise 8): its ledger names paths, and what lies in it may be a
link, a second name of another file, or a program. So each such path passes `below`, and each file `open_regular`.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path, PurePosixPath

from batcher.errors import StorageError

#: macOS: fsync alone does not reach the disk.
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
#: Permissions that a file of data may have: nobody may run it.
DATA_MODE = 0o666


class Outside(StorageError):
    """A path that was to lie in a folder leads out of it."""


def is_below(relative: str) -> bool:
    """Whether a text names something below a folder by its words alone: relative, not empty, without `..`."""
    parts = PurePosixPath(relative).parts
    return bool(parts) and not relative.startswith("/") and ".." not in parts and "\0" not in relative


def is_result(relative: str) -> bool:
    """Whether a path of the ledger is, by its words alone, one of a saved file."""
    return is_below(relative) and relative.startswith("results/") and not relative.startswith("results/.")


def below(root: Path, relative: str) -> Path:
    """The path of `relative` in the folder `root`. Raises Outside where its words or links on its way lead elsewhere.

    The last name itself may be a link: `open_regular` follows none.
    """
    path = root / relative
    if not is_below(relative) or not _is_inside(path.parent, root):
        raise Outside(
            f"{path} leads out of the folder {root}",
            hint="A link or the ledger says so: remove the link. Results may lie on another disk that is mounted"
            " there; or let the whole state folder lie elsewhere (--state).",
        )
    return path


def leads_inside(root: Path, relative: str) -> bool:
    """Whether a path may be opened or shown as one of a file in `root`: also if its last name is a link."""
    return is_below(relative) and _is_inside(root / relative, root)


def _is_inside(path: Path, root: Path) -> bool:
    home = os.path.realpath(root)
    return os.path.commonpath([home, os.path.realpath(path)]) == home


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = DATA_MODE) -> int:
    """A descriptor of a regular file; no link is followed. Raises OSError (ELOOP for a link)."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileExistsError(17, "it is no regular file", str(path))
    return descriptor


def is_own(path: Path) -> bool:
    """Whether a regular file stands there that has no other name: what is written to it changes nothing else."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def open_own(path: Path, offset: int) -> BufferedRandom:
    """Open a file of this user for writing at `offset`; what was behind it is dropped. Raises OSError.

    A link, or another name of a file, goes first: writing there would change something elsewhere.
    """
    if not is_own(path):
        path.unlink(missing_ok=True)
    file = os.fdopen(open_regular(path, os.O_RDWR | os.O_CREAT), "r+b")
    file.truncate(offset)
    file.seek(offset)
    return file


def look(root: Path, relative: str, size: int) -> str:
    """What has become of a saved file, by presence and size only: "" as it was, else `missing` or `changed`."""
    try:
        found = os.lstat(f"{root}/{relative}")
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    return "" if stat.S_ISREG(found.st_mode) and found.st_size == size else "changed"


def fsync(descriptor: int) -> None:
    """Wait until a file, or the names in a folder, are on the disk. Raises OSError."""
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(descriptor, _FULL_SYNC)
            return
        except OSError:
            pass  # a file system that does not know it
    os.fsync(descriptor)


def sync(path: Path) -> None:
    """`fsync` by path."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder so that it outlasts a power cut: each new one is written down in the folder above."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)  # another thread may have made it meanwhile
        sync(folder.parent)


def link(part: Path, path: Path) -> None:
    """Name `part` also `path`, on whatever disk that is, unless it exists. Raises FileExistsError."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (exFAT), or another disk: an empty file reserves the name, then a copy replaces it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, DATA_MODE))
        copy = path.with_name(f".{part.name}")
        try:
            _copy(part, copy)
            copy.replace(path)
        except BaseException:
            copy.unlink(missing_ok=True)
            path.unlink()
            raise


def _copy(source: Path, target: Path) -> None:
    """A synced copy; what a crash has left under that name goes."""
    target.unlink(missing_ok=True)
    with (
        os.fdopen(open_regular(source), "rb") as old,
        os.fdopen(open_regular(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY), "wb") as new,
    ):
        while chunk := old.read(1 << 20):
            new.write(chunk)
        new.flush()
        fsync(new.fileno())


@contextmanager
def whole_file(path: Path, *, replace: bool = False, private: bool = False) -> Iterator[Path]:
    """A file that is whole or absent: fill the empty one that is yielded; at the block's end it is synced and named.

    `private`: for its owner only. Raises FileExistsError, at the end, where a file stands already, unless `replace`;
    StorageError when the disk cannot be used.
    """
    import secrets  # slow to import, and only what writes needs it

    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with disk_errors(path):
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else DATA_MODE))
            yield part
            sync(part)
            free = _name(part, path, replace)
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)
    if not free:
        raise FileExistsError(str(path))


def _name(part: Path, path: Path, replace: bool) -> bool:
    if replace:
        part.replace(path)
        return True
    try:
        link(part, path)
    except FileExistsError:
        return False
    return True


@contextmanager
def disk_errors(
    path: Path, hint: str = "Check the disk and the permissions; nothing bought is lost."
) -> Iterator[None]:
    """The system's errors as StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}", hint=hint) from error
