"""What a file is by its first bytes, never by its name: the media types that go in or come out, and their like.

Libraries were tried: puremagic 1.30 does not know MP4 files of the brands iso5, mp41 or avc1 at most lengths of
their first box, and filetype has had no release since 2022. A result that was paid for is kept whatever it is, so a
type that is missing here costs no more than a name that ends in `.bin`.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

#: Bytes that `sniff` wants to see.
HEAD_BYTES = 512


class FileType(NamedTuple):
    """A MIME type and the extension, with its dot, that files of it get."""

    mime: str
    extension: str

    @property
    def kind(self) -> str:
        """`video`, `image`, `audio` or `application`."""
        return self.mime.partition("/")[0]


#: What is none of the others.
UNKNOWN = FileType("application/octet-stream", ".bin")
_MP4 = FileType("video/mp4", ".mp4")
_MOV = FileType("video/quicktime", ".mov")
_WEBM = FileType("video/webm", ".webm")
_MKV = FileType("video/x-matroska", ".mkv")
_TS = FileType("video/mp2t", ".ts")
_BMP = FileType("image/bmp", ".bmp")
_SVG = FileType("image/svg+xml", ".svg")

# Brands of ISO base media files (ISO/IEC 14496-12; 23008-12 for HEIF); any that is not said to be else is a video.
_BRANDS = {
    brand.encode(): kind
    for kind, brands in {
        _MOV: ["qt  "],
        FileType("image/avif", ".avif"): ["avif", "avis"],
        FileType("image/heic", ".heic"): [
            *("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2"),
            *("msf1", "miaf", "1pic", "heif"),
        ],
        FileType("image/jxl", ".jxl"): ["jxl "],
        FileType("audio/mp4", ".m4a"): ["M4A ", "M4B "],
    }.items()
    for brand in brands
}
# Boxes that old QuickTime files begin with, instead of `ftyp`.
_QUICKTIME = (b"moov", b"mdat", b"wide", b"pnot", b"free", b"skip")
_RIFF = {
    b"WEBP": FileType("image/webp", ".webp"),
    b"WAVE": FileType("audio/wav", ".wav"),
    b"AVI ": FileType("video/x-msvideo", ".avi"),
}
_STARTS = {
    FileType("image/jpeg", ".jpg"): (b"\xff\xd8\xff",),
    FileType("image/png", ".png"): (b"\x89PNG\r\n\x1a\n",),
    FileType("image/gif", ".gif"): (b"GIF87a", b"GIF89a"),
    FileType("image/jxl", ".jxl"): (b"\x00\x00\x00\x0cJXL \r\n\x87\n", b"\xff\x0a"),
    FileType("image/tiff", ".tif"): (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    FileType("video/mpeg", ".mpg"): (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"),
    FileType("video/x-flv", ".flv"): (b"FLV\x01",),
    FileType("video/x-ms-asf", ".wmv"): (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",),
    FileType("audio/mpeg", ".mp3"): (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xfa", b"\xff\xf2"),
    FileType("audio/ogg", ".ogg"): (b"OggS",),
    FileType("audio/flac", ".flac"): (b"fLaC",),
    FileType("audio/aac", ".aac"): (b"\xff\xf1", b"\xff\xf9"),
    FileType("application/pdf", ".pdf"): (b"%PDF-",),
    FileType("application/zip", ".zip"): (b"PK\x03\x04",),
}
_SVG_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[?!](?!DOCTYPE html)[^>]*>\s*)*<svg[\s>]")


def sniff(head: bytes) -> FileType | None:
    """The type of a file that begins with `head`; None when it is none of those known here."""
    if head[4:8] == b"ftyp":
        return _brand(head, 8)
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _MKV if b"matroska" in head[:64] else _WEBM
    if head[4:8] in _QUICKTIME:
        return _quicktime(head)
    # A packet of MPEG-TS is 188 bytes long, with a time before it 192 (BDAV).
    if any(head[at::length][:2] == b"GG" for at, length in ((0, 188), (4, 192))):
        return _TS
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return _BMP
    if _SVG_START.match(head):
        return _SVG
    return next((found for found, starts in _STARTS.items() if head.startswith(starts)), None)


def _brand(head: bytes, at: int) -> FileType:
    return _BRANDS.get(head[at : at + 4], _MP4)


def _quicktime(head: bytes) -> FileType:
    """Of a file whose first box is not `ftyp`: that of a later one within reach decides."""
    place = 0
    while head[place + 4 : place + 8] in _QUICKTIME:
        (length,) = struct.unpack(">I", head[place : place + 4])
        if length < 8:
            break
        place += length
    return _brand(head, place + 8) if head[place + 4 : place + 8] == b"ftyp" else _MOV


def is_page(head: bytes) -> bool:
    """Whether a file begins like text: no medium, but words of somebody in between."""
    return bool(head) and not any(byte < 9 or (13 < byte < 32 and byte != 27) for byte in head)
