"""A hint from outside makes a run ask sooner, at its own pace, and changes nothing else; what is strange is dropped."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from core_helpers import ManualClock, Shelf, job_name, make_spec, make_task
from integration.engine.test_noticing import polls, slow
from support import Bench

from batcher.errors import Kind
from batcher.jobs import Status
from batcher.ledger import LedgerWriter, hints
from batcher.listening import MAX_BYTES, Listener, Signature

#: One job whose end nobody would notice for a long time.
RARE = (
    "campaign: rare\nmodel: grok-imagine-video\nprompts: [{name: boat, prompt: Boat}]\nresults: {download: false}\n"
    "polling: {first: 5m, every: 20s, max: 10m, give_up: 1h}\n"
)


@pytest.fixture(autouse=True)
def looks_each_second(rare_looks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.engine.control.LOOK_SECONDS", 1.0)


def run_hinted(bench: Bench, when: Callable[[float], bool]) -> list[float]:
    """A run in which every open task is hinted at each second for which `when` is true (seconds since it began).

    Returns how many seconds after its submission the task was asked for.
    """
    asked = polls(bench)

    async def beside(ready: Callable[[], None]) -> None:
        ready()
        began = bench.clock.wall()
        while True:
            await anyio.sleep(1.0)
            if when(bench.clock.wall() - began):
                with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as other:
                    tasks = [row["task_id"] or "" for row in other.read.rows("SELECT task_id FROM attempts")]
                    hints.give(other, hints.open_jobs(other.read, tasks), bench.clock.wall())

    with bench.make(bench.request(bench.write(RARE))) as run:
        assert run.execute(beside, loop=bench.clock.run).ending.kind is Kind.DONE
    bench.check(files=False)
    [ages] = asked.values()
    return ages


def test_a_hint_has_the_task_asked_for_within_a_second_or_two(bench: Bench) -> None:
    slow(bench, 60, 60)
    ages = run_hinted(bench, lambda second: 61 <= second < 62)
    assert len(ages) == 2, "the run's first job is looked at at once"
    assert 60 < ages[1] < 64


def test_however_many_hints_come_a_task_is_asked_for_once_in_every(bench: Bench) -> None:
    slow(bench, 100, 100)
    ages = run_hinted(bench, lambda _: True)
    assert 5 <= len(ages) <= 7
    assert all(later - first >= 20 for first, later in pairwise(ages))


def test_hints_of_an_earlier_run_are_no_news(bench: Bench) -> None:
    slow(bench, 60, 60)
    Shelf(bench.ledger_path, ManualClock()).ledger.close()
    with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as other:
        hints.give(other, [job_name(1)], bench.clock.wall())
    assert len(run_hinted(bench, lambda _: False)) == 2


SECRET = Signature("X-Signature", "hush")


def signed(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-signature", b"sha256=" + hmac.new(b"hush", body, hashlib.sha256).hexdigest().encode())]


def post(app: Listener, body: bytes, *, method: str = "POST", headers: Any = (), size: int = 30_000) -> int:
    """What an ASGI server would have of it."""
    parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    anyio.run(app, {"type": "http", "method": method, "headers": list(headers)}, receive, send)
    assert sent[-1]["body"] == b"", "an answer says nothing of what the ledger knows"
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("body", "more", "status", "hinted"),
    [
        (b'{"id": "task_1", "status": "succeeded"}', {}, 202, [1]),
        (b'{"event": "done", "data": [{"taskId": "task_1"}, {"task": {"task_id": "task_2"}}]}', {}, 202, [1, 2]),
        (b'{"id": "task_9"}', {}, 202, []),  # of others
        (b'{"id": "task_3"}', {}, 202, []),  # at its end
        (b'{"id": ["task_1"], "name": "task_1"}', {}, 202, []),
        (b'{"id": "\\ud800"}', {}, 202, []),
        (b"[" * 50_000, {}, 400, []),
        (b"task_1", {}, 400, []),
        (b'"\xff"', {}, 400, []),
        (b"", {}, 400, []),
        (b'{"id": "task_1"}' + b" " * MAX_BYTES, {}, 413, []),
        (b'{"id": "task_1"}', {"method": "GET"}, 405, []),
    ],
)
def test_only_tasks_that_this_ledger_waits_for_are_hints(
    tmp_path: Path, body: bytes, more: dict[str, Any], status: int, hinted: list[int]
) -> None:
    shelf = Shelf(tmp_path / "ledger.db")
    shelf.enrol([make_spec(number) for number in (1, 2, 3)])
    shelf.name_price()
    for number in (1, 2, 3):
        shelf.ledger.submitted(shelf.buy(number), make_task(number))
    shelf.ledger.record(4, make_task(3, Status.FAILED, final_credits=0))
    app = Listener(shelf.ledger, shelf.clock)
    assert post(app, body, **more) == status
    assert post(app, body, **more) == status, "and again, which is too soon"
    assert [job_id for _, job_id in shelf.ledger.read.hints(0)] == [job_name(number) for number in hinted]
    assert shelf.rows("SELECT max(id) AS id FROM hints")[0]["id"] == (len(hinted) or None)
    shelf.ledger.close()


def test_where_a_signature_is_asked_for_nothing_else_is_taken(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "ledger.db")
    shelf.enrol([make_spec(1)])
    shelf.ledger.submitted(shelf.buy(1), make_task(1))
    app = Listener(shelf.ledger, shelf.clock, SECRET)
    body = json.dumps({"id": "task_1"}).encode()
    assert post(app, body) == 401
    assert post(app, body + b" ", headers=signed(body)) == 401
    assert post(app, body, headers=[(b"x-signature", b"\xff")]) == 401
    assert shelf.ledger.read.hints(0) == []
    assert post(app, body, headers=signed(body)) == 202
    assert post(app, body, headers=[(b"x-signature", signed(body)[0][1].removeprefix(b"sha256="))]) == 202
    assert len(shelf.ledger.read.hints(0)) == 1
    shelf.ledger.close()
