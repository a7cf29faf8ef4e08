"""What a run shows while it goes on: the counts behind it, the frames, the lines; and texts fit for a terminal."""

from __future__ import annotations

import io
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from typing import cast

import anyio
import pytest
from cli.helpers import normal, real_terminal, written
from rich.console import Console

from batcher.cli import display
from batcher.cli.display import Moving, Plain, Quiet, display_for, frame
from batcher.cli.progress import Feed, Tally
from batcher.cli.terminal import Terminal
from batcher.jobs import JobId, Status
from batcher.ledger import Caps, Change, CreditSum, LedgerReader
from batcher.ledger.cap_room import CapRoom
from batcher.planning.room import StillPlanned, jobs_with_room
from batcher.statuses import UNPRICED


class Now:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def change(event: str, old: Status | None, new: Status | None, job: str = "abc", **detail: object) -> Change:
    return Change(event, JobId(job), old, new, dict(detail))


def worked(now: Now, *, download: bool = True) -> Tally:
    """Ten jobs: one bought and saved, one succeeded, one failed, one doubtful."""
    tally = Tally(now)
    tally.begin(Counter({Status.PLANNED: 9, Status.SUCCEEDED: 1}), download=download)
    now.time += 30
    for _ in range(3):
        tally(change("intended", Status.PLANNED, Status.SUBMITTING))
    tally(change("queued", Status.SUBMITTING, Status.QUEUED))
    tally(change("queued", Status.QUEUED, Status.QUEUED))
    tally(change("succeeded", Status.QUEUED, Status.SUCCEEDED))
    tally(change("saved", None, None, number=0))
    tally(change("saved", None, None, number=1))
    tally(change("maybe_received", None, None, message="cut\x1b[0m"))
    tally(change("refused", Status.SUBMITTING, Status.FAILED, code="bad", message="no"))
    tally(change("doubtful", Status.SUBMITTING, Status.DOUBTFUL, code="409", message=None))
    tally(Change("halted", detail={"reason": "enough"}))
    return tally


def test_a_tally_counts_each_change_once() -> None:
    now = Now()
    tally = worked(now)
    assert (tally.total, tally.done, tally.fetching, tally.ended, tally.bought) == (10, 1, 1, 3, 3)
    assert dict(tally.parts())["planned"] == 6
    assert [name for name, _ in tally.parts()] == [
        *("planned", "submitting", "queued", "processing", "downloading", "done", "failed", "doubtful", "cancelled"),
    ]
    assert tally.per_minute == 6.0
    assert feed(tally).seconds_left == 70.0
    now.time += 61
    assert feed(tally).seconds_left is None


def test_without_downloads_a_success_is_the_end() -> None:
    tally = worked(Now(), download=False)
    assert (tally.done, tally.fetching, tally.ended) == (2, 0, 4)


class Read:
    """Stands in for a ledger: sums by what they are asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.zone = UTC
        self.days: list[str] = []

    def rows(self, *_: object) -> list[object]:
        return []

    def row(self, *_: object) -> dict[str, str]:
        return {"name": "dunes\x1b"}

    def spent(
        self,
        *,
        campaign: str | None = None,
        day: str | None = None,
        run_id: int | None = None,
        unpriced: bool | None = None,
    ) -> CreditSum:
        self.asked += 1
        self.days += [day] if day else []
        return CreditSum(10, 20) if run_id else CreditSum(100, 0) if campaign else CreditSum(300, 50)


def feed(tally: Tally, title: str = "spring-launch", *, caps: Caps | None = None, read: Read | None = None) -> Feed:
    caps = caps or Caps(run=100)
    return Feed([title, *caps.campaigns], tally, cast(LedgerReader, read or Read()), 1, caps, "account")


@pytest.mark.parametrize(
    ("caps", "left", "cap"),
    [
        (Caps(), None, ""),
        (Caps(run=100), 70, "run"),
        (Caps(run=1000, campaigns={"a": 150, "b": 400}), 50, "campaign a"),
        (Caps(run=1000, day=320), 0, "day"),
    ],
)
def test_the_tightest_cap_is_told(caps: Caps, left: int | None, cap: str) -> None:
    sums = feed(Tally(), caps=caps).sums()
    assert (sums.held, sums.settled, sums.left, sums.cap) == (10, 20, left, cap)


def still(campaign: str, jobs: int, credits_: int, price_class: str = "model") -> StillPlanned:
    return StillPlanned(campaign, price_class, jobs, credits_)


@pytest.mark.parametrize(
    ("waiting", "rooms", "fit"),
    [
        ([still("a", 13, 130)], [CapRoom("run", 100, 35)], 6),
        ([still("a", 13, 130)], [CapRoom("run", 650, 0)], 13),
        ([still("a", 13, 130)], [CapRoom("day", 10, 15)], 0),
        ([still("a", 13, 0)], [CapRoom("run", 10, 10)], 13),
        (
            [still("a", 4, 40), still("b", 4, 80)],
            [CapRoom("campaign", 20, 0, "a", ("a",)), CapRoom("run", 1000, 0)],
            6,
        ),
        ([still("a", 4, 40), still("b", 4, 80)], [CapRoom("allowance", 60, 0, "x", ("a", "b"))], 5),
        ([still("a", 4, 40), still("a", 4, 40, UNPRICED)], [CapRoom("unpriced", 0, 0, "", ("a",), True)], 4),
        ([], [CapRoom("run", 10, 0)], 0),
    ],
)
def test_as_many_jobs_count_as_the_caps_have_room_for(
    waiting: list[StillPlanned], rooms: list[CapRoom], fit: int
) -> None:
    assert jobs_with_room(waiting, rooms) == fit


def test_sums_are_read_at_most_once_a_second() -> None:
    read = Read()
    gauge = feed(Tally(), read=read)
    gauge.sums()
    once = read.asked
    gauge.sums()
    assert read.asked == once > 0
    gauge.sums(fresh=True)
    assert read.asked == 2 * once


def test_a_run_over_midnight_shows_the_room_of_the_day_that_it_is() -> None:
    """In the ledger's zone."""
    read, wall = Read(), datetime(2026, 1, 1, 22, 59, 59, tzinfo=UTC).timestamp()
    read.zone = timezone(timedelta(hours=1))
    gauge = Feed([], Tally(), cast(LedgerReader, read), 1, Caps(day=500), "account", lambda: wall)
    gauge.sums()
    wall += 1
    gauge.sums(fresh=True)
    assert read.days == ["2026-01-01", "2026-01-02"]


# Showing


def drawn(width: int, shown: Feed, *, errors: tuple[str, ...] = (), message: str = "") -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(frame(shown, list(errors), message, width))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_frame_in_a_wide_terminal() -> None:
    shown = feed(worked(Now()))
    assert drawn(140, shown, errors=tuple(shown.news()), message="stopping") == [
        "spring-launch  ━━━━━━━━━━━━                              3/10  30 %  6/min  1 min 10 s left",
        "  6\xa0planned  1\xa0downloading  1\xa0done  1\xa0failed  1\xa0doubtful",
        "  credits: this run 20 settled, 10 held; 70 left (run); 0 in flight",
        "  no answer abc dunes\\x1b: cut\\x1b[0m",
        "  failed abc dunes\\x1b: bad: no",
        "  doubtful abc dunes\\x1b: 409",
        "  stopping",
    ]


def test_what_holds_a_run_up_is_told_while_it_does() -> None:
    tally = Tally(Now())
    told = [tally.notice]
    for event, detail in (
        ("limit_cut", {"limit": "submit", "per_minute": 14.0}),
        ("limit_cut", {"limit": "requests", "per_minute": 60.5, "retry_after": 18.6}),
        ("limit_restored", {"limit": "submit"}),
        ("outage_began", {}),
        ("outage_ended", {"seconds": 3}),
        ("limit_restored", {"limit": "requests"}),
        ("commanded", {"set": {"state": ["", "paused"]}, "message": "paused by ann"}),
        ("commanded", {"set": {"limits.in_flight": [2, 3]}, "message": "in_flight=3 by ann"}),
        ("commanded", {"set": {"state": ["paused", ""]}, "message": "resumed by ann"}),
        ("commands_kept", {"state": "draining", "message": "kept from the run that was cut off: draining by ann"}),
        ("halted", {"reason": "enough"}),
    ):
        tally(Change(event, detail=detail))
        told.append(tally.notice)
    assert told == [
        "",
        "the API says it is too much: 14 submissions a minute, slowly more",
        "the API says it is too much: 14 submissions a minute, asks to wait 19 s, then 60.5 requests a minute, "
        "slowly more",
        "the API says it is too much: asks to wait 19 s, then 60.5 requests a minute, slowly more",
        "the API does not answer; it is asked again and again, and no job's repeats are spent",
        "the API says it is too much: asks to wait 19 s, then 60.5 requests a minute, slowly more",
        "",
        "paused by ann: no new job starts; `batcher ctl resume` goes on",
        "paused by ann: no new job starts; `batcher ctl resume` goes on",
        "",
        "kept from the run that was cut off: draining by ann: no new job starts",
        "no new job is started: enough",
    ]


def test_a_price_that_rises_is_told() -> None:
    tally = Tally(Now())
    tally(change("price_rose", None, None, expected=10, taken=14))
    assert feed(tally).news() == ["price abc dunes\\x1b: 10 credits expected, 14 taken"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_frame_breaks_no_number(width: int) -> None:
    lines = drawn(width, feed(worked(Now()), "one, two, three, four"), errors=("failed " + "x" * 200,))
    assert max(map(len, lines)) <= width
    whole = " ".join(" ".join(lines).split())
    for text in ("3/10", "1 min 10 s left", "6 planned", "1 doubtful", "20 settled, 10 held; 70 left"):
        assert text in whole


def test_a_frame_with_nothing_to_do() -> None:
    tally = Tally(Now())
    tally.begin(Counter(), download=True)
    assert drawn(100, feed(tally))[0] == "spring-launch  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  0/0  100 %"


def test_a_progress_line() -> None:
    now = Now()
    assert feed(worked(now)).line() == (
        "3/10 (6 planned, 1 downloading, 1 done, 1 failed, 1 doubtful);"
        " credits: this run 20 settled, 10 held; 70 left (run); 6/min, 1 min 10 s left"
    )
    now.time += 100
    tally = worked(now)
    now.time += 100
    assert feed(tally).line().endswith("70 left (run)")


def test_the_display_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = real_terminal(monkeypatch)
    shown = feed(worked(Now()))
    assert type(display_for(terminal, shown, quiet=False)) is Moving
    assert type(display_for(terminal, shown, quiet=True)) is Quiet
    monkeypatch.setenv("TERM", "dumb")
    assert type(display_for(Terminal(), shown, quiet=False)) is Plain
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(display_for(Terminal(), shown, quiet=False)) is Plain


def test_the_live_display_moves_and_leaves_the_last_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = real_terminal(monkeypatch)

    async def watch() -> None:
        with Moving(terminal, feed(worked(Now()))) as moving, anyio.move_on_after(0.01):
            moving.say("stopping")
            await moving.watch()

    anyio.run(watch)
    assert "\x1b[?25l" in written()  # the cursor is hidden,
    assert written().count("\x1b[?25h") == 1  # and shown again
    end = written().rpartition("\x1b[2K")[2]
    assert "stopping" in written()
    assert (
        end == "no answer abc dunes\\x1b: cut\\x1b[0m\nfailed abc dunes\\x1b: bad: no\ndoubtful abc dunes\\x1b: 409\n"
    )


def test_what_a_run_is_told_stays_above_the_live_display(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = real_terminal(monkeypatch)
    shown = feed(worked(Now()))
    with Moving(terminal, shown) as moving:
        shown.tally.told.append("wallet 5")
        moving.tick()
        frame_before, line, frame_after = written().partition("wallet 5\n")
    assert line
    assert frame_before.endswith("\x1b[2K"), "the frame was wiped off first,"
    assert "spring-launch" in frame_after, "and is drawn below"


def test_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(display, "_REFRESH_SECONDS", 0.001)
    monkeypatch.setattr(display, "_LINE_SECONDS", 0.002)
    tally = worked(Now())
    shown = feed(tally)

    async def watch() -> None:
        with Plain(Terminal(), shown) as plain, anyio.move_on_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(plain.watch)
                while "no new job is started: enough" not in cast(io.StringIO, sys.stderr).getvalue():
                    await anyio.lowlevel.checkpoint()
                tally(change("intended", Status.PLANNED, Status.SUBMITTING))
                while "submitting" not in cast(io.StringIO, sys.stderr).getvalue():
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            tally(change("refused", Status.SUBMITTING, Status.FAILED, code="late"))

    anyio.run(watch)
    lines = normal(cast(io.StringIO, sys.stderr).getvalue()).splitlines()
    assert lines[0] == "<clock> no answer abc dunes\\x1b: cut\\x1b[0m"
    assert lines[4].startswith("<clock> 3/10 (5 planned, 1 submitting, ")
    assert lines[-1] == "<clock> failed abc dunes\\x1b: late"
