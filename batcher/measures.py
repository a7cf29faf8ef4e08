"""What a picture or film measures, read from its headers: seconds, and pixels as they are shown.

MP4 and MOV (ISO/IEC 14496-12), PNG, JPEG with its Exif orientation, GIF and WebP. Nothing is decoded, and what has no
reader here measures nothing: it is not checked, and never said to differ.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from .filetypes import FileType

#: Of a header no more than this is read, in bytes: an index of a film of some hours is smaller.
_MOST_BYTES = 16_000_000
#: A film may be longer or shorter by this many seconds, or by this part of it, whichever is more.
_SECONDS, _PART_OF_SECONDS = 0.5, 0.05
_PART_OF_RATIO = 0.03
_UNKNOWN = {0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF}


class Measures(NamedTuple):
    """What a file says of itself; None where it says nothing."""

    seconds: float | None = None
    width: int | None = None
    height: int | None = None


#: Of what has no reader.
UNMEASURED = Measures()


class Difference(NamedTuple):
    """Where a file is not as it was asked for: `of` is `type`, `duration` or `ratio`; the rest is in words."""

    of: str
    wanted: str
    found: str


class Requested(NamedTuple):
    """What was asked for: `video`, `image` or `audio`; seconds; width over height, as `16:9`. None or "": nothing."""

    kind: str = ""
    seconds: float | None = None
    ratio: str | None = None


def inspect(requested: Requested, kind: FileType | None, found: Measures) -> Inspection:
    """Where a file of this type, which measures so much, is not what was asked for. What it does not say is right."""
    return Inspection(found, tuple(_differences(requested, kind, found)))


def _differences(requested: Requested, kind: FileType | None, found: Measures) -> Iterator[Difference]:
    if requested.kind and kind is not None and kind.kind != requested.kind:
        yield Difference("type", requested.kind, kind.mime)
        return
    if requested.seconds is not None and found.seconds is not None:
        bearable = max(_SECONDS, _PART_OF_SECONDS * requested.seconds)
        if abs(found.seconds - requested.seconds) > bearable:
            yield Difference("duration", f"{requested.seconds:g} s", f"{round(found.seconds, 1):g} s")
    sides = re.fullmatch(r"([1-9]\d*):([1-9]\d*)", requested.ratio or "")
    if sides and found.width and found.height:
        shown = found.width / found.height
        if abs(shown * int(sides[2]) / int(sides[1]) - 1) > _PART_OF_RATIO:
            yield Difference("ratio", sides[0], f"{found.width}×{found.height}")


def in_words(found: Any) -> str:
    """Differences as they stand in a ledger, for people; a text of another program is shown as it is."""
    try:
        return "; ".join("{of} {found} in place of {wanted}".format_map(each) for each in found or ())
    except (TypeError, KeyError, ValueError, AttributeError):
        return str(found)


class Inspection(NamedTuple):
    """What a file measures, and where it is not what was asked for."""

    measures: Measures = UNMEASURED
    differs: tuple[Difference, ...] = ()


#: Of a file that nobody held against what was asked for.
UNINSPECTED = Inspection()


def measure(file: BinaryIO, kind: FileType | None) -> Measures:
    """What an open file of this type measures; one that cannot be read as its type measures nothing. Raises OSError."""
    reader = _READERS.get(kind.mime) if kind else None
    if reader is None:
        return UNMEASURED
    file.seek(0)
    try:
        found = reader(file)
    except (struct.error, IndexError, ValueError):
        return UNMEASURED
    return found if found.width != 0 and found.height != 0 else Measures(found.seconds)


# ISO base media: `moov` has the length of the whole in `mvhd`, and in each `trak` how large it is shown in `tkhd`


def _film(file: BinaryIO) -> Measures:
    scale, seconds, shown = 0, None, Measures()
    for name, content in _boxes(_movie(file)):
        if name == b"mvhd":
            scale, seconds = _length(content)
        elif name == b"mvex" and seconds is None:  # in fragments, whose index comes with each
            seconds = _length_of_fragments(content, scale)
        elif name == b"trak" and shown.width is None:
            shown = _track(content)
    return shown._replace(seconds=seconds)


def _movie(file: BinaryIO) -> bytes:
    """The content of the box `moov`. Raises struct.error or ValueError where there is none."""
    place, end = 0, file.seek(0, io.SEEK_END)
    while place < end:  # no disk goes as far as a box may say that it does
        file.seek(place)
        length, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            (length,), head = struct.unpack(">Q", file.read(8)), 16
        if name == b"moov":
            return file.read(min(length - head, _MOST_BYTES))
        if length < head:  # to the end of the file, and no index before it
            raise ValueError
        place += length
    raise ValueError


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        if length < 8:
            return
        yield name, content[place + 8 : place + length]
        place += length


def _length(mvhd: bytes) -> tuple[int, float | None]:
    """Units a second, and how many seconds."""
    scale, length = struct.unpack_from(">IQ", mvhd, 20) if mvhd[0] == 1 else struct.unpack_from(">II", mvhd, 12)
    return scale, length / scale if scale and length not in _UNKNOWN else None


def _length_of_fragments(mvex: bytes, scale: int) -> float | None:
    for name, content in _boxes(mvex):
        if name == b"mehd":
            (length,) = struct.unpack_from(">Q" if content[0] == 1 else ">I", content, 4)
            return length / scale if scale and length not in _UNKNOWN else None
    return None


def _track(content: bytes) -> Measures:
    """How large a track is shown: of no pixels unless it is one of pictures."""
    for name, box in _boxes(content):
        if name == b"tkhd":
            matrix = 52 if box[0] == 1 else 40
            turned = struct.unpack_from(">i", box, matrix)[0] == 0  # by a quarter
            width, height = (side >> 16 for side in struct.unpack_from(">II", box, matrix + 36))
            if width and height:
                return Measures(None, height, width) if turned else Measures(None, width, height)
    return Measures()


# Pictures


def _png(file: BinaryIO) -> Measures:
    return Measures(None, *struct.unpack_from(">II", file.read(24), 16))


def _gif(file: BinaryIO) -> Measures:
    return Measures(None, *struct.unpack_from("<HH", file.read(10), 6))


def _webp(file: BinaryIO) -> Measures:
    head = file.read(30)
    match head[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(head[place : place + 3], "little") + 1 for place in (24, 27))
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 26))
        case _:
            return Measures()
    return Measures(None, width, height)


#: JPEG's markers SOF0 to SOF15, of which three mean something else (ITU-T T.81, table B.1).
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg(file: BinaryIO) -> Measures:
    file.seek(2)
    turned = False
    while True:
        mark, code = file.read(2)
        if mark != 0xFF:
            raise ValueError
        if code == 0xFF:  # a filler
            file.seek(-1, 1)
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if code in _FRAMES:
            height, width = struct.unpack_from(">HH", file.read(5), 1)
            return Measures(None, height, width) if turned else Measures(None, width, height)
        segment = file.read(max(0, length - 2))
        turned = turned or (code == 0xE1 and segment.startswith(b"Exif\0\0") and _orientation(segment[6:]) >= 5)


def _orientation(tiff: bytes) -> int:
    """The tag Orientation (Exif 2.3, 4.6.4) of the first directory: from 5 on the picture lies on its side."""
    order = "<" if tiff.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
    for place in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, place)
        if tag == 0x0112:
            return int(value)
    return 1


_READERS: dict[str, Callable[[BinaryIO], Measures]] = {
    "video/mp4": _film,
    "video/quicktime": _film,
    "audio/mp4": _film,
    "image/png": _png,
    "image/gif": _gif,
    "image/webp": _webp,
    "image/jpeg": _jpeg,
}
