"""Claims of jobs and the fence before a paid request, on a real PostgreSQL by its own clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import anyio
import psycopg
import pytest
from core_helpers import job_name, make_spec, make_task

from batcher.cluster.database_clock import DatabaseClock
from batcher.cluster.postgres import PostgresConnection
from batcher.cluster.runs import ClusterTables
from batcher.cluster.slots import Sending, SharedLimits
from batcher.cluster.store import PostgresLedger
from batcher.events import Event
from batcher.jobs import Account, Intent, Planned, Status, Submitting
from batcher.ledger import Caps, Change
from batcher.settings import Limits, Rate

ACCOUNT = Account("https://api.test", "0123456789ab")
JOB = job_name(1)


class Workers:
    """Two workers of one ledger, and a job that is planned."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.changes = list[Change]()
        self.one, self.other = (PostgresLedger.connect(conninfo, None, self.changes.append) for _ in range(2))
        for step in self.one.enrolling("spring", "m.yaml", [make_spec(1)]):
            step()
        for each in (self.one, self.other):
            each.start_run(version="1", pid=1, account=ACCOUNT.text, campaigns=["spring"], settings="{}")

    def intend(self, ledger: PostgresLedger) -> Intent:
        made = ledger.intend(
            ledger.read.load(JOB), account=ACCOUNT, compose=lambda request_id: request_id.encode(), caps=Caps()
        )
        assert isinstance(made, Intent)
        return made

    def may_send(self, intent: Intent, worker: str, epoch: int, key_seconds: float) -> bool:
        """Whether the fence lets an intent out, for which there is room."""
        limits = Limits(submit=Rate(10, 60), requests=Rate(10, 60))
        with closing(PostgresConnection(self.conninfo)) as connection:
            found = SharedLimits(connection, ACCOUNT.text, limits).take(
                "submit", sending=Sending(intent, worker, epoch, key_seconds)
            )
        assert not found.wait
        return not found.refused

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            found = connection.execute(cast(Any, statement))
            return found.fetchall() if found.description else []

    def renew(self, worker: str, seconds: float) -> float:
        """Prolong a worker's claim of the job; for how many seconds somebody has it then."""

        async def renew() -> None:
            async with ClusterTables(self.conninfo) as tables:
                await tables.renew(worker, [JOB], seconds)

        anyio.run(renew)
        [[left]] = self.sql("SELECT extract(epoch FROM until - clock_timestamp())::float8 FROM batcher.claims")
        return float(left)

    def run_out(self) -> None:
        self.sql("UPDATE batcher.claims SET until = clock_timestamp() - interval '1 second'")


@pytest.fixture
def workers(postgres: str) -> Iterator[Workers]:
    made = Workers(postgres)
    yield made
    made.one.close()
    made.other.close()


def test_a_job_is_one_workers_until_its_lease_runs_out(workers: Workers) -> None:
    assert workers.one.claim(JOB, "a", 30) == 1
    assert workers.other.claim(JOB, "b", 30) is None
    assert workers.renew("a", 60) > 31
    workers.run_out()
    assert workers.renew("a", 30) < 0  # what ran out stays lost
    assert workers.other.claim(JOB, "b", 30) == 2
    assert not workers.one.release(JOB, 1)
    assert workers.other.release(JOB, 2)
    assert workers.one.claim(JOB, "a", 30) == 3


def test_of_several_rescuers_one_has_the_job(workers: Workers, postgres: str) -> None:
    workers.one.claim(JOB, "a", 30)
    assert workers.may_send(workers.intend(workers.one), "a", 1, 60)
    workers.run_out()
    rescuers = [PostgresLedger.connect(postgres, None, workers.changes.append) for _ in range(4)]
    found, begin = list[int | None](), threading.Barrier(4)

    def rescue(number: int) -> None:
        begin.wait()
        found.append(rescuers[number].claim(JOB, f"rescuer {number}", 30))

    threads = [threading.Thread(target=rescue, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found, key=str) == [2, None, None, None]
    assert [change.event for change in workers.changes].count(Event.MAYBE_RECEIVED) == 1
    for ledger in rescuers:
        ledger.close()


def test_a_claim_outlives_a_database_clock_that_is_set_back_for_its_worker_alone(workers: Workers) -> None:
    """Until the clock has caught up, or its worker has renewed it, nobody else has the job: late, and never twice."""
    epoch = workers.one.claim(JOB, "a", 30)
    workers.sql("UPDATE batcher.claims SET until = until + interval '1 hour'")  # by the clock as it is now
    assert workers.other.claim(JOB, "b", 30) is None
    assert 29 < workers.renew("a", 30) < 31
    workers.sql("UPDATE batcher.claims SET until = until - interval '31 seconds'")
    assert epoch is not None
    assert workers.other.claim(JOB, "b", 30) == epoch + 1


def test_a_takeover_makes_what_may_be_sent_maybe_received_and_tells_it(workers: Workers) -> None:
    workers.one.claim(JOB, "a", 30)
    assert workers.may_send(workers.intend(workers.one), "a", 1, 60)
    assert not workers.changes[-1].detail.get("code")
    workers.run_out()
    workers.other.claim(JOB, "b", 30)
    phase = workers.other.read.load(JOB).phase
    assert isinstance(phase, Submitting)
    assert phase.intent.maybe_received
    assert workers.changes[-1].event == Event.MAYBE_RECEIVED
    assert workers.changes[-1].detail["code"] == "taken_over"


def test_what_waited_for_room_only_is_known_not_to_be_sent_whoever_has_it(workers: Workers) -> None:
    workers.one.claim(JOB, "a", 30)
    intent = workers.intend(workers.one)
    with closing(PostgresConnection(workers.conninfo)) as connection:
        shared = SharedLimits(connection, ACCOUNT.text, Limits(submit=Rate(1, 60), requests=Rate(2, 60)))
        assert [shared.take("submit").wait, shared.take("submit", sending=Sending(intent, "a", 1, 60)).wait > 0] == [
            0,
            True,
        ]
    workers.run_out()
    assert workers.other.claim(JOB, "b", 30) == 2
    phase = workers.other.read.load(JOB).phase
    assert isinstance(phase, Submitting)
    assert not phase.intent.maybe_received
    # Who had it before and comes back neither sends it nor closes it: the other may be sending it.
    assert not workers.may_send(intent, "a", 1, 60)
    assert not workers.one.give_back(intent, 1, "not_sent", "")
    assert workers.one.unsent(intent, "not_sent", "") is Status.SUBMITTING
    # Its key is too old by now: it is planned anew, at no cost, and nobody has to judge it.
    assert not workers.may_send(intent, "b", 2, 0)
    assert workers.other.give_back(intent, 2, "not_sent", "")
    assert isinstance(workers.other.read.load(JOB).phase, Planned)
    assert workers.other.read.spent().committed == 0
    again = workers.intend(workers.other)
    assert again.key != intent.key
    assert workers.may_send(again, "b", 2, 60)
    workers.run_out()
    assert workers.one.claim(JOB, "a", 30) == 3
    assert not workers.one.give_back(again, 3, "not_sent", "")
    assert workers.one.unsent(again, "not_sent", "") is Status.DOUBTFUL


def test_the_start_of_a_worker_says_nothing_of_what_others_are_sending(workers: Workers) -> None:
    workers.one.claim(JOB, "a", 30)
    workers.intend(workers.one)
    workers.other.start_run(version="1", pid=2, account=ACCOUNT.text, campaigns=["spring"], settings="{}")
    phase = workers.one.read.load(JOB).phase
    assert isinstance(phase, Submitting)
    assert not phase.intent.maybe_received


@pytest.mark.parametrize("gone", ["", "lease", "epoch", "worker", "task", "old", "future", "closed"])
def test_the_fence_lets_out_only_a_young_key_of_this_claim_that_has_no_task(workers: Workers, gone: str) -> None:
    assert (epoch := workers.one.claim(JOB, "a", 30)) == 1
    intent = workers.intend(workers.one)
    match gone:
        case "lease":
            workers.run_out()
        case "epoch":
            workers.run_out()
            workers.other.claim(JOB, "b", 30)
        case "task":
            workers.other.submitted(intent, make_task())
        case "old":
            workers.sql("UPDATE batcher.attempts SET intended_at = '2020-01-01T00:00:00Z'")
        case "future":
            workers.sql("UPDATE batcher.attempts SET intended_at = '2100-01-01T00:00:00Z'")
        case "closed":
            workers.other.unsent(intent, "not_sent", "")
    assert workers.may_send(intent, "another" if gone == "worker" else "a", epoch, 60) is (gone == "")
    [taken] = workers.sql("SELECT count(*) FROM batcher.slots WHERE at > '-infinity'")
    assert taken == (0 if gone else 2,)  # of each limit one; what is not sent takes none


def test_stamps_go_by_the_databases_clock_whatever_the_workers_own_says(postgres: str) -> None:
    class Wrong(DatabaseClock):
        def __init__(self, hours: int) -> None:
            super().__init__()
            self._ahead += hours * 3600

    for hours in (-1, 1):
        with_it = PostgresLedger.connect(postgres, Wrong(hours))
        with_it.start_run(version="1", pid=1, account=ACCOUNT.text, campaigns=[], settings="{}")
        [row] = with_it.read.rows("SELECT started_at FROM runs ORDER BY id DESC LIMIT 1")
        found = psycopg.connect(postgres).execute("SELECT abs(extract(epoch FROM now() - %s::timestamptz))", row)
        assert found.fetchone()[0] < 60  # type: ignore[index]
        found.connection.close()
        with_it.close()
