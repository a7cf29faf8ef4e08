"""What a file is by its first bytes, never by its name: the few media types that go in or come out.

Libraries were tried: puremagic 1.30 does not know MP4 files of the brands iso5, mp41 or avc1 at most lengths of
their first box, and filetype has had no release since 2022. Refusing a video that was paid for is worse than
knowing few types.
"""

from __future__ import annotations

from typing import NamedTuple

#: Bytes that `sniff` wants to see.
HEAD_BYTES = 64


class FileType(NamedTuple):
    """A MIME type and the extension, with its dot, that files of it get."""

    mime: str
    extension: str

    @property
    def kind(self) -> str:
        """`video`, `image` or `audio`."""
        return self.mime.partition("/")[0]


_JPEG = FileType("image/jpeg", ".jpg")
_PNG = FileType("image/png", ".png")
_WEBP = FileType("image/webp", ".webp")
_GIF = FileType("image/gif", ".gif")
_AVIF = FileType("image/avif", ".avif")
_HEIC = FileType("image/heic", ".heic")
_MP4 = FileType("video/mp4", ".mp4")
_MOV = FileType("video/quicktime", ".mov")
_M4A = FileType("audio/mp4", ".m4a")
_WEBM = FileType("video/webm", ".webm")
_WAV = FileType("audio/wav", ".wav")
_MP3 = FileType("audio/mpeg", ".mp3")
_OGG = FileType("audio/ogg", ".ogg")
_AAC = FileType("audio/aac", ".aac")

_BRANDS = {b"qt  ": _MOV, b"avif": _AVIF, b"avis": _AVIF, b"heic": _HEIC, b"heix": _HEIC, b"mif1": _HEIC, b"M4A ": _M4A}
_STARTS = (
    (b"\xff\xd8\xff", _JPEG),
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"\x1a\x45\xdf\xa3", _WEBM),
    (b"ID3", _MP3),
    (b"OggS", _OGG),
    (b"\xff\xfb", _MP3),
    (b"\xff\xf3", _MP3),
    (b"\xff\xf1", _AAC),
    (b"\xff\xf9", _AAC),
)


def sniff(head: bytes) -> FileType | None:
    """The type of a file that begins with `head`; None when it is none of ours."""
    if head[4:8] == b"ftyp":  # ISO base media file format: any brand that is not said to be else is a video
        return _BRANDS.get(head[8:12], _MP4)
    if head[:4] == b"RIFF":
        return {b"WEBP": _WEBP, b"WAVE": _WAV}.get(head[8:12])
    return next((found for start, found in _STARTS if head.startswith(start)), None)
