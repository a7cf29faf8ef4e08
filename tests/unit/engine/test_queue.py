"""Which work item is taken when: on virtual time."""

from __future__ import annotations

import math
import random

import anyio
import pytest
from virtual_time import VirtualClock

from batcher.engine.scheduler import Scheduler


async def worker(queue: Scheduler[int], clock: VirtualClock, taken: list[tuple[float, int]], most: int) -> None:
    while len(taken) < most:
        item = queue.take()
        if item is None:
            await queue.idle()
        else:
            taken.append((round(clock.monotonic() - clock.start, 3), item))
            if len(taken) == most:
                queue.wake_all()


def play(delays: list[float], workers: int, *, later: list[float] = []) -> list[tuple[float, int]]:  # noqa: B006
    """When which item is taken: those of `delays` are there at the start, those of `later` are put one a second."""
    clock = VirtualClock()
    taken: list[tuple[float, int]] = []

    async def main() -> None:
        queue: Scheduler[int] = Scheduler(clock)
        for number, delay in enumerate(delays):
            queue.put(number, delay)
        async with anyio.create_task_group() as group:
            for _ in range(workers):
                group.start_soon(worker, queue, clock, taken, len(delays) + len(later))
            for number, delay in enumerate(later, len(delays)):
                await anyio.sleep(1)
                queue.put(number, delay)

    clock.run(main)
    return taken


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_each_ticket_is_taken_when_it_is_due_and_once(workers: int) -> None:
    chance = random.Random(workers)
    delays = [round(chance.choice([0, 0, 1, 1, 2.5, 60, chance.uniform(0, 9)]), 3) for _ in range(80)]
    taken = play(delays, workers)
    assert sorted(taken) == sorted((delay, number) for number, delay in enumerate(delays))


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_an_earlier_ticket_that_comes_later_is_not_missed(workers: int) -> None:
    taken = play([100.0], workers, later=[50.0, 3.0, 0.0, 97.0])
    assert sorted(taken) == [(3.0, 3), (5.0, 2), (51.0, 1), (100.0, 0), (101.0, 4)]


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_what_is_put_behind_a_ticket_that_is_due_already_is_watched_too(workers: int) -> None:
    """The due one goes to a worker that does not watch the clock; the later one is none the less the next in time."""
    clock = VirtualClock()
    taken: list[tuple[float, int]] = []

    async def main() -> None:
        queue: Scheduler[int] = Scheduler(clock)
        with anyio.fail_after(10_000):  # or nobody would ever take it
            async with anyio.create_task_group() as group:
                for _ in range(workers):
                    group.start_soon(worker, queue, clock, taken, 2)
                await anyio.sleep(1)
                queue.put(1)
                queue.put(2, 5.0)

    clock.run(main)
    assert taken == [(1.0, 1), (6.0, 2)]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_put_while_workers_are_at_work_is_taken_as_soon_as_one_is_free(seed: int) -> None:
    clock, chance = VirtualClock(), random.Random(seed)
    late: list[float] = []
    busy, number, workers = 0, 60, chance.choice([2, 3, 5])

    async def main() -> None:
        queue: Scheduler[float] = Scheduler(clock)

        async def work() -> None:
            nonlocal busy
            while len(late) < number:
                if (due := queue.take()) is None:
                    await queue.idle()
                    continue
                late.append(clock.monotonic() - due if busy < workers - 1 else 0.0)
                busy += 1
                await anyio.sleep(chance.choice([0, 0, 1, 7]))
                busy -= 1
            queue.wake_all()

        with anyio.fail_after(10_000):  # or nobody would ever take it
            async with anyio.create_task_group() as group:
                for _ in range(workers):
                    group.start_soon(work)
                for _ in range(number):
                    delay = chance.choice([0, 0, 3, 5, 40])
                    queue.put(clock.monotonic() + delay, delay)
                    if chance.random() < 0.5:
                        await anyio.sleep(chance.choice([0, 1, 11]))

    clock.run(main)
    assert len(late) == number
    assert max(late) <= 7.0  # no longer than somebody is at work


def test_what_is_hastened_is_due_no_later_and_all_else_as_before() -> None:
    clock = VirtualClock()
    taken: list[tuple[float, int]] = []
    asked: list[int] = []

    def latest(item: int) -> float:
        asked.append(item)
        return {1: 5.0, 2: 5.0, 3: 5.0}.get(item, math.inf)

    async def main() -> None:
        queue: Scheduler[int] = Scheduler(clock)
        for number, delay in enumerate([10.0, 20.0, 30.0, 4.0]):
            queue.put(number, delay)
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(worker, queue, clock, taken, 4)
            await anyio.sleep(1)
            queue.hasten(latest)

    clock.run(main)
    assert taken == [(4.0, 3), (6.0, 1), (6.0, 2), (10.0, 0)]
    assert sorted(asked) == [0, 1, 2, 3], "one pass, however many are hastened"


def test_many_that_are_due_at_once_are_taken_up_at_once() -> None:
    clock = VirtualClock()
    begun: list[float] = []

    async def main() -> None:
        queue: Scheduler[int] = Scheduler(clock)

        async def slow() -> None:
            while len(begun) < 20:
                if queue.take() is None:
                    await queue.idle()
                    continue
                begun.append(clock.monotonic())
                await anyio.sleep(30)
            queue.wake_all()

        for number in range(20):
            queue.put(number, 5.0)
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(slow)

    clock.run(main)
    assert len(set(begun)) == 1


def test_a_worker_that_is_cancelled_while_it_watches_leaves_the_watch_to_another() -> None:
    clock = VirtualClock()
    taken: list[tuple[float, int]] = []

    async def main() -> None:
        queue: Scheduler[int] = Scheduler(clock)
        async with anyio.create_task_group() as group:
            with anyio.move_on_after(1):
                queue.put(1, 10.0)
                async with anyio.create_task_group() as inner:
                    inner.start_soon(worker, queue, clock, taken, 1)
            group.start_soon(worker, queue, clock, taken, 1)
            group.start_soon(worker, queue, clock, taken, 1)

    clock.run(main)
    assert taken == [(10.0, 1)]
