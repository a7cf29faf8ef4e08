"""A ledger that lost its newest part, or an old copy, is noticed before anything is bought (promise 9)."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cli.helpers import Cli, Site

LEDGER = Path("state/ledger.db")


def copy_of(ledger: Path) -> Path:
    target = ledger.with_name("copy.db")
    with closing(sqlite3.connect(ledger)) as read:
        read.execute("VACUUM INTO ?", (str(target),))
    return target


def put_back(copy: Path) -> None:
    for path in LEDGER.parent.glob("ledger.db*"):
        path.unlink()
    copy.rename(LEDGER)


def only_logs() -> None:
    shutil.rmtree("state/results")


def only_results() -> None:
    shutil.rmtree("state/logs")


def touched() -> None:
    """Times of change say nothing."""
    for path in Path("state").rglob("*"):
        path.touch()


@pytest.mark.parametrize("left", [only_logs, only_results, touched])
@pytest.mark.parametrize("loss", ["old copy", "no ledger"])
def test_it_is_noticed_and_can_be_accepted(cli: Cli, place: Site, left: Callable[[], None], loss: str) -> None:
    assert cli("run", "m.yaml", "--quiet", "--limit", "1").code == 0
    copy = copy_of(LEDGER)
    assert cli("run", "m.yaml", "--quiet", "--limit", "2").code == 0
    if loss == "old copy":
        put_back(copy)
    else:
        copy.unlink()
        for path in LEDGER.parent.glob("ledger.db*"):
            path.unlink()
    left()
    bought = len(place.world.oracle().tasks)
    assert bought == 3
    for _ in range(2):
        ran = cli("run", "m.yaml", "--quiet")
        assert ran.code == 7, ran
        assert "error: " in ran.err
        assert "state" in ran.err
        assert "run --accept-old-ledger" in ran.err
        assert len(place.world.oracle().tasks) == bought, "nothing was bought"
    assert cli("plan", "m.yaml").code == 0
    doctor = cli("doctor")
    assert (doctor.code in (1, 7), "--accept-old-ledger" in doctor.out) == (True, True)
    assert cli("run", "m.yaml", "--quiet", "--accept-old-ledger", "--limit", "1").code == 0
    with closing(sqlite3.connect(LEDGER)) as read:
        [(traces,)] = read.execute("SELECT sum(detail ->> 'traces') FROM events WHERE event = 'old_ledger_accepted'")
    assert traces > 0
    assert cli("run", "m.yaml", "--quiet").code == 0, "it is asked once"


def test_a_ledger_that_lost_its_wal(cli: Cli, place: Site, tmp_path: Path) -> None:
    """What the first checkpoint had not taken in is lost; the run's log is not."""
    assert cli("run", "m.yaml", "--quiet", "--limit", "0").code == 0
    shutil.rmtree("state/logs")
    before = LEDGER.read_bytes()
    assert cli("run", "m.yaml", "--quiet", "--limit", "2").code == 0
    LEDGER.write_bytes(before)
    shutil.rmtree("state/results")
    assert cli("run", "m.yaml").code == 7
    assert len(place.world.oracle().tasks) == 2


def test_what_is_in_order_is_not_noticed(cli: Cli, place: Site) -> None:
    """Runs that were cut off, jobs that a person retries, files that are deleted or of another campaign."""
    assert cli("run", "m.yaml", "--quiet", "--limit", "2").code == 0
    for path in Path("state/results/tiny").glob("*reveal*"):
        path.unlink()
    (Path("state/logs") / "crash-20260101T000000.txt").write_text("x")
    Path("state/results/other").mkdir()
    Path("state/results/other/0123456789ab.mp4").write_text("x")
    assert cli("retry", "tiny", "--status", "succeeded").code == 0
    assert cli("run", "m.yaml", "--quiet").code == 0
    assert cli("run", "m.yaml", "--quiet").code == 0


def test_the_log_s_name_stands_before_anything_is_bought(cli: Cli, place: Site) -> None:
    seen: list[list[str]] = []
    place.app.on_event = lambda _, name: seen.append([path.name for path in Path("state/logs").iterdir()])
    assert cli("run", "m.yaml", "--quiet", "--limit", "1").code == 0
    assert [name.startswith("run-1-") for name in seen[0]] == [True]
