"""What a run would do and cost: manifests compared with the ledger; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core_helpers import ACCOUNT, OTHER, Shelf, make_spec, make_task

from batcher.errors import UsageError
from batcher.jobs import JobSpec, Status
from batcher.ledger import Caps, LedgerReader
from batcher.planning import CampaignInput, CapLine, Plan, Quote, caps_for, make_plan
from batcher.planning.forecast import Schedule, outlook
from batcher.settings import Budget, Limits, Rate, Selection, Settings

DAY = "2027-01-15"


def wanted(*specs: JobSpec, campaign: str = "spring", **budget: Any) -> CampaignInput:
    return CampaignInput(campaign, f"{campaign}.yaml", specs, Budget(**budget))


def plan(*each: CampaignInput, ledger: LedgerReader | None = None, **options: Any) -> Plan:
    fields: dict[str, Any] = {"account": ACCOUNT.text, "selection": Selection(), "settings": Settings(), "day": DAY}
    return make_plan(each, ledger=ledger, **fields | options)


def specs(*numbers: int, **changes: Any) -> list[JobSpec]:
    return [make_spec(n, **changes) for n in numbers]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "ledger.db")
    yield made
    made.ledger.close()


def test_without_a_ledger_everything_is_new() -> None:
    made = plan(wanted(*specs(1, 2, 3), *specs(4, price_class="large", catalog_credits=40), *specs(1)))
    [one] = made.campaigns
    assert (one.jobs, one.duplicates, one.new, one.unselected, one.gone) == (4, 1, 4, 0, 0)
    assert one.quotes == (Quote("large", 1, 40, "catalogue, from"), Quote("small", 3, 10, "catalogue, from"))
    assert (made.new, made.credits, made.caps) == (4, 70, ())
    assert made.seconds == 0, "a limit of 30 a minute lets four out at once"
    assert plan(wanted()).seconds == 0


def test_twins_of_other_variables_or_tags_are_told() -> None:
    twins = [make_spec(1, vars={"tone": tone}) for tone in ("mild", "mild", "stern")]
    of_clients = [make_spec(2, tags={"client": client}) for client in ("x", "y")]
    same = [make_spec(3, vars=dict(each)) for each in ([("a", 1), ("b", [2])], [("b", [2]), ("a", 1)])]
    typed = [make_spec(4, vars={"a": value}) for value in (1, True)]
    made = plan(wanted(*twins, *of_clients, *same, *typed))
    assert (made.campaigns[0].jobs, made.campaigns[0].duplicates) == (4, 5)
    assert [note.message for note in made.notes] == [
        f"job 000000000000 (prompt-{n}) is asked for again with other variables or tags" for n in (1, 2, 4)
    ]


def test_how_long_all_jobs_take() -> None:
    limits = Limits(submit=Rate(2, 60.0))
    made = plan(wanted(*specs(1, 2, 3, 4), *specs(5, price_class="large")), settings=Settings(limits=limits))
    found = outlook(made, lambda: pytest.fail("no cap bites"), Schedule(limits, None, None))
    assert (found.jobs, found.seconds, found.seconds_known) == (5, 120.0, False), "two a minute"


def test_where_the_jobs_stand(shelf: Shelf) -> None:
    shelf.name_price("small", 12)
    shelf.enrol(specs(*range(1, 12)))
    shelf.buy(1)
    shelf.ledger.submitted(shelf.buy(2), make_task(2))
    shelf.ledger.submitted(shelf.buy(3), make_task(3, Status.SUCCEEDED, reserved_credits=12))
    shelf.ledger.refused(shelf.buy(4), "a", "b")
    doubtful = shelf.buy(5)
    shelf.ledger.doubt(doubtful.attempt_id, "a", "b")
    shelf.ledger.unsent(shelf.buy(6), "a", "b")
    shelf.edit("UPDATE wanted SET status = 'cancelled', error_code = 'by_hand' WHERE position = 6")
    before = shelf.rows("SELECT * FROM events")
    made = plan(wanted(*specs(*range(1, 10), 20)), ledger=shelf.ledger.read)
    [one] = made.campaigns
    assert (one.under_way, one.done, one.failed, one.doubtful, one.cancelled) == (2, 1, 1, 1, 1)
    assert (one.new, one.gone) == (4, 2)
    assert one.quotes == (Quote("small", 4, 12, f"seen {DAY}"),)
    assert shelf.rows("SELECT * FROM events") == before, "a plan writes nothing"
    shelf.enrol(specs(8))
    again = plan(wanted(*specs(9)), ledger=shelf.ledger.read).campaigns[0]
    assert (again.new, again.gone) == (1, 1), "what the manifest dropped and takes up again is new"


def test_a_price_of_another_account_is_no_price(shelf: Shelf) -> None:
    shelf.name_price("small", 12)
    for account in (OTHER.text, None):
        made = plan(wanted(*specs(1)), ledger=shelf.ledger.read, account=account)
        assert made.campaigns[0].quotes == (Quote("small", 1, 10, "catalogue, from"),)


def test_selection(shelf: Shelf) -> None:
    several = wanted(*specs(1, 2, 3, name="a"), *specs(4, 5, name="b"))
    only = plan(several, selection=Selection(only=("b*",)))
    assert (only.new, only.campaigns[0].unselected) == (2, 3)
    other = wanted(*specs(9, campaign="autumn"), campaign="autumn")
    limited = plan(several, other, selection=Selection(limit=2, fair=False))
    assert [(c.new, c.unselected) for c in limited.campaigns] == [(2, 3), (0, 1)]
    shelf.enrol(several.specs)
    in_turn = plan(several, other, selection=Selection(limit=2))
    assert [each.new for each in in_turn.campaigns] == [1, 1]
    assert plan(several, ledger=shelf.ledger.read, selection=Selection(limit=2)).campaigns[0].gone == 0
    with pytest.raises(UsageError, match=r"--only x y matches no prompt"):
        plan(several, selection=Selection(only=("x", "y")))


def test_more_jobs_than_allowed() -> None:
    assert plan(wanted(*specs(*range(10), *range(10))), max_jobs=10).new == 10
    with pytest.raises(UsageError, match="more than 10 jobs") as caught:
        plan(wanted(*specs(*range(11))), max_jobs=10)
    assert "--max-jobs" in caught.value.hint


def test_caps_that_would_bite(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol(specs(1, 2))
    shelf.buy(1)
    several = [
        CampaignInput("spring", "m", specs(1, 2, 3), Budget(campaign=29)),
        CampaignInput("autumn", "m", specs(9, campaign="autumn"), Budget()),
    ]
    made = plan(*several, ledger=shelf.ledger.read, settings=Settings(budget=Budget(day=40)), run_budget=30)
    assert made.caps == (
        CapLine("run", 30, 0, wanted=30),
        CapLine("campaign", 29, 10, "spring", ("spring",), wanted=20),
        CapLine("day", 40, 10, DAY, wanted=30),
    )
    assert [line.bites for line in made.caps] == [False, True, False]
    assert plan(*several, settings=Settings(budget=Budget(day=39))).caps[-1] == CapLine("day", 39, 0, DAY, wanted=40)


def test_the_caps_of_a_run() -> None:
    free, capped = (
        CampaignInput("spring", "m", specs(1, 2), Budget()),
        CampaignInput("autumn", "m", [], Budget(campaign=5)),
    )
    made = plan(free)
    assert caps_for(made, [free], Settings(), None) == Caps(run=20), "without any cap it is what the plan quotes"
    assert caps_for(made, [free], Settings(), 7) == Caps(run=7)
    assert caps_for(made, [free], Settings(), 0) == Caps(run=0)
    assert caps_for(made, [free, capped], Settings(), None) == Caps(campaigns={"autumn": 5})
    assert caps_for(made, [free], Settings(budget=Budget(day=9)), None) == Caps(day=9)


def test_the_time_that_the_limits_allow() -> None:
    slow = Settings(limits=Limits(submit=Rate(1, 3600.0)))
    assert plan(wanted(*specs(1, 2, 3)), settings=slow).seconds == pytest.approx(7200)
