"""References: uploaded once, vouched for, made anew; and pictures that are not what they were."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import done, faults, held, pictured, seen, statuses
from support import PIXEL, Bench

from batcher.errors import Kind
from batcher.ledger import LedgerWriter

# References


def test_a_picture_of_fifty_jobs_is_uploaded_once_also_over_a_restart(bench: Bench) -> None:
    path = pictured(bench, 50)
    bench.run(path, engine=lambda engine: stop_after(bench, engine, 20))
    assert 0 < len(seen(bench, "create")) < 50
    done(bench.run(path))
    assert len(seen(bench, "upload")) == 1
    assert len({each.body for each in seen(bench, "create")}) == 50
    bench.check()


def stop_after(bench: Bench, engine: Any, creates: int) -> None:
    def look(request: httpx.Request) -> None:
        if len(seen(bench, "create")) == creates:
            bench.api.before = lambda request: None
            engine.stop(Kind.INTERRUPTED, "test")

    bench.api.before = look


def test_an_upload_is_vouched_for_after_a_while_and_made_anew_when_it_is_gone(bench: Bench) -> None:
    path = pictured(bench, 1)
    done(bench.run(path))
    bench.clock.start += 1000
    path = pictured(bench, 2)
    done(bench.run(path))
    assert (len(seen(bench, "file")), len(seen(bench, "upload"))) == (1, 1)
    bench.clock.start += 1000
    bench.world.expire_uploads()
    path = pictured(bench, 3)
    done(bench.run(path))
    assert (len(seen(bench, "file")), len(seen(bench, "upload"))) == (2, 2)
    bench.check()


def test_an_upload_for_which_nobody_can_vouch_now_is_used(bench: Bench) -> None:
    done(bench.run(pictured(bench, 1)))
    bench.clock.start += 1000
    faults(bench, {"on": "file", "do": "status", "status": 500})
    done(bench.run(pictured(bench, 2)))
    assert len(seen(bench, "upload")) == 1


def test_a_lost_upload_is_made_again(bench: Bench) -> None:
    faults(bench, {"on": "upload", "do": "lost", "nth": [1]})
    done(bench.run(pictured(bench, 3)))
    assert len(seen(bench, "upload")) == 2
    bench.check()


def test_uploads_that_fail_leave_their_jobs_planned(bench: Bench) -> None:
    faults(bench, {"on": "upload", "do": "status", "status": 500})
    path = pictured(bench, 2, more="retries: {times: 2}\n")
    ending = bench.run(path)
    assert (ending.kind, statuses(bench), held(bench)) == (Kind.UNFINISHED, ["planned"] * 2, 0)
    assert seen(bench, "create") == []
    faults(bench)
    done(bench.run(path))


def test_a_picture_that_the_api_refuses_fails_its_jobs_and_is_not_sent_again(bench: Bench) -> None:
    faults(bench, {"on": "upload", "do": "status", "status": 415, "code": "validation_failed"})
    assert bench.run(pictured(bench, 3)).kind is Kind.UNFINISHED
    assert (statuses(bench), held(bench), len(seen(bench, "upload"))) == (["failed"] * 3, 0, 1)
    assert all("reference was refused" in job["error_message"] for job in bench.jobs())


def test_a_key_that_may_not_upload_stops_the_run(bench: Bench) -> None:
    bench.switches.scopes_off = ("files:create",)
    assert bench.run(pictured(bench, 3)).kind is Kind.KEY
    assert statuses(bench) == ["planned"] * 3


def other_bytes(picture: Path) -> None:
    picture.write_bytes(PIXEL + b"more")


def gone(picture: Path) -> None:
    picture.unlink()


def a_folder(picture: Path) -> None:
    picture.unlink()
    picture.mkdir()


def a_pipe(picture: Path) -> None:
    picture.unlink()
    os.mkfifo(picture)


@pytest.mark.parametrize("change", [other_bytes, gone, a_folder, a_pipe])
def test_a_picture_that_changed_on_disk_fails_its_jobs_without_a_purchase(bench: Bench, change: Any) -> None:
    path = pictured(bench, 2)

    class Meanwhile(LedgerWriter):
        def enrolling(self, *args: Any) -> Any:
            yield from super().enrolling(*args)
            change(bench.folder / "refs" / "boat.png")

    bench.ledger_type = Meanwhile
    ending = bench.run(path)
    assert (ending.kind, statuses(bench)) == (Kind.UNFINISHED, ["failed"] * 2)
    assert {job["error_code"] for job in bench.jobs()} == {"reference_changed"}
    assert {request.kind for request in bench.world.oracle().requests} <= {"credits", "models"}
