"""Somebody sets this machine's clock back or forth, between runs and within one, or it sleeps for a night.

The API's clock goes on as it should, so its request log tells the truth about every window.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx2 as httpx
import pytest
from support import Bench

from batcher.engine import Engine
from batcher.errors import Kind, StorageError
from batcher.ledger import LedgerReader, LedgerWriter
from batcher.ledger.queries import selectors, spend
from batcher.lifecycle import Commits
from batcher.limits import RateLimiter
from batcher.settings import Limits, Rate

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
    ("boot", "shift", "date", "status"),
    [
        # Within one boot the uptime is exact, whatever became of the wall clock.
        pytest.param("boot-1", -HOUR - 60, None, "succeeded", id="same boot, back"),
        pytest.param("boot-1", 8 * HOUR, None, "succeeded", id="same boot, forth"),
        pytest.param("boot-1", 8 * HOUR, 60.0, "succeeded", id="same boot, forth, and the API says a minute"),
        pytest.param("boot-1", 0.0, 9 * HOUR, "doubtful", id="a machine that stood still"),
        pytest.param("boot-2", HOUR - 60, None, "succeeded", id="new boot, within the window"),
        pytest.param("boot-2", HOUR + 60, None, "doubtful", id="new boot, past the window"),
        pytest.param("boot-2", -HOUR, None, "doubtful", id="new boot, back: nobody knows"),
        pytest.param("boot-2", 600.0, 3 * HOUR, "doubtful", id="new boot, comes back early"),
        pytest.param("boot-2", -3 * HOUR, 60.0, "succeeded", id="new boot, back, and the API says a minute"),
        pytest.param("boot-2", 3 * HOUR, 60.0, "doubtful", id="new boot, the largest counts"),
        pytest.param("", -HOUR, None, "doubtful", id="no boot ids, back"),
        pytest.param("", 600.0, None, "succeeded", id="no boot ids, forth"),
    ],
)
def test_how_old_a_key_is_after_a_restart(
    bench: Bench, boot: str, shift: float, date: float | None, status: str
) -> None:
    """Sent again only where it is surely younger than `replay_window`; before that the API is asked for its time."""
    path = bench.write(MANIFEST.replace("repeat: 12", "repeat: 1") + "budget: {keep: 1}\n")
    bench.switches.tell_date = date is not None
    lose_an_answer(bench, path)
    bench.clock.shift, bench.clock.boot = shift, boot
    bench.switches.clock_skew = date or 0.0
    ending = bench.run(path)
    [job] = bench.jobs()
    assert (job["status"], job["attempt"]) == (status, 1)
    assert ending.kind is (Kind.DONE if status == "succeeded" else Kind.UNFINISHED)
    oracle = bench.world.oracle()
    assert len(oracle.tasks) == 1
    assert {len(charges) for charges in oracle.charges.values()} == {1}
    assert len(oracle.times("create")) == (2 if status == "succeeded" else 1)
    assert len(oracle.times("credits")) == 2, "once a run"


def lose_an_answer(bench: Bench, path: Path) -> None:
    """A run that ends while the answer to its first paid request is lost."""

    def look(engine: Engine) -> None:
        def lost(request: httpx.Request) -> None:
            if request.method == "POST":
                engine.stop(Kind.INTERRUPTED, "test")
                raise httpx.ReadError("the machine fell asleep", request=request)

        bench.api.after = lost

    assert bench.run(path, engine=look).kind is Kind.INTERRUPTED
    bench.api.after = lambda request: None


@pytest.mark.parametrize("step", [-2 * HOUR, 2 * HOUR])
def test_a_step_of_the_clock_makes_no_young_key_doubtful(bench: Bench, step: float) -> None:
    path = bench.write(MANIFEST.replace("3/minute", "100/minute"))
    lost = 0

    def after(request: httpx.Request) -> None:
        nonlocal lost
        if request.method == "POST" and lost < 4:
            lost += 1
            bench.clock.shift = step
            raise httpx.ReadError("cut", request=request)

    bench.api.after = after
    assert bench.run(path).kind is Kind.DONE
    assert lost == 4
    bench.check()
    with bench.reader() as reader:
        assert {row[0] for row in reader.rows("SELECT status FROM jobs")} == {"succeeded"}


@pytest.mark.parametrize(("step", "known"), [(0.0, 12), (20.0, 0), (-20.0, 0), (-2 * HOUR, 0), (2 * HOUR, 0)])
def test_waiting_times_across_a_jump_say_nothing(bench: Bench, step: float, known: int) -> None:
    """Neither to medians nor to when tasks are asked for next."""
    bench.switches.queue_seconds = bench.switches.run_seconds = (20, 20)
    path = bench.write(MANIFEST.replace("3/minute", "100/minute"))
    polls = 0

    def before(request: httpx.Request) -> None:
        nonlocal polls
        polls += request.method == "GET" and "/generations/" in request.url.path
        if polls == 13:
            bench.clock.shift = step

    bench.api.before = before
    assert bench.run(path).kind is Kind.DONE
    with bench.reader() as reader:
        [attempt, *_] = reader.rows("SELECT account, price_class FROM attempts")
        assert len(reader.waits(attempt["account"], attempt["price_class"], 50)) == known
        assert [len(group.waits) for _, group in spend.groups(reader, spend.Scope(), ())] == [known]


@pytest.mark.parametrize(
    ("shift", "boot", "seconds"),
    [
        (0.0, "boot-1", 59),
        (30 * 24 * HOUR, "boot-1", 59),
        (-30 * 24 * HOUR, "boot-1", 59),
        (-30 * 24 * HOUR, "boot-2", 60),  # nobody knows: as if they had just been sent
    ],
)
def test_limits_over_a_restart_and_a_clock_that_was_set(bench: Bench, shift: float, boot: str, seconds: float) -> None:
    """A wall clock of the future forgets no request that was just sent, and is no pause for longer than the limit."""
    ledger = LedgerWriter.open(bench.ledger_path, bench.clock)
    ledger.start_run(version="1", pid=1, account="a", campaigns=[], settings="{}")
    for _ in range(3):
        ledger.stamp("submit")
    bench.clock.start += 1
    bench.clock.shift, bench.clock.boot = shift, boot
    ledger.start_run(version="1", pid=1, account="a", campaigns=[], settings="{}")
    limits = Limits(submit=Rate(3, 60))

    async def wait(requests: int = 1) -> float:
        limiter = RateLimiter(ledger, limits, bench.clock, Commits(ledger))
        began = bench.clock.monotonic()
        for _ in range(requests):
            async with limiter.slot("submit") as slot:
                await slot.stamp()
        return bench.clock.monotonic() - began

    assert bench.clock.run(wait) == pytest.approx(seconds, abs=0.1)
    # What was sent before something of this boot is no younger than that, so stamps of the future pause nobody again.
    bench.clock.start += 61
    assert bench.clock.run(partial(wait, 3)) == pytest.approx(0.0, abs=0.1)
    ledger.close()


def test_a_day_is_one_of_the_ledgers_zone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever zone the machine, or cron, has today: else a day's cap could be spent twice in a night."""
    path = bench.write(MANIFEST.replace("3/minute", "100/minute") + "budget: {day: 40}\n")
    try:
        for zone in ("Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            bench.run(path)
            assert len(bench.world.oracle().tasks) == 4
        with bench.reader() as reader:
            assert [row[0] for row in reader.rows("SELECT timezone FROM meta")] == ["Pacific/Kiritimati"]
            assert {row[0] for row in reader.rows("SELECT day FROM attempts")} == {"2027-01-15"}
            days = [key for key, _ in spend.groups(reader, spend.Scope(), (selectors.own("day"),))]
            assert set(days) == {("2027-01-15",)}, "planned ones too"
            with pytest.raises(StorageError, match=r"'Mars/Olympus', which this machine does not know"):
                zone_of("Mars/Olympus", bench.ledger_path)
    finally:
        monkeypatch.undo()
        time.tzset()


def zone_of(name: str, path: Path) -> object:
    with closing(sqlite3.connect(path)) as ledger:
        ledger.execute("UPDATE meta SET timezone = ?", (name,))
        ledger.commit()
    with closing(LedgerReader.open(path)) as reader:
        return reader.zone


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
