"""Bringing a manifest's expansion into the ledger: it wants exactly that, and what is bought stays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from core_helpers import Shelf, job_name, make_spec, make_task

from batcher.jobs import JobSpec, Status
from batcher.ledger import NOT_IN_MANIFEST, Enrolled, LedgerReader
from batcher.ledger.store.enrolment import BATCH


def enrol(shelf: Shelf, specs: Iterable[JobSpec]) -> Enrolled:
    return shelf.ledger.enrol("spring", "m.yaml", specs)


def pending(shelf: Shelf, price_class: str = "small") -> list[int]:
    found = shelf.ledger.read.pending("spring", price_class, after=-1, limit=10_000)
    return [int(each.id, 16) for each in found]


def statuses(shelf: Shelf) -> dict[int, str]:
    return {int(row["id"], 16): row["status"] for row in shelf.rows("SELECT id, status FROM wanted")}


def test_new_jobs_in_manifest_order(shelf: Shelf) -> None:
    assert enrol(shelf, [make_spec(n) for n in (3, 1, 2)]) == Enrolled(3, 0, 0)
    assert pending(shelf) == [3, 1, 2]
    assert shelf.events() == ["run_started", "planned", "planned", "planned"]
    assert enrol(shelf, [make_spec(n) for n in (3, 1, 2)]) == Enrolled(0, 0, 0)
    assert len(shelf.events()) == 4


def test_pages(shelf: Shelf) -> None:
    enrol(shelf, [make_spec(n) for n in range(1, 8)])
    read = shelf.ledger.read
    first = read.pending("spring", "small", after=-1, limit=3)
    second = read.pending("spring", "small", after=first[-1].position, limit=3)
    assert [int(p.id, 16) for p in first + second] == [1, 2, 3, 4, 5, 6]
    assert read.pending("autumn", "small", after=-1, limit=3) == []
    assert read.pending("spring", "large", after=-1, limit=3) == []
    assert read.pending_classes("spring") == ["small"]


def test_reordering_and_renaming_buy_nothing(shelf: Shelf) -> None:
    enrol(shelf, [make_spec(n) for n in (1, 2, 3)])
    assert enrol(shelf, [make_spec(n, name="new", file_name=f"n{n}") for n in (3, 2, 1)]) == Enrolled(0, 0, 0)
    assert pending(shelf) == [3, 2, 1]
    assert {row["name"] for row in shelf.rows("SELECT name FROM wanted")} == {"new"}


def test_an_edit_of_variables_and_tags_reaches_jobs_that_are_bought(shelf: Shelf) -> None:
    enrol(shelf, [make_spec(1, vars={"tone": "mild"}), make_spec(2), make_spec(3, tags={"client": "x"})])
    shelf.ledger.submitted(shelf.buy(1), make_task(1))
    edited = [
        make_spec(1, vars={"tone": "ستیرن"}, tags={"client": "y"}),
        make_spec(1, vars={"tone": "twin"}),
        make_spec(2),
    ]
    assert enrol(shelf, edited) == Enrolled(0, 0, 1)
    kept = [(shelf.job(n)["vars"], shelf.job(n)["tags"]) for n in (1, 2, 3)]
    assert kept == [('{"tone": "ستیرن"}', '{"client": "y"}'), ("{}", "{}"), ("{}", '{"client": "x"}')]


def test_a_job_that_two_entries_ask_for_stands_at_the_first(shelf: Shelf) -> None:
    assert enrol(shelf, [make_spec(1), make_spec(2), make_spec(1, name="again")]) == Enrolled(2, 0, 0)
    assert pending(shelf) == [1, 2]
    many = [make_spec(n) for n in range(3, BATCH + 10)]
    enrol(shelf, [make_spec(1), *many, make_spec(1, name="again")])
    assert pending(shelf)[0] == 1
    assert shelf.job(1)["name"] == "prompt-1"


def test_what_is_no_longer_wanted_is_cancelled_and_comes_back(shelf: Shelf) -> None:
    enrol(shelf, [make_spec(1), make_spec(2)])
    assert enrol(shelf, [make_spec(1)]) == Enrolled(0, 0, 1)
    row = shelf.job(2)
    assert (row["status"], row["error_code"]) == ("cancelled", NOT_IN_MANIFEST)
    assert shelf.events()[-1] == "cancelled"
    assert enrol(shelf, [make_spec(2)]) == Enrolled(0, 1, 1)
    assert statuses(shelf) == {1: "cancelled", 2: "planned"}
    assert (shelf.job(2)["error_code"], shelf.job(2)["error_message"]) == (None, None)
    assert shelf.events()[-2:] == ["planned", "cancelled"]


def test_only_what_the_manifest_dropped_comes_back(shelf: Shelf) -> None:
    """What a person cancelled stays so, whatever the manifest says."""
    enrol(shelf, [make_spec(1)])
    shelf.edit("UPDATE wanted SET status = 'cancelled', error_code = 'by_hand'")
    assert enrol(shelf, [make_spec(1)]) == Enrolled(0, 0, 0)
    assert statuses(shelf) == {1: "cancelled"}


@pytest.mark.parametrize("end", ["submitting", "queued", "succeeded", "failed", "doubtful"])
def test_what_is_bought_stays_as_it_is(shelf: Shelf, end: str) -> None:
    enrol(shelf, [make_spec(1)])
    intent = shelf.buy(1)
    match end:
        case "failed":
            shelf.ledger.refused(intent, "a", "b")
        case "doubtful":
            shelf.ledger.doubt(intent.attempt_id, "a", "b")
        case "queued" | "succeeded":
            shelf.ledger.submitted(intent, make_task(1, Status(end)))
    before = shelf.attempts(1)
    assert enrol(shelf, []) == Enrolled(0, 0, 0)
    assert enrol(shelf, [make_spec(1, name="renamed")]) == Enrolled(0, 0, 0)
    assert statuses(shelf) == {1: end}
    assert shelf.attempts(1) == before
    assert pending(shelf) == []


def test_other_campaigns_are_left_alone(shelf: Shelf) -> None:
    enrol(shelf, [make_spec(1)])
    shelf.enrol([make_spec(2, campaign="autumn")], "autumn")
    enrol(shelf, [])
    assert statuses(shelf) == {1: "cancelled", 2: "planned"}
    assert shelf.ledger.read.counts() == {"spring": {"cancelled": 1}, "autumn": {"planned": 1}}
    assert shelf.ledger.read.counts(["spring", "none"]) == {"spring": {"cancelled": 1}, "none": {}}


class Crash(Exception):
    """The process dies while the manifest is being expanded."""


@pytest.mark.parametrize("survivors", [0, 1, BATCH, BATCH + 1, 2 * BATCH + 7])
def test_a_crash_between_batches_never_leaves_an_unwanted_job_to_be_bought(shelf: Shelf, survivors: int) -> None:
    old = [make_spec(n) for n in range(1, 2 * BATCH + 20)]
    enrol(shelf, old)
    kept = old[5:]

    def stream() -> Iterator[JobSpec]:
        yield from kept[:survivors]
        raise Crash

    with pytest.raises(Crash):
        enrol(shelf, stream())
    shelf.restart()
    done = survivors - survivors % BATCH
    assert pending(shelf) == [int(spec.id, 16) for spec in kept[:done]], "nothing that the new manifest lacks"
    assert enrol(shelf, kept) == Enrolled(0, 0, 5)
    assert pending(shelf) == [int(spec.id, 16) for spec in kept]


def test_a_stream_is_not_held_in_memory(shelf: Shelf) -> None:
    alive = peak = 0

    class Counted(str):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[JobSpec]:
        nonlocal alive, peak
        for n in range(4 * BATCH):
            alive += 1
            peak = max(peak, alive)
            yield make_spec(n, prompt=Counted(f"Boat {n}"))

    enrol(shelf, stream())
    assert peak <= 2 * BATCH + 2


def test_known_jobs_in_pages(shelf: Shelf) -> None:
    enrol(shelf, [make_spec(n) for n in range(1, 1200)])
    found = shelf.ledger.read.known([job_name(n) for n in range(1100, 2300)])
    assert len(found) == 100
    assert {known.status for known in found.values()} == {Status.PLANNED}


def test_a_reader_sees_outcomes_by_prompt(shelf: Shelf) -> None:
    enrol(shelf, [make_spec(1, name="a"), make_spec(2, name="a"), make_spec(3, name="b")])
    intent = shelf.buy(1)
    shelf.ledger.submitted(intent, make_task(1, Status.SUCCEEDED))
    reader = LedgerReader.open(shelf.path)
    found = {(o.name, str(o.status), o.saved): o.jobs for o in reader.outcome("spring")}
    assert found == {("a", "succeeded", False): 1, ("a", "planned", True): 1, ("b", "planned", True): 1}
    reader.close()
