"""Jobs of several references: all of them go along in their order, each uploaded once, whatever dies on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from integration.lifecycle.helpers import FAST, faults, seen, statuses
from support import PIXEL, Bench

from batcher.errors import Kind
from batcher.jobs import FileReference, SeveralReferences, UrlReference

FILM = b"\0\0\0\x18ftypisom\0\0\0\0isomavc1" + b"\0\0\0\x08moov" + b"\0\0\0\x0cmdat1234"
HEAD = "campaign: frames\nmodel: {model}\nprompts: [A boat]\n"


def campaign(bench: Bench, references: str, model: str = "kling-3-0") -> Path:
    for name, data in (("first.png", PIXEL), ("last.png", PIXEL + b"last"), ("b.mp4", FILM)):
        (bench.folder / name).write_bytes(data)
    return bench.write(HEAD.format(model=model) + f"references: {references}\n{FAST}")


def items(bench: Bench) -> list[list[dict[str, Any]]]:
    """What each task was asked to be made from."""
    return [task.request["params"]["referenceMediaItems"] for task in bench.world.oracle().tasks.values()]


def test_first_and_last_frame_go_along_in_their_order(bench: Bench) -> None:
    path = campaign(bench, "[[first.png, last.png], [last.png, first.png], [first.png, 'https://x.test/z.webp']]")
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    oracle = bench.world.oracle()
    for job in bench.jobs():
        wanted = [Path(text).name for text in json.loads(job["references"])]
        sent = oracle.tasks[job["task_id"]].request["params"]["referenceMediaItems"]
        assert [each["name"] for each in sent] == wanted
    assert {tuple(each["name"] for each in made) for made in items(bench)} == {
        ("first.png", "last.png"),
        ("last.png", "first.png"),
        ("first.png", "z.webp"),
    }
    assert sorted(bench.world.oracle().uploads.values()) == [1, 1], "each file once, whatever names it"
    first = bench.jobs()[0]
    assert first["reference"].endswith("first.png")
    assert [Path(text).name for text in json.loads(first["references"])] == ["first.png", "last.png"]


def test_a_file_that_was_moved_is_known_at_its_new_place(bench: Bench) -> None:
    path = campaign(bench, "[[first.png, last.png]]")
    bench.run(path, buys=False)
    (bench.folder / "moved.png").write_bytes(PIXEL + b"last")
    path.write_text(path.read_text().replace("last.png", "moved.png"), "utf-8")
    assert bench.run(path).kind is Kind.DONE
    (job,) = bench.jobs()
    assert [Path(text).name for text in json.loads(job["references"])] == ["first.png", "moved.png"]


def test_the_ledger_gives_back_what_it_was_given(bench: Bench) -> None:
    assert bench.run(campaign(bench, "[[first.png, 'https://x.test/z.webp'], first.png, null]")).kind is Kind.DONE
    with bench.reader() as reader:
        pair, one, none = (reader.load(job["id"]).reference for job in bench.jobs())
    assert isinstance(pair, SeveralReferences)
    assert pair.each[0] == one
    assert isinstance(one, FileReference)
    assert (pair.each[1], none) == (UrlReference("https://x.test/z.webp"), None)


@pytest.mark.parametrize("nth", [1, 2])
def test_an_upload_that_died_is_made_anew_and_the_other_is_not(bench: Bench, nth: int) -> None:
    path = campaign(bench, "[[first.png, last.png]]")
    faults(bench, f"create:expire:nth={nth}")
    bench.run(path)
    assert statuses(bench) == ["succeeded"]
    assert all(len(charges) == 1 for charges in bench.world.oracle().charges.values())


def test_trouble_with_the_second_file_buys_nothing(bench: Bench) -> None:
    path = campaign(bench, "[[first.png, last.png]]")
    faults(bench, {"on": "upload", "do": "status", "status": 400, "code": "validation_failed", "nth": 2})
    bench.run(path)
    assert statuses(bench) == ["failed"]
    assert seen(bench, "create") == []


def test_a_film_goes_along_with_its_measured_length(bench: Bench) -> None:
    assert bench.run(campaign(bench, "[b.mp4, first.png]", "wan-2-6")).kind is Kind.DONE
    (film,), (picture,) = items(bench)
    assert (film["kind"], film["mimeType"]) == ("video", "video/mp4")
    assert film["durationToken"].startswith("duration_")
    assert "durationToken" not in picture
