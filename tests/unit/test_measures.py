"""What files measure: written by PyAV and Pillow, read from their headers; and what cannot be read measures nothing."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from media import film, picture
from PIL import Image

from batcher.filetypes import FileType, sniff
from batcher.measures import Difference, Measures, Requested, inspect, measure


def on_its_side() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture("JPEG", 48, 32, exif=exif)


def rotated(content: bytes) -> bytes:
    """The film shown with a quarter's turn, as a phone writes it."""
    place = content.index(b"tkhd") + 4 + 40
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    return content[:place] + quarter + content[place + 36 :]


FILES: dict[str, tuple[Callable[[], bytes], Measures]] = {
    "a film": (lambda: film(48, 64, 36), Measures(6.0, 64, 36)),
    "its index in front": (lambda: film(12, 36, 64, movflags="faststart"), Measures(1.5, 36, 64)),
    "a film of QuickTime": (lambda: film(16, 64, 64, container="mov"), Measures(2.0, 64, 64)),
    "turned by a quarter": (lambda: rotated(film(8, 64, 36)), Measures(1.0, 36, 64)),
    "in fragments, of no stated length": (
        lambda: film(8, 64, 36, movflags="frag_keyframe+empty_moov"),
        Measures(None, 64, 36),
    ),
    "a picture": (lambda: picture("PNG", 31, 17), Measures(None, 31, 17)),
    "a GIF": (lambda: picture("GIF", 31, 17), Measures(None, 31, 17)),
    "a WebP with losses": (lambda: picture("WEBP", 31, 17), Measures(None, 31, 17)),
    "a WebP without": (lambda: picture("WEBP", 31, 17, lossless=True), Measures(None, 31, 17)),
    "a JPEG": (lambda: picture("JPEG", 31, 17), Measures(None, 31, 17)),
    "a JPEG, progressive": (lambda: picture("JPEG", 31, 17, progressive=True), Measures(None, 31, 17)),
    "a JPEG on its side": (lambda: on_its_side(), Measures(None, 32, 48)),
    "a film of another kind": (lambda: film(8, 64, 36, container="matroska"), Measures()),
    "a text": (lambda: b"hello", Measures()),
}


@cache
def file_of(name: str) -> bytes:
    return FILES[name][0]()


@pytest.mark.parametrize("name", FILES)
def test_what_a_file_measures(name: str) -> None:
    content, wanted = file_of(name), FILES[name][1]
    assert measure(io.BytesIO(content), sniff(content)) == wanted


def test_a_box_that_ends_where_no_disk_goes(tmp_path: Path) -> None:
    path = tmp_path / "far.mp4"
    path.write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0" + struct.pack(">I4sQ", 1, b"free", 1 << 62) + b"x" * 50)
    with path.open("rb") as file:
        assert measure(file, sniff(file.read(32))) == Measures()


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_measures_nothing_that_it_does_not_say(name: str) -> None:
    """Cut anywhere, or with a byte changed, it is read without an error, and never for long."""
    content = file_of(name)
    kind = sniff(content)
    for place in range(0, len(content), max(1, len(content) // 60)):
        for damaged in (content[:place], content[:place] + b"\xff" + content[place + 1 :]):
            assert isinstance(measure(io.BytesIO(damaged), kind), Measures)


MP4, PNG = FileType("video/mp4", ".mp4"), FileType("image/png", ".png")


@pytest.mark.parametrize(
    ("wanted", "kind", "found", "told"),
    [
        (Requested("video", 6, "16:9"), MP4, Measures(6.0, 1280, 720), []),
        (Requested("video", 6), MP4, Measures(6.5), []),
        (Requested("video", 6), MP4, Measures(5.4), [Difference("duration", "6 s", "5.4 s")]),
        (Requested("video", 30), MP4, Measures(31.5), []),
        (Requested("video", 30), MP4, Measures(31.6), [Difference("duration", "30 s", "31.6 s")]),
        (Requested("video", ratio="9:16"), MP4, Measures(None, 464, 848), []),
        (Requested("video", ratio="9:16"), MP4, Measures(None, 848, 464), [Difference("ratio", "9:16", "848×464")]),
        (Requested("video", 6, "1:1"), MP4, Measures(), []),
        (Requested("video", 6, "auto"), MP4, Measures(6.0, 10, 30), []),
        (Requested("video", 6), PNG, Measures(None, 5, 5), [Difference("type", "video", "image/png")]),
        (Requested("video", 6), None, Measures(), []),
    ],
)
def test_what_differs(wanted: Requested, kind: FileType | None, found: Measures, told: list[Difference]) -> None:
    assert inspect(wanted, kind, found) == (found, tuple(told))
