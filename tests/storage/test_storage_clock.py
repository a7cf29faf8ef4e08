"""Somebody sets this machine's clock back or forth, between runs and within one, or it sleeps for a night.

The API's clock goes on as it should, so its request log tells the truth about every window.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest
from support import Bench

from batcher.engine import Engine
from batcher.errors import Kind

HOUR = 3600.0
MANIFEST = """
campaign: clock
model: grok-imagine-video
prompts: [A boat on a lake]
repeat: 12
limits: {submit: 3/minute, requests: 30/minute}
polling: {first: 1s, every: 5s, max: 30s}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    found = Bench(tmp_path)
    found.world.now = found.clock.monotonic
    found.switches.queue_seconds = found.switches.run_seconds = (2, 4)
    return found


def fullest(times: list[float], seconds: float) -> int:
    """The most requests that any window of that length holds."""
    return max(sum(1 for time in times if start <= time < start + seconds) for start in times)


def windows_hold(bench: Bench) -> None:
    oracle = bench.world.oracle()
    assert fullest(oracle.times("create"), 60) <= 3
    assert fullest(oracle.times("create", "status", "credits"), 60) <= 30


def stop_after(bench: Bench, creates: int) -> Callable[[Engine], None]:
    """End the run (as by a signal) when so many purchases have been answered."""

    def look(engine: Engine) -> None:
        left = creates

        def after(request: httpx.Request) -> None:
            nonlocal left
            left -= request.url.path.endswith("/generations")
            if left == 0:
                engine.stop(Kind.INTERRUPTED, "test")

        bench.api.after = after

    return look


@pytest.mark.parametrize("shift", [-HOUR, -1.0, -20 * HOUR], ids=["an hour back", "a second", "a day back"])
def test_the_clock_is_set_between_two_runs(bench: Bench, shift: float) -> None:
    path = bench.write(MANIFEST)
    for creates in (2, 1, 3):
        assert bench.run(path, engine=stop_after(bench, creates)).kind is Kind.INTERRUPTED
        bench.clock.shift += shift
    bench.api.after = lambda request: None
    assert bench.run(path).kind is Kind.DONE
    windows_hold(bench)
    bench.check()
    assert len(bench.world.oracle().tasks) == 12


@pytest.mark.parametrize("shift", [-HOUR, 8 * HOUR], ids=["an hour back", "a night forward"])
def test_the_clock_is_set_within_a_run(bench: Bench, shift: float) -> None:
    """Within a run the monotonic clock counts, so nothing is sent sooner, later or not at all."""
    path = bench.write(MANIFEST)
    creates = 0

    def after(request: httpx.Request) -> None:
        nonlocal creates
        creates += request.url.path.endswith("/generations")
        if creates == 5 and request.method == "POST":
            bench.clock.shift += shift

    bench.api.after = after
    began = bench.clock.monotonic()
    assert bench.run(path).kind is Kind.DONE
    assert bench.clock.monotonic() - began < 320, "twelve purchases at three a minute"
    windows_hold(bench)
    bench.check()
    with bench.reader() as reader:
        events = [dict(row) for row in reader.rows("SELECT id, at, job_id, event FROM events ORDER BY id")]
        sums = [tuple(row) for row in reader.rows("SELECT held, settled FROM spent")]
    times = [event["at"] for event in events]
    assert (times == sorted(times)) is (shift > 0), "what stands in the ledger is what the clock said"
    for job in bench.jobs():
        mine = [event["event"] for event in events if event["job_id"] == job["id"]]
        assert mine[:2] == ["planned", "intended"]
        assert mine[-2:] == ["succeeded", "saved"], "in the order of ids events are in the order in which they were"
    assert sum(held for held, _ in sums) == 0


@pytest.mark.parametrize(
    ("shift", "status"),
    [(-HOUR + 60, "succeeded"), (-HOUR - 60, "doubtful"), (HOUR - 60, "succeeded"), (HOUR + 60, "doubtful")],
)
def test_a_lost_answer_and_a_clock_that_was_set(bench: Bench, shift: float, status: str) -> None:
    """Nobody knows the key's age then; further off than `replay_window` in either direction it is not sent again."""
    path = bench.write(MANIFEST.replace("repeat: 12", "repeat: 1"))

    def look(engine: Engine) -> None:
        def lost(request: httpx.Request) -> None:
            if request.method == "POST":
                engine.stop(Kind.INTERRUPTED, "test")
                raise httpx.ReadError("the machine fell asleep", request=request)

        bench.api.after = lost

    assert bench.run(path, engine=look).kind is Kind.INTERRUPTED
    bench.api.after = lambda request: None
    bench.clock.shift = shift
    ending = bench.run(path)
    [job] = bench.jobs()
    assert (job["status"], job["attempt"]) == (status, 1)
    assert ending.kind is (Kind.DONE if status == "succeeded" else Kind.UNFINISHED)
    oracle = bench.world.oracle()
    assert len(oracle.tasks) == 1
    assert {len(charges) for charges in oracle.charges.values()} == {1}
    assert len(oracle.times("create")) == (2 if status == "succeeded" else 1)


def test_the_days_cap_goes_by_the_date_that_the_clock_says(bench: Bench) -> None:
    """Set back over midnight it is yesterday again, with what was bought then; no day ever holds more than its cap."""
    path = bench.write(MANIFEST.replace("3/minute", "100/minute") + "budget: {day: 40}\n")
    for shift, bought in ((0.0, 4), (-24 * HOUR, 8), (0.0, 8), (-24 * HOUR + 60, 8), (24 * HOUR, 12)):
        bench.clock.shift = shift
        ending = bench.run(path)
        assert len(bench.world.oracle().tasks) == bought
        assert ending.kind is (Kind.DONE if bought == 12 else Kind.CAPPED)
        with bench.reader() as reader:
            days = reader.rows("SELECT sum(held + settled) FROM spent GROUP BY day")
        assert {day[0] for day in days} == {40}
    bench.check()


def test_a_night_of_sleep_in_the_middle_of_a_pause(bench: Bench) -> None:
    """The laptop is shut while tasks are with the API: they are asked for and fetched when it wakes."""
    bench.switches.run_seconds = (300, 300)
    path = bench.write(MANIFEST.replace("repeat: 12", "repeat: 3"))

    polls = 0

    def before(request: httpx.Request) -> None:
        nonlocal polls
        polls += request.method == "GET"
        if polls == 5:
            bench.clock.shift = 9 * HOUR

    bench.api.before = before
    assert bench.run(path).kind is Kind.DONE
    windows_hold(bench)
    bench.check()
    assert all(job["finished_at"] > job["submitted_at"] for job in bench.jobs())
