"""What a simulated result looks like: the job as text on a dark card over slowly moving colour. Pillow and PyAV.

Sizes are in pixels, durations in seconds. The same scene gives the same picture.
"""

from __future__ import annotations

import bisect
import colorsys
import hashlib
import io
import math
import unicodedata
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from .records import Scene

FPS = 12
SHORT_SIDE = 480
#: Where a model has no such setting.
DEFAULT_SECONDS = 5.0

_MARGIN = 26
_PAD = 24
_WHITE = (255, 255, 255, 255)
_SOFT = (255, 255, 255, 176)
_FAINT = (255, 255, 255, 120)
#: One thread, so that the bytes do not depend on the machine's cores.
_ENCODER = {"preset": "ultrafast", "crf": "24", "threads": "1"}
#: Characters of a prompt that are more than any card holds.
_ENOUGH = 2500
#: Width of the little picture that is blown up to the backdrop; its blur is the point.
_GRAIN = 12

_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-")

Color = tuple[int, int, int]


def seconds_of(scene: Scene) -> float:
    """How long the scene's video is."""
    return float(scene.params.get("duration") or DEFAULT_SECONDS)


def size_of(scene: Scene) -> tuple[int, int]:
    """Width and height, both even as H.264 wants it, in the shape that the job asks for."""
    ratio = str(scene.params.get("aspect_ratio") or "1:1")
    try:
        across, down = (float(part) for part in ratio.split(":"))
    except ValueError:
        across = down = 1.0
    scale = SHORT_SIDE / min(across, down)
    return 2 * round(across * scale / 2), 2 * round(down * scale / 2)


def render(scene: Scene, path: Path) -> None:
    """Write the scene's file: MP4 for a video, PNG for a picture."""
    if scene.result == "video":
        _write_video(scene, path)
    else:
        frame(scene, 0.35).save(path, "PNG")


def frame(scene: Scene, moment: float) -> Image.Image:
    """One picture of the scene; `moment` goes from 0 to 1."""
    return _painter(scene)(moment)


def _write_video(scene: Scene, path: Path) -> None:
    paint = _painter(scene, seconds_of(scene))
    to_frame: Callable[[Image.Image], av.VideoFrame] = av.VideoFrame.from_image
    count = max(1, round(seconds_of(scene) * FPS))
    # Written to a path and not to memory: moving the index to the front (faststart) reads the file again.
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options=_ENCODER)
        stream.width, stream.height = size_of(scene)
        stream.pix_fmt = "yuv420p"
        for n in range(count):
            picture = to_frame(paint(n / count))
            picture.pts = n
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _painter(scene: Scene, seconds: float | None = None) -> Callable[[float], Image.Image]:
    """A function from a moment (0 to 1) to a picture; what does not move is drawn once. `seconds` shows a clock."""
    width, height = size_of(scene)
    colors = _palette(scene)
    card = _card(scene, width, height, colors[0])
    mask = card.getchannel("A")
    flat = card.convert("RGB")
    small = _font(15)

    def paint(moment: float) -> Image.Image:
        picture = _backdrop(colors, width, height, moment)
        picture.paste(flat, (0, 0), mask)
        if seconds is not None:
            draw = ImageDraw.Draw(picture)
            left, right, y = _MARGIN + _PAD, width - _MARGIN - _PAD, height - _MARGIN - _PAD
            draw.rounded_rectangle((left, y, left + (right - left) * moment, y + 3), 1, fill=colors[0])
            clock = f"{moment * seconds:.1f} / {seconds:g} s"
            draw.text((right, y - 12), clock, font=small, fill=(235, 235, 240), anchor="rs")
        return picture

    return paint


# -- colour


def _palette(scene: Scene) -> list[Color]:
    """An accent and four colours that move; they follow from the whole job, so that no two look the same."""
    job = f"{scene.prompt}\n{sorted(scene.params.items())}\n{scene.client_request_id}"
    seed = hashlib.sha256(job.encode(errors="replace")).digest()
    hue = seed[0] / 256
    turn = 0.10 + seed[1] / 256 * 0.25

    def color(offset: float, lightness: float, saturation: float) -> Color:
        red, green, blue = colorsys.hls_to_rgb((hue + offset) % 1, lightness, saturation)
        return round(red * 255), round(green * 255), round(blue * 255)

    return [
        color(turn, 0.76, 0.85),
        color(0.0, 0.20, 0.70),
        color(0.0, 0.52, 0.80),
        color(turn, 0.58, 0.85),
        color(-turn / 2, 0.40, 0.75),
    ]


def _backdrop(colors: list[Color], width: int, height: int, moment: float) -> Image.Image:
    across = _GRAIN if width <= height else round(_GRAIN * width / height)
    down = round(across * height / width)
    turn = 2 * math.pi * moment
    # Three lights on closed paths, so that the video loops without a jump.
    lights = [
        (across * (0.5 + 0.45 * math.cos(turn)), down * (0.35 + 0.30 * math.sin(turn)), colors[2]),
        (across * (0.5 + 0.50 * math.sin(turn + 1.0)), down * (0.75 + 0.25 * math.cos(turn)), colors[3]),
        (across * (0.5 - 0.45 * math.cos(turn + 0.6)), down * (0.5 - 0.45 * math.sin(turn)), colors[4]),
    ]
    reach = (min(across, down) * 0.55) ** 2
    base = colors[1]
    pixels = bytearray()
    for y in range(down):
        for x in range(across):
            red, green, blue = base
            for light_x, light_y, (r, g, b) in lights:
                weight = 1 / (1 + ((x - light_x) ** 2 + (y - light_y) ** 2) / reach) ** 2
                red += round((r - red) * weight)
                green += round((g - green) * weight)
                blue += round((b - blue) * weight)
            pixels += bytes((red, green, blue))
    return Image.frombytes("RGB", (across, down), bytes(pixels)).resize((width, height), Image.Resampling.BICUBIC)


# -- text


def _card(scene: Scene, width: int, height: int, accent: Color) -> Image.Image:
    """Everything that stands still, on a transparent ground."""
    card = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(card)
    box = (_MARGIN, _MARGIN, width - _MARGIN, height - _MARGIN)
    draw.rounded_rectangle(box, 22, fill=(10, 12, 20, 128), outline=(255, 255, 255, 60), width=1)
    left, top, right, bottom = (box[0] + _PAD, box[1] + _PAD, box[2] - _PAD, box[3] - _PAD)

    draw.text((left, top), scene.model, font=_font(19), fill=(*accent, 255))
    draw.text((right, top), f"#{scene.number}", font=_font(19), fill=_FAINT, anchor="ra")
    top += 42

    draw.rounded_rectangle((left, bottom, right, bottom + 3), 1, fill=(255, 255, 255, 50))
    draw.text((left, bottom - 12), "simulated", font=_font(15), fill=_FAINT, anchor="ls")
    bottom -= 40
    for line in reversed(list(islice(_wrap(scene.client_request_id, _font(14), right - left), 3))):
        draw.text((left, bottom), line, font=_font(14), fill=_SOFT, anchor="ls")
        bottom -= 19
    bottom = _chips(draw, scene, left, right, bottom - 4) - 14

    thumbnail = _thumbnail(scene.reference)
    if thumbnail is not None:
        bottom -= thumbnail.height
        shape = Image.new("L", thumbnail.size, 0)
        ImageDraw.Draw(shape).rounded_rectangle((0, 0, thumbnail.width - 1, thumbnail.height - 1), 10, fill=255)
        card.paste(thumbnail, (left, bottom), shape)
        place = (left + thumbnail.width + 14, bottom + thumbnail.height // 2)
        draw.text(place, "reference", font=_font(15), fill=_SOFT, anchor="lm")
        bottom -= 14
    _prompt(draw, scene.prompt, (left, top, right, bottom))
    return card


def _prompt(draw: ImageDraw.ImageDraw, text: str, box: tuple[int, int, int, int]) -> None:
    """The text in the largest size in which all of it fits; in the smallest it is cut."""
    left, top, right, bottom = box
    for size in (38, 33, 29, 25, 22, 19, 16, 14):
        font, step = _font(size), round(size * 1.32)
        room = max(1, (bottom - top) // step)
        lines = list(islice(_wrap(text[:_ENOUGH], font, right - left), room + 1))
        if len(lines) <= room:
            break
    else:
        lines = [*lines[: room - 1], lines[room - 1][:-1] + "…"]
    for n, line in enumerate(lines):
        draw.text((left, top + n * step), line, font=font, fill=_WHITE)


def _chips(draw: ImageDraw.ImageDraw, scene: Scene, left: int, right: int, bottom: int) -> int:
    """The params in pills, from the bottom up; where they begin."""
    font = _font(15)
    rows: list[list[tuple[str, int]]] = [[]]
    room = right - left
    for name, value in scene.params.items():
        text = f"{name.replace('_', ' ')}  {value}"
        wide = round(font.getlength(text)) + 24
        if rows[-1] and wide > room:
            rows.append([])
            room = right - left
        rows[-1].append((text, wide))
        room -= wide + 8
    top = bottom - 34 * len(rows)
    for n, row in enumerate(rows):
        x, y = left, top + 34 * n
        for text, wide in row:
            draw.rounded_rectangle((x, y, x + wide, y + 27), 13, fill=(255, 255, 255, 38))
            draw.text((x + wide // 2, y + 14), text, font=font, fill=_WHITE, anchor="mm")
            x += wide + 8
    return top


def _thumbnail(data: bytes | None) -> Image.Image | None:
    """The reference, small; None when there is none or it cannot be drawn."""
    if data is None:
        return None
    try:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    picture.thumbnail((110, 82))
    return picture


def _font(size: int) -> ImageFont.FreeTypeFont:
    # The font that Pillow brings, so that nothing needs to be installed. It knows Latin; other scripts become boxes.
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _plain(text: str) -> str:
    """The text in characters that the font is more likely to have: no accents, no dashes but the hyphen."""
    apart = unicodedata.normalize("NFKD", text)
    kept = (c if c.isprintable() else " " for c in apart if not unicodedata.combining(c))
    return "".join(kept).translate(_DASHES)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> Iterator[str]:
    """Lines no wider than `width`, broken at white space or, where a word is too long, anywhere."""
    line = ""
    for word in _plain(text).split():
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        while font.getlength(word) > width:
            whole = word
            fits = max(1, bisect.bisect_right(range(1, len(word)), width, key=lambda n: font.getlength(whole[:n])))
            yield word[:fits]
            word = word[fits:]
        line = word
    if line:
        yield line
