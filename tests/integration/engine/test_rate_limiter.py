"""Rate limits by the stamps in the ledger: exact in every window, over restarts and clocks set back, and well used."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from integration.engine.helpers import check_windows, opened, stamps
from virtual_time import EPOCH, VirtualClock

from batcher.ledger import LedgerWriter
from batcher.lifecycle import Commits
from batcher.limits.rate_limiter import RateLimiter
from batcher.settings import Limits, Rate

LIMITS = Limits(submit=Rate(7, 10.0), requests=Rate(20, 15.0))


async def workload(limiter: RateLimiter, rng: random.Random, workers: int, each: int) -> None:
    """Workers that ask for room, are slow about it, sometimes give it back, and send."""

    async def work(kind: Any) -> None:
        for _ in range(each):
            async with limiter.slot(kind) as slot:
                if rng.random() < 0.3:
                    await anyio.sleep(rng.random() * 3)  # a slow commit between reservation and stamp
                if rng.random() < 0.8:
                    await slot.stamp()
            if rng.random() < 0.3:
                await anyio.sleep(rng.random() * 5)

    async with anyio.create_task_group() as group:
        for number in range(workers):
            group.start_soon(work, ("submit", "poll", "download")[number % 3])


@pytest.mark.parametrize("seed", range(6))
def test_no_window_is_ever_too_full(tmp_path: Path, seed: int) -> None:
    clock, rng = VirtualClock(), random.Random(seed)
    path = tmp_path / "ledger.db"
    for _ in range(3):  # over restarts
        with opened(path, clock) as ledger:
            limiter = RateLimiter(ledger, LIMITS, clock, Commits(ledger))
            clock.run(partial(workload, limiter, rng, workers=9, each=12))
        clock.start += rng.random() * 20
    with opened(path, clock) as ledger:
        check_windows(stamps(ledger, "submit"), LIMITS.submit)
        check_windows(stamps(ledger), LIMITS.requests)
        assert len(stamps(ledger)) > 150


async def ahead(limiter: RateLimiter, clock: VirtualClock, rng: random.Random, sent: list[float]) -> None:
    """Polls that are written down up to a quarter of a second before they leave, beside submissions."""

    async def work(kind: Any) -> None:
        for _ in range(8):
            async with limiter.slot(kind) as slot:
                await slot.stamp(clock.monotonic() + rng.random() / 4 if kind == "poll" else 0.0)
                sent.append(clock.wall())

    async with anyio.create_task_group() as group:
        for kind in ("poll", "poll", "submit", "poll"):
            group.start_soon(work, kind)


@pytest.mark.parametrize("seed", range(3))
def test_no_window_is_too_full_of_requests_that_were_written_down_ahead(tmp_path: Path, seed: int) -> None:
    clock, rng, sent = VirtualClock(), random.Random(seed), list[float]()
    for _ in range(3):
        with opened(tmp_path / "ledger.db", clock) as ledger:
            clock.run(partial(ahead, RateLimiter(ledger, LIMITS, clock, Commits(ledger)), clock, rng, sent))
            written = stamps(ledger)
    assert len(written) == len(sent)
    assert all(-1e-3 < late - early < 0.251 for early, late in zip(sorted(written), sorted(sent), strict=True))
    check_windows(sent, LIMITS.requests)


def test_requests_written_down_at_one_moment_share_a_commit_and_leave_when_they_are_due(
    tmp_path: Path,
) -> None:
    clock, sent = VirtualClock(), list[float]()
    with opened(tmp_path / "ledger.db", clock) as ledger:
        limiter = RateLimiter(ledger, LIMITS, clock, Commits(ledger))

        async def one(seconds: float) -> None:
            async with limiter.slot("poll") as slot:
                await slot.stamp(clock.monotonic() + seconds)
                sent.append(clock.wall() - EPOCH)

        async def main() -> None:
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(one, number / 20)

        clock.run(main)
        assert len(set(stamps(ledger))) == 1, "one transaction has one time"
    assert sent == pytest.approx([0, 0.05, 0.1, 0.15, 0.2], abs=1e-6)


def test_a_request_that_was_written_down_waits_where_all_are_held_meanwhile(tmp_path: Path) -> None:
    clock, sent = VirtualClock(), list[float]()
    with opened(tmp_path / "ledger.db", clock) as ledger:
        limiter = RateLimiter(ledger, Limits(submit=Rate(1, 1.0), requests=Rate(1, 10.0)), clock, Commits(ledger))

        async def one() -> None:
            async with limiter.slot("poll") as slot:
                await slot.stamp(clock.monotonic() + 0.2)
                sent.append(clock.wall() - EPOCH)

        async def main() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(one)
                await anyio.sleep(0.1)
                limiter.trouble()
                await anyio.sleep(60)
                limiter.release()

        clock.run(main)
        assert [round(each - EPOCH) for each in stamps(ledger)] == [0, 60], "written down again"
    assert sent == pytest.approx([60.1], abs=1e-3)


async def hammer(limiter: RateLimiter, kind: Any, seconds: float, clock: VirtualClock, workers: int = 5) -> None:
    end = clock.monotonic() + seconds

    async def work() -> None:
        while clock.monotonic() < end:
            async with limiter.slot(kind) as slot:
                await slot.stamp()

    async with anyio.create_task_group() as group:
        for _ in range(workers):
            group.start_soon(work)


@pytest.mark.parametrize(("kind", "rate"), [("submit", LIMITS.submit), ("poll", LIMITS.requests)])
def test_the_allowance_is_used_while_there_is_work(tmp_path: Path, kind: str, rate: Rate) -> None:
    clock = VirtualClock()
    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(lambda: hammer(RateLimiter(ledger, LIMITS, clock, Commits(ledger)), kind, 20 * rate.seconds, clock))
        found = stamps(ledger)
        check_windows(found, rate)
        assert len([s for s in found if s < found[0] + 20 * rate.seconds]) >= 0.95 * 20 * rate.count


def test_submits_count_as_requests_too(tmp_path: Path) -> None:
    clock = VirtualClock()
    limits = Limits(submit=Rate(100, 10.0), requests=Rate(5, 10.0))

    async def main() -> None:
        limiter = RateLimiter(ledger, limits, clock, Commits(ledger))
        async with anyio.create_task_group() as group:
            group.start_soon(hammer, limiter, "submit", 60.0, clock)
            group.start_soon(hammer, limiter, "poll", 60.0, clock)

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
        check_windows(stamps(ledger), limits.requests)
        assert stamps(ledger, "submit"), "polls do not starve submissions"
        assert stamps(ledger, "poll"), "nor the other way round"


@pytest.mark.parametrize("shift", [-3600.0, 3600.0, -5.0])
def test_a_restart_with_a_clock_that_was_set(tmp_path: Path, shift: float) -> None:
    """Real time decides: a stamp from the future counts as sent now."""
    clock, path = VirtualClock(), tmp_path / "ledger.db"
    real: list[float] = []
    for round_ in range(3):
        with opened(path, clock) as ledger:
            limiter = RateLimiter(ledger, LIMITS, clock, Commits(ledger))

            async def main(limiter: RateLimiter = limiter) -> None:
                for _ in range(10):
                    async with limiter.slot("submit") as slot:
                        await slot.stamp()
                        real.append(clock.monotonic())

            clock.run(main)
        if round_ == 0 and shift < 0:
            clock.shift += shift
    check_windows(real, LIMITS.submit)


def test_a_clock_set_back_in_the_middle_of_a_run(tmp_path: Path) -> None:
    clock, real = VirtualClock(), list[float]()

    async def main() -> None:
        limiter = RateLimiter(ledger, LIMITS, clock, Commits(ledger))
        for number in range(40):
            if number == 15:
                clock.shift = -3600
            async with limiter.slot("submit") as slot:
                await slot.stamp()
                real.append(clock.monotonic())

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
    check_windows(real, LIMITS.submit)
    assert real[-1] - real[0] < 6.1 * LIMITS.submit.seconds, "and nothing waits for an hour to come round again"


def test_another_processes_sends_count(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "ledger.db"

    async def main() -> None:
        limiter = RateLimiter(ledger, LIMITS, clock, Commits(ledger))
        async with anyio.create_task_group() as group:
            group.start_soon(hammer, limiter, "poll", 40.0, clock)
            for _ in range(8):
                await anyio.sleep(4.3)
                async with RateLimiter(other, LIMITS, clock, Commits(other)).slot("credits") as slot:
                    await slot.stamp()

    with opened(path, clock) as ledger, opened(path, clock) as other:
        clock.run(main)
        assert len(stamps(ledger, "credits")) == 8
        check_windows(stamps(ledger), LIMITS.requests)


def test_windows_are_by_account(tmp_path: Path) -> None:
    """What one account has sent, before or meanwhile, takes no room from another; a row of nobody counts for both."""
    clock, path = VirtualClock(), tmp_path / "ledger.db"
    limits = Limits(submit=Rate(3, 60.0), requests=Rate(5, 60.0))

    async def spree(ledger: LedgerWriter, account: str | None, meanwhile: Callable[[], object] = lambda: None) -> int:
        """How many submissions go out within a second."""
        limiter = RateLimiter(ledger, limits, clock, Commits(ledger), account)
        sent = 0
        with anyio.move_on_after(1.0):
            while True:
                async with limiter.slot("submit") as slot:
                    meanwhile()
                    await slot.stamp()
                    sent += 1
        return sent

    async def main() -> None:
        assert await spree(ledger, "one") == 3
        assert await spree(ledger, "two", lambda: other.stamp("submit", "one")) == 3
        assert await spree(ledger, "two") == 0, "over a restart too"
        assert await spree(ledger, "one") == 0
        assert await spree(ledger, None) == 0, "who has no account counts all"
        other.stamp("submit")
        assert await spree(ledger, "three") == 2
        assert await spree(ledger, "four", lambda: other.stamp("submit")) == 1, "nobody's count meanwhile too"

    with opened(path, clock) as ledger, opened(path, clock) as other:
        clock.run(main)


def test_a_send_between_our_reservation_and_our_stamp_is_not_forgotten(tmp_path: Path) -> None:
    """Another process writes its row while we commit an intent: its id is lower than ours, yet it counts."""
    clock, path = VirtualClock(), tmp_path / "ledger.db"
    limits = Limits(submit=Rate(100, 10.0), requests=Rate(4, 10.0))

    async def main() -> None:
        limiter = RateLimiter(ledger, limits, clock, Commits(ledger))
        for _ in range(6):
            async with limiter.slot("submit") as slot:
                if not stamps(ledger):
                    other.stamp("credits")
                await slot.stamp()

    with opened(path, clock) as ledger, opened(path, clock) as other:
        clock.run(main)
        assert len(stamps(ledger)) == 7
        check_windows(stamps(ledger), limits.requests)
