"""What befalls a process: signals, locks of others, a lost log, a state folder that came with a clone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hostile.hostile_helpers import Desk, desk, wait_for

NAMES = [f"boat {n}" for n in range(21)]


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
