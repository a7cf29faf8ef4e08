"""Results are files that people can look at: decoded and looked into here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import av
import pytest
from integration.simulator.helpers import Lab, png
from PIL import Image, ImageChops

from batcher.simulator.film import FPS, frame, render, size_of
from batcher.simulator.media import Studio
from batcher.simulator.records import Scene

PARAMS: dict[str, Any] = {"mode": "normal", "duration": 1, "resolution": "480p", "aspect_ratio": "2:3"}


def scene(
    prompt: str = "a watch on a table", *, result: str = "video", reference: bytes | None = None, **params: Any
) -> Scene:
    return Scene("task_1", 7, "grok-imagine-video", result, prompt, PARAMS | params, "spring/take-2", reference)


def differ(one: Image.Image, two: Image.Image) -> bool:
    return ImageChops.difference(one.convert("RGB"), two.convert("RGB")).getbbox() is not None


@pytest.mark.parametrize(
    ("ratio", "size"),
    [("2:3", (480, 720)), ("16:9", (854, 480)), ("9:16", (480, 854)), ("1:1", (480, 480)), ("auto", (480, 480))],
)
def test_a_video_plays_and_has_the_jobs_length_and_shape(tmp_path: Path, ratio: str, size: tuple[int, int]) -> None:
    path = tmp_path / "a.mp4"
    render(scene(aspect_ratio=ratio, duration=2), path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == size
        to_image: Callable[[av.VideoFrame], Image.Image] = av.VideoFrame.to_image
        frames = [to_image(picture) for picture in container.decode(video=0)]
        assert container.duration == 2 * av.time_base
    assert len(frames) == 2 * FPS
    assert differ(frames[0], frames[-1])
    shades = frames[5].convert("L").histogram()
    assert sum(shades[:60]) > 0
    assert sum(shades[200:]) > 0
    # The index comes before the data, so that a player can begin before it has all (faststart).
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_the_same_scene_is_the_same_film_and_another_is_another(tmp_path: Path) -> None:
    for name, what in (("a", scene()), ("b", scene()), ("c", scene("a ring"))):
        render(what, tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_what_a_picture_shows() -> None:
    plain = frame(scene(), 0)
    assert differ(plain, frame(scene("a ring"), 0))
    assert differ(plain, frame(scene(reference=png()), 0))
    assert differ(plain, frame(scene(mode="fun"), 0))
    for broken in (b"", b"\x89PNG\r\n\x1a\n", png()[:60], b"<svg/>"):
        assert not differ(plain, frame(scene(reference=broken), 0))


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "x" * 5000,
        "word " * 1000,
        "日本語のプロンプト",
        "مرحبا بالعالم",
        "🎬🎞️",
        "a\nb\tc\x00\x1b[31m",
        "\ud800 \u202e rtl",
        "naïve — “café”",
    ],
)
@pytest.mark.parametrize("ratio", ["16:9", "9:16"])
def test_any_prompt_can_be_drawn(prompt: str, ratio: str) -> None:
    long = {f"param_{n}": "value" for n in range(4)}
    assert frame(scene(prompt, aspect_ratio=ratio, reference=png(), **long), 0.5).size == size_of(
        scene(aspect_ratio=ratio)
    )


@pytest.mark.skipif(not list(Path("/usr/share/fonts").rglob("DejaVuSans.ttf")), reason="needs the font DejaVu Sans")
def test_other_scripts_are_drawn_where_this_machine_has_a_font_for_them() -> None:
    """Without one, two words of as many letters are the same boxes."""
    assert differ(frame(scene("пляж"), 0), frame(scene("лодка"), 0))
    assert differ(letters("пляж"), letters("море"))
    assert not differ(letters("\U0001df00"), letters("\U0001df01")), "nobody has these"


def letters(prompt: str) -> Image.Image:
    """The prompt's place on the card; the colours hang on the prompt too."""
    return frame(scene(prompt), 0).crop((50, 94, 430, 140)).convert("L").point(lambda level: 255 * (level > 250))


def test_the_studio_draws_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []

    def count(what: Scene, path: Path) -> None:
        drawn.append(path)
        render(what, path)

    monkeypatch.setattr("batcher.simulator.film.render", count)
    studio = Studio(tmp_path / "drawn")
    still = scene(result="image")

    async def main() -> list[bytes]:
        made: list[bytes] = []

        async def fetch() -> None:
            made.append(await studio(still))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(fetch)
        return made

    made = anyio.run(main)
    assert len(drawn) == 1
    assert len(set(made)) == 1
    assert made[0].startswith(b"\x89PNG")
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["task_1.png"]


def test_results_show_the_job_with_its_reference(tmp_path: Path) -> None:
    shown: list[Scene] = []

    async def look(what: Scene) -> bytes:
        shown.append(what)
        return b"x"

    lab = Lab(media=look)
    items = [{"url": lab.upload(png()).json()["url"], "kind": "image"}]
    outside = [{"url": "https://example.com/a.png", "kind": "image"}]
    for key, params in (("a", {"duration": 8, "referenceMediaItems": items}), ("b", {"referenceMediaItems": outside})):
        task = lab.finished(key, params=params, client_request_id=f"job-{key}/take-2")
        lab.get(task["result"]["primary_url"])
    first, second = shown
    assert first == Scene(
        task_id=first.task_id,
        number=1,
        model="grok-imagine-video",
        result="video",
        prompt="a watch",
        params={"mode": "normal", "duration": 8, "resolution": "480p", "aspect_ratio": "2:3"},
        client_request_id="job-a/take-2",
        reference=png(),
    )
    assert (second.number, second.params["duration"], second.reference) == (2, 6, None)
