"""The command as a process of its own, quickly: forked from one that has imported it already.

Most of what a short command takes is the start of the interpreter and its imports; here they are paid once. All else is
a process's own: its memory, its folder, its variables, its streams, and the signals that it gets. What words before a
command make of it (permissions taken away, another mount namespace) is made of the process that it is forked from.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

#: What commands import; their names say it to `import_module`.
_PRELOADED = ("run", "status", "jobs", "cancel", "doctor", "plan")
#: What only some import, and others must not: imported before the first of these is forked.
_PRELOADED_FOR = {"worker": ("batcher.cli.commands.worker", "batcher.cluster.worker", "batcher.cluster.files")}


class Command:
    """A running command, as `subprocess.Popen` would show it; its streams are text."""

    def __init__(self, pid: int, status: int, stdout: IO[str] | None, stderr: IO[str] | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None  # minus the signal
        self._status = status
        self._over = threading.Event()
        threading.Thread(target=self._await, daemon=True).start()

    def _await(self) -> None:
        self.returncode = int(os.read(self._status, 20))
        os.close(self._status)
        self._over.set()

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code at its end. Raises AssertionError if it still runs after `timeout` seconds."""
        assert self._over.wait(timeout), f"{self.pid} still runs"
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it says until its end."""
        with ThreadPoolExecutor(2) as pool:
            out, err = (pool.submit(stream.read) if stream else None for stream in (self.stdout, self.stderr))
            try:
                self.wait(timeout)
            except AssertionError:
                self.kill()  # else its streams stay open, and nobody hears of this
                raise
            return out.result() if out else "", err.result() if err else ""

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Nursery:
    """A process that has imported the command and forks it."""

    def __init__(self, before: Sequence[str]) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            words = [*before, sys.executable, str(Path(__file__)), str(theirs.fileno())]
            self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def start(self, request: Mapping[str, Any], streams: Sequence[int]) -> tuple[int, int]:
        """The pid, and what its status can be read from."""
        status, write = os.pipe()
        body = json.dumps(request).encode()
        socket.send_fds(self._line, [len(body).to_bytes(4, "big")], [*streams, write])
        os.close(write)
        self._line.sendall(body)
        return int.from_bytes(self._line.recv(4), "big"), status

    def close(self) -> None:
        self._line.close()
        self._process.wait(60)


_NURSERIES: dict[tuple[str, ...], _Nursery] = {}


@atexit.register
def _forget_all() -> None:
    for before in tuple(_NURSERIES):
        forget(before)


@contextmanager
def started(
    *argv: str,
    cwd: Path,
    env: Mapping[str, str],
    before: Sequence[str] = (),
    first: str = "",
    file_size: int | None = None,
    stdout: int | IO[str] = subprocess.PIPE,
    stderr: int | IO[str] = subprocess.PIPE,
) -> Iterator[Command]:
    """`batcher ARGV` in a folder and with just these variables; killed at the end of the block if it still runs.

    `first`: Python that runs in it before the command. `file_size`: bytes that no file of its own may grow beyond.
    `stderr` may be `subprocess.STDOUT`.
    """
    nursery = _NURSERIES.get(tuple(before)) or _NURSERIES.setdefault(tuple(before), _Nursery(before))
    pipes: list[IO[str] | None] = []
    ends: list[int] = []
    ours: list[int] = []
    for stream in (stdout, stderr):
        if stream == subprocess.PIPE:
            read, write = os.pipe()
            pipes.append(open(read, encoding="utf-8"))  # noqa: SIM115, PTH123
            ours.append(write)
            ends.append(write)
        else:
            pipes.append(None)
            ends.append(ends[0] if isinstance(stream, int) else stream.fileno())
    request = {"argv": argv, "cwd": str(cwd), "env": dict(env), "first": first, "file_size": file_size}
    pid, status = nursery.start(request, ends)
    for end in ours:
        os.close(end)
    command = Command(pid, status, *pipes)
    try:
        yield command
    finally:
        command.kill()
        command.wait()
        for pipe in pipes:
            if pipe:
                pipe.close()


def forget(before: Sequence[str]) -> None:
    """End the process that these words stand before: what they name goes away."""
    if nursery := _NURSERIES.pop(tuple(before), None):
        nursery.close()


# In the process that forks


def _serve(line: socket.socket) -> None:
    from importlib import import_module

    for name in _PRELOADED:
        import_module(f"batcher.cli.commands.{name}")
    for name in ("anyio._backends._asyncio", "batcher.providers.rivya", "httpcore2", "sqlite_utils"):
        import_module(name)
    _work_out_tables()
    gc.collect()
    gc.freeze()  # else each command looks at all of it for garbage, at its end at the latest, and so makes it its own
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while head := socket.recv_fds(line, 4, 3):
        size, descriptors, _, _ = head
        if not size:
            return
        body = b""
        while len(body) < int.from_bytes(size, "big"):
            body += line.recv(1 << 16)
        for name in _PRELOADED_FOR.get(json.loads(body)["argv"][0], ()):
            import_module(name)
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            *streams, status = descriptors
            if pid := os.fork():
                line.sendall(pid.to_bytes(4, "big"))
                os.write(status, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
                os._exit(0)
            line.close()
            os.close(status)
            _become(json.loads(body), streams)
        for descriptor in descriptors:
            os.close(descriptor)


def _work_out_tables() -> None:
    """What migrations make of an empty file: each command that opens a ledger would go through all of them anew."""
    from batcher.ledger.store import schema

    with closing(sqlite3.connect(":memory:")) as made:
        schema.fill(made)
        schema.differences(made)


def _become(request: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    from batcher.__main__ import main

    for number, descriptor in enumerate(streams, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # The streams of the process that was forked remember of what sort their files were.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    if request["file_size"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"], resource.RLIM_INFINITY))
    exec(request["first"], {})
    sys.argv = ["batcher", *request["argv"]]
    sys.exit(main())


if __name__ == "__main__":
    with closing(socket.socket(fileno=int(sys.argv[1]))) as line:
        _serve(line)
