"""Runs that wait for a window, end with it, and start nothing that would not be done in time; on virtual time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from integration.lifecycle.helpers import attempts, done, events, faults, manifest, seen, statuses
from support import Bench

from batcher.clock import from_iso
from batcher.engine.stop_rules import StopRules
from batcher.errors import Kind, UsageError
from batcher.jobs import Status
from batcher.settings import Settings

BERLIN = ZoneInfo("Europe/Berlin")
WINDOW = 'window: {hours: "22:00-06:00", timezone: Europe/Berlin}\n'
HOURLY = "limits: {submit: 6/hour, requests: 1000/second}\npolling: {first: 60s, every: 300s, max: 600s}\n"


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A night of looks every second takes virtual time seconds."""
    monkeypatch.setattr("batcher.engine.control.LOOK_SECONDS", 30.0)


def set_clock(bench: Bench, text: str) -> None:
    bench.clock.shift += datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() - bench.clock.wall()


def bought(bench: Bench) -> list[str]:
    """When each job was bought, by the clock of Berlin."""
    times = [datetime.fromtimestamp(from_iso(each["intended_at"]), BERLIN) for each in attempts(bench)]
    return [f"{at:%H:%M}" for at in times]


def boats(bench: Bench, jobs: int, more: str = WINDOW, fast: str = HOURLY, name: str = "spring") -> Path:
    return manifest(bench, *(f"Boat {n}" for n in range(jobs)), fast=fast, more=more, name=name)


@pytest.mark.parametrize(("night", "jobs"), [("2026-11-28", 48), ("2026-10-24", 54), ("2026-03-28", 42)])
def test_a_run_waits_for_its_window_and_ends_with_it(bench: Bench, night: str, jobs: int) -> None:
    """On a night as ever, and on those in which the clock is put back and on."""
    set_clock(bench, f"{night}T21:40")
    ending = bench.run(boats(bench, 60))
    assert (ending.kind, ending.reason) == (Kind.CAPPED, "the window has closed")
    times = bought(bench)
    assert (times[0], times[-1] < "06:00", len(times)) == ("22:00", True, jobs)
    assert sorted(statuses(bench)) == ["planned"] * (60 - jobs) + ["succeeded"] * jobs, "what is under way is finished"
    with bench.reader() as reader:
        told = [row["detail"] for row in reader.rows("SELECT detail FROM events WHERE event = 'looked'")]
    assert any("new jobs start at" in each and "window" in each for each in told)
    assert "cap_reached" in events(bench)
    bench.check()


def test_what_is_bought_goes_on_outside_of_it(bench: Bench) -> None:
    bench.switches.run_seconds = (4000, 5000)
    path = boats(bench, 3)
    set_clock(bench, "2026-11-29T05:40")
    bench.until = bench.clock.wall() + 60
    bench.run(path, engine=lambda engine: faults(bench, {"on": "result", "do": "status", "status": 500}))
    faults(bench)
    bench.until = None
    set_clock(bench, "2026-11-29T12:00")
    polls = len(seen(bench, "status"))
    done(bench.run(path))
    assert statuses(bench) == ["succeeded"] * 3
    assert polls <= len(seen(bench, "status"))


@pytest.mark.parametrize(("until", "started"), [("21:50", 0), ("22:30", 3)])
def test_until_holds_beside_it(bench: Bench, until: str, started: int) -> None:
    """One that comes before the window opens is not waited for."""
    set_clock(bench, "2026-11-28T21:40")
    bench.until = datetime.fromisoformat(f"2026-11-28T{until}").replace(tzinfo=BERLIN).timestamp()
    begun = bench.clock.wall()
    ending = bench.run(boats(bench, 60))
    assert (ending.reason, len(bought(bench))) == ("the time of --until has come", 6 if started else 0)
    if not started:
        assert bench.clock.wall() - begun < 60


def test_several_manifests_buy_while_all_their_windows_are_open(bench: Bench) -> None:
    set_clock(bench, "2026-11-28T21:40")
    early = WINDOW.replace("22:00-06:00", "20:00-23:30")
    ending = bench.run(boats(bench, 60), boats(bench, 60, early, name="autumn"))
    assert ending.reason == "the window has closed"
    assert (bought(bench)[0], len(bought(bench))) == ("22:00", 12)


def test_nothing_starts_that_would_not_be_done_in_time(bench: Bench) -> None:
    """By what is learned of its class: tasks take an hour here, which the first ones show."""
    bench.switches.run_seconds = (3600, 3601)
    set_clock(bench, "2026-11-28T22:00")
    path = boats(bench, 60, WINDOW + 'ready_by: "03:00"\n', "limits: {submit: 6/hour, requests: 1000/second}\n"
                 "polling: {first: 600s, every: 300s, max: 600s, give_up: 3h}\n")  # fmt: skip
    ending = bench.run(path)
    assert ending.reason == "nothing more would be done in time (ready_by)"
    with bench.reader() as reader:
        last = max(row["finished_at"] for row in reader.rows("SELECT finished_at FROM attempts"))
    assert datetime.fromtimestamp(from_iso(last), BERLIN).strftime("%H:%M") < "03:00"
    assert bought(bench)[-1] >= "01:00"


def test_a_window_that_never_opens_with_another_is_an_error(bench: Bench) -> None:
    paths = boats(bench, 1), boats(bench, 1, WINDOW.replace("22:00-06:00", "09:00-12:00"), name="autumn")
    with pytest.raises(UsageError, match="never open together"):
        bench.run(*paths)
    assert seen(bench, "create") == []


FAST = "limits: {submit: 1000/second, requests: 1000/second, in_flight: 1}\npolling: {first: 1s, every: 1s, max: 2s}\n"


@pytest.mark.parametrize(
    ("stop", "reason", "bought_"),
    [
        ("failed: 20%", "2 of 10 jobs failed (stop.failed: 20%)", 11),
        ("failed: 20%, failures_in_a_row: 1", "1 jobs failed in a row (stop.failures_in_a_row)", 4),
        ("price_above: 12", "costs 15 now, above 12 (stop.price_above)", 1),
        ("price_above: 9", "costs 10 now, above 9 (stop.price_above)", 0),
    ],
)
def test_stop_rules(bench: Bench, stop: str, reason: str, bought_: int) -> None:
    if "above 12" in reason:
        bench.switches.price_factor = 1.5
    bench.switches.fail_prompt = "Wreck"
    prompts = ("Wreck" if n % 4 == 3 else f"Boat {n}" for n in range(20))
    ending = bench.run(
        manifest(bench, *(f"{text} {n}" for n, text in enumerate(prompts)), fast=FAST, more=f"stop: {{{stop}}}\n")
    )
    assert (ending.kind, ending.reason.endswith(reason), len(attempts(bench))) == (Kind.CAPPED, True, bought_), ending


def test_blocked_in_a_row(bench: Bench) -> None:
    """Jobs that a page keeps out again and again while others are let in; one that has its result ends the row."""
    stops = StopRules(Settings(blocked_in_a_row=2))
    told = [
        stops.ended(Status.DOUBTFUL, blocked=True),
        stops.ended(Status.SUCCEEDED, blocked=False),
        stops.ended(Status.DOUBTFUL, blocked=True),
        stops.ended(Status.DOUBTFUL, blocked=False),
        stops.ended(Status.DOUBTFUL, blocked=True),
    ]
    assert told == ["", "", "", "", "2 jobs blocked in a row (stop.blocked_in_a_row)"]
