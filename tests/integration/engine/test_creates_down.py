"""Where no create is answered, and all else is: a handful of intents, one of which asks on; pages that meet one job."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import FAST, attempts, done, events, held, manifest, statuses
from support import Bench

from batcher.errors import Kind
from batcher.jobs import Intent, TaskState
from batcher.providers import Accepted, Conflict, Fatal, Going, Refused, Retryable, Unknown
from batcher.providers.rivya import Rivya

NO_ANSWER = {
    "500": Retryable("internal_error", "HTTP 500", maybe_received=True, outage=True, cause="server"),
    "lost": Retryable("no_answer", "ReadError", maybe_received=True, outage=True, cause="cut"),
    "unreachable": Retryable("unreachable", "ConnectError", outage=True, cause="refused"),
    "page": Retryable(
        "page", "HTTP 403 from cloudflare: Attention Required", maybe_received=True, outage=True, page=True
    ),
    "disabled": Retryable("public_api_disabled", "switched off", outage=True),
}
Sent = list[tuple[float, Intent]]


def trouble(bench: Bench, how: str, meets: Callable[[Intent], bool]) -> Sent:
    """Creates have no answer where `meets` says so; returns when which was sent."""

    class Between(Rivya):
        async def submit(self, intent: Intent) -> Accepted | Refused | Conflict | Fatal | Retryable:
            sent.append((bench.clock.wall(), intent))
            return NO_ANSWER[how] if meets(intent) else await super().submit(intent)

    sent: Sent = []
    bench.client = Between
    return sent


def limits(in_flight: int) -> str:
    return FAST.replace("}", f", in_flight: {in_flight}}}", 1)


def boats(bench: Bench, jobs: int, *, more: str = "", in_flight: int = 5) -> Path:
    return manifest(bench, *(f"Boat {n}" for n in range(jobs)), more=more, fast=limits(in_flight))


@pytest.mark.parametrize(
    ("how", "begins", "in_flight"),
    [*((how, begins, 5) for how in NO_ANSWER for begins in (0, 3)), ("500", 0, 1), ("lost", 3, 1), ("page", 0, 1)],
)
def test_creates_that_are_down_for_a_while_are_sat_out(bench: Bench, how: str, begins: int, in_flight: int) -> None:
    begun: list[float] = []

    def down(intent: Intent) -> bool:
        if len(bench.world.oracle().tasks) < begins:
            return False
        begun.append(bench.clock.wall())
        return bench.clock.wall() - begun[0] < 900

    sent = trouble(bench, how, down)
    done(bench.run(boats(bench, 12, more="retries: {times: 2}\n", in_flight=in_flight)))
    bench.check()
    during = [intent for at, intent in sent if at - begun[0] < 900]
    assert len({intent.key for intent in during}) <= begins + in_flight + 3
    asked = [at for at, _ in sent if 60 < at - begun[0] < 900]
    assert len(asked) < 40, "it asks at growing intervals"
    assert all(later - earlier < 70 for earlier, later in pairwise(asked))


@pytest.mark.parametrize("how", NO_ANSWER)
def test_creates_that_stay_down_end_the_run_and_the_next_one_goes_on(bench: Bench, how: str) -> None:
    dead = [True]
    trouble(bench, how, lambda intent: dead[0] and len(bench.world.oracle().tasks) >= 3)
    path = boats(bench, 30, more="retries: {times: 1, outage: 5m}\n")
    begun = bench.clock.wall()
    ending = bench.run(path)
    assert ending.kind is Kind.UNREACHABLE
    assert "no create was answered for 300 s (retries.outage)" in ending.reason
    assert 300 < bench.clock.wall() - begun < 400
    assert len(attempts(bench)) <= 3 + 5 + 2
    assert "doubtful" not in statuses(bench)
    assert [event for event in events(bench) if event.startswith("outage")] == ["outage_began"]
    if how in ("unreachable", "disabled"):  # not received: closed at no cost, planned again
        assert held(bench) == 0
    dead[0] = False
    done(bench.run(path))
    bench.check()


def test_a_window_that_ends_before_the_outage_costs_a_handful_of_jobs_and_buys_no_more(bench: Bench) -> None:
    dead = [True]
    bench.switches.set({"queue_seconds": "0.5-2", "run_seconds": "1-4"})
    trouble(bench, "lost", lambda intent: dead[0] and len(bench.world.oracle().tasks) >= 3)
    path = boats(bench, 60, more="retries: {times: 1, replay_window: 3s, outage: 60s}\n")
    assert bench.run(path).kind is Kind.UNREACHABLE
    assert len(attempts(bench)) <= 3 + 5
    dead[0] = False
    assert bench.run(path).kind is Kind.UNFINISHED
    assert statuses(bench).count("succeeded") >= 55
    assert statuses(bench).count("doubtful") <= 5


def test_an_outage_of_all_in_the_midst_does_not_count(bench: Bench) -> None:
    """Creates are down for 4 minutes, then everything for 8, of 10 that each may last."""
    begun = bench.clock.wall()
    trouble(bench, "500", lambda intent: 5 < bench.clock.wall() - begun < 245)
    plain = bench.api.handle_async_request

    async def dead(request: httpx.Request) -> httpx.Response:
        if 240 < bench.clock.wall() - begun < 720:
            raise httpx.ConnectError("down", request=request)
        return await plain(request)

    bench.api.handle_async_request = dead  # type: ignore[method-assign]
    bench.switches.run_seconds = (3, 6)
    done(bench.run(boats(bench, 30, more="retries: {outage: 10m}\n")))
    bench.check()


# One job's own trouble


@pytest.mark.parametrize(
    ("times", "place", "in_flight"),
    [*((3, place, in_flight) for place in (0, 1, 4) for in_flight in (1, 20)), (0, 1, 20), (8, 1, 20), (8, 0, 1)],
)
def test_a_page_that_meets_one_job_makes_that_one_doubtful_by_name_and_the_others_go_on(
    bench: Bench, in_flight: int, place: int, times: int
) -> None:
    prompts = [f"Boat {n}" for n in range(5)]
    prompts[place] = "<script>"
    sent = trouble(bench, "page", lambda intent: b"<script>" in intent.body)
    if place == 0:  # its price is known, so that others need not wait for it
        done(bench.run(manifest(bench, "First", name="other")))
    path = manifest(bench, *prompts, more=f"retries: {{times: {times}}}\n", fast=limits(in_flight))
    ending = bench.run(path)
    assert (ending.kind, ending.reason) == (Kind.UNFINISHED, "1 doubtful")
    spring = [job for job in bench.jobs() if job["campaign"] == "spring"]
    assert [job["status"] for job in spring].count("succeeded") == 4
    assert (spring[place]["error_code"], held(bench)) == ("blocked", 10)
    assert "HTTP 403 from cloudflare" in spring[place]["error_message"]
    assert sum(b"<script>" in intent.body for _, intent in sent) == 3
    assert "outage_began" not in events(bench)


def test_pages_that_meet_polls_end_no_wait(bench: Bench) -> None:
    class Between(Rivya):
        async def poll(self, task_id: str) -> TaskState | Unknown | Going | Fatal | Retryable:
            polls.append(bench.clock.wall())
            return NO_ANSWER["page"] if len(polls) < 30 else await super().poll(task_id)

    polls: list[float] = []
    bench.client = Between
    done(bench.run(manifest(bench, "Boat", more="retries: {times: 1}\n")))
    bench.check()
    assert max(later - earlier for earlier, later in pairwise(polls)) < 3, "as for a task that is still going"
