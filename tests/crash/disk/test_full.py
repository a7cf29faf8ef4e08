"""A disk that takes no more, at each moment where that matters, and the same command again once there is room.

The dearest are played twice: on a file system that is full, and where no file may grow (as under a quota).
"""

from __future__ import annotations

import re
from pathlib import Path

from cli.helpers import Ran, Site, site
from crash.disk.helpers import MANIFEST, Disk, charged_once
from support import PIXEL

from batcher.simulator.records import Scene

KEEP = MANIFEST + "budget: {keep: 1}\n"


def strike_at(place: Site, disk: Disk, event: str) -> None:
    """The disk takes no more from the first such event of the API on."""

    def happened(_: int, name: str) -> None:
        if name == event:
            place.app.on_event = None
            disk.strike()

    place.app.on_event = happened


def stopped(disk: Disk, ran: Ran, at: str = "ledger.db") -> None:
    """The command ended because of the disk, and says where and what to do."""
    assert ran.code == 7, ran
    assert re.search(rf"error: {disk.desk.state}/\S*{at}\S*: ({disk.words})\n", ran.err), ran.err
    assert re.search(r"then run the same command again|Check the disk", ran.err), ran.err


def goes_on(disk: Disk, place: Site, tasks: int) -> None:
    """With room the same command comes to its end, and nothing is charged twice."""
    disk.lift()
    done = disk.desk.run(place)
    assert done.code == 0, done
    charged_once(place, tasks)
    assert disk.desk.rows("SELECT count(*) FROM jobs WHERE attempt > 1") == [(0,)]
    saved = disk.desk.rows("SELECT count(*) FROM jobs WHERE status = 'succeeded' AND result_path IS NOT NULL")
    assert saved == [(tasks,)]


def test_before_there_is_a_ledger(any_disk: Disk) -> None:
    with site() as place:
        any_disk.strike()
        stopped(any_disk, any_disk.desk.run(place), at="run.lock")
        assert place.world.oracle().requests == []
        assert not any_disk.desk.ledger.exists()
        goes_on(any_disk, place, 2)


def test_while_the_ledger_is_made(disk: Disk) -> None:
    """A ledger that could not be made whole has no name, so nothing keeps the next run from making it."""
    with site() as place:
        disk.strike(50_000)
        stopped(disk, disk.desk.run(place))
        assert not disk.desk.ledger.exists()
        assert place.world.oracle().requests == []
        goes_on(disk, place, 2)


def test_while_jobs_are_enrolled(any_disk: Disk) -> None:
    any_disk.desk.write(MANIFEST + "repeat: 1000\n")
    with site() as place:
        any_disk.strike(700_000)
        stopped(any_disk, any_disk.desk.run(place))
        assert place.world.oracle().requests == []
        any_disk.lift()
        [(enrolled,)] = any_disk.desk.rows("SELECT count(*) FROM jobs")
        assert 0 < enrolled < 2000, "it broke off in the middle"
        any_disk.desk.write(MANIFEST)
        assert any_disk.desk.run(place).code == 0
        charged_once(place, 2)
        assert any_disk.desk.rows("SELECT count(*) FROM jobs WHERE status = 'planned'") == [(0,)]


def test_at_the_intent(disk: Disk) -> None:
    """After the wallet has been read nothing is written before the intent."""
    disk.desk.write(KEEP)
    with site() as place:
        strike_at(place, disk, "credits:processed")
        stopped(disk, disk.desk.run(place))
        assert [seen.kind for seen in place.world.oracle().requests] == ["credits"], "no intent, no purchase"
        goes_on(disk, place, 2)


def test_when_a_paid_answer_has_to_be_written_down(disk: Disk) -> None:
    with site() as place:
        strike_at(place, disk, "create:processed")
        broken = disk.desk.run(place)
        stopped(disk, broken)
        [task] = place.world.oracle().tasks
        assert task in broken.err
        assert "is not bought twice" in broken.err
        assert disk.desk.rows("SELECT task_id FROM attempts") == [(None,)]
        asked = len(place.world.oracle().requests)
        disk.strike()
        stopped(disk, disk.desk.run(place), at="(ledger.db|run.lock)")
        assert len(place.world.oracle().requests) == asked, "while there is no room nothing is sent"
        goes_on(disk, place, 2)
        first, second, _ = (seen for seen in place.world.oracle().requests if seen.kind == "create")
        assert (first.key, first.body) == (second.key, second.body)
        assert (task,) in disk.desk.rows("SELECT task_id FROM jobs")


def test_when_nobody_can_be_told_either(any_disk: Disk) -> None:
    """The output goes to the same full disk: the id is nowhere, and the intent finds the task all the same."""
    with site() as place, Path("/dev/full").open("w") as nowhere:
        strike_at(place, any_disk, "create:processed")
        assert any_disk.desk.run(place, stdout=nowhere, stderr=nowhere).code == 7
        goes_on(any_disk, place, 2)


def test_when_an_upload_has_to_be_written_down(any_disk: Disk) -> None:
    any_disk.desk.write(MANIFEST + "references: [boat.png]\n")
    (any_disk.desk.folder / "boat.png").write_bytes(PIXEL)
    with site() as place:
        strike_at(place, any_disk, "upload:processed")
        stopped(any_disk, any_disk.desk.run(place))
        assert place.world.oracle().tasks == {}
        goes_on(any_disk, place, 2)
        assert list(place.world.oracle().uploads.values()) == [2], "at most one more upload"
        creates = [seen for seen in place.world.oracle().requests if seen.kind == "create"]
        assert len({seen.key for seen in creates}) == len({seen.body for seen in creates}) == 2


def test_when_a_result_has_to_be_written_down(any_disk: Disk) -> None:
    with site(run_seconds=0.05) as place:
        strike_at(place, any_disk, "status:processed")
        stopped(any_disk, any_disk.desk.run(place))
        goes_on(any_disk, place, 2)


async def long_film(scene: Scene) -> bytes:
    """A film of several MB."""
    return b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41" + scene.task_id.encode() * 200_000


def test_while_a_result_is_fetched(disk: Disk) -> None:
    with site() as place:
        place.app.media = long_film
        disk.strike(3_000_000)
        broken = disk.desk.run(place, "--limit", "1")
        stopped(disk, broken, at="1-0.part")
        assert list((disk.desk.ledger.parent / "results").glob("tiny/*")) == [], "no file has its name half-way"
        disk.lift()
        assert disk.desk.run(place, "--limit", "0").code == 0
        [(path,)] = disk.desk.rows("SELECT result_path FROM jobs WHERE status = 'succeeded'")
        assert (disk.desk.ledger.parent / path).stat().st_size > 3_000_000
        charged_once(place, 1)
        assert list((disk.desk.ledger.parent / "results/.parts").iterdir()) == []
