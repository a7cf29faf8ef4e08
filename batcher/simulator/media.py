"""Results on demand: drawn when they are first asked for, by a few threads, and kept as files; or plain bytes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from .records import Scene, format_of


def plain(size: int) -> Callable[[Scene], Awaitable[bytes]]:
    """A maker of results of `size` bytes in a whole container, with nothing to see in it; each task has its own."""

    async def make(scene: Scene) -> bytes:
        data = hashlib.shake_256(scene.task_id.encode()).digest(size)
        if scene.result == "video":
            return _box(b"ftyp", b"mp42\0\0\0\0mp42isom") + _box(b"mdat", data)
        if scene.result == "audio":
            return b"ID3\x04" + bytes(6) + data
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"daTa", data) + _chunk(b"IEND", b"")

    return make


def _box(name: bytes, data: bytes) -> bytes:
    return (len(data) + 8).to_bytes(4, "big") + name + data


def _chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


class Studio:
    """Makes the files of results and keeps them in a folder; the same bytes every time.

    `at_once` is how many are drawn at a time. Not for virtual time: it draws on threads.
    """

    def __init__(self, folder: Path, at_once: int = 2) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._at_once = at_once
        self._limiter: anyio.CapacityLimiter | None = None
        self._under_way: dict[str, anyio.Lock] = {}

    async def __call__(self, scene: Scene) -> bytes:
        """The bytes of the scene's file."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._at_once)
        # Two downloads of the same result must not draw it twice.
        async with self._under_way.setdefault(scene.task_id, anyio.Lock()):
            return await run_sync(self._make, scene, limiter=self._limiter)

    def _make(self, scene: Scene) -> bytes:
        # Imported on the thread: starting the simulator must not wait for the drawing libraries.
        from .film import render

        path = self._folder / f"{scene.task_id}.{format_of(scene.result, scene.params)[0]}"
        if not path.exists():
            partial = path.with_name(f"{path.name}.part")
            render(scene, partial)
            partial.replace(path)
        return path.read_bytes()
