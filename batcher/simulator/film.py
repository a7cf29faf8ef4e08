"""What a simulated result looks and sounds like: the job as text on a card over slowly moving colour. Pillow and PyAV.

Sizes are in pixels, durations in seconds. The same scene gives the same file.
"""

from __future__ import annotations

import colorsys
import hashlib
import io
import math
import re
import unicodedata
from array import array
from collections.abc import Callable
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from batcher.fonts import font_for, load_font

from .records import Scene, format_of

FPS = 12
#: Samples of sound a second.
RATE = 44_100
SHORT_SIDE = 480
#: Where a model has no such setting.
DEFAULT_SECONDS = 5.0

_MARGIN, _PAD = 26, 24
_WHITE, _SOFT, _FAINT = (255, 255, 255, 255), (255, 255, 255, 176), (255, 255, 255, 120)
#: One thread, so that the bytes do not depend on the machine's cores.
_ENCODER = {"preset": "ultrafast", "crf": "24", "threads": "1"}
#: Characters of a prompt that are more than any card holds.
_ENOUGH = 2500
#: Width of the little picture that is blown up to the backdrop; its blur is the point.
_GRAIN = 96

_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-")

Color = tuple[int, int, int]
Box = tuple[int, int, int, int]


def seconds_of(scene: Scene) -> float:
    """How long the scene's video or sound is."""
    return float(_first(scene, "duration", "duration_seconds", "n_frames") or DEFAULT_SECONDS)


def size_of(scene: Scene) -> tuple[int, int]:
    """Width and height, both even as H.264 wants it, in the shape that the job asks for."""
    said = _first(scene, "aspect_ratio", "aspectRatio", "image_size", "imageSize", "size")
    said = {"landscape": "16:9", "portrait": "9:16"}.get(said, said)
    ratio = re.search(r"(\d+)[:_](\d+)", said)
    across, down = (int(ratio[1]), int(ratio[2])) if ratio else (1, 1)
    if said.startswith("portrait"):  # as in portrait_16_9
        across, down = down, across
    scale = SHORT_SIDE / min(across, down)
    return 2 * round(across * scale / 2), 2 * round(down * scale / 2)


def _first(scene: Scene, *names: str) -> str:
    return next((str(scene.params[name]) for name in names if scene.params.get(name)), "")


def render(scene: Scene, path: Path) -> None:
    """Write the scene's file: MP4 for a video, MP3 for sound, PNG or JPEG for a picture."""
    if scene.result == "video":
        _write_video(scene, path)
    elif scene.result == "audio":
        _write_audio(scene, path)
    else:
        kind = format_of(scene.result, scene.params)[1].partition("/")[2]
        frame(scene, 0.35).save(path, kind.upper())


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


def _write_audio(scene: Scene, path: Path) -> None:
    """A chord that follows from the whole job, each second anew: whole numbers of waves, so that no second clicks."""
    notes = [110 + 2 * (channel % 220) for channel in _palette(scene)[0]]
    wave = [sum(math.sin(2 * math.pi * note * n / RATE) for note in notes) / len(notes) for n in range(RATE)]
    second = array("h", (round(9000 * level * (1 - n / RATE)) for n, level in enumerate(wave)))
    with av.open(str(path), "w", format="mp3") as container:
        stream = container.add_stream("mp3", rate=RATE)
        left = round(seconds_of(scene) * RATE)
        while left > 0:
            sound = av.AudioFrame("s16", "mono", min(left, RATE))
            sound.sample_rate = RATE
            sound.planes[0].update(second[: sound.samples].tobytes().ljust(sound.planes[0].buffer_size, b"\0"))
            container.mux(stream.encode(sound))
            left -= sound.samples
        container.mux(stream.encode(None))


def _painter(scene: Scene, seconds: float | None = None) -> Callable[[float], Image.Image]:
    """A function from a moment (0 to 1) to a picture; what does not move is drawn once. `seconds` shows a clock."""
    width, height = size_of(scene)
    colors = _palette(scene)
    card = _card(scene, width, height, colors[0])
    mask = card.getchannel("A")
    flat = card.convert("RGB")
    small = load_font(15)

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
    hue, turn = seed[0] / 256, 0.10 + seed[1] / 256 * 0.25
    shades = ((turn, 0.76, 0.85), (0.0, 0.20, 0.70), (0.0, 0.52, 0.80), (turn, 0.58, 0.85), (-turn / 2, 0.40, 0.75))

    def color(offset: float, lightness: float, saturation: float) -> Color:
        red, green, blue = colorsys.hls_to_rgb((hue + offset) % 1, lightness, saturation)
        return round(red * 255), round(green * 255), round(blue * 255)

    return [color(*shade) for shade in shades]


def _backdrop(colors: list[Color], width: int, height: int, moment: float) -> Image.Image:
    """Three lights on closed paths, so that the video loops without a jump."""
    across, down = _GRAIN, round(_GRAIN * height / width)
    turn = 2 * math.pi * moment
    lights = (
        (0.5 + 0.45 * math.cos(turn), 0.35 + 0.30 * math.sin(turn), colors[2]),
        (0.5 + 0.50 * math.sin(turn + 1.0), 0.75 + 0.25 * math.cos(turn), colors[3]),
        (0.5 - 0.45 * math.cos(turn + 0.6), 0.5 - 0.45 * math.sin(turn), colors[4]),
    )
    picture = Image.new("RGB", (across, down), colors[1])
    reach = 2 * min(across, down)
    # Pillow's gradient ends in the corners; a light ends at the edges, where nobody sees its end.
    glow = ImageOps.invert(Image.radial_gradient("L")).resize((reach, reach)).point(lambda v: max(0, v - 84) * 3 // 2)
    for x, y, color in lights:
        picture.paste(color, (round(across * x - reach / 2), round(down * y - reach / 2)), glow)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


# -- text


def _card(scene: Scene, width: int, height: int, accent: Color) -> Image.Image:
    """Everything that stands still, on a transparent ground; the prompt gets the room that is left."""
    card = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(card)
    edge = (_MARGIN, _MARGIN, width - _MARGIN, height - _MARGIN)
    draw.rounded_rectangle(edge, 22, fill=(10, 12, 20, 128), outline=(255, 255, 255, 60), width=1)
    left, top, right, bottom = edge[0] + _PAD, edge[1] + _PAD, edge[2] - _PAD, edge[3] - _PAD

    draw.text((left, top), scene.model, font=load_font(19), fill=(*accent, 255))
    draw.text((right, top), f"#{scene.number}", font=load_font(19), fill=_FAINT, anchor="ra")
    draw.rounded_rectangle((left, bottom, right, bottom + 3), 1, fill=(255, 255, 255, 50))
    draw.text((left, bottom - 12), "simulated", font=load_font(15), fill=_FAINT, anchor="ls")
    bottom -= 40
    settings = "  ·  ".join(f"{name.replace('_', ' ')} {value}" for name, value in scene.params.items())
    for text, fill in ((scene.client_request_id, _SOFT), (settings, _WHITE)):
        bottom -= _write(draw, text, (left, bottom - 60, right, bottom), (15,), fill, from_below=True) + 10

    thumbnail = _thumbnail(scene.reference)
    if thumbnail is not None:
        bottom -= thumbnail.height
        card.paste(thumbnail, (left, bottom))
        place = (left + thumbnail.width + 14, bottom + thumbnail.height // 2)
        draw.text(place, "reference", font=load_font(15), fill=_SOFT, anchor="lm")
        bottom -= 14
    _write(draw, scene.prompt, (left, top + 42, right, bottom), (38, 33, 29, 25, 22, 19, 16, 14), _WHITE)
    return card


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    box: Box,
    sizes: tuple[int, ...],
    fill: tuple[int, ...],
    *,
    from_below: bool = False,
) -> int:
    """Write a text in the largest size in which all of it fits, in the smallest cut; how much height it took."""
    left, top, right, bottom = box
    path = font_for(text)
    text = _plain(text[:_ENOUGH], path)
    for size in sizes:
        font, step = load_font(size, path), round(size * 1.32)
        room = max(1, (bottom - top) // step)
        lines = _lines(text, font, right - left)
        if len(lines) <= room and all(font.getlength(line) <= right - left for line in lines):
            break
    else:
        lines = [*lines[: room - 1], lines[room - 1][:-1] + "…"]
    height = step * len(lines)
    for n, line in enumerate(lines):
        draw.text((left, (bottom - height if from_below else top) + n * step), line, font=font, fill=fill)
    return height


def _lines(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Lines no wider than `width`, broken at white space or, where a word is long, within it."""
    lines = [""]
    for word in re.findall(r"\S{1,16}\s?", text):
        if lines[-1] and font.getlength(lines[-1] + word) > width:
            lines.append("")
        lines[-1] += word
    return lines if lines[-1] else []


def _plain(text: str, font: Path | None) -> str:
    """The text in characters that Pillow's own font is more likely to have, where that is the one: no accents, no
    dashes but the hyphen.
    """
    apart = unicodedata.normalize("NFC" if font else "NFKD", text)
    kept = (c if c.isprintable() else " " for c in apart if font or not unicodedata.combining(c))
    return " ".join("".join(kept).translate(_DASHES).split())


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
