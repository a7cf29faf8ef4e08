"""What `run` promises beside buying, on PostgreSQL: saved plans, probes, canaries, and what outlives a takeover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from integration.cluster.helpers import Machines

from batcher.canary import CanaryStep, parse
from batcher.errors import StorageError, UsageError
from batcher.events import Event
from batcher.ledger import approvals
from batcher.providers.registry import RIVYA
from batcher.simulator.switches import DEFAULT_KEY
from batcher.workload import Workload, prepare_saved

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


def saved_plan(machines: Machines, jobs: int) -> Path:
    path, workload = machines.folder / "plan.json", machines.workload(jobs)
    account = RIVYA.account(machines.base_url, DEFAULT_KEY).text
    options: dict[str, Any] = {"only": [], "allow_paths": [], "order": "fair", "unchecked": False}
    options |= dict.fromkeys(("limit", "max_jobs", "budget", "unpriced", "sample", "marked"))
    with machines.reading() as read:
        plan = workload.plan(read, account, {})
        workload.save_plan(path, plan, read, account, options, 0.0)
    return path


async def test_an_approval_holds_once_over_all_machines(machines: Machines) -> None:
    plan = prepare_saved(saved_plan(machines, 2))
    assert plan.saved is not None
    with machines.starting(plan, approved=True) as one, machines.starting(plan, approved=True) as two:
        with pytest.raises(UsageError, match="no person has approved"):
            await one.begin(machines.tables)
        approvals.approve(one.ledger, plan.saved.id, Path("plan.json"), "a test")
        run_id = await two.begin(machines.tables)
        with pytest.raises(UsageError, match="it holds once"):
            await one.begin(machines.tables)
    async with machines.worker():
        assert (await machines.ended(run_id))["kind"] == "done"
    assert len(machines.world.oracle().tasks) == 2
    assert machines.rows("SELECT count(*) FROM batcher.runs") == [(1,)]
    # What the plan itself bought is no move; what others did to its jobs is.
    assert (await machines.done(plan))["kind"] == "done"
    assert len(machines.world.oracle().tasks) == 2
    machines.manifest(3)
    with pytest.raises(UsageError, match=r"the manifest .* has changed"), machines.starting(plan):
        pass


async def test_a_probe_leaves_the_rest(machines: Machines) -> None:
    with machines.reading() as read:
        probing = machines.workload(5).probing(read, "nobody's")
    ending = await machines.done(probing)
    assert ending["reason"] == "it was a probe for prices, the rest stays planned"
    assert len(machines.world.oracle().tasks) == 1


def canary(machines: Machines) -> Workload:
    return machines.workload(12, sample="1", ramp=True)


@pytest.mark.parametrize(
    ("condition", "said", "jobs", "reason"),
    [
        ("failed<1%", None, 12, "everything selected is done"),
        ("price<=1", None, 1, "canary: not price<=1 (0 failed and 0 doubtful of 1, price 10)"),
        ("", {1: "", 2: "a person said no"}, 5, "canary: a person said no"),
    ],
    ids=["holds", "does not hold", "a person says no"],
)
async def test_a_canary_goes_on_by_itself_or_stops(
    machines: Machines, condition: str, said: dict[int, str] | None, jobs: int, reason: str
) -> None:
    asked: list[CanaryStep] = []

    async def decide(step: CanaryStep) -> str:
        asked.append(step)
        assert said is not None
        return said[step.number]

    words: dict[str, Any] = {} if said is None else {"decide": decide}
    words |= {"then": parse(condition)} if condition else {}
    async with machines.worker(), anyio.create_task_group() as group:
        with machines.starting(canary(machines), **words) as start:
            run_id = await start.begin(machines.tables)
            if said is not None:
                group.start_soon(start.decide, machines.tables, run_id)
            ending = await machines.ended(run_id)
            group.cancel_scope.cancel()
    assert ending["reason"] == reason
    assert len(machines.world.oracle().tasks) == jobs
    assert [(step.number, step.jobs, step.succeeded) for step in asked] == ([(1, 1, 1), (2, 5, 5)] if said else [])


async def decided(machines: Machines, steps: int) -> None:
    with anyio.fail_after(30):
        while machines.rows("SELECT count(*) FROM batcher.events WHERE event = 'canary'") != [(steps,)]:  # noqa: ASYNC110
            await anyio.sleep(0.02)


async def test_whoever_takes_a_run_over_asks_nothing_twice(machines: Machines) -> None:
    asked: list[int] = []

    async def decide(step: CanaryStep) -> str:
        asked.append(step.number)
        return ""

    with machines.starting(canary(machines), decide=decide) as start:
        run_id = await start.begin(machines.tables)
        async with machines.worker(), anyio.create_task_group() as group:
            group.start_soon(start.decide, machines.tables, run_id)
            await decided(machines, 1)
            group.cancel_scope.cancel()
        assert await machines.tables.ending(run_id) is None
        # Nobody follows: the next step stops it.
        machines.rows("UPDATE batcher.cluster_runs SET followed = now() - interval '1 hour' RETURNING 1")
        async with machines.worker():
            ending = await machines.ended(run_id)
    assert ending["reason"].startswith("canary: nobody is there to be asked")
    assert asked == [1]
    assert machines.rows("SELECT detail::jsonb -> 'step' FROM batcher.events WHERE event = 'canary' ORDER BY id") == [
        (1,),
        (2,),
    ]
    assert len(machines.world.oracle().tasks) == 5


async def test_a_limit_and_a_halt_outlive_the_coordinator(machines: Machines) -> None:
    with machines.starting(machines.workload(12, limit=9)) as start:
        run_id = await start.begin(machines.tables)
        async with machines.worker():
            with anyio.fail_after(30):
                while not machines.files():  # noqa: ASYNC110
                    await anyio.sleep(0.02)
        assert await machines.tables.ending(run_id) is None
        async with machines.worker():
            assert (await machines.ended(run_id))["kind"] == "done"
        assert len(machines.world.oracle().tasks) == 9
    with machines.starting(machines.workload(12)) as start:
        run_id = await start.begin(machines.tables)
        start.ledger.note(Event.HALTED, kind="capped", reason="failures_in_a_row: 10")
        machines.rows("UPDATE batcher.cluster_runs SET epoch = 7 RETURNING 1")
        async with machines.worker():
            assert (await machines.ended(run_id))["reason"] == "failures_in_a_row: 10"
    assert len(machines.world.oracle().tasks) == 9


async def test_a_database_that_forgot_purchases_is_noticed_by_the_results(machines: Machines) -> None:
    ending = await machines.done(machines.workload(2))
    assert ending["kind"] == "done"
    machines.rows("DELETE FROM batcher.files; DELETE FROM batcher.claims")
    machines.rows("UPDATE batcher.wanted SET status = 'planned', attempt_id = NULL")
    with machines.starting(machines.workload(2)) as start:
        with pytest.raises(StorageError, match="is an old backup, or lost its newest part"):
            await start.begin(machines.tables)
        assert machines.rows("SELECT exit_code FROM batcher.runs ORDER BY id DESC LIMIT 1") == [(7,)]
    for accept_old in (True, False):  # what is accepted is told no more
        with machines.starting(machines.workload(2), accept_old=accept_old) as start:
            await start.begin(machines.tables)
    assert machines.rows("SELECT count(*) FROM batcher.accepted") == [(2,)]
