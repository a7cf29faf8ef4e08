"""What was bought is measured when it is saved; where it is not what was asked for is told everywhere, and kept."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest
from core_helpers import retry
from integration.lifecycle.helpers import FAST, done, events, manifest, seen
from integration.lifecycle.test_files import killed
from integration.lifecycle.test_whole_or_absent import Sent, host
from media import film, picture
from support import Bench

from batcher.jobs import JobId, Status
from batcher.ledger import LedgerWriter
from batcher.ledger.queries import spend
from batcher.ledger.queries.spend import Scope

RIGHT = film(48, 64, 96)  # what the model's defaults ask for: 6 s, 2:3


def differs(bench: Bench) -> Any:
    return json.loads(bench.jobs()[0]["differs"] or "[]")


def notes(bench: Bench) -> list[str]:
    with bench.reader() as reader:
        return [row[0] for row in reader.rows("SELECT detail ->> 'why' FROM events WHERE event = 'odd_file'")]


DURATION = {"of": "duration", "wanted": "6 s", "found": "2 s"}
RATIO = {"of": "ratio", "wanted": "2:3", "found": "96×64"}
TYPE = {"of": "type", "wanted": "video", "found": "image/png"}
TABLE = {
    "as it was asked for": (RIGHT, []),
    "too short": (film(16, 64, 96), [DURATION]),
    "lies on its side": (film(48, 96, 64), [RATIO]),
    "both": (film(16, 96, 64), [DURATION, RATIO]),
    "a picture": (picture("PNG", 64, 96), [TYPE]),
    "has no reader": (film(16, 96, 64, container="matroska"), []),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_came_is_held_against_what_was_asked_for(bench: Bench, name: str) -> None:
    content, told = TABLE[name]
    host(bench, Sent(content, announced=True))
    done(bench.run(manifest(bench, "Boat")))
    assert differs(bench) == told
    assert events(bench).count("file_differs") == (1 if told else 0)
    with bench.reader() as reader:
        found = {trouble.error_code: trouble for trouble in spend.troubles(reader, Scope())}
    assert found.keys() == {f"differs_{each['of']}" for each in told}
    for each in told:
        trouble = found[f"differs_{each['of']}"]
        assert (trouble.status, trouble.jobs) == ("succeeded", 1)
        assert trouble.message == f"{each['of']} {each['found']} in place of {each['wanted']}"


def test_the_params_of_the_job_count_and_a_reference_has_a_ratio_of_its_own(bench: Bench) -> None:
    (bench.folder / "wide.png").write_bytes(picture("PNG", 96, 64))
    host(bench, Sent(film(80, 96, 64), announced=True))
    more = "params: {duration: 10}\nreferences: [wide.png]\n"
    done(bench.run(manifest(bench, "Boat", more=more)))
    assert differs(bench) == []


def test_a_crash_before_it_is_recorded_tells_it_once(bench: Bench) -> None:
    host(bench, Sent(film(16, 64, 96), announced=True))
    path = killed(bench, "file_saved")
    assert "file_differs" not in events(bench)
    done(bench.run(path))
    assert differs(bench) == [DURATION]
    assert events(bench).count("file_differs") == 1
    assert len(seen(bench, "create")) == 1


def test_a_file_that_was_bought_again_counts_as_it_is_now(bench: Bench) -> None:
    host(bench, Sent(film(16, 64, 96), announced=True), Sent(RIGHT, announced=True))
    path = manifest(bench, "Boat")
    done(bench.run(path))
    with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as ledger:
        retry(ledger, JobId(bench.jobs()[0]["id"]), [Status.SUCCEEDED])
    done(bench.run(path))
    assert differs(bench) == []
    with bench.reader() as reader:
        assert spend.troubles(reader, Scope()) == []


def test_other_pixels_than_those_of_its_class_are_a_note(bench: Bench) -> None:
    host(bench, Sent(RIGHT, announced=True), Sent(RIGHT, announced=True), Sent(film(48, 128, 192), announced=True))
    slow = FAST.replace("limits: {", "limits: {in_flight: 1, ")
    done(bench.run(manifest(bench, "Boat", "Ship", "Raft", fast=slow)))
    assert [json.loads(job["differs"] or "[]") for job in bench.jobs()] == [[], [], []]
    assert notes(bench) == ["it has 128×192 pixels, the last one of its price class 64×96"]


def test_another_ratio_has_other_pixels_and_no_note(bench: Bench) -> None:
    host(bench, Sent(RIGHT, announced=True), Sent(film(48, 96, 64), announced=True))
    for prompt, ratio in (("Boat", "2:3"), ("Ship", "3:2")):
        done(bench.run(manifest(bench, prompt, name=prompt.lower(), more=f"params: {{aspect_ratio: '{ratio}'}}\n")))
    assert notes(bench) == []
