"""A canary that goes on by itself: the sample, five times that, all; on virtual time, and as a command."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from integration.lifecycle.helpers import FAST, attempts, done, manifest, statuses
from support import Bench

from batcher.canary import CanaryStep, parse, wider
from batcher.engine import Ending
from batcher.errors import Kind, UsageError
from batcher.events import Event
from batcher.ledger import Change

GOOD = "failed<10% and price<=quote and checks=ok"


def canary(bench: Bench, jobs: int, then: str = GOOD, sample: str = "1", more: str = "", **words: Any) -> Ending:
    path = manifest(bench, *(f"Boat {n}" for n in range(jobs)), fast=FAST, more=more)
    request = bench.request(path)
    request = replace(request, workload=request.workload.ramped(sample), then=parse(then), **words)
    told.clear()
    bench.observe = told.append
    with bench.make(request) as run:
        return run.execute(loop=bench.clock.run).ending


told: list[Change] = []


def judged() -> list[tuple[int, bool, int]]:
    """Of each step: its number, whether the run went on, how many were bought by then."""
    found, bought = [], 0
    for change in told:
        bought += change.event == Event.INTENDED
        if change.event == Event.CANARY:
            found.append((change.detail["step"], change.detail["went_on"], bought))
    return found


@pytest.mark.parametrize(("sample", "steps"), [("1", [1, 5]), ("3", [3, 15]), ("10%", [2, 10]), ("9", [9, 20])])
def test_it_goes_on_in_steps(bench: Bench, sample: str, steps: list[int]) -> None:
    done(canary(bench, 20, sample=sample))
    assert judged() == [(1, True, steps[0]), (2, True, steps[1])]
    assert statuses(bench) == ["succeeded"] * 20
    bench.check()


def test_it_stops_where_the_price_is_not_as_expected(bench: Bench) -> None:
    bench.switches.price_factor = 1.5
    ending = canary(bench, 20)
    assert (ending.kind, ending.reason) == (
        Kind.CAPPED,
        "canary: not price<=quote (0 failed and 0 doubtful of 1, price 15)",
    )
    assert (judged(), len(attempts(bench))) == ([(1, False, 1)], 1)
    # the same command comes to the same judgement, and buys nothing
    assert canary(bench, 20).reason == ending.reason
    assert len(attempts(bench)) == 1
    done(canary(bench, 20, "price<=15"))
    assert len(attempts(bench)) == 20


def test_it_stops_where_too_many_fail(bench: Bench) -> None:
    bench.switches.fail_prompt = "Boat"
    ending = canary(bench, 20, "failed<50%")
    assert ending.reason == "canary: not failed<50% (1 failed and 0 doubtful of 1, price 10)"
    assert len(attempts(bench)) == 1


def test_what_failed_at_no_cost_counts_with_nothing(bench: Bench) -> None:
    bench.switches.fail_prompt = "Boat"
    asked: list[CanaryStep] = []

    async def decide(step: CanaryStep) -> str:
        asked.append(step)
        return "no"

    canary(bench, 20, "price<=100", decide=decide)
    assert [(step.failed, step.credits) for step in asked] == [(1, 0)]


def test_a_cap_in_a_step_is_the_caps_word(bench: Bench) -> None:
    """What is left planned of a step has nothing to be judged by."""
    ending = canary(bench, 20, more="budget: {campaign: 30}\n")
    assert ending.reason == "no room left under: campaign spring"
    assert judged() == [(1, True, 1)]


def test_a_hook_decides(bench: Bench) -> None:
    asked: list[CanaryStep] = []

    async def decide(step: CanaryStep) -> str:
        asked.append(step)
        return "not tonight" if step.number == 2 else ""

    ending = canary(bench, 20, GOOD, decide=decide)
    assert (ending.kind, ending.reason) == (Kind.CAPPED, "canary: not tonight")
    assert [(step.number, step.of, step.jobs, step.succeeded, step.price) for step in asked] == [
        (1, 2, 1, 1, 10),
        (2, 2, 5, 5, 10),
    ]
    assert len(attempts(bench)) == 5


STEP = CanaryStep(1, 2, 20, 17, failed=2, doubtful=1, unfinished=0, credits=190, price=12, above_quote=1, differs=0)


@pytest.mark.parametrize(
    ("text", "unmet"),
    [
        ("failed<11%", ""), ("failed<10%", "failed<10%"), ("failed<=10%", ""), ("failed=2", ""),
        ("failed<2", "failed<2"),
        ("doubtful=0", "doubtful=0"), ("doubtful<=5%", ""), ("price<=12", ""), ("price<12", "price<12"),
        ("price<=quote", "price<=quote"), ("checks=ok", ""), ("failed <= 2  and  checks = ok", ""),
        ("failed=0 and price<=1", "failed=0 and not price<=1"),
    ],
)  # fmt: skip
def test_conditions(text: str, unmet: str) -> None:
    found = parse(text).unmet(STEP)
    assert found.partition(" (")[0] == (f"not {unmet}" if unmet else "")


@pytest.mark.parametrize(
    "text", ["", "failed", "failed>3", "failed<10% or price<=2", "price<=10%", "checks=bad", "price<quote", "a=1"]
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(UsageError, match="--then cannot be read"):
        parse(text)


def test_wider_samples() -> None:
    assert [wider(each) for each in ("1", "12", "5%", "30%")] == ["5", "60", "25%", "100%"]
