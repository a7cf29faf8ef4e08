"""`fetch` on PostgreSQL, and what a later `run` brings back: from any machine, and without buying."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.cluster.helpers import Machines

from batcher.cli.cluster import ClusterAccess
from batcher.cli.working import accept_on_cluster
from batcher.errors import Kind, StorageError, UsageError
from batcher.workload import prepare

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


async def test_files_that_went_missing_or_were_changed_are_brought_back(machines: Machines) -> None:
    await machines.done(machines.workload(3))
    gone, changed, _ = machines.files()
    was = gone.read_bytes(), changed.read_bytes()
    gone.unlink()
    changed.write_bytes(b"x" * len(was[1]))
    # A later run looks at presence and size, `fetch` at hashes.
    ending = await machines.done(machines.workload(3))
    assert (ending["kind"], gone.read_bytes(), len(machines.files())) == ("done", was[0], 3)
    ending = await machines.fetched()
    original = changed.with_name(f"{changed.stem}.original.mp4")
    assert (ending["kind"], original.read_bytes(), changed.read_bytes()) == ("done", was[1], b"x" * len(was[1]))
    assert len(machines.world.oracle().tasks) == 3
    with machines.reading() as read:
        assert [row[0] for row in read.rows("SELECT run_id FROM events WHERE event = 'restored'")] == [2, 3]


async def test_what_is_with_the_api_is_fetched_without_a_worker_that_buys(machines: Machines) -> None:
    """Planned jobs of a run that goes on stay planned: what serves `fetch` takes nothing of it."""
    async with machines.worker():
        with machines.starting(machines.workload(2), download=False) as start:
            await machines.ended(await start.begin(machines.tables))
    assert machines.files() == []
    with machines.starting(machines.workload(5)) as start:
        buying = await start.begin(machines.tables)
        assert (await machines.fetched())["kind"] == "done"
        assert len(machines.files()) == 2
        assert len(machines.world.oracle().tasks) == 2
        assert await machines.tables.ending(buying) is None
        # Who gives it up ends it, unless a worker has it.
        ending = await start.end(machines.tables, buying, Kind.INTERRUPTED, "a test")
    assert ending
    assert ending["exit_code"] == 130
    with machines.reading() as read:
        assert read.rows("SELECT exit_code FROM runs WHERE id = ?", (buying,))[0][0] == 130


async def test_a_job_that_another_worker_has_is_left_to_it(machines: Machines) -> None:
    """Two runs over one campaign, as `fetch` beside a `run`: each claim is one worker's."""
    async with machines.worker(), machines.worker():
        with machines.starting(machines.workload(6)) as start:
            run_id = await start.begin(machines.tables)
            beside = await machines.fetched(working=False)
            assert (await machines.ended(run_id))["kind"] == "done"
    assert beside["kind"] in ("done", "unfinished")
    assert len(machines.files()) == 6
    assert machines.world.oracle().violations == []
    assert len(machines.world.oracle().tasks) == 6


async def test_a_run_that_cannot_be_started_ends(machines: Machines) -> None:
    with machines.starting(machines.workload(2)) as start:
        machines.rows("ALTER TABLE batcher.cluster_runs RENAME TO elsewhere")
        with pytest.raises(StorageError):
            await start.begin(machines.tables)
    [(code, reason)] = machines.rows("SELECT exit_code, reason FROM batcher.runs")
    assert code == 7
    assert reason.startswith("it could not be started: ")


@pytest.mark.parametrize("machines", [[{"on": "result", "do": "html"}]], indirect=True)
async def test_what_is_kept_aside_is_accepted_from_anywhere(machines: Machines, tmp_path: Path) -> None:
    path = machines.manifest(1)
    path.write_text(path.read_text() + "retries: {times: 1}\n")
    assert (await machines.done(prepare([path])))["kind"] == "unfinished"
    [kept] = [each for each in (machines.shared / "unverified").rglob("*") if each.is_file()]
    [[job]] = machines.rows("SELECT id FROM batcher.wanted")
    where = ClusterAccess(machines.conninfo, str(machines.shared))
    machines.rows("UPDATE batcher.claims SET until = now() + interval '1 hour'")
    with pytest.raises(UsageError, match="a worker is at work on job"):
        accept_on_cluster(where, tmp_path, [job])
    machines.rows("UPDATE batcher.claims SET until = now()")
    [taken] = accept_on_cluster(where, tmp_path, [job])
    assert (machines.shared / taken).read_bytes() == kept.read_bytes()
    assert (await machines.fetched())["kind"] == "done"
    assert accept_on_cluster(where, tmp_path, [job]) == []
