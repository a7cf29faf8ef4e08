"""What befalls a process: signals, locks of others, a lost log, a state folder that came with a clone."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hostile.hostile_helpers import LEAVE, Api, Asked, Desk, desk, wait_for

NAMES = [f"boat {n}" for n in range(21)]


def slow_creates(seconds: float) -> Any:
    """A hook: creates are taken at once, and answered later."""

    def hook(asked: Asked) -> Any:
        if asked.kind != "create" or asked.before or not asked.headers["idempotency-key"]:
            return LEAVE

        async def later() -> bytes:
            said = apis[0].say(asked)
            await asyncio.sleep(seconds)
            return said

        return later()

    apis: list[Api] = []
    return hook, apis


@pytest.mark.parametrize(("number", "gap"), [(signal.SIGHUP, 0.001), (signal.SIGHUP, 0.3), (signal.SIGTERM, 0.001)])
def test_a_terminal_that_closes_sends_two_signals(tmp_path: Path, number: int, gap: float) -> None:
    """Neither a second hangup nor a second SIGTERM on its heels gives up the answers that are on their way."""
    hook, apis = slow_creates(1.0)
    with desk(tmp_path, hook) as (api, place):
        apis.append(api)
        place.write(NAMES[:1])
        assert place.run() == 0
        place.write(NAMES[:12])
        with place.start("run", "m.yaml") as process:
            wait_for(lambda: len(api.tasks) == 12)
            process.send_signal(number)
            signal.sigtimedwait([], gap)
            process.send_signal(number)
            assert process.wait(20) == 143, place.said
        attempts = place.rows("SELECT task_id, maybe_received FROM attempts")
        assert [row["maybe_received"] for row in attempts] == [0] * 12
        assert {row["task_id"] for row in attempts} == set(api.tasks)


def unlinked(place: Desk) -> Path:
    for name in ("run.lock", "batcher.lock"):
        (place.state / name).unlink(missing_ok=True)
    return place.state


def linked(place: Desk) -> Path:
    other = place.folder / "other"
    other.mkdir(mode=0o700)
    (other / "ledger.db").symlink_to(place.state / "ledger.db")
    return other


def hard_linked(place: Desk) -> Path:
    other = place.folder / "other"
    other.mkdir(mode=0o700)
    os.link(place.state / "ledger.db", other / "ledger.db")
    return other


@pytest.mark.parametrize(("part", "code"), [(unlinked, 5), (linked, 7), (hard_linked, 7)])
def test_a_lock_cannot_be_parted_from_its_ledger(tmp_path: Path, part: Any, code: int) -> None:
    with desk(tmp_path) as (api, place):
        place.write(NAMES, submit="1/second")
        with place.start("run", "m.yaml") as process:
            wait_for(lambda: api.tasks)
            second = part(place)
            with place.start("run", "m.yaml", BATCHER_STATE=str(second)) as other:
                assert other.wait(20) == code
            process.kill()


def test_a_ledger_that_lost_its_log_buys_nothing_twice(tmp_path: Path) -> None:
    hook, apis = slow_creates(0.3)
    with desk(tmp_path, hook) as (api, place):
        apis.append(api)
        place.write(NAMES, in_flight=4)
        with place.start("run", "m.yaml") as process:
            wait_for(lambda: len(api.tasks) >= 9)
            process.kill()
        for name in ("ledger.db-wal", "ledger.db-shm"):
            (place.state / name).unlink(missing_ok=True)
        assert place.run() == 7, place.said
        assert "--accept-old-ledger" in place.said
        bought = len(api.tasks)
        assert place.run("run", "m.yaml", "--accept-old-ledger") == 0, place.said
        assert bought < len(api.tasks) == len(api.keys) == len(NAMES)


def test_a_state_folder_that_came_with_a_clone_writes_nothing_outside(tmp_path: Path) -> None:
    with desk(tmp_path) as (_, place):
        place.write(NAMES[:1])
        precious = tmp_path / "precious"
        precious.write_text("precious\n")
        parts = place.state / "results" / ".parts"
        parts.mkdir(parents=True, mode=0o700)
        for number in range(3):
            (parts / f"{number}-0.part").symlink_to(precious)
        (place.state / "run.lock").symlink_to(precious)
        place.run()
        assert precious.read_text() == "precious\n"
        assert oct(precious.stat().st_mode & 0o777) == "0o644"
