"""An upload is not trusted for good: however it dies, its jobs are bought in the end, and a bad prompt still fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import done, held, pictured, seen, statuses
from support import Bench, SimulatedApi

from batcher.errors import Kind

DAY = 24 * 3600.0


@dataclass
class Files:
    """How the API keeps its files. `die` makes all that it has named so far useless.

    `ids` whether it names them by an id, `keeps` whether it still has a dead one when asked, `renews` whether it then
    names a fresh URL and token; not `signed`: the URL is the same for good, and the token alone dies.
    """

    ids: bool = True
    keeps: bool = False
    renews: bool = False
    signed: bool = True
    number: int = 0
    dead_up_to: int = -1
    usable: bool = True

    def name(self, upload: dict[str, Any]) -> dict[str, Any]:
        self.number += 1
        sign = f"?sig={self.number}" if self.signed else ""
        named = {"url": f"{upload['url']}{sign}", "duration_token": f"t{self.number}"}
        named |= {"id": upload["id"]} if self.ids else {}
        return named if self.usable else {"id": upload["id"]}

    def die(self) -> None:
        self.dead_up_to = self.number

    def lives(self, item: dict[str, Any]) -> bool:
        marks = [item["durationToken"].rpartition("t")[2], *([item["url"].rpartition("=")[2]] if self.signed else [])]
        return all(int(mark) > self.dead_up_to for mark in marks)


class Keeping(SimulatedApi):
    """The simulator, with files that die by the rules of `files`; `bad` prompts are refused."""

    def __init__(self, inner: SimulatedApi, files: Files) -> None:
        vars(self).update(vars(inner))
        self.files = files
        self.known: dict[str, dict[str, Any]] = {}
        self.creates = 0
        self.at_create: Callable[[int], None] = lambda number: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "POST" and path.endswith("/generations"):
            body = json.loads(await request.aread())
            [item] = body["params"]["referenceMediaItems"]
            self.creates += 1
            self.at_create(self.creates)
            if not self.files.lives(item) or body["prompt"].startswith("Bad"):
                return refusal(400, "validation_failed")
            item["url"] = item["url"].partition("?")[0]
            del item["durationToken"]
            headers = {k: v for k, v in request.headers.items() if k not in ("content-length", "transfer-encoding")}
            request = httpx.Request("POST", request.url, headers=headers, content=json.dumps(body))
        response = await super().handle_async_request(request)
        if path.endswith("/files") and response.status_code < 300:
            await response.aread()
            made = response.json()
            self.known[made["id"]] = made
            return httpx.Response(200, json=self.files.name(made))
        if "/files/" in path:
            if self.files.dead_up_to >= self.files.number and not self.files.keeps:
                return refusal(404, "not_found")
            made = self.known[path.rpartition("/")[2]]
            if not self.files.renews:
                self.files.number -= 1  # as it was named before
            return httpx.Response(200, json=self.files.name(made))
        return response


def refusal(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": code, "message": "no"}})


def keeping(bench: Bench, **how: Any) -> Keeping:
    bench.api = api = Keeping(bench.api, Files(**how))
    return api


KINDS = [
    pytest.param({"ids": True}, 2, id="gone"),
    pytest.param({"ids": False}, 2, id="no id"),
    pytest.param({"keeps": True, "renews": True}, 1, id="signed: a fresh URL and token"),
    pytest.param({"keeps": True, "renews": True, "signed": False}, 1, id="a fresh token only"),
    pytest.param({"keeps": True}, 2, id="the API says that it is there, as it was"),
]


@pytest.mark.parametrize(("how", "uploads"), KINDS)
@pytest.mark.parametrize("when", ["the next day", "within the run", "vouched for by a clock of the future"])
def test_an_upload_that_died(bench: Bench, how: dict[str, Any], uploads: int, when: str) -> None:
    """Looked at or made anew when a create that names it is refused; then its jobs are bought, at no cost."""
    api = keeping(bench, **how)
    if when == "within the run":
        api.at_create = lambda number: api.files.die() if number == 3 else None
        path = pictured(bench, 6)
    else:
        bench.clock.shift = 30 * DAY if "future" in when else 0.0
        done(bench.run(pictured(bench, 1)))
        api.files.die()
        bench.clock.shift = 0.0
        bench.clock.start += 0 if "future" in when else DAY
        path = pictured(bench, 6)
    done(bench.run(path))
    assert len(seen(bench, "upload")) == uploads
    assert set(statuses(bench)) == {"succeeded"}
    assert len(bench.world.oracle().tasks) == 6
    assert held(bench) == 0
    if when != "within the run" and (how.get("renews") or not how.get("keeps")):
        assert api.creates == 6, "it is looked at, or made anew, before a create names it"
    bench.check()


@pytest.mark.parametrize("how", [{"ids": True, "keeps": True}, {"ids": False}], ids=["with an id", "without"])
def test_a_truly_bad_prompt_fails(bench: Bench, how: dict[str, Any]) -> None:
    """Once a run a bad prompt may have the file sent up again, not each of them; each job is tried twice at most."""
    api = keeping(bench, **how)
    path = pictured(bench, 9, more="stop: {failures_in_a_row: 100}\n")
    path.write_text(path.read_text().replace("prompt: Boat", "prompt: Bad").replace("prompt: Bad 9", "prompt: Boat 9"))
    assert bench.run(path).kind is Kind.UNFINISHED
    assert sorted(statuses(bench)) == ["failed"] * 8 + ["succeeded"]
    assert len(seen(bench, "upload")) == 2
    assert api.creates <= 2 * 8 + 1
    assert held(bench) == 0


def test_a_bad_prompt_is_tried_twice_however_long_lies_between(bench: Bench) -> None:
    """A fresh upload is trusted for a while only, and a slow limit lets more than that pass."""
    api = keeping(bench)
    path = pictured(bench, 1)
    path.write_text(path.read_text().replace("prompt: Boat", "prompt: Bad").replace("1000/second", "1/hour", 1))

    def count(number: int) -> None:
        assert number <= 2

    api.at_create = count
    assert bench.run(path).kind is Kind.UNFINISHED
    assert (statuses(bench), api.creates) == (["failed"], 2)


def test_trouble_with_a_shared_file_counts_once(bench: Bench) -> None:
    """An answer without a usable URL cost an upload a job and repeat."""
    api = keeping(bench, usable=False)
    path = pictured(bench, 20, more="retries: {times: 3}\n")
    assert bench.run(path).kind is Kind.UNFINISHED
    assert len(seen(bench, "upload")) == 4
    assert set(statuses(bench)) == {"planned"}
    api.files.usable = True
    done(bench.run(path))
    assert len(seen(bench, "upload")) == 5


def test_an_outage_does_not_count_against_a_file(bench: Bench) -> None:
    path = pictured(bench, 3, more="retries: {times: 1}\n")
    down = 0

    def before(request: httpx.Request) -> None:
        nonlocal down
        down += 1
        if down < 12:
            raise httpx.ConnectError("no route", request=request)

    bench.api.before = before
    done(bench.run(path))
    assert len(seen(bench, "upload")) == 1
