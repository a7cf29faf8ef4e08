"""Runs, waits, references and files as rows; odd rows; finding jobs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core_helpers import ACCOUNT, OTHER, Shelf, job_name, make_spec, make_task
from virtual_time import EPOCH

from batcher.errors import StorageError, UsageError
from batcher.events import Event
from batcher.jobs import (
    Ended,
    FileReference,
    ResultFile,
    Status,
    Succeeded,
    UrlReference,
    Waiting,
)
from batcher.ledger import NotAdmitted

# Restarts


def test_waits_of_a_class_come_back_the_newest_last(shelf: Shelf) -> None:
    shelf.enrol([make_spec(number, price_class=("small", "large")[number == 9]) for number in range(1, 10)])
    intents = {}
    for number in (1, 9, 2, 3, 4, 5):  # the first of a class names its price
        intents[number] = shelf.buy(number)
        shelf.ledger.submitted(intents[number], make_task(number))
    for number, unfinished_for in ((2, 8.5), (1, 9.0), (3, 9.5), (4, None), (9, 1.0), (5, 0.0)):
        shelf.clock.now += 10
        status = Status.FAILED if number == 3 else Status.SUCCEEDED
        shelf.ledger.record(intents[number].attempt_id, make_task(number, status), unfinished_for)
    read = shelf.ledger.read
    small = read.waits(ACCOUNT.text, "small", 10)
    assert [unfinished for unfinished, _ in small] == [8.5, 9.0, 0.0]
    assert [seconds for _, seconds in small] == pytest.approx([10, 20, 60], abs=0.001)
    assert read.waits(ACCOUNT.text, "small", 2) == small[1:]
    assert len(read.waits(ACCOUNT.text, "large", 10)) == 1
    assert read.waits(OTHER.text, "small", 10) == []


def test_runs_have_a_beginning_and_an_end(shelf: Shelf) -> None:
    shelf.clock.now += 5
    shelf.ledger.note(Event.HALTED, reason="x")
    shelf.ledger.end_run(exit_code=3, reason="cap")
    row = shelf.ledger.read.last_run()
    assert row is not None
    assert (row["exit_code"], row["reason"], row["ended_at"][:19]) == (3, "cap", "2027-01-15T08:00:05")
    assert (row["account"], json.loads(row["campaigns"])) == (ACCOUNT.text, ["spring"])
    assert shelf.events() == ["run_started", "halted", "run_ended"]


def test_an_account_is_written_down_with_its_first_purchase(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1), make_spec(2, price_class="large"), make_spec(3)])
    assert isinstance(shelf.intend(1, run=0), NotAdmitted)
    assert (shelf.rows("SELECT * FROM accounts"), shelf.ledger.read.unit) == ([], "credits")
    shelf.buy(1)
    shelf.buy(2)
    shelf.account = OTHER
    shelf.buy(3)
    rows = shelf.rows("SELECT account, provider, unit FROM accounts ORDER BY account")
    assert [tuple(row.values()) for row in rows] == sorted((each.text, "rivya", "credits") for each in (ACCOUNT, OTHER))
    shelf.edit("UPDATE accounts SET unit = 'cents' WHERE account = ?", OTHER.text)
    assert shelf.ledger.read.unit is None, "amounts of two units have no sum"


# References, uploads, files


def test_references_come_back_as_they_went_in(shelf: Shelf, tmp_path: Any) -> None:
    file = FileReference(tmp_path / "ü.png", "ab" * 32, 5, "image/png")
    url = UrlReference("https://x.test/1.png")
    shelf.enrol([make_spec(1, reference=file), make_spec(2, reference=url), make_spec(3, params={"a": 1, "b": 0.5})])
    assert [shelf.ledger.read.load(job_name(n)).reference for n in (1, 2, 3)] == [file, url, None]
    assert [shelf.job(n)["reference"] for n in (1, 2, 3)] == [str(file.path), url.url, None]
    assert shelf.ledger.read.load(job_name(3)).params == {"a": 1, "b": 0.5}


def test_no_two_files_have_one_name_on_any_disk(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1), make_spec(2)])
    intents = [shelf.buy(1)]
    shelf.ledger.submitted(intents[0], make_task(1, Status.SUCCEEDED, reserved_credits=10))
    intents.append(shelf.buy(2))
    shelf.ledger.submitted(intents[1], make_task(2, Status.SUCCEEDED, reserved_credits=10))
    one, two = (intent.attempt_id for intent in intents)
    shelf.ledger.begin_file(one, 0, '"v1"')
    assert shelf.ledger.claim_file(one, 0, target="results/a.mp4", sha256="ab", size=1)
    assert not shelf.ledger.claim_file(two, 0, target="results/A.mp4", sha256="cd", size=1)
    assert shelf.ledger.claim_file(two, 0, target="results/A-2.mp4", sha256="cd", size=1)
    phase = shelf.ledger.read.load(job_name(1)).phase
    assert isinstance(phase, Succeeded)
    assert phase.files == (ResultFile(0, "", '"v1"', "results/a.mp4", "ab", saved=False),)


def test_a_claim_that_the_disk_refuses_is_no_collision(shelf: Shelf) -> None:
    shelf.ledger.close()
    with pytest.raises(StorageError):
        shelf.ledger.claim_file(1, 0, target="x", sha256="ab", size=1)


# Odd rows


def test_odd_rows_are_an_end_and_no_crash(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    for status in ("queued", "submitting", "succeeded"):
        shelf.edit("UPDATE wanted SET status = ?", status)
        assert shelf.ledger.read.load(job_name(1)).phase == Ended(Status(status))


def test_a_task_that_somebody_put_in_by_hand(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    shelf.edit("UPDATE wanted SET status = 'queued'")
    assert shelf.ledger.read.load(job_name(1)).phase == Ended(Status.QUEUED)
    shelf.edit("UPDATE attempts SET task_id = 'task_5'")
    assert shelf.ledger.read.load(job_name(1)).phase == Waiting(
        intent.attempt_id, "task_5", Status.QUEUED, EPOCH, ACCOUNT.text, intent.intended
    )


def test_finding_jobs_by_prefix(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1), make_spec(0xABC << 116)])
    assert shelf.ledger.read.resolve("000") == job_name(1)
    assert shelf.ledger.read.resolve(str(job_name(1)).upper()) == job_name(1)
    shelf.enrol([make_spec(1), make_spec(2)])
    for prefix, words in (("", "several"), ("000", "several"), ("fff", "no job"), ("'; --", "no job"), ("%", "no job")):
        with pytest.raises(UsageError, match=words):
            shelf.ledger.read.resolve(prefix)
    with pytest.raises(UsageError, match="no job"):
        shelf.ledger.read.load(job_name(77))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((("queued", "grok-imagine-video"), ("Processing ", None)), []),
        ((("queued", "Grok-Imagine-Video"),), []),
        ((("warming", None), ("warming", None), ("drawing", None)), ["unknown_state warming", "unknown_state drawing"]),
        ((("queued", "other"), ("processing", "other")), ["model_differs other"]),
        ((("queued", "other"), ("processing", "third")), ["model_differs other", "model_differs third"]),
    ],
)
def test_other_words_of_the_api_are_told_once(
    shelf: Shelf, words: tuple[tuple[str, str | None], ...], told: list[str]
) -> None:
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    for word, model in words:
        shelf.ledger.record(intent.attempt_id, make_task(1, Status.PROCESSING, word=word, model=model))
    found = [
        (event["event"], json.loads(event["detail"]))
        for event in shelf.rows("SELECT * FROM events WHERE event IN ('unknown_state', 'model_differs') ORDER BY id")
    ]
    assert [f"{event} {detail.get('word') or detail['said']}" for event, detail in found] == told
