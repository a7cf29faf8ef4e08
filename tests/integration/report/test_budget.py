"""Caps, when they run out, what the rest will cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core_helpers import OTHER, Shelf, job_name, make_spec, make_task, retry
from integration.report.helpers import report_of
from support import Bench
from virtual_time import EPOCH

from batcher.clock import iso
from batcher.events import Event
from batcher.jobs import Status
from batcher.ledger import Caps
from batcher.report.budget import Bite, Cap
from batcher.report.figures import Report, make_report
from batcher.report.question import ask
from batcher.settings import Allowance

CLASSES = {"a": 10, "b": 20}


def begin(shelf: Shelf, named: list[str], **caps: Any) -> int:
    """A run with these caps, as the command writes them down."""
    given = {"run": None, "campaigns": {}, "day": None, "keep": None} | caps
    return shelf.ledger.start_run(
        version="1", pid=1, account=shelf.account.text, campaigns=named, settings=json.dumps({"caps": given})
    )


def end(shelf: Shelf) -> None:
    shelf.ledger.end_run(exit_code=0, reason="done")


def look(shelf: Shelf, *, running: bool = True, **words: Any) -> Report:
    read = shelf.ledger.read
    return make_report(read, ask(read, now=shelf.clock.now, **words), now=shelf.clock.now, running=running)


def cap(report: Report, name: str) -> Cap:
    [found] = [each for each in report.caps if each.cap == name]
    return found


def buy(shelf: Shelf, number: int, *, final: int | None = None) -> None:
    intent = shelf.buy(number)
    shelf.ledger.submitted(intent, make_task(number))
    if final is not None:
        done = make_task(number, Status.SUCCEEDED, final_credits=final)
        shelf.ledger.record(intent.attempt_id, done)


@pytest.fixture
def hour(shelf: Shelf) -> Shelf:
    """Ten purchases of 10 credits each, one every six minutes; a run is going."""
    shelf.enrol([make_spec(number) for number in range(20)])
    begin(shelf, ["spring"], campaigns={"spring": 150}, run=200, day=400)
    for number in range(11):
        buy(shelf, number, final=10 if number % 2 else None)
        shelf.clock.now += 360
    return shelf


def test_used_held_and_free(hour: Shelf) -> None:
    report = look(hour)
    for name, limit in (("campaign", 150), ("run", 200), ("day", 400)):
        found = cap(report, name)
        assert (found.limit, found.settled, found.held, found.used) == (limit, 50, 60, 110)
        assert found.free == limit - 110
    assert cap(report, "day").name == "2027-01-15"
    assert cap(report, "campaign").name == "spring"


def test_each_allowance_is_shown_with_all_that_was_drawn_on_it(shelf: Shelf) -> None:
    """At the total that was stated last, whoever stated it; a campaign that named another one before still has both."""
    shelf.enrol([make_spec(number) for number in range(4)])
    shelf.enrol([make_spec(50, campaign="autumn")], "autumn")
    for total in (40, 20):
        begin(shelf, ["spring"], allowances={"spring": {"name": "night", "total": total}})
        shelf.caps = Caps(allowances={"spring": Allowance("night", total)})
        buy(shelf, total // 20, final=10)
        end(shelf)
    begin(shelf, ["spring", "autumn"], allowances={"spring": {"name": "week", "total": 12}, "autumn": 5})
    shelf.caps = Caps(allowances={"autumn": Allowance("night", 90)})
    buy(shelf, 50)
    shelf.caps = Caps(allowances={"spring": Allowance("week", 12)})
    buy(shelf, 3)
    caps = [each for each in look(shelf).caps if each.cap == "allowance"]
    assert [(each.name, each.limit, each.run_id, each.settled, each.held, each.free) for each in caps] == [
        ("night", 20, 3, 20, 10, 0),
        ("week", 12, 4, 0, 10, 2),
    ]
    assert look(shelf).forecast.bites == (Bite("allowance", "week", 8),)
    assert [each.name for each in look(shelf, campaigns=["autumn"]).caps if each.cap == "allowance"] == []


def test_when_it_runs_out(hour: Shelf) -> None:
    # The hour up to the newest intent has the last ten purchases in it (one an hour old is just out): 54 minutes.
    found = cap(look(hour), "campaign")
    assert found.per_hour == round(100 / 0.9, 1)
    assert found.hours_left == round(40 / found.per_hour, 4)
    assert found.runs_out_at == iso(hour.clock.now + 40 / found.per_hour * 3600)


def test_no_moment_when_no_run_is_going(hour: Shelf) -> None:
    found = cap(look(hour, running=False), "campaign")
    assert found.runs_out_at is None
    assert found.hours_left == pytest.approx(0.36)


def test_the_day_does_not_run_out_after_midnight(hour: Shelf) -> None:
    hour.clock.now = EPOCH + 13 * 3600  # 22:00 here
    found = cap(look(hour), "day")
    assert (found.free, found.per_hour) == (290, 111.1)  # which lasts for more than two and a half hours
    assert found.runs_out_at is None
    assert cap(look(hour), "run").runs_out_at is not None
    hour.clock.now = EPOCH + 12 * 3600
    assert cap(look(hour), "day").runs_out_at == iso(hour.clock.now + 290 / 111.1 * 3600)


def test_tomorrow_the_day_is_free_again(hour: Shelf) -> None:
    hour.clock.now += 86_400
    found = cap(look(hour), "day")
    assert (found.name, found.used, found.free) == ("2027-01-16", 0, 400)


def test_a_cap_that_is_overdrawn_has_nothing_free(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    begin(shelf, ["spring"], campaigns={"spring": 5})
    buy(shelf, 1)
    found = cap(look(shelf), "campaign")
    assert (found.held, found.free, found.hours_left) == (10, 0, 0)
    # A single purchase says little of a rate: it counts as if it had taken a minute.
    assert found.per_hour == 600


def test_nothing_bought_no_rate(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    begin(shelf, ["spring"], campaigns={"spring": 5})
    found = cap(look(shelf), "campaign")
    assert (found.free, found.per_hour, found.hours_left, found.runs_out_at) == (5, None, None, None)


def test_caps_are_those_of_the_newest_run_that_names_the_campaign(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    shelf.enrol([make_spec(2, campaign="autumn")], "autumn")
    begin(shelf, ["spring"], campaigns={"spring": 100}, day=50, run=7)
    begin(shelf, ["spring"], campaigns={"spring": 200}, day=60, run=8)
    newest = begin(shelf, ["autumn"], campaigns={"autumn": 300}, day=60, run=9)
    found = [(c.cap, c.name, c.limit, c.run_id) for c in look(shelf).caps]
    assert found == [
        ("run", str(newest), 9, newest),
        ("campaign", "autumn", 300, newest),
        ("campaign", "spring", 200, newest - 1),
        ("day", "2027-01-15", 60, newest),
    ]
    assert [(c.cap, c.limit) for c in look(shelf, campaigns=["spring"]).caps] == [
        ("run", 8),
        ("campaign", 200),
        ("day", 60),
    ]


@pytest.mark.parametrize("settings", ["{}", "", "[]", '{"caps": null}', '{"caps": {"campaigns": null}}'])
def test_a_run_that_wrote_no_caps(shelf: Shelf, settings: str) -> None:
    shelf.enrol([make_spec(1)])
    shelf.ledger.start_run(version="1", pid=1, account="a", campaigns=["spring"], settings=settings)
    assert look(shelf).caps == ()


def test_keep_is_held_against_the_last_wallet_reading(shelf: Shelf) -> None:
    shelf.enrol([make_spec(number) for number in range(4)])
    begin(shelf, ["spring"], keep=50)
    assert cap(look(shelf), "keep").free is None
    buy(shelf, 1, final=10)
    late = shelf.buy(2)  # has no answer yet at the reading
    shelf.clock.now += 1
    shelf.ledger.note(Event.WALLET_READ, account=OTHER.text, credits=5)
    shelf.ledger.note(Event.WALLET_READ, account=shelf.account.text, credits=190)
    shelf.clock.now += 1
    shelf.ledger.submitted(late, make_task(2))
    buy(shelf, 3, final=9)
    found = cap(look(shelf), "keep")
    assert (found.limit, found.settled, found.held, found.free) == (50, 9, 10, 190 - 50 - 19)


def test_the_rest_of_the_plan(shelf: Shelf) -> None:
    shelf.enrol([make_spec(n, price_class="ab"[n % 2], catalog_credits=CLASSES["ab"[n % 2]]) for n in range(6)])
    shelf.enrol([make_spec(10, campaign="autumn")], "autumn")
    begin(shelf, ["spring"], campaigns={"spring": 60})
    shelf.ledger.submitted(shelf.buy(0), make_task(0, reserved_credits=12))
    found = look(shelf).forecast
    [spring, autumn] = found.campaigns
    assert (spring.campaign, spring.jobs, spring.credits, spring.committed) == ("spring", 5, 2 * 12 + 3 * 20, 12)
    assert [(q.price_class, q.jobs, q.credits_each, q.source) for q in spring.quotes] == [
        ("a", 2, 12, "seen 2027-01-15"),
        ("b", 3, 20, "catalogue, from"),
    ]
    assert (autumn.campaign, autumn.jobs, autumn.credits) == ("autumn", 1, 10)
    assert (found.jobs, found.credits) == (6, 94)
    assert found.bites == (Bite("campaign", "spring", 84 - 48),)
    assert look(shelf, campaigns=["autumn"]).forecast.campaigns == (autumn,)


def test_what_a_manifest_no_longer_contains_is_not_forecast(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1), make_spec(2)])
    shelf.enrol([make_spec(1)])
    # Planned by a person; the next run finds it in no manifest and cancels it again.
    retry(shelf.ledger, job_name(2), [Status.CANCELLED])
    assert shelf.job(2)["status"] == "planned"
    assert look(shelf).forecast.jobs == 1


@pytest.mark.parametrize(("going", "names"), [(True, ["run", "day"]), (False, ["day"])])
def test_the_cap_of_a_run_that_has_ended_is_in_nobodys_way(shelf: Shelf, going: bool, names: list[str]) -> None:
    shelf.enrol([make_spec(1), make_spec(2)])
    begin(shelf, ["spring"], run=15, day=15)
    if not going:
        end(shelf)
    assert [bite.cap for bite in look(shelf).forecast.bites] == names


def test_a_seen_price_of_another_account_is_not_taken(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1), make_spec(2)])
    begin(shelf, ["spring"])
    shelf.ledger.submitted(shelf.buy(1), make_task(1, reserved_credits=14))
    shelf.account = OTHER
    begin(shelf, ["spring"])
    assert look(shelf).forecast.credits == 10


def test_the_story(told: Bench) -> None:
    report = report_of(told)
    assert [(c.cap, c.name, c.limit, c.settled, c.held, c.free) for c in report.caps[:3]] == [
        ("campaign", "autumn", 40, 18, 12, 10),
        ("campaign", "spring", 200, 75, 0, 125),
        ("day", "2027-01-16", 300, 27, 12, 261),
    ]
    assert (report.forecast.jobs, report.forecast.credits) == (2, 24)
    assert report.forecast.bites == (Bite("campaign", "autumn", 14),)
