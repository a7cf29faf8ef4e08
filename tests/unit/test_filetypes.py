"""What a file is by its first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.filetypes import HEAD_BYTES, sniff


@pytest.mark.parametrize(
    ("head", "mime", "extension", "kind"),
    [
        (b"\xff\xd8\xff\xe0..JFIF", "image/jpeg", ".jpg", "image"),
        (b"\x89PNG\r\n\x1a\n....", "image/png", ".png", "image"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp", ".webp", "image"),
        (b"GIF89a..", "image/gif", ".gif", "image"),
        (b"GIF87a..", "image/gif", ".gif", "image"),
        (b"\0\0\0\x1cftypavif", "image/avif", ".avif", "image"),
        (b"\0\0\0\x1cftypavis", "image/avif", ".avif", "image"),
        (b"\0\0\0\x1cftypheic", "image/heic", ".heic", "image"),
        *[
            (b"\0\0\0\x1cftyp" + brand, "image/heic", ".heic", "image")
            for brand in (b"mif1", b"msf1", b"heix", b"heim", b"heis", b"hevc", b"hevm", b"hevs")
        ],
        (b"\0\0\0\x1cftypjxl ", "image/jxl", ".jxl", "image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl", ".jxl", "image"),
        (b"\xff\x0a\xfa", "image/jxl", ".jxl", "image"),
        (b"BM" + b"\0" * 16, "image/bmp", ".bmp", "image"),
        (b"II*\0", "image/tiff", ".tif", "image"),
        (b"MM\0*", "image/tiff", ".tif", "image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "image/svg+xml", ".svg", "image"),
        (b"<?xml version='1.0'?>\n<!-- made by -->\n<svg>", "image/svg+xml", ".svg", "image"),
        (b"RIFF\x10\0\0\0AVI LIST", "video/x-msvideo", ".avi", "video"),
        (b"G@\x11\x10" + b"\xff" * 184 + b"G", "video/mp2t", ".ts", "video"),
        (b"\0\0\0\0G@\x11\x10" + b"\xff" * 188 + b"G", "video/mp2t", ".ts", "video"),
        (b"FLV\x01\x05", "video/x-flv", ".flv", "video"),
        (b"\0\0\0\x08wide\0\0\x10\0mdat", "video/quicktime", ".mov", "video"),
        (b"\0\0\x10\0moov\0\0\0\x6cmvhd", "video/quicktime", ".mov", "video"),
        (b"\0\0\0\x08free\0\0\0\x18ftypisom", "video/mp4", ".mp4", "video"),
        (b"\x1a\x45\xdf\xa3\x9fB\x82\x88matroska", "video/x-matroska", ".mkv", "video"),
        (b"%PDF-1.7", "application/pdf", ".pdf", "application"),
        *[(b"\0\0\0\x20ftyp" + brand, "video/mp4", ".mp4", "video") for brand in (b"isom", b"iso5", b"mp41", b"avc1")],
        (b"\0\0\0\x14ftypqt  ", "video/quicktime", ".mov", "video"),
        (b"\0\0\0\x14ftypM4A ", "audio/mp4", ".m4a", "audio"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86", "video/webm", ".webm", "video"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "audio/wav", ".wav", "audio"),
        (b"ID3\x04", "audio/mpeg", ".mp3", "audio"),
        (b"\xff\xfb\x90", "audio/mpeg", ".mp3", "audio"),
        (b"\xff\xf3\x90", "audio/mpeg", ".mp3", "audio"),
        (b"OggS\0", "audio/ogg", ".ogg", "audio"),
        (b"\xff\xf1\x50", "audio/aac", ".aac", "audio"),
        (b"\xff\xf9\x50", "audio/aac", ".aac", "audio"),
    ],
)
def test_known_types(head: bytes, mime: str, extension: str, kind: str) -> None:
    found = sniff(head)
    assert found is not None
    assert (found.mime, found.extension, found.kind) == (mime, extension, kind)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0",
        b"<!doctype html>",
        b'{"error":1}',
        b"\x89PNG",
        b"ftypisom",
        b"MZ",
    ],
)
def test_other_types(head: bytes) -> None:
    assert sniff(head) is None


@given(st.binary(max_size=HEAD_BYTES))
def test_any_bytes_are_looked_at_without_an_error(head: bytes) -> None:
    assert sniff(head) is None or sniff(head + b"more") == sniff(head)
