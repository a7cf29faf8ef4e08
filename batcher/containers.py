"""Whether a file is all there, as far as its own container says: boxes added up, the last chunk, a trailer.

Read only, with seeks; nothing of the content is decoded. A file that cannot be read as its
type says nothing.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

from .filetypes import FileType


class Said(Enum):
    """What a container says of itself."""

    WHOLE = "whole"
    CUT = "cut"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class _File:
    """A file that is open for reading, and its length in bytes."""

    file: BinaryIO
    size: int

    def at(self, place: int, count: int) -> bytes:
        self.file.seek(place)
        return self.file.read(count)


def judge(file: BinaryIO, size: int, kind: FileType | None) -> Said:
    """What the container of an open file of `size` bytes says; `kind` is its type by its first bytes."""
    reader = _READERS.get(kind.mime) if kind else None
    if reader is None or not size:
        return Said.NOTHING
    try:
        return reader(_File(file, size))
    except (struct.error, IndexError, ValueError, OSError):
        return Said.NOTHING


def picture_fault(file: BinaryIO, size: int, kind: FileType) -> str:
    """Why a picture is not whole: "it is cut off …" or "it holds no picture"; "" when nothing speaks against it."""
    if judge(file, size, kind) is Said.CUT:
        return "is cut off: its end is missing"
    needed = _PICTURE.get(kind.mime)
    if needed is None:
        return ""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return "" if needed.search(content) else "holds no picture"


# ISO base media (MP4, MOV, HEIC, AVIF, JPEG XL in boxes): ISO/IEC 14496-12, 4.2


def _boxes(f: _File) -> Said:
    place, seen = 0, set[bytes]()
    while place < f.size:
        head = f.at(place, 16)
        if len(head) < 8:
            return Said.CUT
        length, name = struct.unpack(">I4s", head[:8])
        if not all(32 <= byte < 127 or byte == 0xA9 for byte in name):
            return Said.NOTHING
        seen.add(name)
        if length == 1:
            if len(head) < 16:
                return Said.CUT
            (length,) = struct.unpack(">Q", head[8:16])
            least = 16
        else:
            least = 8
        if length == 0:  # to the end, wherever that is
            return Said.NOTHING
        if length < least:
            return Said.NOTHING
        place += length
    if place > f.size:
        return Said.CUT
    # Without an index, or in fragments, a cut at the end of a box looks like the end of the file.
    fragments = b"moof" in seen and b"mfra" not in seen
    return Said.WHOLE if {b"moov", b"meta"} & seen and b"mdat" in seen and not fragments else Said.NOTHING


# RIFF (WebP, WAV, AVI): one chunk with its length; a long AVI has several


def _riff(f: _File) -> Said:
    place = 0
    while f.at(place, 4) == b"RIFF":
        (length,) = struct.unpack("<I", f.at(place + 4, 4))
        if length in (0, 0xFFFFFFFF):  # a stream whose length nobody filled in
            return Said.NOTHING
        place += 8 + length
        if place > f.size:
            return Said.CUT
        place += length % 2
    return Said.WHOLE


def _png(f: _File) -> Said:
    place = 8
    while True:
        head = f.at(place, 8)
        if len(head) < 8:
            return Said.CUT
        length, name = struct.unpack(">I4s", head)
        place += 12 + length
        if place > f.size:
            return Said.CUT
        if name == b"IEND":
            return Said.WHOLE
        if not name.isalpha():
            return Said.NOTHING


_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")


def _jpeg(f: _File) -> Said:
    """Segments with their lengths, then the coded picture, which holds no marker but its restarts."""
    with mmap.mmap(f.file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = 2
        while found := _MARKER.search(content, place):
            place = found.end()
            if found[1] == b"\xd9":
                return Said.WHOLE
            if found[1] == b"\x01":
                continue
            (length,) = struct.unpack(">H", content[place : place + 2]) if place + 2 <= f.size else (0,)
            place += length
            if length < 2 or place > f.size:
                return Said.CUT
    return Said.CUT


def _gif(f: _File) -> Said:
    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    place = 13 + table(f.at(10, 1)[0])
    while (kind := f.at(place, 1)) in (b"!", b","):
        place += 2 if kind == b"!" else 11 + table((f.at(place + 9, 1) or b"\0")[0])
        while True:
            length = f.at(place, 1)
            if not length:
                return Said.CUT
            place += 1 + length[0]
            if not length[0]:
                break
    if kind == b";":
        return Said.WHOLE
    return Said.NOTHING if kind else Said.CUT


def _ogg(f: _File) -> Said:
    """Pages; the last one of each stream is marked."""
    place, last = 0, 0
    while place < f.size:
        head = f.at(place, 27)
        if len(head) < 27:
            return Said.CUT
        if head[:4] != b"OggS":
            return Said.NOTHING
        lengths = f.at(place + 27, head[26])
        place, last = place + 27 + head[26] + sum(lengths), head[5]
    if place > f.size:
        return Said.CUT
    return Said.WHOLE if last & 4 else Said.NOTHING


def _matroska(f: _File) -> Said:
    """The header, then one segment with its length, if somebody filled that in (RFC 8794, RFC 9559)."""
    head = f.at(0, 16)
    length, place = _vint(head, 4)
    segment = place + (length or 0)
    head = f.at(segment, 16)
    if head[:4] != b"\x18\x53\x80\x67":
        return Said.NOTHING
    length, place = _vint(head, 4)
    if length is None:
        return Said.NOTHING
    return Said.WHOLE if segment + place + length <= f.size else Said.CUT


def _vint(text: bytes, place: int) -> tuple[int | None, int]:
    """A length of EBML at that place, None for an unknown one; and the place after it."""
    count = 9 - text[place].bit_length()
    if count > 8:
        raise ValueError("no length")
    value = int.from_bytes(text[place : place + count]) & ((1 << 7 * count) - 1)
    return None if value == (1 << 7 * count) - 1 else value, place + count


def _bmp(f: _File) -> Said:
    (length,) = struct.unpack("<I", f.at(2, 4))
    return Said.NOTHING if not length else Said.WHOLE if length <= f.size else Said.CUT


def _ends_with(end: bytes) -> Callable[[_File], Said]:
    def read(f: _File) -> Said:
        return Said.WHOLE if end in f.at(max(0, f.size - 1024), 1024) else Said.CUT

    return read


_READERS: dict[str, Callable[[_File], Said]] = {
    **dict.fromkeys(("video/mp4", "video/quicktime", "audio/mp4", "image/heic", "image/avif"), _boxes),
    **dict.fromkeys(("image/webp", "audio/wav", "video/x-msvideo"), _riff),
    **dict.fromkeys(("video/webm", "video/x-matroska"), _matroska),
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "audio/ogg": _ogg,
    "application/pdf": _ends_with(b"%%EOF"),
    "image/svg+xml": _ends_with(b"</svg>"),
}
# What a picture of these types has, where it is one.
_PICTURE = {
    "image/png": re.compile(rb"IHDR.*?IDAT", re.DOTALL),
    "image/jpeg": re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]"),
    "image/webp": re.compile(rb"WEBPVP8[ LX]"),
    "image/gif": re.compile(rb"GIF8.*?,", re.DOTALL),
}
