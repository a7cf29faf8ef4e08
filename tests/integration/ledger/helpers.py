"""Jobs in any status, sums by hand, and a shelf of each store for the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from core_helpers import ManualClock, Shelf, StoreShelf, cancel, job_name, make_spec, make_task

from batcher.jobs import JobSpec, Status
from batcher.ledger import LedgerWriter, Observer, Store

JOB = 1


def put(shelf: Shelf, status: Status, number: int = JOB) -> None:
    """Bring a job into a status, as a run would."""
    job = job_name(number)
    shelf.enrol([*wanted(shelf), make_spec(number)])
    if status is Status.PLANNED:
        return
    if status is Status.CANCELLED:
        cancel(shelf.ledger, job)
        return
    intent = shelf.buy(number)
    match status:
        case Status.SUBMITTING:
            return
        case Status.DOUBTFUL:
            shelf.ledger.maybe_received(intent, "no_answer", "")
            assert shelf.ledger.refused(intent, "validation_failed", "no") is Status.DOUBTFUL
        case Status.FAILED:
            shelf.ledger.submitted(intent, make_task(number))
            shelf.ledger.record(intent.attempt_id, make_task(number, Status.FAILED, final_credits=0))
        case Status.SUCCEEDED:
            done = make_task(number, Status.SUCCEEDED, final_credits=10, urls=("https://x/1",))
            shelf.ledger.submitted(intent, done)
            shelf.ledger.file_saved(job, intent.attempt_id, 0)
        case _:
            shelf.ledger.submitted(intent, make_task(number, status, reserved_credits=10))


def wanted(shelf: Shelf) -> Iterable[JobSpec]:
    return [make_spec(int(row["id"], 16)) for row in shelf.rows("SELECT id FROM wanted WHERE campaign = 'spring'")]


def by_hand(shelf: Shelf) -> tuple[int, int]:
    """Held and settled, added up from the attempts; asserts that the kept sums are the same."""
    [row] = shelf.rows(
        "SELECT coalesce(sum(iif(final_credits IS NULL, coalesce(reserved_credits, quoted_credits), 0)), 0) AS held,"
        " coalesce(sum(final_credits), 0) AS settled FROM attempts"
    )
    found = shelf.ledger.read.spent()
    assert (found.held, found.settled) == (row["held"], row["settled"])
    return row["held"], row["settled"]


#: Makes a store, or comes back to it.
Opener = Callable[[ManualClock, Observer], Store]
StoresShelf = StoreShelf[Store]


def sqlite(folder: Path, clock: ManualClock, observe: Observer) -> Store:
    return LedgerWriter.open(folder / "ledger.db", clock, observe)


def postgresql(conninfo: str, clock: ManualClock, observe: Observer) -> Store:
    from batcher.cluster.store import PostgresLedger

    return PostgresLedger.connect(conninfo, clock, observe)


@pytest.fixture(params=["sqlite", "postgresql"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoresShelf]:
    opener: Opener = partial(sqlite, tmp_path)
    if is_shared := request.param == "postgresql":
        opener = partial(postgresql, request.getfixturevalue("postgres"))
    made: StoresShelf = StoreShelf(opener, is_shared=is_shared)
    yield made
    made.ledger.close()


@pytest.fixture
def priced(shelf: StoresShelf) -> StoresShelf:
    """Ten jobs of a class whose price the API has named: 10 credits."""
    shelf.name_price()
    shelf.enrol([make_spec(n) for n in range(1, 11)])
    return shelf


def state(shelf: StoresShelf) -> tuple[object, ...]:
    read = shelf.ledger.read
    return read.load(job_name(1)).phase, read.spent(), read.newest_attempt(), len(shelf.changes)
