"""What the tests of disks share: the command as a process, disks that fill up, permissions that bind root too."""

from __future__ import annotations

import atexit
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
from cli.helpers import ROOT, Ran, Site, environment
from forking import Command, forget, started

#: Two jobs; nothing waits.
MANIFEST = """\
campaign: tiny
model: grok-imagine-video
prompts: [A boat on a lake, A kite over a field]
limits: {submit: 1000/second, requests: 1000/second}
polling: {first: 10ms, every: 10ms, max: 50ms}
"""
#: Commands that only look at a ledger, and those that decide.
LOOKING: tuple[tuple[str, ...], ...] = (("status",), ("jobs",), ("show", "d0513"), ("plan", "m.yaml"))
DECIDING: tuple[tuple[str, ...], ...] = (
    ("retry", "tiny"),
    ("cancel", "tiny"),
    ("resolve", "--campaign", "tiny", "--as", "failed", "--yes"),
)
DISK_BYTES = 12_000_000


def clean(place: Site | None = None) -> dict[str, str]:
    """An environment without this machine's settings; with `place`, one that finds the simulator."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("RIVYA_", "BATCHER_", "NO_COLOR", "FORCE_"))}
    return {**kept, "PYTHONPATH": str(ROOT), **(environment(place) if place else {})}


@dataclass
class Desk:
    """A folder with the manifest `m.yaml`, from which commands are given; see `forking` for what is made of each.

    `inside` is the state folder as this process sees it, where that is another path than the command's.
    """

    folder: Path
    state: Path
    before: Sequence[str] = ()
    inside: Path | None = None
    first: str = ""
    file_size: int | None = None
    running: Command | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.write(MANIFEST)

    def write(self, manifest: str) -> None:
        (self.folder / "m.yaml").write_text(manifest)

    @property
    def ledger(self) -> Path:
        return (self.inside or self.state) / "ledger.db"

    @contextmanager
    def started(self, *argv: str, place: Site | None = None, **streams: Any) -> Iterator[Command]:
        """The command as a process of its own; killed at the end of the block if it still runs."""
        with started(
            *(str(self.folder / word) if word.endswith(".yaml") else word for word in argv),
            cwd=self.folder,
            env=clean(place) | {"BATCHER_STATE": str(self.state), "TMPDIR": str(self.folder)},
            before=self.before,
            first=self.first,
            file_size=self.file_size,
            **streams,
        ) as self.running:
            try:
                yield self.running
            finally:
                self.running.kill()
                self.running = None

    def give(self, *argv: str, place: Site | None = None, **streams: Any) -> Ran:
        """Give a command and wait for its end."""
        with self.started(*argv, place=place, **streams) as process:
            out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return Ran(process.wait(), out, err)

    def run(self, place: Site, *argv: str, **streams: Any) -> Ran:
        return self.give("run", "m.yaml", "--quiet", *argv, place=place, **streams)

    def rows(self, sql: str) -> list[Any]:
        """What a copy of the ledger says: SQLite would look for a ledger of another namespace in this one."""
        with tempfile.TemporaryDirectory() as folder:
            for path in self.ledger.parent.glob("ledger.db*"):
                shutil.copy(path, folder)
            with closing(sqlite3.connect(Path(folder) / "ledger.db")) as ledger:
                return ledger.execute(sql).fetchall()


def charged_once(place: Site, tasks: int) -> None:
    """So many tasks, one for each key, each charged once."""
    oracle = place.world.oracle()
    assert oracle.violations == []
    assert len(oracle.tasks) == tasks
    assert set(map(len, oracle.charges.values())) <= {1}
    assert len(oracle.charges) == tasks


# Disks


class Disk(Protocol):
    """A disk that gets into trouble: `strike(room)` leaves so many bytes of room, `lift` frees it again."""

    desk: Desk
    words: str

    def strike(self, room: int = 0) -> None: ...

    def lift(self) -> None: ...


@dataclass
class Small:
    """A file system of its own that is full: `No space left on device`."""

    desk: Desk
    root: Path
    words: str = "database or disk is full|No space left on device|disk I/O error"

    def strike(self, room: int = 0) -> None:
        free = shutil.disk_usage(self.root).free
        with (self.root / "filler").open("ab", buffering=0) as file:
            file.write(bytes(max(0, free - room)))

    def lift(self) -> None:
        (self.root / "filler").unlink(missing_ok=True)


@dataclass
class Rationed:
    """No file may grow any more (RLIMIT_FSIZE, as a quota does): `File too large`, for SQLite `disk I/O error`."""

    desk: Desk
    words: str = "disk I/O error|File too large"

    def strike(self, room: int = 0) -> None:
        self.desk.file_size = room
        if self.desk.running:
            # Named by its number: the platform's typeshed need not know it.
            prlimit = getattr(resource, "prlimit")  # noqa: B009
            prlimit(self.desk.running.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    def lift(self) -> None:
        self.desk.file_size = None


@cache
def _mounted() -> tuple[list[str], Path, Path]:
    """A small disk for all tests of this process: words before a command that sees it, its path there, and here.

    A tmpfs in a mount namespace of its own, which ends with the process that holds it; skips where none can be.
    """
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("needs unshare and nsenter (Linux) for a small disk")
    spot = Path(tempfile.mkdtemp(prefix="batcher-disk-"))
    root = os.geteuid() == 0
    mount = f"mount -t tmpfs -o size={DISK_BYTES},mode=0700 none '{spot}' && echo mounted && read end"
    holder = subprocess.Popen(
        ["unshare", "-m" if root else "-rm", "sh", "-c", mount],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    enter = ["nsenter", "-t", str(holder.pid), "-m", *([] if root else ["-U", "--preserve-credentials"]), "--"]

    @atexit.register
    def end() -> None:
        forget(enter)
        holder.communicate()
        spot.rmdir()

    assert holder.stdout
    if holder.stdout.readline() != "mounted\n":
        pytest.skip("this machine does not let us mount a small disk in a namespace")
    return enter, spot, Path(f"/proc/{holder.pid}/root{spot}")


@contextmanager
def small_disk(folder: Path) -> Iterator[Small]:
    """A disk that can be full, and is empty at the start; skips where none can be."""
    enter, spot, seen = _mounted()
    try:
        yield Small(Desk(folder, spot / "state", enter, seen / "state"), seen)
    finally:
        (seen / "filler").unlink(missing_ok=True)
        shutil.rmtree(seen / "state", ignore_errors=True)


@contextmanager
def rationed_disk(folder: Path) -> Iterator[Rationed]:
    """Skips where one process cannot limit another."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs prlimit (Linux)")
    yield Rationed(Desk(folder, folder / "state"))


def bound() -> list[str]:
    """Words that go before a command so that permissions bind it, also where we are root; skips where none do."""
    if os.geteuid() != 0:
        return []
    if sys.platform != "linux" or not shutil.which("setpriv"):
        pytest.skip("we are root, and nothing here (setpriv) takes root's rights away")
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("we are root, and may not take root's rights away")
    return words
