"""What a container says of its own end: each type whole, cut at every byte, and where it cannot tell."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import PIXEL

from batcher.containers import Said, judge, picture_fault
from batcher.filetypes import HEAD_BYTES, sniff

NOISE = bytes(range(1, 200))


def box(name: bytes, content: bytes = b"", *, long: bool = False, length: int | None = None) -> bytes:
    if long:
        return struct.pack(">I4sQ", 1, name, len(content) + 16) + content
    return struct.pack(">I4s", len(content) + 8 if length is None else length, name) + content


def riff(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    return b"RIFF" + struct.pack("<I", len(content) + 4 if length is None else length) + kind + content


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def page(flags: int, content: bytes) -> bytes:
    return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([1, len(content)]) + content


FTYP = box(b"ftyp", b"isom\0\0\2\0isommp41")
MDAT = box(b"mdat", NOISE)
MOOV = box(b"moov", box(b"mvhd", bytes(100)))
FRAGMENT = box(b"moof", bytes(40)) + MDAT
EBML = b"\x1a\x45\xdf\xa3\x84\x42\x82\x81w"
SEGMENT = b"\x18\x53\x80\x67"
JPEG_HEAD = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + b"\xff\xc0\0\x0b\x08\0\1\0\1\1\1\x11\0"
SCAN = b"\xff\xda\0\x08\1\1\0\0?\0" + b"ab\xff\0cd\xff\xd0ef"
GIF = b"GIF89a\1\0\1\0\x80\0\0" + bytes(6)
FRAME = b"!\xf9\4\0\0\0\0\0," + bytes(9) + b"\2\2D\1\0"

#: Of these every beginning that is long enough to be known is cut.
WHOLE = {
    "mp4, index first": FTYP + MOOV + MDAT,
    "mp4 with a long box": FTYP + MOOV + box(b"mdat", NOISE, long=True),
    "mov": box(b"ftyp", b"qt  \0\0\0\0") + MOOV + MDAT,
    "heic": box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", NOISE) + MDAT,
    "png": PIXEL,
    "jpeg": JPEG_HEAD + SCAN + b"\xff\xd9",
    "jpeg in scans": JPEG_HEAD + SCAN + b"\xff\xc4\0\4ab" + SCAN + b"\xff\xd9",
    "jpeg with a picture in it": b"\xff\xd8\xff\xe1\0\x08\xff\xd8ab\xff\xd9" + JPEG_HEAD[2:] + SCAN + b"\xff\xd9",
    "webp": riff(b"WEBP", b"VP8 " + NOISE),
    "wav": riff(b"WAVE", b"fmt " + NOISE),
    "gif": GIF + FRAME * 2 + b";",
    "webm": EBML + SEGMENT + bytes([0x40, len(NOISE)]) + NOISE,
    "bmp": b"BM" + struct.pack("<I", 14 + len(NOISE)) + bytes(8) + NOISE,
}
#: Here only some cuts can be seen: what is left is told as `nothing`, so that it is fetched twice.
NOT_SURE = {
    "mp4, index last": FTYP + MDAT + MOOV,
    "avi of several": riff(b"AVI ", NOISE + b"\0") + riff(b"AVIX", NOISE + b"\0"),
    "ogg": page(2, NOISE) + page(0, NOISE) + page(4, NOISE),
    "mp4 in fragments": FTYP + MOOV + FRAGMENT * 2 + box(b"mfra", bytes(20)),
}
NOTHING = {
    "mp4 without an index": FTYP + MDAT,
    "mp4 in fragments without an end": FTYP + MOOV + FRAGMENT * 2,
    "mp4 whose last box goes to the end": FTYP + MOOV + box(b"mdat", NOISE, length=0),
    "mp4 with a length that cannot be": FTYP + box(b"free", NOISE, length=3),
    "wav of a stream": riff(b"WAVE", NOISE, length=0xFFFFFFFF),
    "webm of a stream": EBML + SEGMENT + b"\x01" + b"\xff" * 7 + NOISE,
    "mp3": b"ID3" + NOISE,
    "ts": (b"G" + bytes(187)) * 3,
    "ogg without an end": page(2, NOISE),
}


def said(content: bytes) -> Said:
    return judge(io.BytesIO(content), len(content), sniff(content[:HEAD_BYTES]))


def said_on_disk(folder: Path, content: bytes) -> Said:
    path = folder / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        return judge(file, len(content), sniff(content[:HEAD_BYTES]))


@pytest.mark.parametrize("name", WHOLE)
def test_whole_and_each_cut_of_it(tmp_path: Path, name: str) -> None:
    content = WHOLE[name]
    assert said_on_disk(tmp_path, content) is Said.WHOLE
    assert said_on_disk(tmp_path, content + b"\0") in (Said.WHOLE, Said.CUT), "bytes behind the end are nobody's"
    for end in range(40, len(content)):
        found = said_on_disk(tmp_path, content[:end])
        # A box that ends right there is no sign of a cut, and without all boxes none of wholeness.
        assert found is Said.CUT or (found is Said.NOTHING and name.startswith(("mp4", "mov", "heic"))), end


@pytest.mark.parametrize("name", NOT_SURE)
def test_whole_where_not_each_cut_shows(tmp_path: Path, name: str) -> None:
    content = NOT_SURE[name]
    assert said_on_disk(tmp_path, content) is Said.WHOLE
    cuts = [said_on_disk(tmp_path, content[:end]) for end in range(60, len(content))]
    assert cuts.count(Said.CUT) > 0.9 * len(cuts)


@pytest.mark.parametrize("name", NOTHING)
def test_nobody_can_tell(tmp_path: Path, name: str) -> None:
    assert said_on_disk(tmp_path, NOTHING[name]) is Said.NOTHING


@given(st.binary(max_size=300), st.sampled_from([*WHOLE.values(), *NOT_SURE.values(), *NOTHING.values()]))
def test_any_bytes_are_judged_without_an_error(tail: bytes, start: bytes) -> None:
    for content in (tail, start[:60] + tail):
        kind = sniff(content[:HEAD_BYTES])
        if kind is None or kind.mime != "image/jpeg":  # which wants a file on a disk
            assert said(content) in Said


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (PIXEL, ""),
        (WHOLE["jpeg"], ""),
        (WHOLE["webp"], ""),
        (PIXEL[:40], "cut off"),
        (PIXEL[:-4], "cut off"),
        (PIXEL[:8], "cut off"),
        (PIXEL[:8] + chunk(b"IEND", b""), "no picture"),
        (WHOLE["jpeg"][:-2], "cut off"),
        (WHOLE["webp"][:-1], "cut off"),
        (riff(b"WEBP", b"junk"), "no picture"),
        (b"\xff\xd8\xff\xd9", "no picture"),
    ],
)
def test_a_picture_is_whole(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(content)
    kind = sniff(content)
    assert kind is not None
    with path.open("rb") as file:
        found = picture_fault(file, len(content), kind)
    assert fault in found
    assert bool(fault) is bool(found)
