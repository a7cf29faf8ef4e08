"""A command in a session of its own, so that it and all that it started can be killed at once, as a power cut would."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .running import ROOT

_PROC = Path("/proc")


class Session:
    """A running command; what it says goes to the file `log`."""

    def __init__(self, words: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        self._words, self._log = words, log
        with log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603
                words,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether the command itself goes on."""
        return self._process.poll() is None

    def members(self) -> set[int]:
        """Ids of the living processes of this session; a process group of its own (GNU parallel gives each job one) is
        no way out of it.
        """
        found = set()
        for pid in _living():
            with suppress(OSError):
                if os.getsid(pid) == self._process.pid:
                    found.add(pid)
        return found

    def kill(self) -> None:
        """SIGKILL to all of it: the command first, for it starts the others; then also what was started meanwhile.

        Returns when none of them lives.
        """
        self._process.kill()
        while members := self.members():
            for pid in members:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)
        self._process.wait()

    def stop(self, seconds: float) -> int:
        """SIGTERM to the command; its exit code."""
        self._process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """The command's exit code, at its end; TimeoutError if that takes longer than this."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{' '.join(self._words)} still runs after {seconds:.0f} s; {self.said}") from None

    def succeed(self, seconds: float) -> None:
        """Wait for the end; RuntimeError if it is not a good one."""
        if code := self.wait(seconds):
            raise RuntimeError(f"{' '.join(self._words)} ended with {code}; {self.said}")

    @property
    def said(self) -> str:
        """The end of what it said."""
        return "it said: " + self._log.read_text("utf-8", "replace")[-2000:]


@contextmanager
def session(words: Sequence[str], *, environment: Mapping[str, str], log: Path) -> Iterator[Session]:
    """A command that does not outlive the block."""
    running = Session(words, environment=environment, log=log)
    try:
        yield running
    finally:
        if running.running or running.members():
            running.kill()


def _living() -> Iterator[int]:
    """Ids of processes that are not dead; an orphan that nobody has waited for yet is."""
    if (_PROC / "self").exists():
        for folder in _PROC.iterdir():
            if folder.name.isdecimal():
                with suppress(OSError):
                    state = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
                    if state not in "ZX":
                        yield int(folder.name)
        return
    listed = subprocess.run(["ps", "-axo", "pid=,stat="], capture_output=True, text=True, check=True)  # noqa: S607
    for line in listed.stdout.splitlines():
        pid, state = line.split()
        if not state.startswith("Z"):
            yield int(pid)
