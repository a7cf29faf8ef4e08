"""Killed at every effect of a run that is paused, goes on, and has a cap stated anew meanwhile.

The next run takes over what is stricter, and every job is charged once.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from crash.test_in_process import CAP, JOBS, LenientWorld, Rig, check_done, make_rig, rename_and_expire

from batcher.errors import Kind
from batcher.events import Event
from batcher.ledger import Change, control

pytestmark = pytest.mark.sweep
LOWERED = {"budget.allowance:night": CAP}


def asked(rig: Rig) -> None:
    """Let the run be paused at its first purchase, the cap be lowered, and the run go on when its file is there."""
    done = set[str]()

    def observe(change: Change) -> None:
        run = rig.running
        assert run is not None
        if change.event == Event.INTENDED and "pause" not in done:
            done.add("pause")
            rig.moments.clear()  # until now it is the run that `test_in_process` kills
            run.pause()
            run.ask("budget", LOWERED)
        elif change.event == Event.SAVED and "resume" not in done:
            done.add("resume")
            run.resume()

    rig.observe = observe


def test_killed_at_every_effect_of_a_controlled_run(tmp_path: Path) -> None:
    whole, manifest = make_rig(tmp_path / "kill", LenientWorld)
    asked(whole)
    assert whole.record(manifest).kind is Kind.DONE
    check_done(whole, manifest, ends := set[str]())
    paused = 0
    for number, moment in enumerate(whole.moments.values()):
        rig, manifest = make_rig(moment.folder, LenientWorld, at=moment)
        kept: list[str] = []

        def observe(change: Change, rig: Rig = rig, kept: list[str] = kept) -> None:
            if change.event == Event.COMMANDS_KEPT:
                kept.append(change.detail["state"])
                if change.detail["state"]:
                    assert rig.running is not None
                    control.ask(rig.ledger_path, rig.clock, "resume", who="ann@desk")

        rig.observe = observe
        rename_and_expire(rig, number)
        rig.clock.start += 1000
        assert rig.run(manifest).kind is Kind.DONE, moment.folder
        rig.observe = lambda change: None
        check_done(rig, manifest, ends)
        paused += kept == ["paused"]
    assert paused > 5
    assert JOBS == 2
