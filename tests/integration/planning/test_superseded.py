"""A failure whose text was corrected leaves the lists of what went wrong; its purchase stays on the bill."""

from __future__ import annotations

from pathlib import Path

from core_helpers import Shelf, make_spec, make_task
from virtual_time import EPOCH

from batcher.jobs import Status
from batcher.ledger.queries import jobs, spend
from batcher.ledger.queries.selectors import Condition, own
from batcher.ledger.queries.spend import ContentRefusals, Scope
from batcher.report import tables
from batcher.report.figures import make_report
from batcher.report.question import ask

OLD, RIGHT, NEW = 1, 2, 3


def failed(shelf: Shelf, *, status: str = "failed") -> list[int]:
    return [int(row["id"], 16) for row in jobs.jobs(shelf.ledger.read, statuses=[status])]


def test_a_corrected_failure_is_superseded_until_it_is_wanted_again(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "ledger.db")
    shelf.enrol([make_spec(OLD), make_spec(RIGHT)])
    shelf.ledger.submitted(
        shelf.buy(OLD), make_task(OLD, Status.FAILED, error_code="moderation_blocked", final_credits=4)
    )
    assert failed(shelf) == [OLD]
    shelf.enrol([make_spec(NEW), make_spec(RIGHT)])
    read = shelf.ledger.read
    [state] = jobs.campaigns(read)
    assert (state.statuses, state.superseded, state.settled) == ({"planned": 2}, 1, 4)
    assert failed(shelf) == []
    assert spend.troubles(read, Scope()) == []
    report = make_report(read, ask(read, now=EPOCH), now=EPOCH, running=False)
    assert report.content_refusals == ContentRefusals(1, 1, 4)
    [note] = tables.troubles(report).notes
    assert note == "Refused for content: 1 purchase, 1 charged for 4 credits, 100.0 % of what is settled."
    [row] = jobs.jobs(read, conditions=[Condition(own("status"), "failed")])
    assert int(row["id"], 16) == OLD
    shelf.enrol([make_spec(OLD), make_spec(RIGHT)])
    [state] = jobs.campaigns(read)
    assert (state.statuses["failed"], state.superseded) == (1, 0)
    assert failed(shelf) == [OLD]
    assert [trouble.error_code for trouble in spend.troubles(read, Scope())] == ["moderation_blocked"]
    shelf.ledger.close()
