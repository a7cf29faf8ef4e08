"""What people ask of a run while it goes on: pause, resume, drain, limits, budgets; on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from integration.engine.helpers import check_windows
from integration.lifecycle.helpers import attempts, done, faults, manifest, statuses
from support import Bench, Looked

from batcher.clock import from_iso
from batcher.controls import read_values
from batcher.errors import Kind, UsageError
from batcher.events import Event
from batcher.ledger import Change, control
from batcher.request import RunOutcome
from batcher.settings import Rate

SLOW = "limits: {submit: 6/minute, requests: 1000/second}\npolling: {first: 1s, every: 5s, max: 30s}\n"
#: A job every ten seconds, one after the other.
SINGLY = SLOW.replace("6/minute", "1000/second").replace("limits: {", "limits: {in_flight: 1, ")
Step = tuple[float, Callable[[Looked], Any]]


@pytest.fixture(autouse=True)
def looks_each_second(rare_looks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.engine.control.LOOK_SECONDS", 1.0)


def during(bench: Bench, path: Path, *steps: Step) -> RunOutcome:
    """A run, beside which something is done so many seconds after its begin."""
    run = bench.make(bench.request(path))
    heard.clear()
    bench.observe = heard.append

    async def beside(ready: Callable[[], None]) -> None:
        ready()
        begun = bench.clock.wall()
        for at, do in steps:
            await anyio.sleep(begun + at - bench.clock.wall())
            try:
                do(run)
            except Exception as error:  # a run outlives what is beside it: told below
                failed.append(error)

    failed: list[Exception] = []
    with run:
        outcome = run.execute(beside, loop=bench.clock.run)
    for error in failed:
        raise error
    return outcome


heard: list[Change] = []


def told(event: Event) -> list[Any]:
    return [change.detail for change in heard if change.event == event]


def bought_at(bench: Bench) -> list[float]:
    """When each job was bought, in seconds since the first."""
    found = [from_iso(each["intended_at"]) for each in attempts(bench)]
    return [at - found[0] for at in found]


def singly(bench: Bench, jobs: int, more: str = "") -> Path:
    bench.switches.run_seconds = (8, 8)
    return boats(bench, jobs, more, SINGLY)


def boats(bench: Bench, jobs: int, more: str = "", fast: str = SLOW) -> Path:
    return manifest(bench, *(f"Boat {n}" for n in range(jobs)), fast=fast, more=more)


def test_a_pause_starts_no_job_until_it_is_over_and_the_run_waits_for_that(bench: Bench) -> None:
    """With nothing under way any more, for hours; what was sent is finished meanwhile."""
    seen: list[list[str]] = []

    def look(run: Looked) -> None:
        with bench.reader() as reader:
            seen.append([row["status"] for row in reader.rows("SELECT status FROM jobs ORDER BY position")])

    outcome = during(bench, boats(bench, 12), (35, Looked.pause), (95, look), (900, look), (901, Looked.resume))
    done(outcome.ending)
    assert seen[0] == seen[1]
    assert set(seen[0]) == {"succeeded", "planned"}
    times = bought_at(bench)
    assert not [at for at in times if 36 < at < 900]
    assert len([at for at in times if 900 < at < 903]) == 6, "at once"
    assert [each["command"] for each in told(Event.COMMANDED)] == ["pause", "resume"]
    assert all(each["who"] == control.asker() for each in told(Event.COMMANDED))
    bench.check()


def test_a_pause_holds_in_the_very_transaction_that_would_buy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when the run looks for it: here that is minutes later."""
    monkeypatch.setattr("batcher.engine.control.LOOK_SECONDS", 200.0)
    run = bench.make(bench.request(boats(bench, 8, fast=SLOW.replace("6/minute", "1/minute"))))
    bought: list[int] = []

    def observe(change: Change) -> None:
        if change.event == Event.INTENDED:
            bought.append(len(bought))
            if len(bought) == 3:
                run.pause()

    bench.observe = observe

    async def beside(ready: Callable[[], None]) -> None:
        ready()
        await anyio.sleep(700)
        planned.append(statuses(bench).count("planned"))
        run.resume()

    planned: list[int] = []

    with run:
        done(run.execute(beside, loop=bench.clock.run).ending)
    assert planned == [5]
    bench.check()


def test_a_drain_ends_the_run_when_what_is_under_way_is_finished(bench: Bench) -> None:
    bench.switches.run_seconds = (60, 90)
    outcome = during(bench, boats(bench, 12), (35, lambda run: run.ask("drain")))
    assert (outcome.kind, outcome.reason) == (Kind.CAPPED, f"drained by {control.asker()}")
    assert sorted(set(statuses(bench))) == ["planned", "succeeded"]
    assert max(bought_at(bench)) < 36
    done(bench.run(bench.folder / "spring.yaml"))


@pytest.mark.parametrize(("rate", "least", "most"), [("60/minute", 64, 90), ("1/minute", 700, 800)])
def test_another_rate_holds_at_once_over_what_was_sent_before(
    bench: Bench, rate: str, least: float, most: float
) -> None:
    outcome = during(bench, boats(bench, 30 if rate[0] == "6" else 24), (65, lambda run: run.resize(submit=rate)))
    done(outcome.ending)
    times = bought_at(bench)
    stated = read_values("limits", [f"submit={rate}"])["limits.submit"]
    assert isinstance(stated, Rate)
    after = [at for at in times if at >= 67]
    check_windows(after, stated)
    check_windows(times, max(stated, Rate(6, 60.0), key=lambda each: each.per_second))
    assert least < times[-1] < most


def test_more_and_fewer_in_flight(bench: Bench) -> None:
    bench.switches.run_seconds = (100, 100)
    fast = SLOW.replace("6/minute", "1000/second, in_flight: 2")
    counted: list[int] = []

    def look(run: Looked) -> None:
        counted.append(sum(each in ("submitting", "queued", "processing") for each in statuses(bench)))

    outcome = during(
        bench,
        boats(bench, 10, fast=fast),
        *((50, look), (60, lambda run: run.resize(in_flight=8)), (90, look)),
        *((91, lambda run: run.resize(in_flight=1)), (230, look)),
    )
    done(outcome.ending)
    assert counted == [2, 8, 1]


def test_more_and_fewer_downloads_at_once(bench: Bench) -> None:
    """Each takes ten seconds, all is bought at once; what is being fetched when there are to be fewer is fetched."""
    faults(bench, {"on": "result", "do": "delay", "seconds": 10})
    counted: list[int] = []

    def look(run: Looked) -> None:
        with bench.reader() as reader:
            counted.append(len(reader.rows("SELECT 1 FROM files WHERE saved_at IS NOT NULL")))

    fast = SLOW.replace("6/minute", "1000/second, in_flight: 50, downloads: 2")
    path = boats(bench, 26, fast=fast)
    wider, fewer = ((at, lambda run, n=n: run.resize(downloads=n)) for at, n in ((40, 6), (59, 1)))
    done(during(bench, path, (39, look), wider, (58, look), fewer, (79, look), (97, look)).ending)
    assert counted == [6, 14, 21, 23]  # by twos, by sixes; six were under way, and then one by one


def test_a_lowered_cap_holds_from_its_commit_on_and_a_raised_one_lets_more_through(bench: Bench) -> None:
    lowered = read_values("budget", ["campaign:spring=50"])
    raised = read_values("budget", ["campaign:spring=90"])

    def again(run: Looked) -> None:
        with pytest.raises(control.RaisesCaps, match="campaign:spring 50 → 90"):
            run.ask("budget", raised)
        control.ask(run.ledger.path, bench.clock, "budget", raised, who="ann@desk", raises=True)

    outcome = during(
        bench,
        singly(bench, 12, "budget: {campaign: 100}\n"),
        *((15, lambda run: run.ask("budget", lowered)), (33, Looked.pause), (110, again), (111, Looked.resume)),
    )
    assert (outcome.kind, outcome.reason) == (Kind.CAPPED, "no room left under: campaign spring")
    assert statuses(bench).count("succeeded") == 9
    bench.check()


def test_a_raised_cap_passes_no_other_one(bench: Bench) -> None:
    more = "budget: {campaign: 40, day: 60, allowance: {name: night, total: 70}, keep: 99950}\n"
    wide = {"budget.campaign:spring": 10_000}

    def widen(run: Looked) -> None:
        control.ask(run.ledger.path, bench.clock, "budget", wide, who="ann@desk", raises=True)

    outcome = during(bench, singly(bench, 12, more), (5, widen))
    assert outcome.reason == "no room left under: keep"
    assert statuses(bench).count("succeeded") == 5


def test_it_is_over_with_its_run_and_outlives_a_crash_where_it_is_stricter(bench: Bench) -> None:
    path = singly(bench, 12, "budget: {campaign: 100}\n")

    def ask(*words: str) -> Callable[[Looked], None]:
        values = read_values("budget", words)
        return lambda run: _ask(run, values)

    def _ask(run: Looked, values: Any) -> None:
        control.ask(run.ledger.path, bench.clock, "budget", values, who="ann@desk", raises=True)

    def crash(run: Looked) -> None:
        run.ledger.close()

    with pytest.raises(BaseException):  # noqa: B017, PT011  (the ledger is gone)
        during(bench, path, (12, ask("campaign:spring=110", "run=60")), (13, Looked.pause), (14, crash))
    bench.edit("UPDATE runs SET ended_at = NULL, exit_code = NULL, reason = NULL")
    before = len(attempts(bench))
    outcome = during(bench, path, (600, Looked.resume))
    [kept] = told(Event.COMMANDS_KEPT)
    assert kept["state"] == "paused"
    assert kept["message"].startswith(f"kept from the run that was cut off: paused by {control.asker()}, budget.")
    assert heard.index(next(each for each in heard if each.event == Event.COMMANDS_KEPT)) == 2, "its first word"
    assert outcome.reason == "no room left under: run"
    assert len(attempts(bench)) == 6, f"60 credits in all, {before} of them before the crash"
    third = during(bench, path)
    assert (told(Event.COMMANDS_KEPT), third.reason) == ([], "no room left under: campaign spring")
    assert len(attempts(bench)) == 10
    bench.check()


def test_what_cannot_be_asked_is_told(bench: Bench) -> None:
    def wrong(run: Looked) -> None:
        for words in (["campaign:other=5"], ["allowance:none=5"]):
            with pytest.raises(UsageError, match="this run has no"):
                run.ask("budget", read_values("budget", words))
        with pytest.raises(UsageError, match="limits of what"):
            run.resize()
        run.ask("drain")
        with pytest.raises(UsageError, match="draining already"):
            run.resume()

    path = boats(bench, 3)
    during(bench, path, (1, wrong))
    with pytest.raises(UsageError, match="no run is going"):
        control.ask(bench.ledger_path, bench.clock, "pause", who="ann@desk")
    with bench.reader() as reader:
        assert control.run_control(reader) is None


def test_rows_that_somebody_else_wrote_say_nothing(bench: Bench) -> None:
    """A ledger may have come with a clone: what is in it can only tighten, and never ends a run with a traceback."""
    path = boats(bench, 2, fast=SLOW.replace("6/minute", "1000/second"))
    bench.run(path)
    rows = [
        ("state", "[1"),
        ("limits.submit", "[0, 1]"),
        ("limits.requests", '["1", 2]'),
        ("limits.in_flight", "0"),
        ("budget.run", "-1"),
        ("budget.day", "1e400"),
        ("budget.campaign:spring", "true"),
        ("what", "null"),
        ("budget.allowance:x", "9999999999999999999"),
    ]
    bench.edit("UPDATE runs SET ended_at = NULL")
    for what, value in rows:
        bench.edit("INSERT INTO commands VALUES (?, ?, 'x', 'x', 1, 1)", what, value)
    bench.edit("UPDATE wanted SET status = 'planned', attempt_id = NULL")
    done(during(bench, path).ending)


def test_an_edited_manifest_is_told_and_not_taken(bench: Bench) -> None:
    path = singly(bench, 4)

    def edit(run: Looked) -> None:
        path.write_text(path.read_text().replace("in_flight: 1", "in_flight: 4"))

    def spoil(run: Looked) -> None:
        path.write_text("campaign: [")

    done(during(bench, path, (5, edit), (25, spoil)).ending)
    messages = [each["message"] for each in told(Event.LOOKED) if each["of"] == "manifest"]
    assert ["other limits" in messages[0], "has errors" in messages[1], len(messages)] == [True, True, 2]
    assert bought_at(bench)[-1] > 25
