"""Pictures, films and sounds as references: known by their first bytes, sent as what they are, with their length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.lifecycle.helpers import FAST
from support import PIXEL, Bench

from batcher import own_models
from batcher.errors import Kind, ManifestError

MODEL = """id = "any-kind"
result = "video"
base_credits = 5
[prompt]
max = 100
[references]
max_files = 3
[references.image]
max_bytes = 1000
mime_types = ["image/png", "image/webp"]
[references.video]
max_files = 1
max_bytes = 1000
mime_types = ["video/mp4", "video/webm"]
[references.audio]
max_bytes = 1000
mime_types = ["audio/mpeg", "audio/wav", "audio/mp4"]
"""
FILES = {
    "picture.mp3": (PIXEL, "image", "image/png"),
    "film.png": (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", "video", "video/mp4"),
    "film.txt": (b"\x1a\x45\xdf\xa3" + b"webm", "video", "video/webm"),
    "sound.mp4": (b"ID3\x04" + bytes(20), "audio", "audio/mpeg"),
    "sound": (b"RIFF\x0c\0\0\0WAVEfmt \0\0\0\0", "audio", "audio/wav"),
    "voice.mov": (b"\0\0\0\x18ftypM4A \0\0\0\0M4A isom", "audio", "audio/mp4"),
}


@pytest.fixture(autouse=True)
def any_kind(tmp_path: Path) -> Iterator[None]:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "any-kind.toml").write_text(MODEL)
    own_models.use([folder])
    yield
    own_models.use([])


def manifest(bench: Bench, references: list[str] | list[list[str]]) -> Path:
    for name, (data, _, _) in FILES.items():
        (bench.folder / name).write_bytes(data)
    (bench.folder / "flac.mp3").write_bytes(b"fLaC" + bytes(20))
    return bench.write(f"campaign: kinds\nmodel: any-kind\nprompts: [x]\nreferences: {references}\n{FAST}")


def test_what_a_file_is_its_bytes_say(bench: Bench) -> None:
    assert bench.run(manifest(bench, list(FILES))).kind is Kind.DONE
    bench.check()
    sent = {}
    for task in bench.world.oracle().tasks.values():
        [item] = task.request["params"]["referenceMediaItems"]
        sent[item["name"]] = (item["kind"], item["mimeType"])
        assert ("durationToken" in item) is (item["kind"] != "image")
    kinds = {kind for _, kind, _ in FILES.values()}
    assert kinds == {"image", "video", "audio"}
    assert sorted(sent.values()) == sorted((kind, mime) for _, kind, mime in FILES.values())


def test_several_kinds_of_one_job_go_along_in_their_order(bench: Bench) -> None:
    assert bench.run(manifest(bench, [["sound", "picture.mp3", "film.png"]])).kind is Kind.DONE
    [task] = bench.world.oracle().tasks.values()
    assert [item["kind"] for item in task.request["params"]["referenceMediaItems"]] == ["audio", "image", "video"]


@pytest.mark.parametrize(
    ("references", "message"),
    [
        (["flac.mp3"], "'flac.mp3' is audio/flac by its bytes; any-kind takes PNG, WEBP, MP4, WEBM, MPEG, WAV, MP4"),
        ([["film.png", "film.txt"]], "any-kind takes at most 1 of kind video; these are 2"),
    ],
)
def test_what_the_model_does_not_take(bench: Bench, references: list[str], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        bench.run(manifest(bench, references))
    assert [problem.message for problem in caught.value.problems] == [message]
