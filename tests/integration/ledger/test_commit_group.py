"""Many writes in one transaction: each whole or not at all by itself, all lost where the commit fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from core_helpers import ACCOUNT, Shelf, job_name, make_spec, make_task
from virtual_time import VirtualClock

from batcher.errors import StorageError
from batcher.jobs import Intent, Status
from batcher.ledger import Caps, LedgerReader, Stale
from batcher.lifecycle import Commits


class Counting(sqlite3.Connection):
    """A connection that counts commits and may fail them."""

    commits = 0
    fails = False

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            type(self).commits += 1
            if self.fails:
                raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *values)


def counting(shelf: Shelf) -> type[Counting]:
    class Counter(Counting):
        pass

    shelf.reopen(Counter)
    Counter.commits = 0
    return Counter


def test_they_share_one_commit_and_each_is_on_disk_after_it(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(1), make_spec(2), make_spec(3)])
    counter = counting(shelf)
    bought = shelf.ledger.commit_group([partial(shelf.buy, number) for number in (1, 2, 3)])
    assert counter.commits == 1
    assert all(isinstance(intent, Intent) for intent in bought)
    other = LedgerReader.open(shelf.path)
    assert {job_name(number) for number in (1, 2, 3)} <= {job for job, _ in other.unsettled("spring")}
    other.close()


def test_what_fails_has_no_trace_and_spoils_nothing(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(1), make_spec(2)])
    del shelf.changes[:]

    def broken() -> None:
        def compose(request_id: str) -> bytes:
            raise ValueError("in the middle")

        shelf.ledger.intend(shelf.ledger.read.load(job_name(2)), account=ACCOUNT, compose=compose, caps=Caps())

    asked: list[Callable[[], object]] = [partial(shelf.buy, 1), broken, partial(shelf.buy, 1), partial(shelf.buy, 2)]
    first, failed, stale, last = shelf.ledger.commit_group(asked)
    assert isinstance(first, Intent)
    assert isinstance(failed, ValueError)
    assert isinstance(stale, Stale)
    assert isinstance(last, Intent)
    assert [change.event for change in shelf.changes] == ["intended", "intended"]


def test_a_commit_that_fails_takes_all_with_it_and_nobody_is_told(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(1), make_spec(2)])
    counter = counting(shelf)
    counter.fails = True
    del shelf.changes[:]
    with pytest.raises(StorageError, match="disk I/O error"):
        shelf.ledger.commit_group([partial(shelf.buy, 1), partial(shelf.buy, 2)])
    assert (shelf.changes, shelf.attempts(1), shelf.attempts(2)) == ([], [], [])
    counter.fails = False
    assert isinstance(shelf.buy(1), Intent)


def test_tasks_that_are_ready_together_share_a_commit_and_hear_of_its_failure(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(number) for number in range(1, 9)])
    counter = counting(shelf)
    told: list[object] = []

    async def buy(commits: Commits, number: int) -> None:
        try:
            told.append(await commits(partial(shelf.buy, number)))
        except StorageError as error:
            told.append(error)

    async def main() -> None:
        commits = Commits(shelf.ledger)
        for numbers in (range(1, 5), range(5, 9)):
            async with anyio.create_task_group() as group:
                for number in numbers:
                    group.start_soon(buy, commits, number)
            counter.fails = True

    VirtualClock().run(main)
    assert counter.commits == 2
    assert [type(each) for each in told] == [Intent] * 4 + [StorageError] * 4


def test_what_a_cancelled_task_has_asked_for_is_written_all_the_same(shelf: Shelf) -> None:
    shelf.name_price()
    shelf.enrol([make_spec(1), make_spec(2)])
    intents = [shelf.buy(1), shelf.buy(2)]

    async def main() -> None:
        commits = Commits(shelf.ledger)
        async with anyio.create_task_group() as group:
            for intent in intents:  # the one who commits and one who waits for it
                group.start_soon(commits, partial(shelf.ledger.submitted, intent, make_task(intent.attempt_id)))
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

    VirtualClock().run(main)
    assert [shelf.job(number)["status"] for number in (1, 2)] == [Status.QUEUED] * 2
