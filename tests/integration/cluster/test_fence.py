"""The last look before a paid request, at its caller: what a fence forbids is not sent; what it allows, in time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import anyio
import pytest
from virtual_time import VirtualClock

from batcher.clock import Moment, since_boot
from batcher.cluster.jobs import AGAIN, said_of, step_of
from batcher.cluster.limiter import ClaimTerms, SharedLimiter
from batcher.cluster.slots import Grant, Sending
from batcher.errors import StorageError
from batcher.jobs import Intent, JobId, Status
from batcher.ledger import NotAdmitted
from batcher.lifecycle import Deferred, Done, Reschedule, Stage
from batcher.lifecycle.group_commit import inline
from batcher.settings import Limits

INTENT = Intent(1, JobId("j"), 1, "key-1", b"{}", "account", Moment(0.0), maybe_received=True)


class Slots:
    """Shared limits that answer as they are told, and keep what was asked."""

    def __init__(self, answer: Grant | StorageError) -> None:
        self._answer = answer
        self.asked: list[Sending | None] = []

    def take(self, kind: str, *, sending: Sending | None = None, **_: object) -> Grant:
        self.asked.append(sending)
        if isinstance(self._answer, StorageError):
            raise self._answer
        return self._answer


def let_out(slots: Slots, *, epoch: int | None = 3) -> tuple[Intent | None, list[str]]:
    """The intent as it may be sent by a worker whose claim has this epoch, and the codes of what it has given back."""
    given_back = list[str]()

    async def give_back(_: Intent, code: str, __: str) -> None:
        given_back.append(code)

    async def main() -> Intent | None:
        terms = ClaimTerms("one", lambda _: epoch, key_seconds=60.0, give_back=give_back)
        ledger, commits, shared = cast(Any, NoLedger()), cast(Any, None), cast(Any, slots)
        limiter = SharedLimiter(ledger, Limits(), VirtualClock(), commits, "account", shared, terms, inline)
        return await limiter.slot("submit").take(INTENT)

    return anyio.run(main), given_back


class NoLedger:
    """Has written nothing down."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: []


def test_what_the_fence_lets_not_out_is_given_back_and_not_sent() -> None:
    slots = Slots(Grant(1.0, 0.0, refused=True))
    assert let_out(slots) == (None, ["not_sent"])
    assert slots.asked == [Sending(INTENT, "one", 3, 60.0)]


def test_what_another_worker_has_takes_no_slot() -> None:
    slots = Slots(Grant(1.0, 0.0))
    assert let_out(slots, epoch=None) == (None, [])
    assert not slots.asked


def test_nothing_is_sent_where_the_database_cannot_be_asked() -> None:
    with pytest.raises(StorageError):
        let_out(Slots(StorageError("the database is away")))


@pytest.mark.parametrize(("lasts", "leaves"), [(3.0, 3.0), (30.0, 5.0)])
def test_what_is_let_out_leaves_soon_and_within_its_claim(lasts: float, leaves: float) -> None:
    before = since_boot()
    found, given_back = let_out(Slots(Grant(1.0, 0.0, lasts=lasts)))
    assert found is not None
    assert before + leaves <= found.expires <= since_boot() + leaves
    assert (replace(found, expires=INTENT.expires), given_back) == (INTENT, [])


def test_reports_say_what_became_of_a_job() -> None:
    refusal = NotAdmitted("day", "no room", 10, "x")
    for step in (Done(Status.FAILED, "why"), Deferred(refusal), Reschedule(Stage.FETCH)):
        for bought in (True, False):
            assert step_of(said_of(step, bought=bought)) == (step, bought)
    assert step_of(AGAIN) == (None, False)
