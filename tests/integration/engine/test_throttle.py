"""A limit that the API does not state is found by its 429s and followed: one cut a burst, slow growth back."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import anyio
import pytest
from integration.engine.helpers import check_windows, opened, stamps
from integration.lifecycle.helpers import done, manifest, statuses
from support import PIXEL, Bench
from virtual_time import VirtualClock

from batcher.errors import Kind
from batcher.ledger import LedgerWriter
from batcher.lifecycle import Commits
from batcher.limits.rate_limiter import RateLimiter
from batcher.limits.throttle import PAUSE_SECONDS, PAUSE_SECONDS_MAX, Throttle
from batcher.providers import Retryable
from batcher.settings import Limits, Rate

KINDS = ("submit", "poll", "upload")
LIMITS = Limits(submit=Rate(120, 60.0), requests=Rate(600, 60.0))


class Server:
    """Counts requests in sliding windows, as the API may; what it refuses it does not count."""

    def __init__(self, clock: VirtualClock, count: int, seconds: float, says: str) -> None:
        self.clock, self.count, self.seconds, self.says = clock, count, seconds, says
        self.taken: deque[float] = deque()
        self.refused: list[float] = []

    def ask(self) -> object:
        now = self.clock.monotonic()
        while self.taken and self.taken[0] <= now - self.seconds:
            self.taken.popleft()
        if len(self.taken) < self.count:
            self.taken.append(now)
            return "taken"
        self.refused.append(now)
        wait = self.taken[0] + self.seconds - now if self.says == "seconds" else None
        return Retryable("rate_limited", "too many", throttled=True, retry_after=wait)


async def press(
    limiter: RateLimiter, server: Server, kind: Any, until: float, taken: list[float], workers: int = 16
) -> None:
    """Workers that send as fast as the gate lets them."""

    async def work() -> None:
        while server.clock.monotonic() < until:
            async with limiter.slot(kind) as slot:
                await slot.stamp()
                await anyio.sleep(0.1)
                found = server.ask()
                slot.heard(found)
            if found == "taken":
                taken.append(server.clock.monotonic())

    async def ask_again() -> None:
        """As the engine does: a long wait holds all, until somebody who asked after it was let in."""
        while True:
            await limiter.trouble_came.wait()
            async with limiter.slot("credits", probing=True) as slot:
                await slot.stamp()
            limiter.release()

    async with anyio.create_task_group() as asking:
        asking.start_soon(ask_again)
        async with anyio.create_task_group() as group:
            for _ in range(workers):
                group.start_soon(work)
        asking.cancel_scope.cancel()


def events(ledger: LedgerWriter, name: str) -> list[dict[str, Any]]:
    rows = ledger.read.rows("SELECT detail FROM events WHERE event = ? ORDER BY id", (name,))
    return [json.loads(row["detail"]) for row in rows]


@pytest.mark.parametrize(
    ("count", "seconds", "length", "says"),
    [
        *((*limit, says) for limit in ((20, 60.0, 3600.0), (400, 3600.0, 3600.0)) for says in ("seconds", "none")),
        (10, 10.0, 1800.0, "seconds"),
        (2, 1.0, 1800.0, "none"),
    ],
)
def test_an_unknown_limit_is_found_and_followed(
    tmp_path: Path, count: int, seconds: float, length: float, says: str
) -> None:
    clock = VirtualClock()
    with opened(tmp_path / "ledger.db", clock) as ledger:
        server, taken = Server(clock, count, seconds, says), list[float]()
        start = clock.monotonic()
        clock.run(
            lambda: press(RateLimiter(ledger, LIMITS, clock, Commits(ledger)), server, "submit", start + length, taken)
        )
        check_windows(stamps(ledger, "submit"), LIMITS.submit)
        allowed = min(count / seconds, 2.0) * length
        used = sum(at < start + length for at in taken) / allowed
        cuts = len(events(ledger, "limit_cut"))
    assert used >= 0.8
    assert cuts <= length / 90, "a cut every minute and a half at most, on the average"
    assert len(server.refused) <= 16 + 3 * cuts, "and but for the first burst hardly a request is refused"


def test_a_burst_is_cut_once(tmp_path: Path) -> None:
    """Ten requests on their way, all refused; one is let in; ten more are refused."""
    clock = VirtualClock()
    refusal = Retryable("rate_limited", "", throttled=True, retry_after=1.0)

    async def one(limiter: RateLimiter, outcome: object) -> None:
        async with limiter.slot("submit") as slot:
            await slot.stamp()
            await anyio.sleep(100)  # longer than it takes to send ten at the new pace
        slot.heard(outcome)

    async def main() -> None:
        limiter = RateLimiter(ledger, LIMITS, clock, Commits(ledger))
        for outcomes in ([refusal] * 10, ["taken"], [refusal] * 10):
            async with anyio.create_task_group() as group:
                for outcome in outcomes:
                    group.start_soon(one, limiter, outcome)

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
        first, second = events(ledger, "limit_cut")
    assert second["per_minute"] < first["per_minute"]


@pytest.mark.parametrize(
    "outcome", [Retryable("http_500", "", outage=True, maybe_received=True), Retryable("bad_answer", ""), "taken", None]
)
def test_only_a_429_cuts(tmp_path: Path, outcome: object) -> None:
    clock = VirtualClock()

    async def main() -> None:
        limiter = RateLimiter(ledger, LIMITS, clock, Commits(ledger))
        for _ in range(5):
            limiter.release()
            async with limiter.slot("submit") as slot:
                await slot.stamp()
                slot.heard(outcome)

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
        assert events(ledger, "limit_cut") == []
        assert events(ledger, "limit_cut") == []


def test_the_pace_grows_back_to_what_the_user_stated(tmp_path: Path) -> None:
    clock, limits = VirtualClock(), Limits(submit=Rate(40, 60.0), requests=Rate(600, 60.0))

    async def main() -> None:
        limiter = RateLimiter(ledger, limits, clock, Commits(ledger))
        server = Server(clock, 10, 60.0, "none")
        start = clock.monotonic()
        await press(limiter, server, "submit", start + 300, [])
        cuts = len(events(ledger, "limit_cut"))
        assert cuts > 0
        server.count = 10_000  # the API has become generous
        refused = len(server.refused)
        await press(limiter, server, "submit", start + 300 + 2400, [])
        assert len(events(ledger, "limit_cut")) == cuts
        assert len(server.refused) == refused

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
        assert events(ledger, "limit_restored") == [{"limit": "submit"}]
        found = stamps(ledger, "submit")
        assert len([s for s in found if s > found[-1] - 600]) >= 0.95 * 400
        check_windows(found, limits.submit)


def test_submissions_that_are_refused_do_not_slow_polls(tmp_path: Path) -> None:
    """The API may count each kind of call by itself: then polls go on at their pace, and the other way round."""
    clock, taken, polled = VirtualClock(), list[float](), list[float]()
    limits = Limits(submit=Rate(60, 60.0), requests=Rate(200, 60.0))

    async def main() -> None:
        limiter = RateLimiter(ledger, limits, clock, Commits(ledger))
        end = clock.monotonic() + 300
        async with anyio.create_task_group() as group:
            group.start_soon(press, limiter, Server(clock, 10, 60.0, "none"), "submit", end, taken)
            group.start_soon(press, limiter, Server(clock, 10_000, 60.0, "none"), "poll", end, polled)

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
        assert {cut["limit"] for cut in events(ledger, "limit_cut")} == {"submit"}
    assert len(polled) > 0.9 * 700
    assert 35 <= len(taken) <= 60


def test_submissions_go_first_where_room_is_short_and_nobody_starves(tmp_path: Path) -> None:
    clock, limits = VirtualClock(), Limits(submit=Rate(1000, 60.0), requests=Rate(40, 60.0))

    async def main() -> None:
        limiter = RateLimiter(ledger, limits, clock, Commits(ledger))
        server = Server(clock, 10_000, 60.0, "none")
        end = clock.monotonic() + 1200
        async with anyio.create_task_group() as group:
            for kind, workers in (("submit", 100), ("poll", 20), ("upload", 20)):  # more than room for a minute
                group.start_soon(press, limiter, server, kind, end, [], workers)

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
        start, found = stamps(ledger)[0], [stamps(ledger, kind) for kind in KINDS]
        minutes = [
            [len([s for s in sent if 60 * n <= s - start < 60 * n + 60]) for sent in found] for n in range(1, 19)
        ]
        check_windows(stamps(ledger), limits.requests)
    submits, polls, uploads = (sum(each) for each in zip(*minutes, strict=True))
    assert submits + polls + uploads >= 0.95 * 40 * 18
    assert submits >= 0.7 * (submits + polls + uploads)
    assert min(poll + upload for _, poll, upload in minutes) >= 8, "a quarter of the room is theirs, in every minute"
    assert min(polls, uploads) >= 50


def test_nobody_starves_at_the_pace_of_an_api_that_counts_everything(tmp_path: Path) -> None:
    clock, limits = VirtualClock(), Limits(submit=Rate(1000, 60.0), requests=Rate(1000, 60.0))
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}

    async def main() -> None:
        limiter = RateLimiter(ledger, limits, clock, Commits(ledger))
        server = Server(clock, 30, 60.0, "seconds")
        end = clock.monotonic() + 1800
        async with anyio.create_task_group() as group:
            for kind, workers in (("submit", 40), ("poll", 10), ("upload", 10)):
                group.start_soon(press, limiter, server, kind, end, taken[kind], workers)

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
    submits, polls, uploads = (len(taken[kind]) for kind in KINDS)
    total = submits + polls + uploads
    assert total >= 0.75 * 30 * 30
    assert submits >= 0.4 * total
    assert min(polls, uploads) >= 0.08 * total


def test_polls_take_all_that_submissions_leave(tmp_path: Path) -> None:
    """A submission that waits for its own limit holds no poll up."""
    clock, limits = VirtualClock(), Limits(submit=Rate(5, 60.0), requests=Rate(50, 60.0))

    async def main() -> None:
        limiter = RateLimiter(ledger, limits, clock, Commits(ledger))
        end = clock.monotonic() + 600
        async with anyio.create_task_group() as group:
            for kind in ("submit", "poll"):
                group.start_soon(press, limiter, Server(clock, 10_000, 60.0, "none"), kind, end, [])

    with opened(tmp_path / "ledger.db", clock) as ledger:
        clock.run(main)
        start = stamps(ledger)[0]
        found = [s for s in stamps(ledger) if s < start + 600]
        assert len(found) >= 0.95 * 500
        assert len([s for s in stamps(ledger, "submit") if s < start + 600]) >= 0.95 * 50


def test_pauses_grow_while_nothing_is_let_in() -> None:
    throttle, pauses, now = Throttle(Rate(60, 60.0)), list[float](), 0.0
    for _ in range(9):
        throttle.refused(now, 1, wait=None)
        pauses.append(throttle.wait(now))
        now += pauses[-1]
    assert pauses[:3] == [PAUSE_SECONDS, 2 * PAUSE_SECONDS, 4 * PAUSE_SECONDS]
    assert pauses[-1] == PAUSE_SECONDS_MAX
    assert throttle.refused_for(now) == now
    throttle.let_in()
    assert throttle.refused_for(now) == 0
    throttle.refused(now, 1, wait=None)
    assert throttle.wait(now) == PAUSE_SECONDS


def test_one_refusal_says_little_where_little_was_sent() -> None:
    """Somebody else with our key may have used the allowance up."""
    throttle = Throttle(Rate(100, 60.0))
    throttle.refused(0.0, 1, wait=None)
    assert throttle.pace * 60 == pytest.approx(0.7 * 25)


def test_a_limit_of_a_day_is_judged_by_its_last_minute() -> None:
    throttle = Throttle(Rate(500, 86400.0))
    throttle.refused(0.0, 200, wait=None)
    assert throttle.pace * 60 == pytest.approx(0.7 * 200)


@pytest.mark.parametrize("says", ["seconds", "date", "none"])
@pytest.mark.parametrize("limit", ["create=12/60", "*=60/60", "result=6/30", "file+upload=2/30", "status=10/20"])
def test_a_run_against_a_limit_that_nobody_stated(bench: Bench, limit: str, says: str) -> None:
    """Every job comes to its end, no repeats are spent, and few requests are refused."""
    bench.switches.set({"limits": [limit], "retry_after": says})
    for number in range(3):
        (bench.folder / f"{number}.png").write_bytes(PIXEL + bytes([number]))
    prompts = "".join(f"  - Boat {n}\n" for n in range(8))
    path = bench.write(
        f'campaign: c\nmodel: grok-imagine-video\nreferences: ["*.png"]\nprompts:\n{prompts}'
        "limits: {submit: 120/minute, requests: 600/minute, in_flight: 20}\nretries: {times: 4}\n"
    )
    done(bench.run(path))
    bench.check(limits=False)
    with bench.reader() as reader:
        cuts = reader.row("SELECT count(*) FROM events WHERE event = 'limit_cut'")
    assert cuts is not None
    assert 1 <= cuts[0] <= 15
    refused = [v for v in bench.world.oracle().violations if v.what == "rate_limited"]
    assert 1 <= len(refused) <= 40  # as many are under way at once when the first one is refused


def test_an_api_that_says_too_many_for_ever_ends_the_run(bench: Bench) -> None:
    bench.switches.set({"limits": ["create=2/100000"], "retry_after": "none"})
    path = manifest(bench, *(f"Boat {n}" for n in range(30)), more="retries: {outage: 10m}\n")
    begun = bench.clock.wall()
    ending = bench.run(path)
    assert ending.kind is Kind.UNREACHABLE
    assert "nothing else for" in ending.reason
    assert 600 < bench.clock.wall() - begun < 1000
    assert sorted(statuses(bench)) == ["planned"] * 28 + ["succeeded"] * 2
    bench.switches.set({"limits": []})
    done(bench.run(path))
    bench.check(limits=False)
