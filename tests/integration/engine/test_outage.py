"""A dead network or API is one pause that burns no job's repeats; a single job's trouble is none."""

from __future__ import annotations

from itertools import pairwise

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import done, faults, manifest, seen, statuses
from support import Bench

from batcher.errors import Kind
from batcher.providers.rivya import Rivya


def outages(bench: Bench) -> list[str]:
    with bench.reader() as reader:
        rows = reader.rows("SELECT event FROM events WHERE event LIKE 'outage%' ORDER BY id")
        return [row["event"] for row in rows]


@pytest.mark.parametrize("how", ["refused", "lost", "errors", "disabled", "page"])
def test_an_outage_of_half_an_hour_is_sat_out(bench: Bench, how: str) -> None:
    bench.switches.run_seconds = (30, 60)
    path = manifest(bench, *(f"Boat {n}" for n in range(12)), more="retries: {times: 2}\n")
    begun = bench.clock.wall()

    def fail(request: httpx.Request) -> None:
        dead = 20 < bench.clock.wall() - begun < 1800
        if how in ("errors", "disabled"):
            bench.switches.outage = how if dead else "none"
        elif how == "page":  # of a proxy whose password ran out
            faults(bench, *([{"on": "*", "do": "html", "status": 407}] if dead else []))
        elif dead:
            kind = httpx.ConnectError if how == "refused" else httpx.ReadError
            raise kind(how, request=request)

    bench.api.before = fail
    done(bench.run(path))
    bench.check()
    assert outages(bench) == ["outage_began", "outage_ended"]
    during = [at for at in bench.world.oracle().times() if 25 < at - begun < 1800]
    assert len(during) < 60, "probes grow rarer"


class Elsewhere(Rivya):
    """The API of whom no result is, so that no slot of the gate stands before a download."""

    def is_own_host(self, url: str) -> bool:
        return False


def test_downloads_from_other_hosts_sit_an_outage_out_too(bench: Bench) -> None:
    path = manifest(bench, *(f"Boat {n}" for n in range(12)), more="retries: {times: 2}\n")
    bench.client = Elsewhere
    bench.switches.queue_seconds = bench.switches.run_seconds = (1, 1)
    began: list[float] = []

    def fail(request: httpx.Request) -> None:
        """Dead from the third download on: then only downloads are under way."""
        if request.url.path.startswith("/results/"):
            began.append(bench.clock.wall())
        if len(began) > 2 and bench.clock.wall() - began[2] < 900:
            raise httpx.ConnectError("down", request=request)

    bench.api.before = fail
    done(bench.run(path))
    bench.check()
    assert outages(bench) == ["outage_began", "outage_ended"]


@pytest.mark.parametrize("how", ["errors", "cut"])
def test_an_outage_when_only_files_are_left(bench: Bench, how: str) -> None:
    """The API's own host serves them: its 5xx is no one file's trouble."""
    bench.switches.queue_seconds = bench.switches.run_seconds = (1, 1)
    path = manifest(bench, *(f"Boat {n}" for n in range(12)), more="retries: {times: 2}\n")
    began: list[float] = []

    def fail(request: httpx.Request) -> None:
        if request.url.path.startswith("/results/"):
            began.append(bench.clock.wall())
        dead = len(began) > 2 and bench.clock.wall() - began[2] < 900
        bench.switches.outage = how if dead else "none"

    bench.api.before = fail
    done(bench.run(path))
    bench.check()
    assert outages(bench) == ["outage_began", "outage_ended"]


def test_another_host_that_is_dead_holds_nobody_for_long(bench: Bench) -> None:
    """The API answers: the downloads' own repeats count, and the jobs go on."""
    path = manifest(bench, *(f"Boat {n}" for n in range(6)), more="retries: {times: 2}\n")
    bench.client = Elsewhere

    def fail(request: httpx.Request) -> None:
        if request.url.path.startswith("/results/"):
            raise httpx.ConnectError("down", request=request)

    bench.api.before = fail
    begun = bench.clock.wall()
    ending = bench.run(path)
    assert (ending.kind, statuses(bench)) == (Kind.UNFINISHED, ["succeeded"] * 6)
    assert outages(bench) == []
    assert bench.clock.wall() - begun < 60
    bench.api.before = lambda request: None
    done(bench.run(path))
    bench.check()


def test_an_outage_that_lasts_ends_the_run_and_the_next_one_goes_on(bench: Bench) -> None:
    bench.switches.run_seconds = (30, 60)
    path = manifest(bench, *(f"Boat {n}" for n in range(6)), more="retries: {outage: 5m}\n")
    begun = bench.clock.wall()

    def fail(request: httpx.Request) -> None:
        if bench.clock.wall() - begun > 20:
            raise httpx.ConnectError("down", request=request)

    bench.api.before = fail
    ending = bench.run(path)
    assert ending.kind is Kind.UNREACHABLE
    assert 300 < bench.clock.wall() - begun < 400
    bench.api.before = lambda request: None
    done(bench.run(path))
    bench.check()


def test_one_job_that_always_fails_is_no_outage(bench: Bench) -> None:
    """Its repeats are spent while the API answers everything else."""
    path = manifest(bench, "Boat", more="retries: {times: 2}\n")
    faults(bench, {"on": "create", "do": "status", "status": 500})
    ending = bench.run(path)
    assert (ending.kind, statuses(bench)) == (Kind.UNFINISHED, ["submitting"])
    assert len(seen(bench, "create")) == 3
    assert outages(bench) == []


@pytest.mark.parametrize("on", ["create", "*"])
def test_a_long_wait_is_obeyed_for_ten_minutes_and_then_asked_about(bench: Bench, on: str) -> None:
    """No single answer ends a night: it ends when nothing was let in for longer than `retries.outage`."""
    path = manifest(bench, "Boat", "Ship")
    faults(bench, {"on": on, "do": "429", "seconds": 7200})
    begun = bench.clock.wall()
    ending = bench.run(path)
    assert ending.kind is Kind.UNREACHABLE
    assert "(retries.outage)" in ending.reason or "longer than retries.outage" in ending.reason
    assert 3600 < bench.clock.wall() - begun < 3600 + 700
    times = [each.at for each in bench.world.oracle().requests]
    waits = [b - a for a, b in pairwise(times) if b - a > 30]
    assert waits == pytest.approx([600] * 6, abs=10)
    assert len(times) < 16
    assert statuses(bench) == ["planned", "planned"]
    faults(bench)
    done(bench.run(path))
    bench.check()


def test_a_long_wait_that_the_api_takes_back_ends_after_ten_minutes(bench: Bench) -> None:
    path = manifest(bench, "Boat", "Ship")
    faults(bench, {"on": "create", "do": "429", "seconds": 7200, "nth": [1]})
    begun = bench.clock.wall()
    done(bench.run(path))
    assert 600 < bench.clock.wall() - begun < 660


def test_a_signal_ends_a_pause(bench: Bench) -> None:
    path = manifest(bench, "Boat")

    def refuse(request: httpx.Request) -> None:
        if bench.clock.wall() > begun + 100:
            engines[0].stop(Kind.INTERRUPTED, "test")
        raise httpx.ConnectError("down", request=request)

    begun = bench.clock.wall()
    engines: list = []  # type: ignore[type-arg]
    bench.api.before = refuse
    assert bench.run(path, engine=engines.append).kind is Kind.INTERRUPTED
    assert bench.clock.wall() - begun < 300
