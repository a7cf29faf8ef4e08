"""Polls that are learned: whole runs on virtual time, tasks that take about as long as each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import attempts
from support import Bench

from batcher.clock import from_iso
from batcher.errors import Kind

#: So slow on the average that polls have to be sparing, in a window that never fills.
SCARCE = "3600/hour"
LIMITS = "limits: {submit: 1000/second, requests: REQUESTS, in_flight: 10}\nresults: {download: false}\n"


def campaign(bench: Bench, name: str, jobs: int, more: str = "", requests: str = SCARCE) -> Path:
    text = f"campaign: {name}\nmodel: grok-imagine-video\nprompts: [{{name: boat, prompt: Boat, repeat: {jobs}}}]\n"
    return bench.write(text + LIMITS.replace("REQUESTS", requests) + more, f"{name}.yaml")


def polls(bench: Bench) -> dict[str, list[float]]:
    """Of each task, how many seconds after its submission it was asked for, and all this from now on."""
    found: dict[str, list[float]] = {}

    def see(request: httpx.Request) -> None:
        task = bench.world.oracle().tasks.get(request.url.path.rpartition("/")[2])
        if request.method == "GET" and task:
            found.setdefault(task.id, []).append(bench.clock.wall() - task.at)

    bench.api.before = see
    return found


def run(bench: Bench, path: Path) -> dict[str, list[float]]:
    found = polls(bench)
    assert bench.run(path).kind is Kind.DONE
    return found


def slow(bench: Bench, low: float, high: float) -> None:
    bench.switches.queue_seconds, bench.switches.run_seconds = (0, 0), (low, high)


def counts(asked: Collection[list[float]]) -> tuple[int, float]:
    """Polls a task: the most, and the mean."""
    return max(map(len, asked)), sum(map(len, asked)) / len(asked)


def test_what_a_run_learns_is_used_by_it_and_by_the_next_one(bench: Bench) -> None:
    slow(bench, 55, 65)
    first = list(run(bench, campaign(bench, "first", 40)).values())
    assert [round(age) for age in first[0]][:7] == [0, 3, 8, 15, 23, 33, 45]  # the run's first job is looked at at once
    most, mean = counts(first[-10:])
    assert most <= 5
    assert mean <= 4.5
    second = run(bench, campaign(bench, "second", 10))
    assert len(second) == 10
    most, mean = counts(second.values())
    assert most <= 5
    assert mean <= 4.5
    assert [round(next(age for age in ages if age > 1)) for ages in second.values()] == [30] * 10
    bench.check(files=False)


def test_with_room_ends_are_noticed_within_an_interval(bench: Bench) -> None:
    slow(bench, 55, 65)
    run(bench, campaign(bench, "first", 20))
    second = run(bench, campaign(bench, "second", 10, requests="1000/second"))
    for ages in second.values():
        assert [round(b - a) for a, b in pairwise(age for age in ages if age > 50)] == [5] * sum(
            age > 55 for age in ages
        )
    bench.check(files=False)


def test_many_polls_are_written_down_together_and_leave_when_they_are_due(bench: Bench) -> None:
    slow(bench, 15, 25)
    arrived = list[float]()

    def see(request: httpx.Request) -> None:
        if request.method == "GET" and "/generations/" in request.url.path:
            arrived.append(bench.clock.wall())

    bench.api.before = see
    path = campaign(bench, "many", 55, "polling: {every: 4s, max: 4s}\n", "1000/second")
    path.write_text(path.read_text().replace("in_flight: 10", "in_flight: 55").replace("submit: 1000", "submit: 50"))
    assert bench.run(path).kind is Kind.DONE
    with bench.reader() as reader:
        written = [from_iso(row["at"]) for row in reader.rows("SELECT at FROM sends WHERE kind = 'poll' ORDER BY at")]
    assert len(written) == len(arrived)
    way = bench.api.seconds
    assert all(-1e-3 < late - way - early < 0.251 for early, late in zip(written, sorted(arrived), strict=True))
    steps = Counter(round(at % 0.25, 3) for at in written)
    assert max(steps.values()) > len(written) / 2, "most are written at common moments"
    bench.check(files=False)


def test_the_ledger_keeps_when_a_task_was_last_seen_unfinished(bench: Bench) -> None:
    slow(bench, 20, 20)
    asked = run(bench, campaign(bench, "first", 3))
    for row in attempts(bench):
        assert row["unfinished_for"] == round(row["unfinished_for"], 3)
        before, after = asked[row["task_id"]][-2:]
        # Ages count from the answer to the create, a round trip later; the API looked half a one before its answer.
        assert abs(row["unfinished_for"] - before) < 0.2
        assert before < 20 <= after


def test_what_fails_or_was_not_watched_teaches_nothing(bench: Bench) -> None:
    slow(bench, 20, 20)
    bench.switches.fail_rate = 1.0
    bench.run(campaign(bench, "failed", 2))
    assert [row["unfinished_for"] for row in attempts(bench)] == [None, None]
    bench.switches.fail_rate = 0.0
    path = campaign(bench, "left", 1, "polling: {give_up: 5s}\n")
    assert bench.run(path).kind is Kind.UNFINISHED
    bench.clock.start += 3600
    assert bench.run(path).kind is Kind.DONE
    assert attempts(bench)[-1]["unfinished_for"] is None


def test_a_task_of_an_earlier_run_is_polled_by_its_age(bench: Bench) -> None:
    slow(bench, 100, 100)
    path = campaign(bench, "left", 1, "polling: {give_up: 5s}\n", "120/hour")
    assert bench.run(path).kind is Kind.UNFINISHED
    bench.clock.start += 50
    ages = run(bench, campaign(bench, "left", 1, requests="120/hour"))
    [seen] = ages.values()
    # 58 s old: as far apart as growing intervals are by then, not as if it had just been sent.
    assert len(seen) <= 5
    row: dict[str, Any] = attempts(bench)[0]
    assert 58 < row["unfinished_for"] < 100


def test_tasks_of_an_earlier_run_are_not_asked_for_all_at_once(bench: Bench) -> None:
    """Nor then again all at once after each interval."""
    slow(bench, 100, 100)
    path = campaign(bench, "left", 10, "polling: {give_up: 1s}\n")
    assert bench.run(path).kind is Kind.UNFINISHED
    begun, asked = bench.clock.wall(), list[float]()
    bench.api.before = lambda request: asked.append(bench.clock.wall() - begun)
    assert bench.run(path).kind is Kind.UNFINISHED
    first = asked[:10]
    assert [b - a for a, b in pairwise(first)] == pytest.approx([0.002] * 9, abs=1e-5)


def test_each_price_class_has_its_own_times(bench: Bench) -> None:
    slow(bench, 60, 60)
    run(bench, campaign(bench, "first", 12))
    ages = run(bench, campaign(bench, "other", 1, "params: {duration: 10}\n", "120/hour"))
    [seen] = ages.values()
    assert [round(age) for age in seen][:4] == [0, 3, 8, 15]
