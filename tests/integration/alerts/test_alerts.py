"""What is worth an alert, once by its cause over kills and resumes; and how it reaches targets that may be dead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from core_helpers import Shelf, job_name, make_spec, make_task
from integration.alerts.helpers import CAPS, Target, at_once

from batcher.alerts import Alerts, Start
from batcher.alerts.causes import STALL_SECONDS, TOGETHER_SECONDS, TRIED_SECONDS, Causes
from batcher.events import Event
from batcher.jobs import Status
from batcher.ledger import Caps
from batcher.ledger.control import ask
from batcher.settings import Allowance


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "ledger.db")
    made.enrol([make_spec(number) for number in range(1, 21)])
    made.name_price()
    yield made
    made.ledger.close()


def alerts_of(
    shelf: Shelf, *targets: Target, caps: Caps = CAPS, start: Start = at_once, stated: bool = True, **more: Any
) -> Alerts:
    """Those of the run that the shelf has going."""
    causes = Causes(shelf.ledger.read, shelf.run_id, ["spring"], lambda: caps, shelf.clock, run_cap_stated=stated)
    return Alerts(targets, shelf.ledger, causes, shelf.clock, run_id=shelf.run_id, start=start, **more)


def doubt(shelf: Shelf, number: int, message: str = "nobody knows") -> None:
    intent = shelf.buy(number)
    shelf.ledger.maybe_received(intent, "cut", "the answer was cut off")
    shelf.ledger.doubt(intent.attempt_id, "blocked", message)


def test_parts_of_a_cap_are_told_once_each_over_kills_and_resumes(shelf: Shelf) -> None:
    phone = Target()
    alerts = alerts_of(shelf, phone)
    for number in range(1, 5):
        shelf.buy(number)
        alerts.look()
    assert phone.got == []
    shelf.buy(5)
    alerts.look()
    alerts.look()
    assert [(each["event"], each["detail"]) for each in phone.got] == [
        ("cap", {"cap": "campaign spring", "percent": 50, "limit": 100, "used": 50})
    ]
    shelf.restart()
    alerts = alerts_of(shelf, phone)
    for number in (6, 7, 8):
        shelf.buy(number)
    alerts.look()
    assert [each["detail"]["percent"] for each in phone.got] == [50, 80]
    shelf.ledger.note(Event.CAP_REACHED, cap="campaign spring", message="no room")
    alerts.look()
    assert [each["detail"]["percent"] for each in phone.got] == [50, 80, 100]
    alerts_of(shelf, phone, caps=Caps(campaigns={"spring": 160})).look()
    assert phone.got[-1]["detail"] == {"cap": "campaign spring", "percent": 50, "limit": 160, "used": 80}


def test_no_smaller_part_of_a_cap_is_told_after_a_larger_one(shelf: Shelf) -> None:
    phone = Target()
    alerts = alerts_of(shelf, phone)
    intents = [shelf.buy(number) for number in range(1, 9)]
    alerts.look()
    for intent in intents[:3]:  # what they held comes free again
        shelf.ledger.refused(intent, "bad", "no")
    alerts.look()
    alerts_of(shelf, phone).look()
    assert [each["detail"]["percent"] for each in phone.got] == [80]


@pytest.mark.parametrize(
    ("caps", "stated", "told"),
    [
        (Caps(allowances={"spring": Allowance("night", 12)}), True, ["cap:allowance night::12:80"]),
        (Caps(day=10), True, ["cap:day:2027-01-15:10:100"]),
        (Caps(run=10), True, ["cap:run:run 1:10:100"]),
        (Caps(run=10), False, []),
        (Caps(campaigns={"spring": 0}), True, []),
    ],
)
def test_each_kind_of_cap_is_told(shelf: Shelf, caps: Caps, stated: bool, told: list[str]) -> None:
    phone = Target()
    shelf.caps = Caps(allowances=caps.allowances)
    shelf.ledger.submitted(shelf.buy(1), make_task(1))
    alerts_of(shelf, phone, caps=caps, stated=stated).look()
    assert phone.causes == told


def test_a_price_that_rose_and_a_stop_are_told_once(shelf: Shelf) -> None:
    phone = Target()
    alerts = alerts_of(shelf, phone, caps=Caps())
    intents = [shelf.buy(number) for number in (1, 2, 3)]
    shelf.ledger.submitted(intents[0], make_task(1, reserved_credits=14))
    shelf.ledger.submitted(intents[1], make_task(2, reserved_credits=14))
    shelf.ledger.note(Event.HALTED, kind="capped", reason="10 jobs failed in a row")
    alerts.look()
    shelf.ledger.submitted(intents[2], make_task(3, reserved_credits=20))
    alerts.look()
    assert [each["event"] for each in phone.got] == ["price", "stop", "price"]
    assert [each["detail"].get("taken") for each in phone.got] == [14, None, 20]
    assert phone.got[1]["title"] == "batcher: 10 jobs failed in a row: no new job is started"


@pytest.mark.parametrize("cap", ["price", "price_above", "reading", "until"])
def test_what_a_stop_tells_or_time_mends_is_no_cap_that_is_reached(shelf: Shelf, cap: str) -> None:
    phone = Target()
    shelf.ledger.note(Event.CAP_REACHED, cap=cap, message="dear")
    alerts_of(shelf, phone).look()
    assert phone.got == []


def test_doubtful_jobs_share_alerts_and_none_is_missed_over_a_kill(shelf: Shelf) -> None:
    phone = Target()
    alerts = alerts_of(shelf, phone, caps=Caps())
    doubt(shelf, 1)
    alerts.look()
    assert [each["detail"]["jobs"][0]["id"] for each in phone.got] == [job_name(1)]
    for number in (2, 3):
        doubt(shelf, number)
        alerts.look()
    assert len(phone.got) == 1, "more of them so soon wait for each other"
    shelf.ledger.note(Event.HALTED, kind="capped", reason="stop")  # an alert of another kind after them
    alerts.look()
    shelf.restart()  # killed, with two that nobody was told of
    alerts = alerts_of(shelf, phone, caps=Caps())
    alerts.look()
    assert [each["event"] for each in phone.got] == ["doubtful", "stop", "doubtful"]
    assert [each["name"] for each in phone.got[2]["detail"]["jobs"]] == ["prompt-2", "prompt-3"]
    doubt(shelf, 4)
    alerts.look()
    shelf.clock.now += TOGETHER_SECONDS
    alerts.look()
    assert [each["detail"]["count"] for each in phone.got if each["event"] == "doubtful"] == [1, 2, 1]


def test_a_stall_is_told_once_until_something_moves(shelf: Shelf) -> None:
    phone = Target()
    alerts = alerts_of(shelf, phone, caps=Caps())
    shelf.buy(1)
    for _ in range(2):
        alerts.look()
        shelf.clock.now += STALL_SECONDS
        shelf.ledger.note(Event.WALLET_READ, account="a", credits=1)  # is no move of a job
        alerts.look()
        alerts.look()
        shelf.buy(2 if len(phone.got) == 1 else 3)
    assert [each["event"] for each in phone.got] == ["stall", "stall"]
    assert "10 min" in phone.got[0]["title"]


def test_a_run_that_begins_paused_and_caps_that_were_given_to_it_are_told(shelf: Shelf) -> None:
    shelf.buy(1)
    for values in ({}, {"budget.day": 10}):
        word = "budget" if values else "pause"
        ask(shelf.path, shelf.clock, word, values, who="me")  # type: ignore[arg-type]
    shelf.restart()  # killed
    phone = Target()
    alerts_of(shelf, phone, caps=Caps(day=1000)).look()
    assert [each["event"] for each in phone.got] == ["paused", "cap"]
    assert "paused by me" in phone.got[0]["title"]
    assert phone.got[1]["detail"]["limit"] == 10


def test_a_cap_that_was_given_to_a_run_is_its_cap_to_the_end(shelf: Shelf) -> None:
    phone = Target()
    alerts = alerts_of(shelf, phone, caps=Caps(day=20))
    ask(shelf.path, shelf.clock, "budget", {"budget.day": 1000}, who="me")
    shelf.buy(1)
    alerts.look()
    shelf.ledger.end_run(exit_code=0, reason="everything selected is done")
    alerts.look()
    alerts.finish(sleep=lambda _: None)
    assert [each["event"] for each in phone.got] == ["end"]


def test_where_nothing_is_under_way_nothing_stalls(shelf: Shelf) -> None:
    phone = Target()
    alerts = alerts_of(shelf, phone, caps=Caps())
    alerts.look()
    shelf.clock.now += STALL_SECONDS
    alerts.look()
    assert phone.got == []


def test_the_end_is_told_once_also_by_the_next_run_if_this_one_was_killed_before(shelf: Shelf) -> None:
    phone = Target()
    alerts = alerts_of(shelf, phone, caps=Caps())
    shelf.buy(1)
    alerts.look()
    shelf.ledger.end_run(exit_code=3, reason="no room left under: day")
    shelf.restart()  # killed in this instant
    alerts = alerts_of(shelf, phone, caps=Caps())
    shelf.ledger.end_run(exit_code=0, reason="everything selected is done")
    alerts.finish(sleep=lambda _: None)
    assert phone.causes == ["end:run 1", "end:run 2"]
    assert phone.got[0]["detail"]["exit_code"] == 3
    assert "19 planned" in phone.got[0]["message"]
    shelf.clock.now += TRIED_SECONDS + 1
    shelf.restart()  # a run without targets
    shelf.ledger.end_run(exit_code=0, reason="everything selected is done")
    shelf.clock.now += TRIED_SECONDS + 1
    shelf.restart()
    alerts_of(shelf, phone, caps=Caps()).look()
    assert len(phone.got) == 2, "what ended long ago is no news"


def test_a_dead_target_is_tried_for_ten_minutes_over_restarts(shelf: Shelf) -> None:
    dead, phone = Target("mail", dead=True), Target()
    warned: list[str] = []
    alerts = alerts_of(shelf, dead, phone, caps=Caps(), tell=warned.append)
    doubt(shelf, 1)
    alerts.look()
    assert (dead.tries, len(phone.got)) == (1, 1)
    for _ in range(300):
        shelf.clock.now += 1
        alerts.look()
    tries = dead.tries
    assert 5 < tries < 12
    shelf.restart()
    alerts = alerts_of(shelf, dead, phone, caps=Caps(), tell=warned.append)
    alerts.look()
    assert dead.tries == tries + 1, "the next run goes on"
    for _ in range(400):
        shelf.clock.now += 1
        alerts.look()
    assert len(phone.got) == 1
    assert dead.tries < 20
    [row] = shelf.rows("SELECT targets FROM alerts")
    assert json.loads(row["targets"]) == {"mail": "given up: nobody at home", "phone": "sent"}
    assert warned == ["an alert (doubtful) was not delivered to mail: given up: nobody at home"]
    dead.dead = False
    shelf.restart()
    alerts_of(shelf, dead, phone, caps=Caps()).look()
    assert dead.got == []


def test_who_hangs_holds_nobody_up_and_the_end_waits_no_longer_than_stated(shelf: Shelf) -> None:
    hung: list[Any] = []

    def never(work: Any) -> Future[None]:
        hung.append(work)
        return Future()

    warned: list[str] = []
    alerts = alerts_of(shelf, Target(), caps=Caps(), start=never, tell=warned.append)
    doubt(shelf, 1)
    alerts.look()
    shelf.ledger.note(Event.HALTED, kind="capped", reason="stop")
    alerts.look()
    assert len(hung) == 1, "one at a time for each target"
    began = shelf.clock.now

    def sleep(seconds: float) -> None:
        shelf.clock.now += seconds

    shelf.ledger.end_run(exit_code=1, reason="1 doubtful")
    alerts.finish(sleep)
    assert 30 <= shelf.clock.now - began < 31
    assert "not delivered yet to phone" in warned[0]
    assert [row["event"] for row in shelf.rows("SELECT event FROM alerts")] == ["doubtful", "stop", "end"], "recorded"


def test_nothing_secret_and_nothing_that_a_terminal_obeys_is_recorded_or_sent(shelf: Shelf) -> None:
    phone = Target()
    alerts = alerts_of(shelf, phone, caps=Caps(), redact=lambda text: text.replace("rvya_sk_1", "[key]"))
    reason = "rvya_sk_1 \x1b[2J\u202e" + "x" * 300
    shelf.ledger.note(Event.HALTED, kind="key", reason=reason)
    shelf.edit("UPDATE wanted SET name = ? WHERE id = ?", "boat\x1b[31m", job_name(1))
    doubt(shelf, 1)
    alerts.look()
    whole = json.dumps(phone.got) + json.dumps(shelf.rows("SELECT * FROM alerts"))
    assert len(phone.got) == 2
    assert "rvya_sk_1" not in whole
    assert "[key]" in whole
    assert "\\u001b" not in whole
    assert "\\u202e" not in whole.replace("\\\\u202e", "")
    assert all(len(each["title"]) <= 150 for each in phone.got)


def test_only_a_job_that_moved_to_another_status_is_an_alert(shelf: Shelf) -> None:
    phone = Target()
    alerts = alerts_of(shelf, phone, caps=Caps())
    shelf.ledger.submitted(shelf.buy(1), make_task(1, Status.SUCCEEDED, final_credits=10, urls=("https://x.test/1",)))
    alerts.look()
    assert phone.got == []
