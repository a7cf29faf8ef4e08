"""`run --until`: no new job after that time; what is under way goes on to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.lifecycle.helpers import attempts, done, faults, manifest, pictured, seen, statuses
from support import Bench

from batcher.clock import from_iso, local_time
from batcher.errors import Kind


def slow(bench: Bench, jobs: int, rate: str) -> Path:
    """A campaign that takes longer than the night."""
    return manifest(
        bench, *(f"Boat {n}" for n in range(jobs)), fast=f"limits: {{submit: {rate}, requests: 1000/second}}\n"
    )


def test_no_job_is_started_after_it_and_the_next_run_goes_on(bench: Bench) -> None:
    bench.switches.run_seconds = (100, 200)
    path = slow(bench, 30, "1/minute")
    bench.until = bench.clock.wall() + 600
    ending = bench.run(path)
    assert (ending.kind, ending.reason) == (Kind.CAPPED, "the time of --until has come")
    assert ending.blocked == (f"no job is started after {local_time(bench.until)}",)
    assert sorted(statuses(bench)) == ["planned"] * 20 + ["succeeded"] * 10
    assert max(from_iso(a["intended_at"]) for a in attempts(bench)) < bench.until
    bench.check()
    bench.until = None
    done(bench.run(path))
    bench.check()


def test_nobody_waits_for_room_beyond_it(bench: Bench) -> None:
    """The limit's window is full for hours; the run does not stay for that."""
    path = slow(bench, 5, "1/day")
    bench.until = bench.clock.wall() + 600
    assert bench.run(path).kind is Kind.CAPPED
    assert bench.clock.wall() < bench.until + 5
    assert sorted(statuses(bench)) == ["planned"] * 4 + ["succeeded"]


def test_a_run_that_is_done_before_ends_well(bench: Bench) -> None:
    bench.until = bench.clock.wall() + 600
    done(bench.run(manifest(bench, "Boat", "Ship")))


@pytest.mark.parametrize("shift", [0, -5])
def test_it_is_the_clock_on_the_wall_that_counts(bench: Bench, shift: float) -> None:
    bench.until = bench.clock.wall() + shift
    path = pictured(bench, 3)
    ending = bench.run(path)
    assert (ending.kind, statuses(bench)) == (Kind.CAPPED, ["planned"] * 3)
    assert seen(bench, "upload") == seen(bench, "create") == [], "not even a picture is sent for what is not bought"


def test_a_job_that_was_started_before_is_repeated_after_it(bench: Bench) -> None:
    """It may have been bought: its key goes on asking."""
    path = manifest(bench, "Boat", "Ship")
    bench.until = bench.clock.wall() + 1
    faults(bench, {"on": "create", "do": "lost", "nth": [1, 2, 3, 4]})
    bench.run(path)
    bench.check()
    assert [s for s in statuses(bench) if s != "planned"] == ["succeeded"]
    assert seen(bench, "create")[-1].at > bench.until
