"""A network of its own for a worker: a namespace that has nothing but loopback, and doors in it that lead out.

What listens in the namespace under an address is a socket of this process, which carries bytes to the real thing
outside: so all workers buy from the same URL and use the same database, and all of it stays on loopback. A network
that is cut loses every packet, as a machine's does; one that is narrow lets so many bits a second through. Needs root
and `ip` (iproute2); without them there are no networks, and nothing can be cut.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET
_PIECE = 1 << 18
#: Where a door leads: a port of loopback, or a socket's path.
Target = int | Path


def available() -> bool:
    """Whether this process may make networks."""
    return os.geteuid() == 0 and bool(shutil.which("ip")) and bool(shutil.which("tc"))


class Network:
    """One namespace; `doors` are ports of its loopback and where they lead."""

    def __init__(self, name: str, doors: dict[int, Target]) -> None:
        self.name = name
        self._doors = doors
        self._loop = asyncio.new_event_loop()

    @property
    def prefix(self) -> Sequence[str]:
        """The words before a command that lives here."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Lose every packet from now on."""
        self._shape("rate", "8bit", "burst", "1", "limit", "1")

    def narrow(self, megabits: float) -> None:
        """Let so many megabits a second through, both ways together."""
        self._shape("rate", f"{megabits:g}mbit", "burst", "64kb", "latency", "50ms")

    def mend(self) -> None:
        """Let everything through again."""
        with suppress(subprocess.CalledProcessError):
            _run(*self.prefix, "tc", "qdisc", "del", "dev", "lo", "root")

    def _shape(self, *words: str) -> None:
        _run(*self.prefix, "tc", "qdisc", "replace", "dev", "lo", "root", "tbf", *words)

    @contextmanager
    def up(self) -> Iterator[None]:
        """Make it, carry bytes during the block, and remove it."""
        _run("ip", "netns", "add", self.name)
        try:
            _run(*self.prefix, "ip", "link", "set", "lo", "mtu", "1500", "up")
            listeners = {self._listen(port): target for port, target in self._doors.items()}
            carrying = threading.Thread(target=self._loop.run_until_complete, args=[self._carry(listeners)])
            carrying.start()
            try:
                yield
            finally:
                self._loop.call_soon_threadsafe(self._over.set)
                carrying.join()
        finally:
            _run("ip", "netns", "delete", self.name)

    def _listen(self, port: int) -> socket.socket:
        """A socket of the namespace: what a thread makes that has gone there."""
        found: list[socket.socket] = []

        def there() -> None:
            with Path(f"/var/run/netns/{self.name}").open() as namespace:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(namespace.fileno(), _NETWORK_NAMESPACE):
                    raise OSError(ctypes.get_errno(), "setns")
            found.append(socket.create_server(("127.0.0.1", port), backlog=512))

        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        return found[0]

    async def _carry(self, listeners: dict[socket.socket, Target]) -> None:
        self._over = asyncio.Event()
        for listener, target in listeners.items():
            await asyncio.start_server(_door(target), sock=listener, limit=_PIECE)
        await self._over.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


def _door(target: Target) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if isinstance(target, Path):
                there = await asyncio.open_unix_connection(str(target), limit=_PIECE)
            else:
                there = await asyncio.open_connection("127.0.0.1", target, limit=_PIECE)
            ways = [asyncio.ensure_future(_pass(reader, there[1])), asyncio.ensure_future(_pass(there[0], writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)  # when one side is gone, so is the other
            for way in ways:
                way.cancel()
            there[1].transport.abort()
        writer.close()

    return enter


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)  # noqa: S603
