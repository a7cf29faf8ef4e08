"""Several who write at once, on a real PostgreSQL: caps and classes hold, and one that is stopped is thrown out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial

import psycopg
import pytest
from core_helpers import ACCOUNT, job_name, make_spec, make_task

from batcher.cluster.store import PostgresLedger
from batcher.errors import StorageError
from batcher.events import Event
from batcher.jobs import Intent
from batcher.ledger import Buying, Caps, NotAdmitted


@pytest.fixture
def ledgers(postgres: str) -> Iterator[list[PostgresLedger]]:
    made = [PostgresLedger.connect(postgres) for _ in range(3)]
    for each in made:
        each.start_run(version="1", pid=1, account=ACCOUNT.text, campaigns=["spring"], settings="{}")
    yield made
    for each in made:
        each.close()


def enrol(ledger: PostgresLedger, first: int, count: int, campaign: str = "spring") -> None:
    for step in ledger.enrolling(
        campaign, "m.yaml", [make_spec(n, campaign=campaign) for n in range(first, first + count)]
    ):
        step()


def intend(ledger: PostgresLedger, number: int, caps: Caps) -> Intent | NotAdmitted:
    job = ledger.read.load(job_name(number))
    return ledger.intend(job, account=ACCOUNT, compose=lambda request_id: request_id.encode(), caps=caps)


def at_once(ledgers: list[PostgresLedger], work: list[list[int]], caps: Caps) -> list[Intent | NotAdmitted]:
    """Each ledger's admissions on a thread of its own, begun together."""
    found, begin = list[Intent | NotAdmitted](), threading.Barrier(len(work))

    def go(ledger: PostgresLedger, numbers: list[int]) -> None:
        begin.wait()
        found.extend([intend(ledger, number, caps) for number in numbers])

    threads = [threading.Thread(target=go, args=pair) for pair in zip(ledgers, work, strict=True)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return found


def test_a_cap_holds_whoever_admits(ledgers: list[PostgresLedger]) -> None:
    enrol(ledgers[0], 1, 12)
    first = intend(ledgers[0], 12, Caps())
    assert isinstance(first, Intent)
    ledgers[0].submitted(first, make_task(12))
    caps = Caps(campaigns={"spring": 60}, day=60)
    found = at_once(ledgers, [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]], caps)
    assert sum(isinstance(each, Intent) for each in found) == 5
    assert ledgers[1].read.spent() == (60, 0)


def test_the_first_of_a_class_goes_alone_over_campaigns_and_workers(ledgers: list[PostgresLedger]) -> None:
    for number, campaign in enumerate(("spring", "summer", "autumn"), 1):
        enrol(ledgers[0], number, 1, campaign)
    found = at_once(ledgers, [[1], [2], [3]], Caps())
    assert sorted(type(each).__name__ for each in found) == ["Intent", "NotAdmitted", "NotAdmitted"]
    assert {each.cap for each in found if isinstance(each, NotAdmitted)} == {"price"}


def test_one_who_is_stopped_within_a_transaction_is_thrown_out_and_loses_only_that(
    ledgers: list[PostgresLedger], postgres: str
) -> None:
    """SIGSTOP for longer than `IDLE_SECONDS`: the others wait no longer than that, and nothing of it stands."""
    enrol(ledgers[0], 1, 2)
    stopped, other, _ = ledgers
    began = time.monotonic()

    def stop() -> Intent | NotAdmitted:
        made = intend(stopped, 1, Caps())
        assert isinstance(intend(other, 2, Caps()), Intent)  # waits until the server has thrown `stopped` out
        return made

    with pytest.raises(StorageError):
        assert stopped.commit_group([stop]) == [None]
    assert time.monotonic() - began < 30
    assert isinstance(intend(stopped, 1, Caps()), NotAdmitted)  # on a new connection; the class waits for its price
    with psycopg.connect(postgres) as there:
        assert there.execute("SELECT job_id FROM batcher.attempts").fetchall() == [(job_name(2),)]


def test_a_database_that_goes_away_and_comes_back_is_used_again(ledgers: list[PostgresLedger], postgres: str) -> None:
    enrol(ledgers[0], 1, 1)
    with psycopg.connect(postgres, autocommit=True) as there:
        there.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'batcher%'")
    ledgers[0].note(Event.HALTED, kind="x", reason="y")
    assert isinstance(intend(ledgers[0], 1, Caps()), Intent)


def test_a_connection_that_is_lost_within_a_transaction_is_not_gone_on_with(
    ledgers: list[PostgresLedger], postgres: str
) -> None:
    """Whatever an operation does about its error: the rest would be outside of any transaction."""
    enrol(ledgers[0], 1, 2)

    def lose() -> None:
        intend(ledgers[0], 1, Caps())
        with psycopg.connect(postgres, autocommit=True) as there:
            there.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'batcher'")
        for _ in range(2):
            with suppress(StorageError):
                ledgers[0].cannot_send(job_name(2), "a", "b")

    with pytest.raises(StorageError):
        ledgers[0].commit_group([lose])
    assert ledgers[1].read.newest_attempt() == 0
    assert ledgers[1].read.known([job_name(2)])[job_name(2)].status == "planned"


def test_a_group_on_a_thread_lets_the_loops_thread_read_and_note(ledgers: list[PostgresLedger]) -> None:
    enrol(ledgers[0], 1, 1)
    ledger = ledgers[0]
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Intent | NotAdmitted:
        made = intend(ledger, 1, Caps())
        begun.set()
        go_on.wait(1)
        return made

    thread = threading.Thread(target=lambda: ledger.commit_group([slow]))
    thread.start()
    begun.wait()
    assert ledger.read.newest_attempt() == 0  # what is not committed is not seen
    ledger.note(Event.HALTED, kind="x", reason="y")  # goes with the next group
    go_on.set()
    thread.join()
    assert ledger.read.newest_attempt() == 1
    ledger.commit_group([])
    with closing(ledger):
        assert ledger.read.row("SELECT 1 FROM events WHERE event = 'halted'")


def test_a_purchase_of_a_group_takes_few_round_trips(ledgers: list[PostgresLedger]) -> None:
    """Everybody else waits meanwhile: all that they ask goes at once, and all that they write with the commit."""
    ledger = ledgers[0]
    enrol(ledger, 1, 40)
    caps = Caps(run=1000, campaigns={"spring": 1000}, day=1000, keep=1, wallet=1000)
    first = intend(ledger, 1, caps)
    assert isinstance(first, Intent)
    ledger.submitted(first, make_task(1))
    for start in (2, 18):
        before = ledger.connection.round_trips
        jobs = [ledger.read.load(job_name(number)) for number in range(start, start + 16)]
        buy = partial(ledger.intend, account=ACCOUNT, compose=lambda r: r.encode(), caps=caps)
        found = ledger.commit_group([Buying(job, partial(buy, job)) for job in jobs])
        assert all(isinstance(each, Intent) for each in found)
        assert ledger.connection.round_trips - before == 2  # and the begin
    assert ledger.read.spent() == (330, 0)


def test_what_a_group_knew_holds_for_no_other(ledgers: list[PostgresLedger]) -> None:
    enrol(ledgers[0], 1, 9)
    first = intend(ledgers[0], 9, Caps())
    assert isinstance(first, Intent)
    ledgers[0].submitted(first, make_task(9))
    found = list[object]()
    for number in range(1, 9):  # alone and in groups, in turn
        buy = partial(intend, ledgers[number % 2], number, Caps(day=50))
        found += ledgers[number % 2].commit_group([buy]) if number // 2 % 2 else [buy()]
    assert [isinstance(each, Intent) for each in found] == [True] * 4 + [False] * 4


def test_a_write_that_nobody_waited_for_fails_its_own_part_alone(ledgers: list[PostgresLedger], postgres: str) -> None:
    """It is met when the next part asks, or at the commit: by then the others had gone on."""
    ledger = ledgers[0]
    enrol(ledger, 1, 9)
    first = intend(ledger, 9, Caps())
    assert isinstance(first, Intent)
    ledger.submitted(first, make_task(9))  # now the price of their class is known
    with psycopg.connect(postgres, autocommit=True) as there:
        there.execute(f"ALTER TABLE batcher.attempts ADD CHECK (job_id NOT IN ('{job_name(3)}', '{job_name(8)}'))")
    begun = list[int]()

    def buy(number: int, cap: int) -> Intent | NotAdmitted:
        begun.append(number)
        return intend(ledger, number, Caps(run=cap))

    # In the midst, and as the last; the caps have no room for the hold of one that failed.
    for numbers, bad, cap in (((1, 2, 3, 4), 3, 40), ((5, 6, 7, 8), 8, 80)):
        found = ledger.commit_group([partial(buy, number, cap) for number in numbers])
        assert [isinstance(each, StorageError) for each in found] == [number == bad for number in numbers]
        assert sum(isinstance(each, Intent) for each in found) == 3
    assert begun == [1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8]
    with psycopg.connect(postgres) as there:
        rows = there.execute("SELECT job_id FROM batcher.attempts ORDER BY id").fetchall()
    assert [row[0] for row in rows] == [job_name(number) for number in (9, 1, 2, 4, 5, 6, 7)]
    assert ledgers[1].read.spent() == (70, 0)


def test_statements_that_come_again_are_planned_once_and_one_whose_plan_is_lost_goes_as_it_is(
    ledgers: list[PostgresLedger],
) -> None:
    ledger = ledgers[0]
    enrol(ledger, 1, 8)

    def prepared() -> int:
        return len(ledger.connection.raw.execute("SELECT name FROM pg_prepared_statements").fetchall())

    def buy(number: int) -> list[Intent | NotAdmitted | Exception]:
        return ledger.commit_group([partial(intend, ledger, number, Caps(run=1000))])

    for number in (1, 2, 3):
        [found] = buy(number)
        if isinstance(found, Intent):
            ledger.submitted(found, make_task(number))
    assert prepared() > 8
    ledger.connection.raw.execute("DEALLOCATE ALL")
    with suppress(StorageError):
        buy(4)
    assert [type(found) for number in (4, 5) for found in buy(number)] == [Intent, Intent]
