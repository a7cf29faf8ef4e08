"""When all are held, and what gives its room back: 429s, cancellations, stamps that cannot be written, clocks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from core_helpers import ManualClock
from integration.engine.helpers import opened, stamps
from virtual_time import EPOCH, VirtualClock

from batcher.ledger import LedgerWriter
from batcher.ledger.store import sends
from batcher.lifecycle import Commits
from batcher.limits.rate_limiter import RateLimiter
from batcher.limits.window import Window
from batcher.providers import Retryable
from batcher.settings import Limits, Rate


def test_a_429_pauses_everybody_as_long_as_the_api_asked(tmp_path: Path) -> None:
    clock = VirtualClock()
    told: list[tuple[str, float]] = []

    async def main() -> None:
        limiter = RateLimiter(ledger, Limits(), clock, Commits(ledger))
        start = clock.monotonic()

        async def one(kind: Any) -> None:
            async with limiter.slot(kind):
                told.append((kind, round(clock.monotonic() - start, 3)))

        async with limiter.slot("poll") as slot:
            await slot.stamp()
            slot.heard(Retryable("rate_limited", "", throttled=True, retry_after=40))
            slot.heard(
                Retryable("rate_limited", "", throttled=True, retry_after=10)
            )  # a shorter one does not shorten it
        async with anyio.create_task_group() as group:
            for kind in ("submit", "poll", "upload"):
                group.start_soon(one, kind)
        start = clock.monotonic()
        limiter = RateLimiter(ledger, Limits(), clock, Commits(ledger))
        async with limiter.slot("submit") as slot:
            slot.heard(Retryable("public_api_disabled", "", retry_after=7))
        await one("submit")

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
    # Then at the distances of the new pace: 0.7 of a quarter of 120 a minute.
    assert [wait for _, wait in told[:3]] == [40.0, 42.857, 45.714]
    assert told[3:] == [("submit", 7.0)]


def test_who_is_cancelled_or_fails_gives_the_room_back(tmp_path: Path) -> None:
    clock = VirtualClock()
    limits = Limits(submit=Rate(1, 1000.0), requests=Rate(1, 1000.0))

    async def main() -> None:
        limiter = RateLimiter(ledger, limits, clock, Commits(ledger))

        async def hold(scope: anyio.CancelScope) -> None:
            with scope:
                async with limiter.slot("submit"):
                    await anyio.sleep(500)

        async def wait(done: Callable[[], object]) -> None:
            async with limiter.slot("poll"):
                done()

        scopes = [anyio.CancelScope() for _ in range(3)]
        reached = anyio.Event()
        async with anyio.create_task_group() as group:
            for scope in scopes:
                group.start_soon(hold, scope)
            await anyio.sleep(1)
            group.start_soon(wait, reached.set)
            await anyio.sleep(1)
            assert not reached.is_set()
            for scope in reversed(scopes):  # those in line, then the one that holds it
                scope.cancel()
            await anyio.sleep(1)
            assert reached.is_set()
        with pytest.raises(ValueError, match="wrong"):
            async with limiter.slot("submit"):
                raise ValueError("wrong")
        with anyio.fail_after(1):
            async with limiter.slot("submit") as slot:
                await slot.stamp()

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
        assert len(stamps(ledger)) == 1


def test_a_stamp_that_cannot_be_written_gives_the_room_back(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def main() -> None:
        limiter = RateLimiter(ledger, Limits(submit=Rate(1, 10.0)), clock, Commits(ledger))
        real = ledger.stamp

        def broken(kind: str, account: str | None = None) -> int:
            raise OSError("full")

        ledger.stamp = broken  # type: ignore[method-assign]
        with pytest.raises(OSError, match="full"):
            async with limiter.slot("submit") as slot:
                await slot.stamp()
        ledger.stamp = real  # type: ignore[method-assign]
        with anyio.fail_after(0.5):
            async with limiter.slot("submit") as slot:
                await slot.stamp()

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)


def test_a_window_with_reservations() -> None:
    window = Window(Rate(2, 10.0))
    assert window.wait(0) == 0
    window.reserved = 2
    assert window.wait(0) == float("inf")
    window.reserved = 1
    window.add(0.0)
    assert window.wait(4) == pytest.approx(6.001)
    window.reserved = 0
    window.add(1.0)
    assert window.wait(4) == pytest.approx(6.001)
    assert window.wait(10.5) == 0
    # News of an older request, late: it may be in the window of the newest, so it counts like that.
    window.add(0.5)
    assert window.wait(10.6) == pytest.approx(0.401)


@pytest.mark.parametrize(
    ("hours", "jump", "boot", "kept"),
    [
        (1, 0, "boot-1", True),
        (26, 0, "boot-1", False),
        (1, 1000, "boot-1", True),  # of this boot the uptime says it
        (26, -1000, "boot-1", False),
        (1, 1000, "boot-2", True),  # the clock may have come back wrong: the machine has been up for an hour
        (26, 1000, "boot-2", False),
        (26, -1000, "boot-2", True),
        (1, 0, "", True),
        (26, 0, "", False),
    ],
)
def test_only_what_every_clock_says_is_older_is_forgotten(
    tmp_path: Path, hours: float, jump: float, boot: str, kept: bool
) -> None:
    """So many hours of uptime later, over a boot or none, and over a wall clock that was set by `jump` hours."""
    clock = ManualClock()
    clock.boot, clock.now = (boot and "boot-1"), 0.0
    clock.shift = EPOCH
    with closing(LedgerWriter.open(tmp_path / "ledger.db", clock)) as ledger:
        ledger.stamp("poll")
        clock.now, clock.boot = hours * 3600, boot
        clock.shift += jump * 3600
        ledger.start_run(version="test", pid=1, account="", campaigns=[], settings="{}")
        assert bool(sends.after(ledger.read, 0)) == kept


def test_the_send_log_does_not_grow_with_each_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sends, "_KEPT", 5)
    clock = ManualClock()
    with closing(LedgerWriter.open(tmp_path / "ledger.db", clock)) as ledger:
        for boot in range(9):
            clock.boot, clock.shift, clock.now = f"boot-{boot}", clock.shift + 90_000, 10.0
            ledger.stamp("poll")
            ledger.start_run(version="test", pid=1, account="", campaigns=[], settings="{}")
        assert len(sends.after(ledger.read, 0)) == 5
