"""`batcher watch`: a run followed from the ledger alone tells what the run itself knows, whenever one joins it."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from cli.export.helpers import AUTUMN, SPRING, held_to, steady
from cli.helpers import Cli
from core_helpers import cancel, retry
from support import EVERYTHING, PIXEL, Bench, Killed

from batcher.cli.commands.watch import show
from batcher.cli.progress import Tally
from batcher.cli.terminal import Terminal
from batcher.cli.watcher import Follower
from batcher.engine import Engine
from batcher.jobs import JobId, Status
from batcher.ledger import Change, LedgerReader, LedgerWriter, hold_lock
from batcher.ledger.queries import jobs
from batcher.ledger.queries.selectors import Condition, own
from batcher.ledger.store.connection import open_reader
from batcher.ledger.store.transaction import Writing
from batcher.settings import Selection
from batcher.simulator.faults import parse_all


def shown(tally: Tally) -> dict[str, Any]:
    """All that a display takes from a tally."""
    return {
        "parts": dict(tally.parts()),
        "total": tally.total,
        "ended": tally.ended,
        "done": tally.done,
        "halted": tally.halted,
        "per_minute": tally.per_minute,
    }


def known(tally: Tally, *, over: bool = False) -> dict[str, Any]:
    """What those who look on have to see. Their times are the ledger's, in whole microseconds; an end ends the rate."""
    found = shown(tally)
    if over:
        return found | {"per_minute": 0.0}
    return found | {"per_minute": pytest.approx(found["per_minute"], abs=0.001)}


class Watched:
    """A bench whose run counts for itself, as the command's does, and is followed by others meanwhile."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.tally = Tally(bench.clock.wall)
        self.begun = False
        self.compared = 0
        self.follower: Follower | None = None
        self.on_change: Callable[[Change], None] = lambda change: None
        bench.observe = self.tally

    def run(self, *paths: Path, selection: Selection = EVERYTHING, settings: dict[str, Any] | None = None) -> None:
        plan = self.bench.plan(*paths, selection=selection)
        campaigns = [campaign.campaign for campaign in plan.campaigns]

        def begin(_: Engine) -> None:
            if settings is not None:
                with closing(sqlite3.connect(self.bench.ledger_path)) as db, db:
                    db.execute(
                        "UPDATE runs SET settings = ? WHERE id = (SELECT max(id) FROM runs)", (json.dumps(settings),)
                    )
            with self.bench.reader() as read:
                work = Counter({Status.PLANNED: plan.new})
                for campaign in campaigns:
                    work.update(status for _, status in read.unsettled(campaign))
                    work[Status.SUCCEEDED] += len(read.unsaved(campaign))
            self.tally.begin(work, download=True)
            self.begun = True

        self.bench.run(*paths, selection=selection, engine=begin)

    def join(self, read: LedgerReader) -> Follower:
        run = jobs.run(read)
        assert run is not None
        return Follower(read, self.bench.state, run, wall=self.bench.clock.wall)

    def committed(self, changes: Sequence[Change]) -> None:
        """Compare when the tally has heard of all that one commit held: who reads the file sees it at once."""
        if self.begun and changes:
            self.compared += 1
            self.on_change(changes[-1])


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Nothing happened yet."""
    made = Watched(Bench(tmp_path))
    tell = Writing._tell

    def tell_and_compare(writing: Writing, changes: Sequence[Change]) -> None:
        tell(writing, changes)
        made.committed(changes)

    monkeypatch.setattr(Writing, "_tell", tell_and_compare)
    (tmp_path / "leaf.png").write_bytes(PIXEL)
    made.bench.world.switches.set({"fail_prompt": "storm"})
    lost = {"on": "create", "do": "lost", "nth": 3}
    refused = {"on": "create", "do": "status", "status": 422, "code": "validation_error", "nth": 5}
    made.bench.app.faults.replace(parse_all([lost, refused]))
    return made


def manifests(watched: Watched) -> tuple[Path, Path]:
    return watched.bench.write(SPRING, "spring.yaml"), watched.bench.write(AUTUMN, "autumn.yaml")


def test_who_follows_sees_what_the_run_sees(watched: Watched) -> None:
    readers: list[LedgerReader] = []
    followers: list[Follower] = []

    def compare(change: Change) -> None:
        if not followers:
            readers.append(LedgerReader.open(watched.bench.ledger_path))
            followers.append(watched.join(readers[0]))
        (follower,) = followers
        assert follower.look() == (follower.run["ended_at"] is None)
        assert shown(follower.tally) == known(watched.tally, over=change.event == "run_ended")

    watched.on_change = compare
    watched.run(*manifests(watched))
    (follower,) = followers
    assert list(follower.tally.troubles) == list(watched.tally.troubles)
    assert watched.compared > 20
    assert watched.tally.counts[Status.FAILED] + watched.tally.counts[Status.DOUBTFUL] >= 2
    readers[0].close()


def test_who_joins_late_sees_what_the_run_sees(watched: Watched) -> None:
    def compare(change: Change) -> None:
        with watched.bench.reader() as read:
            follower = watched.join(read)
            follower.look()
            assert shown(follower.tally) == known(watched.tally, over=change.event == "run_ended")
            assert list(follower.tally.troubles)[-3:] == list(watched.tally.troubles)[-3:]

    watched.on_change = compare
    watched.run(*manifests(watched))
    assert watched.compared > 20
    # A second run goes on with nothing of that; what the first one brought to an end is not its work.
    watched.bench.world.switches.set({"fail_prompt": ""})
    watched.begun, watched.tally = False, Tally(watched.bench.clock.wall)
    watched.bench.observe = watched.tally
    with (
        watched.bench.reader() as read,
        closing(LedgerWriter.open(watched.bench.ledger_path, watched.bench.clock)) as led,
    ):
        failed = [JobId(j["id"]) for j in jobs.jobs(read, statuses=["failed"])]
        for job in failed:
            retry(led, job)
    watched.run(*manifests(watched))
    assert watched.tally.total == len(failed) >= 2


@pytest.mark.parametrize(
    ("selection", "total"),
    [
        (Selection(only=("d*", "later")), 4),
        (Selection(limit=3), 3),
        (Selection(only=("dunes",), limit=1), 1),
    ],
)
def test_a_run_of_a_part(watched: Watched, selection: Selection, total: int) -> None:
    settings = {"selection": {"only": list(selection.only), "limit": selection.limit}}

    def compare(change: Change) -> None:
        with watched.bench.reader() as read:
            follower = watched.join(read)
            follower.look()
            assert shown(follower.tally) == known(watched.tally, over=change.event == "run_ended")
            assert follower.tally.total == total

    watched.on_change = compare
    watched.bench.app.faults.replace([])
    watched.run(watched.bench.write(SPRING, "spring.yaml"), selection=selection, settings=settings)
    assert watched.compared > 5


def test_without_downloads(watched: Watched) -> None:
    path = watched.bench.write(AUTUMN + "results: {download: false}\n", "autumn.yaml")
    watched.bench.app.faults.replace([])
    watched.bench.run(path)
    with watched.bench.reader() as read, closing(sqlite3.connect(watched.bench.ledger_path)) as db:
        with db:
            db.execute("UPDATE runs SET settings = ?", (json.dumps({"download": False}),))
        follower = watched.join(read)
        assert not follower.look()
        assert (follower.tally.done, follower.tally.total, follower.tally.fetching) == (1, 1, 0)
        with db:
            db.execute("UPDATE runs SET settings = ?", (json.dumps({"download": True}),))
        later = watched.join(read)
        later.look()
        assert (later.tally.done, later.tally.total, later.tally.fetching) == (0, 1, 1)


def test_what_a_person_decides_meanwhile_is_counted(watched: Watched) -> None:
    bench = watched.bench
    seen: list[dict[str, int]] = []

    def decide(change: Change) -> None:
        if change.event != "failed" or seen:
            return
        seen.append({})
        with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as other, bench.reader() as read:
            follower = watched.join(read)
            assert follower.look()
            before = dict(follower.tally.parts())
            assert change.job_id is not None
            retry(other, change.job_id)
            (later,) = jobs.jobs(read, conditions=[Condition(own("name"), "later")])
            if later["status"] == "planned":
                cancel(other, JobId(later["id"]))
            assert follower.look()
            with bench.reader() as again:
                fresh = watched.join(again)
                fresh.look()
                assert shown(fresh.tally) == known(follower.tally)
            after = dict(follower.tally.parts())
            assert after["failed"] == before["failed"] - 1
            assert after["planned"] >= before["planned"]

    watched.on_change = decide
    watched.run(bench.write(SPRING, "spring.yaml"))
    assert seen


def test_the_ledger_is_read_only_when_it_has_changed(watched: Watched) -> None:
    watched.bench.run(watched.bench.write(SPRING, "spring.yaml"))
    with closing(open_reader(watched.bench.ledger_path)) as connection:
        follower = watched.join(LedgerReader(connection, watched.bench.ledger_path))
        follower.look()
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        follower.look()
        assert [sql for sql in asked if "events" in sql or "wanted" in sql or "BEGIN" in sql] == []
        assert asked


# How it ends


def cut_off(watched: Watched) -> None:
    """A run that is killed when it has its first result."""

    def kill(change: Change) -> None:
        if change.event == "succeeded":
            watched.bench.kill()

    watched.on_change = kill
    with suppress(Killed):
        watched.run(watched.bench.write(SPRING, "spring.yaml"))


def test_cut_off(watched: Watched, cli: Cli) -> None:
    cut_off(watched)
    ran = cli("watch", "--once")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("spring: ")
    assert ran.out.endswith("was cut off; run it again to go on.\n")
    found = cli("watch", "--once", "--json").document
    assert (found["running"], found["run"]["ended_at"]) == (None, None)


def test_a_follower_notices_that_nobody_holds_the_lock_any_more(watched: Watched) -> None:
    cut_off(watched)
    clock = watched.bench.clock
    with watched.bench.reader() as read:
        with hold_lock(watched.bench.state, started="2027-01-15T08:00:00Z"):
            follower = watched.join(read)
            assert follower.look()
            assert follower.holder is not None
            clock.start += 5
            assert follower.look()
        assert follower.look()  # too soon to try the lock
        clock.start += 5
        assert not follower.look()
        assert follower.state().endswith("was cut off; run it again to go on.")


def test_a_follower_notices_a_newer_run(watched: Watched) -> None:
    cut_off(watched)
    bench = watched.bench
    with bench.reader() as read, hold_lock(bench.state, started="2027-01-15T08:00:00Z"):
        follower = watched.join(read)
        assert follower.look()
        with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as ledger:
            ledger.start_run(version="2", pid=1, account="", campaigns=["spring"], settings="{}")
        assert not follower.look()
        assert follower.state().endswith("was cut off, and another one has begun.")


def test_the_last_run_is_shown_when_none_is_going(bench: Bench, cli: Cli, tmp_path: Path) -> None:
    ran = cli("watch")
    assert (ran.code, ran.err) == (0, "")
    assert steady(ran.out, tmp_path) == (
        "spring, autumn: 2/2 (2 done); credits: this run 30 settled, 0 held; 440 left (campaign spring)\n"
        "price 1d9eb690f5c0 storm: 10 credits expected, 15 taken\n"
        "price 4886b0201564 leaf: 10 credits expected, 15 taken\n"
        "The run of <time> ended with exit code 1: 1 doubtful, 1 failed.\n"
    )
    held_to("watch.json", steady(cli("watch", "--once", "--json").out, tmp_path))


def test_the_tightest_cap_is_told(bench: Bench, cli: Cli) -> None:
    settings = {"caps": {"run": None, "campaigns": {"spring": 60, "autumn": 400}, "day": None, "keep": None}}
    with closing(sqlite3.connect(bench.ledger_path)) as db, db:
        db.execute("UPDATE runs SET settings = ?", (json.dumps(settings),))
    # spring: 45 settled and 15 held of 60
    assert "credits: this run 30 settled, 0 held; 0 left (campaign spring)" in cli("watch", "--once").out
    found = cli("watch", "--json").document["credits"]
    assert found == {"held": 0, "settled": 30, "left": 0, "cap": "campaign spring"}


def test_the_last_word_is_about_now(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    cut_off(watched)
    with watched.bench.reader() as read:
        follower = watched.join(read)
        follower.look()
        assert " 0 held" not in follower.feed.credits()
        with closing(sqlite3.connect(watched.bench.ledger_path)) as db, db:
            db.execute("UPDATE attempts SET final_credits = 100 + id WHERE final_credits IS NULL")
        settled = read.spent().settled
        show(Terminal(), watched.bench.state, follower)
    assert f"{settled} settled, 0 held" in capsys.readouterr().out


def test_no_run_yet(bench: Bench, cli: Cli) -> None:
    with closing(sqlite3.connect(bench.ledger_path)) as db, db:
        db.execute("DELETE FROM runs")
    assert (cli("watch").code, cli("watch").out) == (0, "No run yet.\n")
    found = cli("watch", "--json").document
    assert {name: found[name] for name in ("running", "run", "work", "credits")} == dict.fromkeys(
        ("running", "run", "work", "credits")
    )
    assert cli("watch", "--state", "nowhere").code == 7


def test_troubles_of_the_last_run_are_named(watched: Watched, cli: Cli) -> None:
    watched.bench.run(watched.bench.write(SPRING, "spring.yaml"))
    told = cli("watch", "--once").out.splitlines()
    troubles = [line for line in told if line.startswith(("failed ", "doubtful ", "no answer "))]
    assert 0 < len(troubles) <= 3
    with watched.bench.reader() as read:
        follower = watched.join(read)
        follower.look()
        assert told[0].startswith(f"spring: {follower.feed.line().split(';')[0]}")
