"""Workers that differ from a run: its version, its time zone, where its results go. They are told, and take nothing."""

from __future__ import annotations

from pathlib import Path

import anyio
import psycopg
import pytest
from integration.cluster.helpers import Machines

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


def change(machines: Machines, sql: str) -> None:
    with psycopg.connect(machines.conninfo, autocommit=True) as there:
        there.execute(sql.encode())


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (
            "UPDATE batcher.cluster_runs SET kind = regexp_replace(kind, 'batcher [^ ]+', 'batcher 0.0.9')",
            "1 run of other accounts or versions",
        ),
        ("UPDATE batcher.cluster_runs SET kind = 'https://other#x batcher 1'", "1 run of other accounts or versions"),
        (
            "UPDATE batcher.cluster_runs SET spec = replace(spec, '/shared', '/elsewhere')",
            "has its results in",
        ),
    ],
)
async def test_a_run_of_another_version_account_or_place_is_left_to_its_own(
    machines: Machines, sql: str, told: str
) -> None:
    with machines.starting(machines.workload(2)) as start:
        run_id = await start.begin(machines.tables)
    change(machines, sql)
    async with machines.worker():
        await machines.hears(told)
        await anyio.sleep(1.2)  # two looks at what goes on
    assert machines.rows("SELECT DISTINCT status FROM batcher.wanted") == [("planned",)]
    assert machines.world.oracle().tasks == {}
    assert await machines.tables.ending(run_id) is None


async def test_a_worker_of_another_zone_is_told_and_the_ledgers_zone_decides_the_day(machines: Machines) -> None:
    change(machines, "UPDATE batcher.meta SET timezone = 'Pacific/Kiritimati'")  # 14 hours ahead of UTC
    assert (await machines.done(machines.workload(1)))["kind"] == "done"
    assert [said for said in machines.said if "the ledger's days are those of Pacific/Kiritimati" in said]
    days = machines.rows(
        "SELECT day, to_char(intended_at::timestamptz AT TIME ZONE 'Pacific/Kiritimati', 'YYYY-MM-DD')"
        " FROM batcher.attempts"
    )
    assert [day == there for day, there in days] == [True]


async def test_an_old_copy_of_a_database_buys_under_the_keys_that_it_had(machines: Machines, tmp_path: Path) -> None:
    """A backup that was put back, a standby that lacked the newest commits: what the API replays is bought once."""
    with machines.starting(machines.workload(3)) as start:
        run_id = await start.begin(machines.tables)
    copy = f"{machines.rows('SELECT current_database()')[0][0]}_old"
    await machines.tables.__aexit__()  # a template is nobody's
    elsewhere = psycopg.conninfo.make_conninfo(machines.conninfo, dbname="template1")
    with psycopg.connect(elsewhere, autocommit=True) as there:
        there.execute(f"CREATE DATABASE {copy} TEMPLATE {copy.removesuffix('_old')} STRATEGY file_copy".encode())
    try:
        async with machines.worker():
            assert (await machines.ended(run_id))["kind"] == "done"
        conninfo = psycopg.conninfo.make_conninfo(machines.conninfo, dbname=copy)
        old = Machines(conninfo, tmp_path, machines.world, machines.base_url)
        async with old.tables, old.worker():
            assert (await old.ended(run_id))["kind"] == "done"
        assert (len(machines.world.oracle().tasks), machines.world.oracle().violations) == (3, [])
        assert len(machines.files()) == 3
        bought = "SELECT idempotency_key, task_id FROM batcher.attempts ORDER BY 1"
        assert machines.rows(bought) == old.rows(bought)
    finally:
        with psycopg.connect(elsewhere, autocommit=True) as there:
            there.execute(f"DROP DATABASE {copy} WITH (FORCE)".encode())
