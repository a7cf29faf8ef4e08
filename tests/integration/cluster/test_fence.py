"""The last look before a paid request, at its caller: what a fence forbids is not sent; what it allows, in time."""

from __future__ import annotations

import random
from typing import Any, cast

import anyio
import pytest
from support import VirtualClock

from batcher.clock import Moment
from batcher.cluster.jobs import AGAIN, said_of, step_of
from batcher.errors import StorageError
from batcher.jobs import Intent, JobId, Status, TaskState
from batcher.ledger import NotAdmitted
from batcher.lifecycle import Context, Deferred, Done, Reschedule, Stage
from batcher.lifecycle.context import Fence
from batcher.limits.rate_limiter import Permit
from batcher.providers import Accepted
from batcher.settings import Settings

INTENT = Intent(1, JobId("j"), 1, "key-1", b"{}", "account", Moment(0.0), False)


class Api:
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        self.sent: list[Intent] = []

    async def submit(self, intent: Intent) -> Accepted:
        self.sent.append(intent)
        return Accepted(TaskState("t", Status.QUEUED, "queued"))


def submitted(fence: Fence, api: Api | None = None) -> tuple[object, list[Intent]]:
    api = api or Api()
    nothing = cast(Any, None)
    context = Context(
        ledger=nothing,
        commits=nothing,
        provider=cast(Any, api),
        limiter=nothing,
        artifacts=nothing,
        disk=nothing,
        clock=VirtualClock(),
        settings=Settings(),
        rng=random.Random(1),
        fence=fence,
    )
    return anyio.run(context.submit, INTENT, nothing), api.sent


def test_what_another_worker_has_is_not_sent() -> None:
    async def refuse(*_: object) -> None:
        return None

    assert submitted(refuse) == (None, [])


def test_nothing_is_sent_where_the_database_cannot_be_asked() -> None:
    async def lose(*_: object) -> None:
        raise StorageError("the database is away")

    api = Api()
    with pytest.raises(StorageError):
        submitted(lose, api)
    assert not api.sent


def test_what_is_sent_is_what_was_allowed_and_for_as_long() -> None:
    from dataclasses import replace

    async def allow(intent: Intent, _: Permit) -> Intent:
        return replace(intent, expires=17.0)

    found, sent = submitted(allow)
    assert isinstance(found, Accepted)
    assert [each.expires for each in sent] == [17.0]


def test_reports_say_what_became_of_a_job() -> None:
    refusal = NotAdmitted("day", "no room", 10, "x")
    for step in (Done(Status.FAILED, "why"), Deferred(refusal), Reschedule(Stage.FETCH)):
        for bought in (True, False):
            assert step_of(said_of(step, bought=bought)) == (step, bought)
    assert step_of(AGAIN) == (None, False)
