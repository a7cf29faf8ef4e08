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
        (b"\0\0\0\x1cftypmif1", "image/heic", ".heic", "image"),
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
        b"RIFF\x10\0\0\0AVI ",
        b"\x89PNG",
        b"ftypisom",
        b"MZ",
        b"%PDF-1.7",
    ],
)
def test_other_types(head: bytes) -> None:
    assert sniff(head) is None


@given(st.binary(max_size=HEAD_BYTES))
def test_any_bytes_are_looked_at_without_an_error(head: bytes) -> None:
    assert sniff(head) is None or sniff(head + b"more") == sniff(head)
