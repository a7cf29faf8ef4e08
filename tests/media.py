"""Films and pictures that play, of any length and size."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import av
from PIL import Image


def film(frames: int, width: int, height: int, *, rate: int = 8, container: str = "mp4", **options: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:  # an index in front is put there in a second go over the file
        path = Path(folder, "film")
        _write(path, frames, width, height, rate, container, options)
        return path.read_bytes()


def _write(
    path: Path, frames: int, width: int, height: int, rate: int, container: str, options: dict[str, str]
) -> None:
    with av.open(path, "w", format=container, options=options) as target:
        stream: Any = target.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame: Any = av.VideoFrame
        picture = frame.from_image(Image.new("RGB", (width, height), "orange"))
        for number in range(frames):
            picture.pts = number
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))


def picture(form: str, width: int, height: int, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "orange").save(out, form, **options)
    return out.getvalue()
