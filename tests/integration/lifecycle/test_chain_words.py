"""What people, kills and other campaigns make of jobs that are made from results of others."""

from __future__ import annotations

from collections import Counter

import pytest
from integration.lifecycle.helpers import FAST
from integration.lifecycle.test_chains import bought_at, chain, decided, named
from support import Bench, Killed

from batcher.errors import Kind
from batcher.jobs import Status
from batcher.ledger.decisions import Cancel, Judge, Retry
from batcher.ledger.store import enrolment
from batcher.settings import Selection

UNFETCHED = "results: {download: false}\n"


def ids(bench: Bench, *names: str) -> list[str]:
    return [job["id"] for job in bench.jobs() if not names or job["name"] in names]


def test_what_a_person_cancelled_waits_for_its_own_retry(bench: Bench) -> None:
    """Though what it is made from was cancelled first, and so had cancelled it already."""
    path = chain(bench)
    bench.run(path, selection=Selection(limit=0))
    decided(bench, Cancel(), *ids(bench))
    decided(bench, Retry(frozenset({Status.CANCELLED})), named(bench, "still")[0]["id"])
    assert bench.run(path).kind is Kind.DONE
    assert Counter(bought_at(bench)) == {"still": 1}


@pytest.mark.parametrize("more", ["", UNFETCHED])
def test_everything_is_taken_anew_in_its_order(bench: Bench, more: str) -> None:
    path = chain(bench, more=more)
    bench.switches.run_seconds = (9, 9)
    assert bench.run(path).kind is Kind.DONE
    decided(bench, Retry(frozenset({Status.SUCCEEDED}), alone=True), *ids(bench))
    assert bench.run(path).kind is Kind.DONE
    assert Counter(bought_at(bench)) == {"still": 4, "film": 8}


def test_a_film_whose_still_was_rejected_meanwhile_is_not_bought_anew(bench: Bench) -> None:
    path = chain(bench, gate=True)
    bench.run(path)
    decided(bench, Judge("approved"), *ids(bench, "still"))
    bench.switches.set({"fail_prompt": "pans over the harbour"})
    bench.run(path)
    bench.switches.set({"fail_prompt": ""})
    decided(bench, Judge("rejected"), named(bench, "still")[0]["id"])
    bought = len(bench.world.oracle().tasks)
    decided(bench, Retry(), *[job["id"] for job in named(bench, "film") if job["status"] == "failed"])
    assert {job["error_code"] for job in named(bench, "film")} == {None, "source_rejected"}
    bench.run(path)
    assert len(bench.world.oracle().tasks) == bought


def test_a_retry_of_a_film_whose_still_failed_stays_without_effect(bench: Bench) -> None:
    path = chain(bench)
    bench.switches.set({"fail_prompt": "harbour at dawn"})
    bench.run(path)
    films = [job["id"] for job in named(bench, "film") if job["status"] == "cancelled"]
    with pytest.raises(AssertionError, match="it comes back with what it is made from"):
        decided(bench, Retry(frozenset({Status.CANCELLED})), *films)
    assert {job["error_code"] for job in bench.jobs() if job["id"] in films} == {"source_failed"}


def test_sources_are_fetched_after_a_kill_where_results_are_not(bench: Bench) -> None:
    path = chain(bench, more=UNFETCHED)

    def kill(request: object) -> None:
        if "/api/v1" not in str(getattr(request, "url", "")):
            bench.kill()

    bench.api.before = kill
    with pytest.raises(Killed):
        bench.run(path)
    bench.api.before = lambda request: None
    assert bench.run(path).kind is Kind.DONE
    assert Counter(bought_at(bench)) == {"still": 2, "film": 4}


def test_sources_that_are_gone_are_brought_back_where_results_are_not_fetched(bench: Bench) -> None:
    path = chain(bench, more=UNFETCHED)
    bench.run(path, selection=Selection(limit=2))
    for still in named(bench, "still"):
        (bench.state / still["result_path"]).unlink()
    assert bench.run(path).kind is Kind.DONE
    assert Counter(bought_at(bench)) == {"still": 2, "film": 4}


def test_a_wallet_is_read_where_the_first_jobs_are_all_done(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """New jobs come after those that are in the ledger when the engine begins."""
    monkeypatch.setattr(enrolment, "BATCH", 1)
    bench.world.set_wallet(1000)

    def run(jobs: int) -> Kind:
        lines = "".join(f"  - {{name: p{n}, prompt: Boat {n}}}\n" for n in range(jobs))
        head = "campaign: spring\nmodel: grok-imagine-video\nprompts:\n"
        return bench.run(bench.write(f"{head}{lines}{FAST}budget: {{keep: 50}}\n{UNFETCHED}")).kind

    assert [run(2), run(6)] == [Kind.DONE, Kind.DONE]
    assert len(bench.world.oracle().tasks) == 6
