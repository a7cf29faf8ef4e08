"""A contact sheet: the first frame of each film, each picture, on one page, as a JPEG. Needs Pillow and PyAV.

What cannot be drawn (a sound, a film that no decoder knows) has a plain box with its name. The page has no metadata.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageOps

from batcher.filetypes import HEAD_BYTES, sniff
from batcher.fonts import font_for, load_font
from batcher.fs import open_regular

#: Pixels of the page: a sheet of A4 at 290 dpi; it is higher where there are more pictures than that bears.
_WIDTH, _HEIGHT = 2400, 3400
_MARGIN, _GAP, _LABEL = 60, 18, 34
_ROOM = _WIDTH - 2 * _MARGIN
_LOWEST, _HIGHEST = 150, 480
#: More pictures make a page that nobody can look at, and then none that JPEG can hold.
MOST = 2_000
_GROUND, _INK, _DIM, _BOX = (255, 255, 255), (22, 25, 29), (89, 98, 110), (236, 239, 243)
_NARROW, _WIDE = 0.5, 2.4
#: What the libraries raise for files that they cannot read.
_UNREADABLE = (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError, av.FFmpegError)


def contact_sheet(title: str, pictures: Sequence[tuple[str, Path]]) -> bytes:
    """A page with a picture and a label for each of these files, in their order, as a JPEG."""
    shown = pictures[:MOST]
    # no frame is kept larger than it can come to stand on the page: of a thousand that is a gigabyte
    highest = round(_height(len(shown), _NARROW))
    rows = list(_rows([(label, _frame(path, highest)) for label, path in shown]))
    page = Image.new("RGB", (_WIDTH, 3 * _MARGIN + sum(height + _LABEL + _GAP for height, _ in rows)), _GROUND)
    draw = ImageDraw.Draw(page)
    more = f"  ({len(shown):,} of {len(pictures):,})" if len(shown) < len(pictures) else ""
    _write(draw, title + more, (_MARGIN, _MARGIN), 40, _ROOM, _INK)
    y = 2 * _MARGIN + _GAP
    for height, row in rows:
        x = float(_MARGIN)
        for label, frame in row:
            left, right = round(x), round(x + height * _ratio(frame))
            if frame is None:
                draw.rectangle((left, y, right, y + height), fill=_BOX)
            else:
                page.paste(ImageOps.pad(frame, (right - left, height), color=_BOX), (left, y))
            _write(draw, label, (left, y + height + 4), 20, right - left, _DIM)
            x += height * _ratio(frame) + _GAP
        y += height + _LABEL + _GAP
    made = io.BytesIO()
    page.save(made, "JPEG", quality=85, optimize=True)
    return made.getvalue()


_Framed = tuple[str, Image.Image | None]


def _rows(frames: Sequence[_Framed]) -> Iterator[tuple[int, list[_Framed]]]:
    """Rows of one width, each with its height, such that all of them fill about a page."""
    wished = _height(len(frames), sum(_ratio(frame) for _, frame in frames) / len(frames))
    row: list[_Framed] = []
    for framed in frames:
        row.append(framed)
        fitting = (_ROOM - _GAP * (len(row) - 1)) / sum(_ratio(frame) for _, frame in row)
        if fitting <= wished:
            yield round(fitting), row
            row = []
    if row:
        yield round(wished), row


def _height(pictures: int, ratio: float) -> float:
    """How high so many pictures of this mean ratio are at most, such that all of them fill about a page."""
    area = _ROOM * (_HEIGHT - 3 * _MARGIN) / pictures
    # of a cell with its label and gaps, solved for the height of its picture
    return min(_HIGHEST, max(_LOWEST, math.sqrt(area / ratio) - (_LABEL + _GAP) / 2))


def _ratio(frame: Image.Image | None) -> float:
    return 1.0 if frame is None else min(_WIDE, max(_NARROW, frame.width / frame.height))


def _frame(path: Path, highest: int) -> Image.Image | None:
    """The first picture of a file, at most so many pixels high; None where there is none to be had."""
    with suppress(*_UNREADABLE), os.fdopen(open_regular(path), "rb") as file:
        kind = sniff(file.read(HEAD_BYTES))
        file.seek(0)
        picture = _picture(file) if kind is not None and kind.kind == "image" else next(_films(file), None)
        return None if picture is None else _small(picture, highest)
    return None


def _picture(file: io.BufferedReader) -> Image.Image:
    with Image.open(file) as opened:
        opened.draft("RGB", (_HIGHEST * 2, _HIGHEST * 2))
        return ImageOps.exif_transpose(opened)


def _films(file: io.BufferedReader) -> Iterator[Image.Image]:
    to_image: Callable[[av.VideoFrame], Image.Image] = av.VideoFrame.to_image
    with av.open(file, "r") as container:
        for frame in container.decode(video=0) if container.streams.video else ():
            picture = to_image(frame)
            yield picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


def _small(picture: Image.Image, highest: int) -> Image.Image:
    picture.thumbnail((round(highest * _WIDE), highest))
    # what can be seen through is seen through to white
    ground = Image.new("RGBA", picture.size, (*_GROUND, 255))
    ground.alpha_composite(picture.convert("RGBA"))
    return ground.convert("RGB")


def _write(
    draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int], size: int, room: int, fill: tuple[int, int, int]
) -> None:
    """A text in one line, cut where it is too long."""
    font = load_font(size, font_for(text))
    while len(text) > 1 and font.getlength(text) > room:
        text = text.rstrip("…")[:-1] + "…"
    draw.text(at, text, font=font, fill=fill)
