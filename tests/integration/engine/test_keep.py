"""`budget.keep`: so much stays in the wallet, whoever else spends from it."""

from __future__ import annotations

import json

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import done, faults, manifest, seen, statuses
from support import Bench

from batcher.errors import Kind


def test_what_is_to_be_kept_is_kept(bench: Bench) -> None:
    bench.world.set_wallet(100)
    path = manifest(bench, *(f"Boat {n}" for n in range(6)), more="budget: {keep: 65}\n")
    ending = bench.run(path)
    assert (ending.kind, ending.reason) == (Kind.CAPPED, "no room left under: keep")
    assert bench.world.oracle().wallet == 70
    assert sorted(statuses(bench)) == ["planned"] * 3 + ["succeeded"] * 3
    bench.world.set_wallet(1000)
    done(bench.run(path))
    bench.check()


def test_the_boundary_belongs_to_what_may_be_spent(bench: Bench) -> None:
    bench.world.set_wallet(100)
    ending = bench.run(manifest(bench, *(f"Boat {n}" for n in range(6)), more="budget: {keep: 70}\n"))
    assert ending.kind is Kind.CAPPED
    assert bench.world.oracle().wallet == 70


def test_an_attempt_without_an_answer_counts_beside_the_reading(bench: Bench) -> None:
    """The wallet is read before the API has worked on a repeat of an earlier run: it will be charged after all."""
    bench.world.set_wallet(100)
    path = manifest(bench, "Boat", "Ship", more="budget: {keep: 85}\nretries: {times: 0, outage: 1m}\n")
    faults(bench, {"on": "create", "do": "lost_before"})
    bench.run(path)
    faults(bench)
    assert bench.run(path).kind is Kind.CAPPED
    assert bench.world.oracle().wallet == 90


def test_others_spend_from_the_wallet_too(bench: Bench) -> None:
    """A later reading sees it, so buying ends earlier than the first reading allowed."""
    bench.world.set_wallet(1000)
    bench.switches.run_seconds = (50, 50)
    path = manifest(bench, *(f"Boat {n}" for n in range(30)), more="budget: {keep: 500}\n")
    path.write_text(path.read_text().replace("limits: {", "limits: {in_flight: 2, "))

    def spend(request: httpx.Request) -> None:
        if len(seen(bench, "create")) == 4:
            bench.world.set_wallet(520)

    bench.api.before = spend
    assert bench.run(path).kind is Kind.CAPPED
    assert bench.world.oracle().wallet >= 500
    assert len(seen(bench, "create")) < 12


def test_without_a_reading_nothing_is_bought(bench: Bench) -> None:
    path = manifest(bench, "Boat", more="budget: {keep: 1}\n")
    faults(bench, {"on": "credits", "do": "patch", "body": {"current_credits": "many"}})
    ending = bench.run(path)
    assert ending.kind is Kind.CAPPED
    assert "the wallet could not be read" in ending.reason
    assert seen(bench, "create") == []
    bench.switches.scopes_off = ("credits:read",)
    faults(bench)
    assert bench.run(path).kind is Kind.KEY
    assert seen(bench, "create") == []


def credits_(reading: object, **more: object) -> dict[str, object]:
    return {"on": "credits", "do": "patch", "body": {"current_credits": reading}, **more}


LATER = list(range(2, 200))


def refused(status: int, code: str) -> dict[str, object]:
    return {"on": "credits", "do": "status", "status": status, "code": code, "nth": LATER}


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        (credits_(1000), "keep"),  # lags: as at the start for ever
        (credits_(990), "keep"),
        (credits_("1,000 or so", nth=LATER), "could not be read"),
        (credits_(None, nth=LATER), "could not be read"),
        (credits_(-50, nth=LATER), "keep"),
        (
            {"on": "credits", "do": "status", "status": 403, "code": "api_scope_denied", "nth": LATER},
            "could not be read",
        ),
        ({"on": "credits", "do": "status", "status": 400, "code": "odd", "nth": LATER}, "could not be read"),
    ],
)
def test_a_reading_that_cannot_be_trusted_stops_buying_in_time(
    bench: Bench, reading: dict[str, object], told: str
) -> None:
    """In three runs, one after the other: what is bought already is fetched, and the wallet keeps what it has to."""
    bench.world.set_wallet(1000)
    path = manifest(bench, *(f"Boat {n}" for n in range(90)), more="budget: {keep: 500}\nretries: {times: 2}\n")
    for _ in range(3):
        faults(bench, reading)
        ending = bench.run(path)
        assert ending.kind is Kind.CAPPED
        assert told in ending.reason
        assert bench.world.oracle().wallet >= 500
    assert set(statuses(bench)) == {"planned", "succeeded"}


def test_a_top_up_counts_and_a_reading_that_rises_back_does_not(bench: Bench) -> None:
    bench.world.set_wallet(1000)
    path = manifest(bench, *(f"Boat {n}" for n in range(90)), more="budget: {keep: 900}\n")
    assert bench.run(path).kind is Kind.CAPPED
    assert bench.world.oracle().wallet == 900
    faults(bench, credits_(950))
    assert bench.run(path).kind is Kind.CAPPED
    assert bench.world.oracle().wallet == 900
    faults(bench)
    bench.world.set_wallet(2000)
    assert bench.run(path).kind is Kind.DONE


def test_somebody_else_on_the_wallet_is_told_and_cannot_drain_it_unseen(bench: Bench) -> None:
    """Another ledger buys as fast as this one: each reading lets a part of what is left through."""
    bench.world.set_wallet(1000)
    path = manifest(bench, *(f"Boat {n}" for n in range(90)), more="budget: {keep: 500}\n")

    def spend(request: httpx.Request) -> None:
        if request.method == "POST":
            bench.world.set_wallet(bench.world.oracle().wallet - 10)

    bench.api.before = spend
    assert bench.run(path).kind is Kind.CAPPED
    assert bench.world.oracle().wallet >= 480
    with bench.reader() as read:
        told = [
            json.loads(row["detail"])["what"]
            for row in read.rows("SELECT detail FROM events WHERE event = 'wallet_odd'")
        ]
    assert told.count("fell") == 1


def test_where_nothing_is_to_be_bought_nobody_asks_for_the_wallet(bench: Bench) -> None:
    """The same command again sends nothing, though the API be dead."""
    path = manifest(bench, "Boat", more="budget: {keep: 1}\n")
    done(bench.run(path))
    before = len(bench.world.oracle().requests)
    bench.switches.outage = "errors"
    done(bench.run(path))
    assert len(bench.world.oracle().requests) == before
