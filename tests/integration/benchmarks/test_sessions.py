"""benchmarks/sessions.py: a kill takes all that a command started, for a survivor would mend what the kill broke."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import batcher

ROOT = Path(batcher.__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # the benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks.sessions import session  # noqa: E402

# A command with a child in a process group of its own, as GNU parallel has them.
_PARENT = """
import signal, subprocess, sys
code = "import os, signal, sys; open(sys.argv[1], 'w').write(str(os.getpid())); signal.pause()"
child = subprocess.Popen([sys.executable, "-c", code, sys.argv[1]], process_group=0)
signal.pause()
"""


def test_a_kill_reaches_children_in_other_process_groups(tmp_path: Path) -> None:
    born = tmp_path / "born"
    os.mkfifo(born)
    words = [sys.executable, "-c", _PARENT, str(born)]
    with session(words, environment=dict(os.environ), log=tmp_path / "log") as running:
        child = int(born.read_text())  # waits for it
        assert child in running.members()
        assert os.getpgid(child) == child
        running.kill()
        assert not running.running
    assert _gone(child)


def test_nothing_outlives_the_block(tmp_path: Path) -> None:
    born = tmp_path / "born"
    os.mkfifo(born)
    words = [sys.executable, "-c", _PARENT, str(born)]
    with session(words, environment=dict(os.environ), log=tmp_path / "log"):
        child = int(born.read_text())
    assert _gone(child)


def test_a_bad_end_and_no_end_are_told_apart(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "print('no paper'); raise SystemExit(3)"]
    with (
        session(failing, environment=dict(os.environ), log=tmp_path / "log") as running,
        pytest.raises(RuntimeError, match=r"(?s)ended with 3.*no paper"),
    ):
        running.succeed(60)
    waiting = [sys.executable, "-c", "import signal; signal.pause()"]
    with (
        session(waiting, environment=dict(os.environ), log=tmp_path / "log") as running,
        pytest.raises(TimeoutError, match="still runs"),
    ):
        running.wait(0.1)


def _gone(pid: int) -> bool:
    """Whether it is dead; an orphan that nobody has reaped yet is a zombie, which is dead too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" in status.read_text("utf-8")
