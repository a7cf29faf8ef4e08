"""Bodies as they were before somebody encoded them (RFC 9110, 8.4), in one place for answers and results.

We ask for none (`Accept-Encoding: identity`), and gateways encode all the same. Each piece that comes out is bounded,
so whoever reads can stop in time.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from functools import partial
from importlib import import_module
from typing import Any, Protocol

#: The most that one step of decoding yields, in bytes.
PIECE_BYTES = 1 << 20
_LAYERS = 3
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Undecodable(Exception):
    """A body in an encoding that is not known here, or that is broken or cut; says which."""


def codings(header: str) -> list[str]:
    """The encodings that a Content-Encoding header names, without those that change nothing."""
    return [name for part in header.split(",") if (name := part.strip().lower()) not in ("", "identity")]


def decoded(chunks: AsyncGenerator[bytes, None], header: str) -> AsyncGenerator[bytes, None]:
    """A body's bytes, decoded. Raises Undecodable, at once for an encoding that is not known here."""
    names = codings(header)
    if len(names) > _LAYERS:
        raise Undecodable(f"it is encoded more than {_LAYERS} times")
    return _decoded(chunks, [_decoder(name) for name in reversed(names)])


async def _decoded(chunks: AsyncGenerator[bytes, None], layers: list[_Decoder]) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            for piece in _through(layers, chunk):
                yield piece
    for layer in layers:
        layer.end()


def _through(layers: list[_Decoder], data: bytes) -> Iterator[bytes]:
    if not layers:
        yield data
        return
    for piece in layers[0].feed(data):
        yield from _through(layers[1:], piece)


class _Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes out of these bytes, in bounded pieces. Raises Undecodable."""
        ...

    def end(self) -> None:
        """There are no more bytes. Raises Undecodable when there should be."""
        ...


class _Zlib:
    """gzip, of any number of members, and deflate, with a header or without."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._gzip = name != "deflate"
        self._head = b""  # a first byte that says nothing yet
        self._members = 0
        self._lies = False
        self._inflater: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        data, self._head = self._head + data, b""
        while data and not self._lies:
            if self._inflater is None and not self._begin(data):
                break
            try:
                piece = self._inflater.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise Undecodable(f"its encoding {self._name} is broken: {error}") from None
            yield piece
            data = self._inflater.unconsumed_tail
            while len(piece) == PIECE_BYTES and not data and not self._inflater.eof:
                yield (piece := self._inflater.decompress(b"", PIECE_BYTES))
            if self._inflater.eof:
                data, self._inflater = self._inflater.unused_data if self._gzip else b"", None
        if self._lies:
            yield data

    def _begin(self, data: bytes) -> bool:
        """Look at the first bytes of a member; False when there is nothing in them to be decoded (yet)."""
        if len(data) < 2:
            self._head = data
            return False
        if self._members and not self._gzip:
            return False
        if self._gzip and data[:2] != b"\x1f\x8b":
            # Said to be gzip and none: taken as it is. Behind a whole member it is padding.
            self._lies = not self._members
            return False
        headed = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
        self._inflater = zlib.decompressobj(_GZIP if self._gzip else _ZLIB if headed else _RAW)
        self._members += 1
        return True

    def end(self) -> None:
        if self._inflater is not None:
            raise Undecodable(f"its encoding {self._name} is cut")


class _Other:
    """Brotli or Zstandard, where somebody has installed a decoder."""

    def __init__(self, name: str, step: Callable[[bytes], bytes], finished: Callable[[], bool]) -> None:
        self._name, self._step, self._finished = name, step, finished

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while piece := self._step(data):
                yield piece
                data = b""
                if self._finished():
                    return
        except Exception as error:  # each library has an error of its own, or several
            raise Undecodable(f"its encoding {self._name} is broken: {error}") from None

    def end(self) -> None:
        if not self._finished():
            raise Undecodable(f"its encoding {self._name} is cut")


def _decoder(name: str) -> _Decoder:
    if name in ("gzip", "x-gzip", "deflate"):
        return _Zlib(name)
    with suppress(ImportError, AttributeError):
        if name == "br":
            brotli = import_module("brotli").Decompressor()
            return _Other(name, partial(brotli.process, output_buffer_limit=PIECE_BYTES // 2), brotli.is_finished)
        if name == "zstd":
            zstd = import_module("compression.zstd").ZstdDecompressor()
            return _Other(name, partial(zstd.decompress, max_length=PIECE_BYTES), lambda: zstd.eof)
    raise Undecodable(f"it is encoded {name[:40]!r}, which was not asked for and cannot be read here")
