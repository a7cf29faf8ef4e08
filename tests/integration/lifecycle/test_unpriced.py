"""Jobs whose price nobody knows before they are bought: only where a person says what they may cost, one at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_helpers import Shelf, make_spec, make_task
from integration.lifecycle.helpers import FAST, statuses
from support import Bench

from batcher.errors import Kind
from batcher.jobs import Intent, Status
from batcher.ledger import NotAdmitted

HEAD = "campaign: speech\nmodel: elevenlabs-turbo-2-5\n"
CLASS = "elevenlabs-turbo-2-5 unpriced"


def spoken(bench: Bench, lengths: list[int]) -> None:
    """A manifest of texts so long; the simulator takes the base (6) for each 200 characters begun."""
    texts = "".join(f"  - {n:03d}{'x' * (length - 3)}\n" for n, length in enumerate(lengths))
    bench.write(HEAD + f"prompts:\n{texts}{FAST}")


def test_none_is_bought_unless_a_person_says_what_they_may_cost(bench: Bench) -> None:
    spoken(bench, [10, 20])
    (cap,) = bench.plan(bench.folder / "manifest.yaml").caps
    assert (cap.cap, cap.limit, cap.wanted, cap.bites) == ("unpriced", 0, 12, True)
    ending = bench.run(bench.folder / "manifest.yaml")
    assert (ending.kind, ending.caps) == (Kind.CAPPED, ("unpriced",))
    assert statuses(bench) == ["planned", "planned"]
    assert bench.world.oracle().tasks == {}


def test_what_they_cost_is_bounded_over_runs_and_each_waits_for_the_price_of_the_one_before(bench: Bench) -> None:
    spoken(bench, [10, 450, 30, 40, 50])  # 6, then 18, then 6 each; held at 18 from the second on
    path = bench.folder / "manifest.yaml"
    bench.unpriced = 40
    for _ in range(2):  # the bound holds over runs
        ending = bench.run(path)
        assert (ending.kind, ending.caps) == (Kind.CAPPED, ("unpriced",))
        with bench.reader() as reader:
            assert reader.spent(campaign="speech", unpriced=True).committed == 6 + 18
            assert reader.spent(campaign="speech", unpriced=False).committed == 0
    assert statuses(bench) == ["succeeded", "succeeded", "planned", "planned", "planned"]
    bench.unpriced = 60
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    held = [attempt["hold_credits"] for attempt in bench.jobs()]
    assert held == [6, 18, 18, 18, 18], "each at the dearest of its class so far, at least the base"


def test_others_take_nothing_of_what_they_may_cost(bench: Bench) -> None:
    """Where the plan's total is the cap: jobs whose price has doubled stop at what they were quoted."""
    film = "  - {name: film, model: grok-imagine-video, prompt: 'Boat {{ n }}', matrix: {n: [1, 2, 3, 4, 5, 6]}}\n"
    path = bench.write(HEAD + f"prompts:\n  - Hello\n{film}{FAST}")
    bench.unpriced = 1000
    bench.switches.set({"price_factor": 2})
    assert bench.run(path).caps == ("run",)
    with bench.reader() as reader:
        assert reader.spent(unpriced=False).committed == 60
        assert reader.spent(unpriced=True).committed == 12


def test_they_count_under_the_other_caps_too(bench: Bench) -> None:
    spoken(bench, [10, 20, 30])
    path = bench.write((bench.folder / "manifest.yaml").read_text() + "budget: {campaign: 12}\n")
    bench.unpriced = 100
    assert bench.run(path).caps == ("campaign speech",)
    assert statuses(bench) == ["succeeded", "succeeded", "planned"]


@pytest.mark.parametrize("reserved", [None, 0, 9])
def test_one_of_a_class_is_on_its_way_until_its_own_price_is_known(tmp_path: Path, reserved: int | None) -> None:
    shelf = Shelf(tmp_path / "ledger.db")
    shelf.enrol(make_spec(n, price_class=CLASS, catalog_credits=6) for n in (1, 2, 3))
    first = shelf.buy(1, unpriced=100)
    refused = shelf.intend(2, unpriced=100)
    assert isinstance(refused, NotAdmitted)
    assert refused.cap == "price"
    shelf.ledger.submitted(first, make_task(1, reserved_credits=reserved))
    second = shelf.intend(2, unpriced=100)
    assert isinstance(second, Intent) is (reserved == 9)
    if isinstance(second, Intent):
        assert shelf.rows("SELECT hold_credits FROM attempts ORDER BY id")[-1]["hold_credits"] == 9
        third = shelf.intend(3, unpriced=100)
        assert isinstance(third, NotAdmitted), "each job shows its own price: a class is never seen for good"
        return
    shelf.ledger.record(1, make_task(1, Status.SUCCEEDED, final_credits=30))
    shelf.buy(2, unpriced=100)
    assert shelf.rows("SELECT hold_credits FROM attempts ORDER BY id")[-1]["hold_credits"] == 30
