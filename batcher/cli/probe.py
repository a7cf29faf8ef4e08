"""What a folder's file system can do. A ledger wants a local disk, locks that work, and syncs that reach it."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from batcher import fs

#: File systems that live on another machine: there SQLite's WAL and flock are not to be trusted.
_REMOTE = re.compile(
    r"nfs\d?|cifs|smb.*|afpfs|webdav|9p|ncpfs|afs|ceph|glusterfs|lustre|gpfs|fuse\.(sshfs|rclone|s3fs|gcsfuse).*"
)
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a path is mounted, and the file system's type."""

    point: str
    kind: str

    @property
    def remote(self) -> bool:
        return _REMOTE.fullmatch(self.kind) is not None


def mount_of(path: Path) -> Mount | None:
    """The mount that holds a path; None when the system does not say."""
    try:
        if sys.platform == "linux":
            mounts = from_mountinfo(Path("/proc/self/mountinfo").read_text("utf-8", errors="replace"))
        else:
            done = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=10, check=True)
            mounts = from_mount(done.stdout)
    except (OSError, subprocess.SubprocessError):
        return None
    real = Path(os.path.realpath(path))
    over = [mount for mount in mounts if real == Path(mount.point) or Path(mount.point) in real.parents]
    # Of mounts at the same place the last one covers the others.
    return max(enumerate(over), key=lambda each: (len(each[1].point), each[0]))[1] if over else None


def from_mountinfo(text: str) -> list[Mount]:
    """Linux: `/proc/self/mountinfo` (proc(5))."""
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        words = before.split(" ")
        if dash and len(words) > 4:
            found.append(Mount(_OCTAL.sub(lambda code: chr(int(code[1], 8)), words[4]), after.split(" ")[0]))
    return found


def from_mount(text: str) -> list[Mount]:
    """macOS: the lines of mount(8), such as `/dev/disk3s1 on / (apfs, sealed, local)`."""
    matches = (re.fullmatch(r".+? on (/.*) \((\w+).*\)", line) for line in text.splitlines())
    return [Mount(match[1], match[2]) for match in matches if match]


def try_out(folder: Path) -> dict[str, str]:
    """Try writing, locks, hard links and syncs in a folder: the error's text by what failed. Leaves nothing behind.

    Without hard links a ledger can be kept there all the same, and results are renamed instead.
    """
    failed: dict[str, str] = {}
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as name:
            place = Path(name)
            with (place / "file").open("wb") as file:
                file.write(b"batcher doctor\n")
                file.flush()
                _note(failed, "fsync", lambda: fs.fsync(file.fileno()))
                _note(failed, "flock", lambda: _exclusive(place / "file"))
                _note(failed, "hard links", lambda: os.link(place / "file", place / "link"))
            _note(failed, "fsync of the folder", lambda: fs.sync(place))
    except OSError as error:
        failed["writing"] = error.strerror or str(error)
    return failed


def _note(failed: dict[str, str], what: str, attempt: Callable[[], None]) -> None:
    try:
        attempt()
    except OSError as error:
        failed[what] = error.strerror or str(error)


def _exclusive(path: Path) -> None:
    """A lock must be had, and must keep a second one out. Raises OSError."""
    with path.open("rb") as first, path.open("rb") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    raise OSError("two locks were given for one file")
