"""Which jobs, how many at once, when a run ends and as what: whole runs on virtual time against the simulator."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx
import pytest
from integration.engine.helpers import MIXED
from integration.lifecycle.helpers import FAST, attempts, done, faults, held, manifest, seen, statuses
from support import Bench

from batcher.catalog import get_model
from batcher.engine import Engine
from batcher.errors import Kind
from batcher.settings import Selection
from batcher.simulator.world import World


def mixed(bench: Bench, more: str = "") -> Path:
    """Four jobs of a dear class before six of a cheap one."""
    return bench.write(MIXED.format(more=FAST + more), "mixed.yaml")


def dear(model: Any, params: Any, has_reference: bool) -> int:
    """Thirty seconds cost 40, all else 10."""
    return 40 if params.get("duration") == 30 else 10


@pytest.fixture
def priced(tmp_path: Path) -> Bench:
    class Dear(World):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, price=dear)

    return Bench(tmp_path, world_type=Dear)


def test_a_body_names_every_param_and_the_ledger_keeps_them(bench: Bench) -> None:
    bench.run(mixed(bench))
    for bought in attempts(bench):
        sent = json.loads(bought["body"])["params"]
        assert sent.keys() == get_model("grok-imagine-video").params.keys(), "defaults included"
        assert json.loads(bought["params"]) == sent
    assert {json.loads(bought["params"])["duration"] for bought in attempts(bench)} == {6, 30}


# The end of a run


def test_a_finished_campaign_sends_nothing(bench: Bench) -> None:
    path = manifest(bench, *(f"Boat {n}" for n in range(5)))
    ending = bench.run(path)
    assert (ending.kind, ending.reason, ending.left, ending.blocked) == (
        Kind.DONE,
        "everything selected is done",
        {},
        (),
    )
    requests = len(bench.world.oracle().requests)
    done(bench.run(path))
    assert len(bench.world.oracle().requests) == requests
    bench.check()


def test_nothing_to_do(bench: Bench) -> None:
    path = bench.write("campaign: c\nmodel: grok-imagine-video\nprompts: [A boat]\n")
    done(bench.run(path, selection=Selection(limit=0)))
    assert statuses(bench) == ["planned"]


def test_a_corrected_typo_does_not_buy_the_old_text(bench: Bench) -> None:
    bench.run(manifest(bench, "Baot"), selection=Selection(limit=0))
    done(bench.run(manifest(bench, "Boat")))
    assert sorted(statuses(bench)) == ["cancelled", "succeeded"]
    assert len(seen(bench, "create")) == 1


def test_what_is_bought_goes_on_though_the_manifest_dropped_it(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "lost", "times": 3})
    bench.run(manifest(bench, "Boat", more="retries: {times: 1}\n"))
    assert statuses(bench) == ["submitting"]
    done(bench.run(manifest(bench, "Ship")))
    assert statuses(bench) == ["succeeded", "succeeded"]
    bench.check()


def test_two_campaigns_in_one_run(bench: Bench) -> None:
    one = manifest(bench, "Boat", "Ship", name="one")
    two = manifest(bench, "Boat", "Ship", "Raft", name="two")
    done(bench.run(one, two))
    assert [job["campaign"] for job in bench.jobs()] == ["one"] * 2 + ["two"] * 3
    assert len(seen(bench, "create")) == 5
    bench.check()
    done(bench.run(two))


def test_a_campaign_that_is_not_named_is_left_alone(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "lost", "times": 3})
    bench.run(manifest(bench, "Boat", name="one", more="retries: {times: 1}\n"))
    sent = len(seen(bench, "create"))
    faults(bench)
    text = f"campaign: two\nmodel: grok-imagine-video\nparams: {{mode: fun}}\nprompts: [Ship]\n{FAST}"
    fun = bench.write(text, "two.yaml")
    done(bench.run(fun))
    assert len(seen(bench, "create")) == sent + 1


def test_a_price_that_another_campaign_waits_for_ends_the_run_with_words(bench: Bench) -> None:
    """The class is open in a campaign that this run does not work on: no hang, no second unpriced purchase."""
    faults(bench, {"on": "create", "do": "lost", "times": 3})
    one = manifest(bench, "Boat", name="one", more="retries: {times: 1}\n")
    two = manifest(bench, "Ship", name="two")
    bench.run(one)
    faults(bench)
    ending = bench.run(two)
    assert (ending.kind, ending.reason) == (Kind.UNFINISHED, "1 planned")
    assert len(seen(bench, "create")) == 2
    done(bench.run(one, two))
    bench.check()


# How many at once


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_never_more_in_flight_than_allowed(bench: Bench, limit: int) -> None:
    bench.switches.run_seconds = (5, 40)
    most = 0

    def look(request: httpx.Request) -> None:
        nonlocal most
        states = bench.world.oracle().states.values()
        most = max(most, sum(state not in ("succeeded", "failed") for state in states))

    bench.api.after = look
    limits = f"limits: {{submit: 1000/second, requests: 1000/second, in_flight: {limit}}}\n"
    path = manifest(bench, *(f"Boat {n}" for n in range(20)), fast=limits)
    done(bench.run(path))
    assert most == limit
    bench.check()


def test_memory_holds_only_what_is_in_flight(bench: Bench) -> None:
    bench.switches.run_seconds = (5, 10)
    path = bench.write(f"campaign: c\nmodel: grok-imagine-video\nprompts: [{{prompt: Boat, repeat: 120}}]\n{FAST}")
    most: list[int] = []
    engines: list[Engine] = []

    def look(request: httpx.Request) -> None:
        [engine] = engines
        most.append(len(engine.open))
        assert engine.in_flight <= 20

    bench.api.after = look
    done(bench.run(path, engine=engines.append))
    assert max(most) <= 20 + 100
    assert engines[0].open == {}
    assert engines[0].in_flight == 0
    assert len(bench.world.oracle().tasks) == 120


def test_no_new_job_starts_while_too_many_results_wait(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.engine.engine.FETCH_BACKLOG", 3)
    bench.switches.queue_seconds = bench.switches.run_seconds = (0, 0)
    faults(bench, {"on": "result", "do": "delay", "seconds": 20})
    waiting: list[int] = []

    def look(request: httpx.Request) -> None:
        if request.method == "POST":
            states = bench.world.oracle().states.values()
            fetched = sum(bool(job["result_path"]) for job in bench.jobs())
            waiting.append(sum(state == "succeeded" for state in states) - fetched)

    bench.api.before = look
    done(bench.run(manifest(bench, *(f"Boat {n}" for n in range(40)))))
    assert max(waiting) <= 3 + 4 + 20  # those in the heap, those being fetched, those on their way
    bench.check()


# Caps


def test_a_campaigns_cap(bench: Bench) -> None:
    path = manifest(bench, *(f"Boat {n}" for n in range(6)), more="budget: {campaign: 35}\n")
    ending = bench.run(path)
    assert (ending.kind, ending.reason) == (Kind.CAPPED, "no room left under: campaign spring")
    assert ending.blocked == ("campaign spring of 35: 30 held or settled, 10 more wanted",)
    assert sorted(statuses(bench)) == ["planned"] * 3 + ["succeeded"] * 3
    assert bench.run(path).kind is Kind.CAPPED
    assert len(seen(bench, "create")) == 3
    done(bench.run(manifest(bench, *(f"Boat {n}" for n in range(6)), more="budget: {campaign: 60}\n")))
    bench.check()


def test_an_allowance_is_shared_by_campaigns_runs_and_days(bench: Bench) -> None:
    def campaign(name: str, jobs: int, total: int) -> Path:
        texts = [f"Boat {n}" for n in range(jobs)]
        more = f"budget: {{allowance: {{name: night, total: {total}}}}}\n"
        return manifest(bench, *texts, more=more, name=name)

    done(bench.run(campaign("spring", 3, 55)))
    bench.clock.start += 86_400
    ending = bench.run(campaign("autumn", 4, 55))
    assert (ending.kind, ending.reason) == (Kind.CAPPED, "no room left under: allowance night")
    assert ending.blocked == ("allowance night of 55: 50 held or settled, 10 more wanted",)
    assert len(bench.world.oracle().tasks) == 5
    done(bench.run(campaign("autumn", 4, 70)))
    assert bench.run(campaign("autumn", 5, 60)).kind is Kind.CAPPED, "the total stated now counts"
    bench.check()


def test_smaller_ones_pass_where_a_dear_one_does_not_fit(priced: Bench) -> None:
    path = mixed(priced, "budget: {campaign: 105}\n")
    ending = priced.run(path)
    assert ending.kind is Kind.CAPPED
    with priced.reader() as reader:
        assert reader.spent().committed in range(96, 106), "no room was left that a small one could have used"
    priced.check()


def test_what_comes_back_is_spent_again(priced: Bench) -> None:
    """Failures free their hold; the run ends only when nothing in flight can free any more."""
    priced.switches.fail_rate = 0.8
    path = mixed(priced, "budget: {campaign: 80}\nstop: {failures_in_a_row: 100}\n")
    ending = priced.run(path)
    priced.check()
    with priced.reader() as reader:
        spent = reader.spent()
        left = [row["quoted"] for row in reader.rows("SELECT 10 AS quoted FROM wanted WHERE status = 'planned'")]
    assert spent.held == 0
    assert spent.settled <= 80
    assert ending.kind is Kind.CAPPED or not left
    assert len(attempts(priced)) > 2


def test_a_rise_of_the_price_costs_the_cap_at_most_what_was_on_its_way(bench: Bench) -> None:
    bench.switches.price_rise = (5, 3)
    few = FAST.replace("}", ", in_flight: 3}", 1)
    path = manifest(bench, *(f"Boat {n}" for n in range(40)), more="budget: {campaign: 200}\n", fast=few)
    assert bench.run(path).kind is Kind.CAPPED
    with bench.reader() as reader:
        assert reader.spent().committed <= 200 + 3 * 20
    quoted = [a["quoted_credits"] for a in attempts(bench)]
    assert quoted[-1] == 30, "the rise is taken over"
    bench.check()


def test_without_any_cap_a_run_spends_what_its_plan_quotes(bench: Bench) -> None:
    bench.switches.price_factor = 1.5
    ending = bench.run(manifest(bench, *(f"Boat {n}" for n in range(6))))
    assert ending.kind is Kind.CAPPED
    assert len(bench.world.oracle().tasks) == 4  # 60 credits at 15 each
    bench.check()


def test_the_first_of_a_class_goes_alone_and_classes_run_side_by_side(priced: Bench) -> None:
    """After the run's first job, which shows that this key may read what it buys."""
    priced.switches.queue_seconds = (30, 30)
    faults(priced, {"on": "create", "do": "delay", "seconds": 5, "after": True})
    text = mixed(priced, "budget: {campaign: 1000}\n").read_text()
    first = "prompts:\n  - {name: first, prompt: A boat, params: {mode: fun}}\n"
    done(priced.run(priced.write(text.replace("prompts:\n", first))))
    first, *creates = seen(priced, "create")
    assert b'"mode":"fun"' in first.body
    durations = [b'"duration":30' in each.body for each in creates]
    assert sorted(durations[:2]) == [False, True]
    assert creates[1].at - creates[0].at < 1
    assert creates[2].at - creates[0].at >= 5
    priced.check()


def test_ten_failures_in_a_row_stop_the_run(bench: Bench) -> None:
    bench.switches.fail_prompt = "Boat"
    path = manifest(
        bench,
        *(f"Boat {n}" for n in range(40)),
        more="stop: {failures_in_a_row: 4}\n",
        fast=FAST.replace("}", ", in_flight: 2}", 1),
    )
    ending = bench.run(path)
    assert (ending.kind, ending.reason) == (Kind.CAPPED, "4 jobs failed in a row (stop.failures_in_a_row)")
    assert 4 <= len(bench.world.oracle().tasks) <= 6
    assert held(bench) == 0


# Stopping


def test_a_stop_starts_nothing_new_and_gives_open_posts_some_seconds(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "delay", "seconds": 6, "after": True})
    path = manifest(bench, *(f"Boat {n}" for n in range(5)), more="budget: {campaign: 1000}\n")
    engines: list[Engine] = []

    def look(request: httpx.Request) -> None:
        if request.method == "POST" and len(engines) == 1:
            engines[0].stop(Kind.INTERRUPTED, "SIGINT")
            engines.append(engines[0])

    bench.api.before = look
    ending = bench.run(path, engine=engines.append)
    assert (ending.kind, ending.reason) == (Kind.INTERRUPTED, "SIGINT")
    assert statuses(bench) == ["queued"] + ["planned"] * 4
    bench.api.before = lambda request: None
    done(bench.run(path))
    bench.check()


def test_a_post_that_stays_silent_is_given_up_after_the_grace_and_replayed(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "delay", "seconds": 50, "after": True, "nth": [1]})
    path = manifest(bench, "Boat")
    engines: list[Engine] = []

    def look(request: httpx.Request) -> None:
        # A key that is refused and a signal right after: the second does not prolong the first one's grace.
        if request.method != "POST":
            return
        engines[0].stop(Kind.KEY, "revoked")
        engines[0].stop(Kind.INTERRUPTED, "SIGINT")
        bench.api.before = lambda request: None

    bench.api.before = look
    begun = bench.clock.start
    ending = bench.run(path, engine=engines.append)
    assert (ending.kind, statuses(bench)) == (Kind.INTERRUPTED, ["submitting"])
    assert bench.clock.start - begun < 11
    assert any("before the API answered" in why for why in ending.left) or ending.left == {}
    done(bench.run(path))
    bench.check()


def test_a_later_stop_does_not_prolong_the_grace(bench: Bench) -> None:

    faults(bench, {"on": "create", "do": "delay", "seconds": 50, "after": True, "nth": [1]})
    path = manifest(bench, "Boat")
    engines: list[Engine] = []
    real = bench.api.handle_async_request

    async def post(request: httpx.Request) -> httpx.Response:
        if request.method != "POST":
            return await real(request)
        engines[0].stop(Kind.KEY, "revoked")
        with anyio.move_on_after(8, shield=True):
            await anyio.sleep(9)
        engines[0].stop(Kind.INTERRUPTED, "SIGINT")
        return await real(request)

    bench.api.handle_async_request = post  # type: ignore[method-assign]
    begun = bench.clock.start
    bench.run(path, engine=engines.append)
    assert bench.clock.start - begun < 11


def test_polls_come_at_growing_distances_where_room_is_scarce(bench: Bench) -> None:
    bench.switches.queue_seconds, bench.switches.run_seconds = (0, 0), (200, 200)
    fast = "polling: {first: 3s, every: 5s, max: 30s}\nlimits: {requests: 100/hour}\n"
    done(bench.run(manifest(bench, "Boat", fast=fast)))
    gaps = [round(b.at - a.at) for a, b in pairwise(seen(bench, "create") + seen(bench, "status"))]
    assert gaps[:4] == [0, 3, 5, 6], "the first job of a run is looked at at once"
    assert gaps == sorted(gaps)
    assert max(gaps) == 30
