"""A database or an API that is away, or silent, for one worker or all: what waits, what goes on, and for how long."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import pytest
from integration.cluster.helpers import Cluster, on_the_way_to, url_of

from batcher.cluster.connections import keeps_its_session
from batcher.cluster.postgres import IDLE_SECONDS, PostgresConnection
from batcher.errors import StorageError

#: Nobody listens at this port, as far as this process can tell, which needs less time to be sure of it.
_NOT_THERE = """
import socket
from batcher.cluster import limiter
limiter.ALONE_SECONDS = 3.0
right_connect = socket.socket.connect
def connect(self, address):
    if address[1:2] == (PORT,):
        raise ConnectionRefusedError(111, "Connection refused")
    return right_connect(self, address)
socket.socket.connect = connect
"""


def test_a_database_that_falls_silent_is_waited_for_so_long_and_asked_anew(postgres: str) -> None:
    """No packet says so: a machine that was paused, a firewall that forgot the connection."""
    with on_the_way_to(postgres) as (proxy, conninfo), closing(PostgresConnection(conninfo, answer_seconds=0.3)) as far:
        far.begin()
        proxy.become("silent")
        began = time.monotonic()
        with pytest.raises(StorageError, match=r"no answer within 0\.3 s"):
            far.execute("SELECT 1")
        with closing(PostgresConnection(postgres)) as near:
            near.begin()  # the lock is free again once the server has waited for it as long as for any other
        assert time.monotonic() - began < IDLE_SECONDS + 5
        proxy.become("open")
        assert far.query("SELECT 1 AS one")[0]["one"] == 1


@pytest.mark.parametrize(("pid", "left", "kept"), [(7, None, True), (8, "7", True), (8, "", False), (8, "6", False)])
def test_a_pooler_that_pools_transactions_is_told_from_one_that_pools_sessions(
    pid: int, left: str | None, kept: bool
) -> None:
    """As pgbouncer 1.18 does (tried by hand): it names a process of its own, and gives the session away between two."""
    asked = list[str]()

    def execute(sql: str, *_: object) -> Any:
        asked.append(sql)
        return SimpleNamespace(fetchall=lambda: [(left,)])

    made = cast(Any, SimpleNamespace(execute=execute, info=SimpleNamespace(backend_pid=7), close=lambda: None))
    assert keeps_its_session(made, pid, lambda: made) is kept
    assert (asked == []) is (pid == 7)


@pytest.mark.cluster
@pytest.mark.anyio
async def test_the_database_may_go_away_in_every_phase_of_a_job(cluster: Cluster) -> None:
    """Between a POST and what is written down of it, before other POSTs, within a poll, within a download."""
    phases = ["create:processed", "status:arrived", "result:half"]
    away = list[float]()
    with on_the_way_to(cluster.conninfo) as (proxy, conninfo):

        def go_away(_: int, what: str) -> None:
            if phases[:1] == [what] and (not away or time.monotonic() > away[-1] + 1.5):
                del phases[0]
                away.append(time.monotonic())
                proxy.become("cut")
                threading.Timer(0.8, proxy.become, ["open"]).start()

        cluster.app.on_event = go_away
        run_id = await cluster.start(8)
        with cluster.workers(2, 2.0, *2 * [{"BATCHER_LEDGER": url_of(conninfo)}]):
            ending = await cluster.ended(run_id)
    assert (ending["kind"], phases) == ("done", [])
    cluster.check(8)


@pytest.mark.cluster
@pytest.mark.anyio
async def test_a_worker_that_the_database_does_not_hear_sends_nothing_and_others_go_on(cluster: Cluster) -> None:
    run_id = await cluster.start(16)
    with (
        on_the_way_to(cluster.conninfo) as (proxy, conninfo),
        cluster.workers(2, 2.0, {}, {"BATCHER_LEDGER": url_of(conninfo)}),
    ):
        await cluster.until("succeeded", 4)
        proxy.become("silent")
        ending = await cluster.ended(run_id)
        proxy.become("open")
    assert ending["kind"] == "done"
    cluster.check(16)


@pytest.mark.cluster
@pytest.mark.anyio
async def test_one_worker_that_does_not_reach_the_api_holds_up_nobody(cluster: Cluster) -> None:
    run_id = await cluster.start(10)
    alone = _NOT_THERE.replace("PORT", cluster.base_url.rpartition(":")[2])
    with cluster.workers(2, 2.0, {}, {"first": alone}):
        ending = await cluster.ended(run_id)
    assert ending["kind"] == "done"
    cluster.check(10)
