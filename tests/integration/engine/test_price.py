"""Prices that are not those of the catalogue: what a run may take above its caps, and that it learns at once.

The simulator is the truth about charges. `over` is what it took beyond a cap; the promise bounds that by what nobody
could know: one job for a class not yet seen, or the paid requests already on their way when a price rises.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import FAST, attempts, done, faults, manifest, seen, statuses
from support import KEY, Bench

from batcher.engine import Ending
from batcher.errors import Kind
from batcher.jobs import Status

CATALOG = 10
BOATS = [f"Boat {n}" for n in range(40)]
CAPS = {
    "campaign": "budget: {{campaign: {}}}\n",
    "day": "budget: {{day: {}}}\n",
    "keep": "budget: {{keep: {}, campaign: 4000}}\n",
}
WALLET = 1000

CLASSES = """
campaign: spring
model: grok-imagine-video
matrix: {{duration: [6, 10], mode: [fun, normal]}}
prompts:
  - {{name: boat, prompt: A boat, repeat: 8}}
{more}
"""


def capped(bench: Bench, cap: str, credits_: int, *, in_flight: int = 20) -> Path:
    """Forty jobs of one class; the cap lets so many credits be spent."""
    bench.world.set_wallet(WALLET)
    value = WALLET - credits_ if cap == "keep" else credits_
    fast = FAST.replace("}", f", in_flight: {in_flight}}}", 1)
    return manifest(bench, *BOATS, more=CAPS[cap].format(value), fast=fast)


def charged(bench: Bench) -> int:
    """What the API has taken in all, by its own books."""
    return bench.world.oracle().spent


def capped_out(ending: Ending, cap: str) -> None:
    words = "campaign spring" if cap == "campaign" else cap
    assert (ending.kind, ending.reason) == (Kind.CAPPED, f"no room left under: {words}")


# A catalogue that is too low from the start


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize(("factor", "limit"), [(1.5, 59), (1.5, 60), (2.5, 99), (2.5, 100), (2.5, 101), (4.0, 85)])
def test_the_first_job_shows_the_price_and_the_others_are_quoted_by_it(
    bench: Bench, cap: str, factor: float, limit: int
) -> None:
    """What is spent is the greatest number of jobs that fits, to the credit."""
    bench.switches.price_factor = factor
    price = int(CATALOG * factor)
    capped_out(bench.run(capped(bench, cap, limit)), cap)
    assert charged(bench) == limit // price * price
    assert [a["quoted_credits"] for a in attempts(bench)] == [CATALOG] + [price] * (limit // price - 1)
    bench.check()


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("limit", [10, 11, 24])
def test_only_the_first_job_may_pass_a_cap(bench: Bench, cap: str, limit: int) -> None:
    """The quote fits, the price does not: over by the difference of one job at most, and nothing more is bought."""
    bench.switches.price_factor = 2.5
    capped_out(bench.run(capped(bench, cap, limit)), cap)
    assert charged(bench) == 25 <= limit + (25 - CATALOG)
    assert len(seen(bench, "create")) == 1
    bench.check()


@pytest.mark.parametrize("cap", CAPS)
def test_a_cap_below_the_catalogue_buys_nothing(bench: Bench, cap: str) -> None:
    capped_out(bench.run(capped(bench, cap, CATALOG - 1)), cap)
    assert seen(bench, "create") == []


def test_without_a_cap_the_plan_is_the_cap_and_the_first_job_may_pass_it(bench: Bench) -> None:
    bench.switches.price_factor = 2.5
    first = manifest(bench, *BOATS[:4])
    assert bench.plan(first).credits == 40
    capped_out(bench.run(first), "run")
    assert charged(bench) == 25
    assert bench.plan(first).credits == 75, "the next run's plan knows the price"
    done(bench.run(first))
    assert [a["quoted_credits"] for a in attempts(bench)] == [10, 25, 25, 25]
    bench.check()


@pytest.mark.parametrize("limit", [40, 79, 100, 163, 220])
@pytest.mark.parametrize("slow", [0.0, 3.0])
def test_classes_learn_side_by_side_and_each_may_be_wrong_once(bench: Bench, limit: int, slow: float) -> None:
    bench.switches.price_factor = 2.1
    if slow:
        faults(bench, {"on": "create", "do": "delay", "seconds": slow, "after": True})
    path = bench.write(CLASSES.format(more=FAST + CAPS["campaign"].format(limit)))
    capped_out(bench.run(path), "campaign")
    made = attempts(bench)
    blind = [a for a in made if a["quoted_credits"] < a["reserved_credits"]]
    assert len({a["price_class"] for a in blind}) == len(blind), "one job a class"
    assert blind == [a for a in made if a["quoted_credits"] == CATALOG], "the others are quoted by the seen price"
    assert charged(bench) <= limit + 11 * len(blind)
    assert charged(bench) + 21 > limit, "no room is left that another job could have used"
    # After the run's first job, the firsts of all other classes go out before an answer is there.
    assert len({each.at for each in seen(bench, "create")[1 : len(blind)]}) <= (1 if slow else len(blind))
    bench.check()


# A price that moves in mid-run


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize(("after", "factor", "in_flight"), [(5, 3.0, 3), (1, 1.5, 7), (8, 2.0, 1), (6, 2.5, 20)])
def test_a_rise_costs_at_most_what_was_on_its_way(
    bench: Bench, cap: str, after: int, factor: float, in_flight: int
) -> None:
    bench.switches.price_rise = (after, factor)
    price, limit = int(CATALOG * factor), 200
    capped_out(bench.run(capped(bench, cap, limit, in_flight=in_flight)), cap)
    made = attempts(bench)
    named = min(a["submitted_at"] for a in made if a["reserved_credits"] == price)
    surprised = [a for a in made if a["quoted_credits"] < a["reserved_credits"]]
    assert surprised
    assert all(a["intended_at"] <= named for a in surprised), "taken over at once"
    assert len(surprised) <= in_flight
    assert {a["quoted_credits"] for a in made if a["intended_at"] > named} <= {price}
    # A wallet reading taken while a request is under way counts that one twice, until the next reading.
    least = limit - price * (1 + (cap == "keep") * in_flight)
    assert least < charged(bench) <= limit + (price - CATALOG) * len(surprised)
    bench.check()


def test_a_rise_is_named_in_the_events_and_in_the_next_plan(bench: Bench) -> None:
    bench.switches.price_rise = (2, 3.0)
    path = capped(bench, "campaign", 80, in_flight=1)
    bench.run(path)
    with bench.reader() as reader:
        rows = reader.rows(
            "SELECT json_extract(i.detail, '$.hold') AS quote, json_extract(q.detail, '$.reserved') AS price"
            " FROM events AS i JOIN events AS q ON q.job_id = i.job_id AND q.event = 'queued'"
            " WHERE i.event = 'intended' ORDER BY i.id"
        )
    assert [tuple(row) for row in rows] == [(10, 10), (10, 10), (10, 30), (30, 30)]
    [quote] = bench.plan(path).campaigns[0].quotes
    assert (quote.credits_each, quote.source) == (30, "seen 2027-01-15")


def test_a_fall_is_taken_over_and_the_room_is_used(bench: Bench) -> None:
    bench.switches.price_factor = 3.0
    bench.switches.price_rise = (2, 1 / 3)
    capped_out(bench.run(capped(bench, "campaign", 155, in_flight=1)), "campaign")
    assert [a["reserved_credits"] for a in attempts(bench)] == [30, 30] + [10] * 9
    assert charged(bench) == 150
    assert attempts(bench)[-1]["quoted_credits"] == 10
    bench.check()


def dearer_in_the_end(bench: Bench, extra: int) -> None:
    """From now on a success takes more than was reserved."""
    faults(bench, {"on": "status", "do": "patch", "body": {"final_credits": CATALOG + extra}})


@pytest.mark.parametrize(("extra", "in_flight"), [(5, 1), (5, 4), (1, 6)])
def test_what_is_taken_in_the_end_above_the_reserve_is_the_next_quote(bench: Bench, extra: int, in_flight: int) -> None:
    """The API reserves 10 and takes more: over by what was bought before the first end, and no more."""
    dearer_in_the_end(bench, extra)
    path = capped(bench, "campaign", 100, in_flight=in_flight)
    capped_out(bench.run(path), "campaign")
    made = attempts(bench)
    first_end = min(a["finished_at"] for a in made)
    assert all(a["quoted_credits"] == CATALOG + extra for a in made if a["intended_at"] > first_end)
    surprised = [a for a in made if a["quoted_credits"] == CATALOG]
    assert len(surprised) <= in_flight
    with bench.reader() as reader:
        settled = reader.spent().settled
    assert settled == (CATALOG + extra) * len(made) <= 100 + extra * len(surprised)


def test_what_comes_back_in_the_end_is_spent_again_but_never_twice(bench: Bench) -> None:
    """Half of each reserve comes back: the room is used to the last credit that a quote allows."""
    bench.switches.final_factor = 0.5
    capped_out(bench.run(capped(bench, "campaign", 61)), "campaign")
    assert charged(bench) == 55  # the twelfth would need 10 beside 55
    assert {a["quoted_credits"] for a in attempts(bench)} == {CATALOG}
    bench.check()


# The first of a class that comes to nothing


REFUSED = {"on": "create", "do": "status", "status": 400, "code": "invalid_request", "nth": [1]}
DOUBTFUL = (
    {"on": "create", "do": "lost_before", "nth": [1]},
    {"on": "create", "do": "status", "status": 400, "code": "invalid_request", "nth": [2]},
)


@pytest.mark.parametrize(
    ("rules", "status"), [((REFUSED,), Status.FAILED), (DOUBTFUL, Status.DOUBTFUL)], ids=["refused", "doubtful"]
)
def test_the_next_job_of_the_class_goes_alone_in_its_place(
    bench: Bench, rules: tuple[dict[str, Any], ...], status: Status
) -> None:
    bench.switches.price_factor = 2.0
    faults(bench, *rules, {"on": "create", "do": "delay", "seconds": 2, "after": True, "nth": [len(rules) + 1]})
    ending = bench.run(manifest(bench, *BOATS[:5], more="budget: {campaign: 1000}\n"))
    assert ending.kind is Kind.UNFINISHED
    assert sorted(statuses(bench)) == sorted([status, *["succeeded"] * 4])
    assert [a["quoted_credits"] for a in attempts(bench)] == [10, 10, 20, 20, 20]
    creates = seen(bench, "create")[len(rules) :]
    assert creates[1].at - creates[0].at >= 2, "nobody goes beside the one that shows the price"
    assert creates[3].at - creates[1].at < 1
    bench.check(files=False) if status is Status.FAILED else None


# Where a price comes from


def quotes(bench: Bench, path: Path) -> list[tuple[int, str]]:
    return [(quote.credits_each, quote.source) for quote in bench.plan(path).campaigns[0].quotes]


def test_a_price_is_kept_with_its_date_and_account(bench: Bench) -> None:
    bench.switches.price_factor = 2.0
    path = bench.write(CLASSES.format(more=FAST + CAPS["campaign"].format(1000)))
    few = manifest(bench, "Boat", more="budget: {campaign: 1000}\n", name="few")
    assert quotes(bench, path) == [(10, "catalogue, from")] * 4
    done(bench.run(few))
    bench.clock.start += 86400 * 30
    assert sorted(quotes(bench, path)) == [(10, "catalogue, from")] * 3 + [(20, "seen 2027-01-15")]
    done(bench.run(path))
    made = attempts(bench)[1:]
    assert sorted(a["quoted_credits"] for a in made) == [10] * 3 + [20] * 29
    more = manifest(bench, "Raft", more="budget: {campaign: 1000}\n", name="few")
    assert quotes(bench, more) == [(20, "seen 2027-02-14")]

    bench.key = bench.switches.api_key = "rvya_sk_another"
    assert quotes(bench, more) == [(10, "catalogue, from")], "what another key has seen is no price"
    done(bench.run(more))
    assert attempts(bench)[-1]["quoted_credits"] == 10
    assert len({a["account"] for a in attempts(bench)}) == 2
    assert quotes(bench, manifest(bench, "Canoe", name="few")) == [(20, "seen 2027-02-14")]
    assert KEY not in str(attempts(bench))
    bench.check()


def test_a_rise_that_a_late_repeat_meets_counts_though_newer_rows_are_cheaper(bench: Bench) -> None:
    """The second of four is cut off until the others are bought at 10; its repeat costs 30, as all that follows."""

    def cut(request: httpx.Request) -> None:
        key = request.headers.get("idempotency-key")
        if request.method == "POST" and [a["id"] for a in attempts(bench) if a["idempotency_key"] == key] == [2]:
            if len(bench.world.oracle().tasks) < 3:
                raise httpx.ReadError("cut", request=request)
            bench.switches.price_factor = 3.0

    bench.api.before = cut
    bench.switches.run_seconds = (60, 60)
    capped_out(bench.run(capped(bench, "campaign", 200, in_flight=4)), "campaign")
    made = attempts(bench)
    late = made[1]
    assert [a["reserved_credits"] for a in made[:4]] == [10, 30, 10, 10]
    assert {a["quoted_credits"] for a in made if a["intended_at"] > late["submitted_at"]} == {30}
    surprised = [a for a in made if a["quoted_credits"] < a["reserved_credits"]]
    assert charged(bench) <= 200 + 20 * len(surprised)
    assert len(surprised) <= 4
    bench.check()
