"""Whether a picture is whole. The API takes its credits before it finds out that half of one is missing."""

from __future__ import annotations

from collections.abc import Callable

_PNG_HEAD, _JPEG_NO_FRAMES = 8, frozenset((0xC4, 0xC8, 0xCC))


def missing_of(data: bytes, mime: str) -> str | None:
    """What a picture of this type lacks, by its own structure; None for a whole one, and for other types.

    What follows after its end does no harm.
    """
    check = _CHECKS.get(mime)
    return None if check is None else check(data)


def _png(data: bytes) -> str | None:
    """PNG: chunks of length, kind, content and checksum; IHDR first, some IDAT, IEND last."""
    at, seen = _PNG_HEAD, set[bytes]()
    while at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        if not seen and kind != b"IHDR":
            return "its header"
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if at > len(data):
            break
        seen.add(kind)
        if kind == b"IEND":
            return None if b"IDAT" in seen else "its pixels"
    return "its end" if seen else "its header"


def _jpeg(data: bytes) -> str | None:
    """JPEG: segments up to the start of a scan (SOS), a frame (SOF) among them, and an end (EOI) after it."""
    at, framed = 2, False
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == 0xDA:
            return None if framed and data.find(b"\xff\xd9", at) > 0 else "its end" if framed else "its header"
        framed |= 0xC0 <= marker <= 0xCF and marker not in _JPEG_NO_FRAMES
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return "its pixels" if framed else "its header"


def _webp(data: bytes) -> str | None:
    """WebP: one RIFF chunk that says how long it is, with a chunk of pixels or frames in it."""
    if len(data) < 20 or data[12:15] != b"VP8":
        return "its header"
    end = 8 + int.from_bytes(data[4:8], "little")
    return "its end" if len(data) < end or 20 + int.from_bytes(data[16:20], "little") > end + 1 else None


_CHECKS: dict[str, Callable[[bytes], str | None]] = {"image/png": _png, "image/jpeg": _jpeg, "image/webp": _webp}
