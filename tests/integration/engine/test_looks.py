"""A run looks before it buys: one `GET /credits`, told; the models beside it. Neither stands in the way."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import FAST, done, events, faults, held, manifest, seen, statuses
from support import Bench

from batcher.errors import Kind
from batcher.providers.rivya import Rivya
from batcher.settings import Selection

JOBS = 8


def credits_(**rule: Any) -> dict[str, Any]:
    return {"on": "credits", **rule}


def refused(status: int, code: str) -> dict[str, Any]:
    return credits_(do="status", status=status, code=code)


def told(bench: Bench, of: str = "wallet") -> list[str]:
    with bench.reader() as reader:
        rows = reader.rows(
            "SELECT json_extract(detail, '$.message') AS said FROM events"
            " WHERE event = 'looked' AND json_extract(detail, '$.of') = ? ORDER BY id",
            (of,),
        )
    return [row["said"] for row in rows]


LOOKS: dict[str, tuple[dict[str, Any] | None, int, str, Kind, int]] = {
    # what /credits says, the wallet, what is told, how the run ends, how many jobs reach the API
    "enough": (None, 1000, "wallet 1,000: pays for 8 of 8 jobs", Kind.DONE, 8),
    "short": (None, 55, "wallet 55: pays for 5 of 8 jobs", Kind.CAPPED, 5),
    "none": (None, 9, "wallet 9: pays for 0 of 8 jobs", Kind.CAPPED, 0),
    "empty": (None, 0, "wallet 0: pays for 0 of 8 jobs", Kind.CAPPED, 0),
    "below": (
        credits_(do="patch", body={"current_credits": -5}),
        1000,
        "wallet -5: pays for 0 of 8 jobs",
        Kind.CAPPED,
        0,
    ),
    "scope": (refused(403, "api_scope_denied"), 1000, "could not be read (api_scope_denied", Kind.DONE, 8),
    "500": (refused(500, "internal_error"), 1000, "could not be read (internal_error", Kind.DONE, 8),
    "odd": (refused(400, "odd"), 1000, "could not be read (odd", Kind.DONE, 8),
    "unread": (
        credits_(do="patch", body={"current_credits": "many"}),
        1000,
        "could not be read (bad_answer",
        Kind.DONE,
        8,
    ),
    "revoked": (refused(401, "api_key_revoked"), 1000, "", Kind.KEY, 0),
}


@pytest.mark.parametrize("case", LOOKS)
def test_a_run_looks_once_before_it_buys(bench: Bench, case: str) -> None:
    rule, wallet, words, kind, bought = LOOKS[case]
    bench.world.set_wallet(wallet)
    faults(bench, *([rule] if rule else []))
    ending = bench.run(manifest(bench, *(f"Boat {n}" for n in range(JOBS))))
    assert ending.kind is kind, ending
    assert len(bench.world.oracle().tasks) == bought
    assert bool(seen(bench, "create")) == bool(bought), "a wallet that pays for none makes no intent"
    kinds = [request.kind for request in bench.world.oracle().requests]
    assert (kinds[0], kinds.count("credits")) == ("credits", 1)
    assert [words in said for said in told(bench)] == [True] * bool(words)
    assert "outage_began" not in events(bench)


def test_a_page_in_the_place_of_the_wallet_holds_nobody(bench: Bench) -> None:
    plain = bench.api.handle_async_request

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/credits"):
            return httpx.Response(403, text="<html>Attention Required</html>", headers={"Server": "cloudflare"})
        return await plain(request)

    bench.api.handle_async_request = answer  # type: ignore[method-assign]
    done(bench.run(manifest(bench, "Boat", "Ship")))
    assert "HTTP 403 from cloudflare" in told(bench)[0]
    assert "outage_began" not in events(bench)


def test_what_is_counted_is_what_the_run_would_buy(bench: Bench) -> None:
    path = manifest(bench, *(f"Boat {n}" for n in range(20)), more="budget: {keep: 40}\n")
    bench.world.set_wallet(100)
    bench.run(path, selection=Selection(only=("p1*",), limit=4))
    bench.run(path, selection=Selection(only=("p1*",)))
    assert told(bench) == [
        "wallet 100 (40 to be kept): pays for 4 of 4 jobs",
        "wallet 60 (40 to be kept): pays for 2 of 7 jobs",
    ]


def test_a_wallet_that_is_filled_up_counts_at_once(bench: Bench) -> None:
    """The next run, a moment later, with less than there ever was."""
    bench.world.set_wallet(30)
    path = manifest(bench, *(f"Boat {n}" for n in range(5)))
    assert bench.run(path).kind is Kind.CAPPED
    assert bench.run(path).kind is Kind.CAPPED
    bench.world.set_wallet(20)
    done(bench.run(path))
    assert [said.partition(":")[0] for said in told(bench)] == ["wallet 30", "wallet 0", "wallet 20"]


def test_a_key_that_may_not_read_tasks_buys_one_job_of_many(bench: Bench) -> None:
    bench.switches.scopes_off = ("generations:read",)
    path = manifest(bench, *(f"Boat {n}" for n in range(JOBS)))
    assert bench.run(path).kind is Kind.KEY
    assert (sorted(set(statuses(bench))), held(bench), len(seen(bench, "create"))) == (["planned", "queued"], 10, 1)
    bench.switches.scopes_off = ()
    done(bench.run(path))
    bench.check()


@pytest.mark.parametrize("scarce", ["requests: 1/minute", "submit: 1/minute"])
def test_a_look_takes_no_turn_of_the_first_purchase_but_its_own(bench: Bench, scarce: str) -> None:
    limits = FAST.replace(f"{scarce.partition(':')[0]}: 1000/second", scarce)
    done(bench.run(manifest(bench, "Boat", fast=limits)))
    kinds = [request.kind for request in bench.world.oracle().requests]
    assert kinds[:2] == ["credits", "create"]


@pytest.mark.parametrize("rule", [None, {"on": "models", "do": "status", "status": 500}])
def test_models_that_moved_are_told_and_stop_nothing(bench: Bench, rule: dict[str, Any] | None) -> None:
    class Moved(Rivya):
        async def models(self) -> Any:
            found = await super().models()
            return [{"id": []}, *(each | {"base_credits": 12} for each in found)] if isinstance(found, list) else found

    bench.client = Moved
    faults(bench, *([rule] if rule else []))
    bench.switches.run_seconds = (5, 6)
    path = manifest(bench, "Boat", "Ship")
    path.write_text(path.read_text().replace("prompts:", "prompts:\n  - {name: still, prompt: Dawn, model: z-image}"))
    done(bench.run(path))
    assert len(seen(bench, "models")) == 1
    moved = {"grok-imagine-video": 10, "z-image": 1}
    said = [] if rule else [f"{name}: base credits are 12, {n} in the catalogue" for name, n in moved.items()]
    assert told(bench, "models") == said
    assert "outage_began" not in events(bench)


def test_models_as_the_catalogue_says_are_not_told(bench: Bench) -> None:
    bench.switches.run_seconds = (5, 6)
    done(bench.run(manifest(bench, "Boat")))
    assert (len(seen(bench, "models")), told(bench, "models")) == (1, [])
