"""Alerts of runs on PostgreSQL: each cause is told once, whoever leads, of each run by its own leader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import anyio
import pytest
from core_helpers import StoreShelf, make_spec, make_task
from integration.alerts.helpers import CAPS, Target, at_once
from integration.cluster.helpers import Machines

from batcher.alerts import Alerts
from batcher.alerts.causes import STALL_SECONDS, Causes
from batcher.cli.alerting import kinds_of, tell_of, told_here
from batcher.cluster.store import PostgresLedger
from batcher.events import Event
from batcher.jobs import Status
from batcher.ledger import Caps
from batcher.ledger.alerts import FOLLOWED


@pytest.fixture
def shelf(postgres: str) -> Iterator[StoreShelf[PostgresLedger]]:
    """Twenty jobs of ten credits, and a run that may commit a hundred."""
    made = StoreShelf(lambda clock, observe: PostgresLedger.connect(postgres, clock, observe))
    made.enrol([make_spec(number) for number in range(1, 21)])
    made.name_price()
    yield made
    made.ledger.close()


def led(shelf: StoreShelf[PostgresLedger], *targets: Target, caps: Caps = CAPS, **more: Any) -> Alerts:
    """The alerts of the shelf's run, by one more worker that leads it."""
    read, run_id = shelf.ledger.read, shelf.run_id
    causes = Causes(read, run_id, ["spring"], lambda: caps, shelf.clock, run_cap_stated=True, alone=False)
    return Alerts(targets, shelf.ledger, causes, shelf.clock, run_id=run_id, start=at_once, alone=False, **more)


def test_a_cause_is_told_once_whoever_leads(shelf: StoreShelf[PostgresLedger]) -> None:
    """Caps at 50, 80 and 100 %, a stop, a price that rose, a doubtful job, a stall, the end."""
    phone = Target()
    leaders = [led(shelf, phone) for _ in range(2)]

    def look(**how: bool) -> list[str]:
        before = len(phone.got)
        for each in leaders:
            each.look(**how)
        return [each["event"] for each in phone.got[before:]]

    assert look() == []
    found = []
    for bought, number in enumerate((1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 1):
        last = shelf.buy(number)
        if bought in (5, 8, 10):
            found += look()
    assert found == ["cap"] * 3
    assert [each["detail"]["percent"] for each in phone.got] == [50, 80, 100]
    shelf.ledger.doubt(last.attempt_id, "lost", "no answer")
    shelf.ledger.note(Event.HALTED, kind="capped", reason="10 jobs failed in a row")
    assert sorted(look()) == ["doubtful", "stop"]
    shelf.clock.now += STALL_SECONDS + 1
    assert look() == ["stall"]
    shelf.ledger.submitted(shelf.buy(11), make_task(11, Status.SUCCEEDED, reserved_credits=10, final_credits=25))
    assert "price" in look()
    leaders = [led(shelf, phone) for _ in range(2)]
    assert look() == [], "who takes over tells nothing again"
    shelf.ledger.end_run(exit_code=3, reason="drained by ann")
    assert look(over=True) == ["end"]
    assert phone.got[-1]["detail"]["jobs"]["spring"]["doubtful"] == 1
    assert phone.got[-1]["run"] == shelf.run_id


def test_what_was_not_delivered_the_next_leader_goes_on_with(shelf: StoreShelf[PostgresLedger]) -> None:
    dead, alive = Target(dead=True), Target()
    first = led(shelf, dead)
    for number in range(1, 6):
        shelf.buy(number)
    first.look()
    assert (dead.tries, dead.got) == (1, [])
    led(shelf, alive).look()
    assert [each["event"] for each in alive.got] == ["cap"]
    led(shelf, alive).look()
    assert len(alive.got) == 1


def test_who_does_not_lead_any_more_sends_nothing(shelf: StoreShelf[PostgresLedger]) -> None:
    phone = Target()
    late = led(shelf, phone, may_send=lambda: False)
    for number in range(1, 6):
        shelf.buy(number)

    async def watch() -> None:
        with anyio.move_on_after(0):
            await late.watch()

    anyio.run(watch)
    assert phone.got == []


def test_each_run_is_told_of_by_its_own_leader_and_once(shelf: StoreShelf[PostgresLedger], postgres: str) -> None:
    phone = Target()
    other = StoreShelf(lambda clock, observe: PostgresLedger.connect(postgres, clock, observe))
    with closing(other.ledger):
        one, two = led(shelf, phone), led(other, phone)
        other.ledger.note(Event.HALTED, kind="capped", reason="the other")
        shelf.ledger.end_run(exit_code=0, reason="done")
        for _ in range(2):
            one.look(over=True)
            two.look()
        assert sorted((each["event"], each["run"]) for each in phone.got) == [
            ("end", shelf.run_id),
            ("stop", other.run_id),
        ]


def test_who_follows_a_run_tells_what_its_leader_has_written_down(shelf: StoreShelf[PostgresLedger]) -> None:
    """A target that both have is the leader's."""
    phone, desk = Target(), Target("desk")
    leader = led(shelf, phone, followed={"desk": ("cap",), "phone": ("cap",), "other": ("end",)})
    follower = Alerts(
        [Target(), desk],
        shelf.ledger,
        None,
        shelf.clock,
        run_id=shelf.run_id,
        start=at_once,
        alone=False,
        state=FOLLOWED,
    )
    for number in range(1, 6):
        shelf.buy(number)
    follower.look()
    leader.look()
    for _ in range(2):
        follower.look()
    assert [len(phone.got), [each["event"] for each in desk.got]] == [1, ["cap"]]
    shelf.ledger.end_run(exit_code=0, reason="done")
    leader.look(over=True)
    follower.look()
    assert len(desk.got) == 1


@pytest.mark.anyio
async def test_the_worker_that_leads_a_run_tells_of_it_and_so_does_who_follows(machines: Machines) -> None:
    phone, desk = Target(), Target("desk")
    tell = tell_of([phone], machines.said.append)
    with machines.starting(machines.workload(8, budget=50), followed=kinds_of([phone, desk])) as start:
        run_id = await start.begin(machines.tables)
        followed = told_here([Target(), desk], start.ledger, run_id, machines.said.append)
        async with machines.worker(tell_of=tell), machines.worker(tell_of=tell), followed:
            ending = await machines.ended(run_id)
    assert ending["kind"] == "capped"
    told = [each["cause"] for each in phone.got]
    assert len(told) == len(set(told))
    assert [each["event"] for each in phone.got if each["event"] != "cap"] == ["end"]
    assert max(each["detail"]["percent"] for each in phone.got if each["event"] == "cap") == 100
    assert [each["cause"] for each in desk.got] == told
    assert phone.got[-1]["title"].startswith("batcher, spring: the run has ended with exit code 3")
    [[targets]] = machines.rows("SELECT DISTINCT targets FROM batcher.alerts")
    assert targets == '{"phone": "sent", "desk": "sent"}'
