"""Workers share the limits of an account by rows of a real PostgreSQL: exact, and one's 429 slows all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import pairwise

import anyio
import psycopg
import pytest
from core_helpers import ACCOUNT, OTHER

from batcher.clock import Moment, moment
from batcher.cluster.database_clock import DatabaseClock
from batcher.cluster.limiter import ClaimTerms, SharedLimiter
from batcher.cluster.postgres import PostgresConnection
from batcher.cluster.slots import SharedLimits
from batcher.cluster.store import PostgresLedger
from batcher.jobs import Intent, JobId
from batcher.ledger import Stale
from batcher.lifecycle import Commits
from batcher.providers import Retryable
from batcher.settings import Limits, Rate


def limits(submit: Rate, requests: Rate) -> Limits:
    return Limits(submit=submit, requests=requests)


async def _never(*_: object) -> None:
    raise AssertionError("nothing is given back")


NO_CLAIMS = ClaimTerms("one", lambda _: None, 30.0, _never)
FEW = limits(Rate(2, 60), Rate(3, 60))


@pytest.fixture
def opened(postgres: str) -> Iterator[list[PostgresConnection]]:
    made = [PostgresConnection(postgres) for _ in range(2)]
    yield made
    for each in made:
        each.close()


def later(conninfo: str, seconds: float) -> None:
    """Let time pass for the slots: what they were taken for lies so much farther back."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("UPDATE batcher.slots SET at = at - make_interval(secs => %s)", (seconds,))
        connection.execute("UPDATE batcher.pauses SET until = until - make_interval(secs => %s)", (seconds,))


def test_no_more_than_stated_are_let_out_in_a_window_whoever_asks(
    opened: list[PostgresConnection], postgres: str
) -> None:
    one, other = (SharedLimits(each, ACCOUNT.text, FEW) for each in opened)
    assert [one.take("submit").wait, other.take("submit").wait] == [0, 0]
    assert 59 < one.take("submit").wait <= 61.85
    assert other.take("poll").wait == 0  # one more request, none of these a submission
    assert one.take("poll").wait > 59
    later(postgres, 62)
    assert one.take("submit").wait == 0
    other.release()
    with closing(PostgresConnection(postgres)) as third:
        assert SharedLimits(third, OTHER.text, FEW).take("submit").wait == 0  # another account has its own


def test_a_database_whose_clock_is_set_back_lets_out_no_more_and_stops_nobody_for_that_long(
    opened: list[PostgresConnection], postgres: str
) -> None:
    one, other = (SharedLimits(each, ACCOUNT.text, FEW) for each in opened)
    assert [one.take("submit").wait, other.take("submit").wait] == [0, 0]
    later(postgres, -3600)  # they were taken in an hour, by the clock as it is now
    assert one.take("submit").wait > 3000
    assert 59 < other.take("submit").wait < 62
    later(postgres, 62)
    assert [one.take("submit").wait, other.take("submit").wait] == [0, 0]
    assert one.take("submit").wait > 0


def test_one_workers_429_slows_all_and_its_retry_after_is_everybodys(
    opened: list[PostgresConnection], postgres: str
) -> None:
    wide = limits(Rate(100, 60), Rate(200, 60))
    one, other = (SharedLimits(each, ACCOUNT.text, wide) for each in opened)
    sent = [one.take("submit").at for _ in range(10)]
    one.refused("submit", sent[-1], 30.0)
    assert 29 < other.take("submit").wait <= 30
    assert 29 < other.take("poll").wait <= 30
    later(postgres, 31)
    first = other.take("submit")
    assert first.wait == 0
    assert 0 < one.take("submit").wait < 60  # at even distances now
    one.refused("submit", sent[0], None)  # of the same burst: no second cut
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM batcher.throttles").fetchall() == [(1,)]
    one.let_in("submit", first.at)


def test_what_is_let_in_where_nothing_is_slowed_asks_the_database_nothing(
    opened: list[PostgresConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told on the event loop: a worker whose database had fallen silent stood still, with all of its jobs."""
    one, other = (SharedLimits(each, ACCOUNT.text, FEW) for each in opened)
    sent = one.take("submit").at
    other.refused("submit", other.take("submit").at, None)  # younger than what was sent
    with monkeypatch.context() as patched:
        patched.setattr(opened[0], "query", lambda *_: pytest.fail("it was asked"))
        one.let_in("submit", sent)
        one.let_in("poll", sent)
    one.take("submit")
    monkeypatch.setattr(opened[0], "query", lambda *_: pytest.fail("it was asked"))
    with pytest.raises(pytest.fail.Exception):
        one.let_in("submit", sent)


def test_an_outage_holds_all_but_who_asks_whether_it_is_over(opened: list[PostgresConnection]) -> None:
    one, other = (SharedLimits(each, ACCOUNT.text, FEW) for each in opened)
    one.pause(70, column="held_until")
    assert other.take("submit").wait > 60
    assert one.take("credits", probe=True).wait == 0
    one.release()
    assert other.take("submit").wait == 0


@pytest.mark.parametrize(
    ("steps", "free"),
    [
        ([(Rate(2, 3600), 1), (Rate(4, 3600), 0)], 3),
        ([(Rate(4, 3600), 4), (Rate(2, 3600), 0), (Rate(4, 3600), 0)], 0),
        ([(Rate(4, 3600), 3), (Rate(2, 3600), 0), (Rate(4, 3600), 0)], 1),
        ([(Rate(2, 60), 2), (Rate(4, 3600), 0)], 0),
        ([(Rate(2, 60), 1), (Rate(4, 3600), 0)], 2),
        ([(Rate(2, 3600), 2), (Rate(4, 60), 0)], 2),
    ],
    ids=str,
)
def test_what_was_sent_counts_on_under_limits_that_are_stated_anew(
    opened: list[PostgresConnection], steps: list[tuple[Rate, int]], free: int
) -> None:
    """Also what the slots of the last ones had no room for, and what they had let out before in a shorter window."""
    wide = Rate(100, 60)
    for rate, sent in steps:
        shared = SharedLimits(opened[0], ACCOUNT.text, limits(rate, wide))
        assert [shared.take("submit").wait for _ in range(sent)] == [0] * sent
    found = [SharedLimits(opened[1], ACCOUNT.text, limits(steps[-1][0], wide)).take("submit").wait for _ in range(5)]
    assert found.count(0) == free


def test_the_strictest_of_an_accounts_runs_counts_and_what_people_ask_of_them(
    opened: list[PostgresConnection], postgres: str
) -> None:
    """For all workers, also one that has not heard of it: the slots say so themselves."""
    wide, account = Rate(100, 60), ACCOUNT.text
    begun = "INSERT INTO batcher.cluster_runs (run_id, kind, spec) VALUES (%s, %s, %s)"
    asked = "INSERT INTO batcher.commands VALUES (%s, %s, 'me', 'now', %s, %s)"
    with psycopg.connect(postgres, autocommit=True) as there:
        for run_id, kind, rate in ((1, f"{account} batcher 9", 2), (2, f"{account} batcher 9", 3), (3, "other", 1)):
            stated = {"submit": {"count": rate, "seconds": 60.0}, "requests": {"count": 100, "seconds": 60}}
            there.execute(begun, (run_id, kind, json.dumps({"settings": {"limits": stated}})))
        one, other = (SharedLimits(each, account, limits(wide, wide), run) for run, each in enumerate(opened, 1))
        assert [other.take("submit").wait > 0 for _ in range(3)] == [False, False, True]
        there.execute(asked, ("limits.submit", "[9, 60]", 1, 1))
        one.changed = True  # as its worker sees within a second
        one.take("requests")
        assert [other.take("submit").wait > 0 for _ in range(2)] == [False, True], "the other run states three"
        there.execute("UPDATE batcher.cluster_runs SET ending = '{}' WHERE run_id = 2")
        one.changed = True
        one.take("requests")
        there.execute(asked, ("state", '"paused"', 1, 1))
        assert one.take("submit", fresh=True).held
        assert [one.take("submit").wait > 0 for _ in range(7)] == [False] * 6 + [True], "no slot was spent on that"


def test_many_workers_use_what_is_stated_and_never_more(postgres: str) -> None:
    """In threads, as workers are processes: 40 in any second, for two of them."""
    rate = Rate(40, 1)
    taken = list[float]()

    def work() -> None:
        with closing(PostgresConnection(postgres)) as connection:
            shared = SharedLimits(connection, ACCOUNT.text, limits(rate, rate))
            while len(taken) < 100:
                found = shared.take("submit")
                if found.wait:
                    threading.Event().wait(min(found.wait, 0.02))
                else:
                    taken.append(found.at)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    stamps = sorted(taken)
    assert all(later_ - earlier >= 1 for earlier, later_ in zip(stamps, stamps[40:], strict=False))
    assert len(list(pairwise(stamps))) >= 99


def test_a_limiter_takes_its_slot_right_before_a_request_and_tells_the_others(
    opened: list[PostgresConnection], postgres: str
) -> None:
    async def main() -> None:
        with closing(PostgresLedger.connect(postgres)) as ledger:
            shared = SharedLimits(opened[0], ACCOUNT.text, FEW)
            limiter = SharedLimiter(ledger, FEW, DatabaseClock(), Commits(ledger), ACCOUNT.text, shared, NO_CLAIMS)
            async with limiter.slot("submit") as slot:
                slot.write()
                assert SharedLimits(opened[1], ACCOUNT.text, FEW).take("submit").wait == 0
                slot.go()
                await limiter.take("submit")
                slot.heard(Retryable("rate_limited", "slow down", throttled=True, retry_after=20.0))
            assert 19 < SharedLimits(opened[1], ACCOUNT.text, FEW).take("poll").wait <= 20

    anyio.run(partial(main))


def test_an_intent_that_grows_too_old_is_planned_anew_before_it_takes_a_slot(
    opened: list[PostgresConnection], postgres: str
) -> None:
    given_back = list[tuple[Intent, str]]()

    async def give_back(intent: Intent, code: str, _: str) -> None:
        given_back.append((intent, code))

    async def main() -> None:
        with closing(PostgresLedger.connect(postgres)) as ledger:
            shared, clock = SharedLimits(opened[0], ACCOUNT.text, FEW), DatabaseClock()
            what = (ledger, FEW, clock, Commits(ledger), ACCOUNT.text, shared)
            limiter = SharedLimiter(*what, ClaimTerms("one", lambda _: 1, 30.0, give_back))
            intended = Moment(moment(clock).wall - 31)
            old = Intent(1, JobId("j"), 1, "key", b"{}", ACCOUNT.text, intended, maybe_received=False)
            with pytest.raises(Stale, match="too old"):
                await limiter.take_for(old)
            assert given_back == [(old, "not_sent")]
            assert [shared.take("submit").wait for _ in range(2)] == [0, 0]
            assert shared.take("submit").wait > 59

    anyio.run(main)
