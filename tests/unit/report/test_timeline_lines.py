"""What becomes one line and what does not: the pure part, by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from batcher.clock import iso
from batcher.engine.ending import halt_reason
from batcher.errors import Kind
from batcher.ledger.queries.timeline import Batch, Gap, Note, RunEntry, RunTraces
from batcher.report.timeline import halt_cause
from batcher.report.timeline_entries import (
    SAME_LINE_SECONDS,
    TimelineEntry,
    apart,
    fold,
    in_time,
    of_batches,
    of_notes,
    of_runs,
    quiet,
)
from batcher.report.usage import usage

START = 1_800_000_000.0


def at(seconds: float) -> str:
    return iso(START + seconds)


def batch(number: int, second: float, *, count: int = 1, until: float | None = None, **changes: Any) -> Batch:
    fields: dict[str, Any] = {"run_id": 1, "kind": "failed", "code": "bad", "job_id": f"job{number}", "message": "so"}
    last = at(second if until is None else until)
    return Batch(id=number, first=at(second), last=last, events=count, **fields | changes)


def note(number: int, second: float, event: str, **detail: Any) -> Note:
    return Note(number, at(second), 1, event, detail)


def run(number: int, since: float, until: float, **changes: Any) -> RunEntry:
    fields: dict[str, Any] = {
        "state": "ended",
        "exit_code": 0,
        "reason": "done",
        "campaigns": ("spring",),
        **dict.fromkeys(("bought", "refused", "quoted", "settled", "held", "saved", "went_on"), 0),
    }
    return RunEntry(id=number, since=at(since), until=at(until), **fields | changes)


def lines(placed: Any) -> list[TimelineEntry]:
    return sorted(placed, key=lambda line: line.place)


def test_the_same_again_and_again_is_one_line_with_the_newest_example() -> None:
    found = lines(of_batches([batch(1, 0, count=3, until=50), batch(9, 600, until=630), batch(12, 1500)], 900))
    assert found == [TimelineEntry("failed", at(0), at(1500), 1, 5, "bad", "so", "job12")]


def test_what_comes_again_later_is_another_line() -> None:
    for seconds, expected in ((900, 1), (901, 2)):
        assert len(lines(of_batches([batch(1, 0), batch(2, seconds)], 900))) == expected


@pytest.mark.parametrize("change", [{"code": "worse"}, {"code": None}, {"kind": "refused"}, {"run_id": 2}])
def test_another_code_kind_or_run_is_another_line_and_does_not_cut_the_first(change: dict[str, Any]) -> None:
    found = lines(of_batches([batch(1, 0), batch(2, 10, **change), batch(3, 20)], 900))
    assert [(line.count, line.since, line.until) for line in found] == [(2, at(0), at(20)), (1, at(10), at(10))]


def test_nothing_is_lost_whatever_comes() -> None:
    chance = random.Random(3)
    seconds = sorted(chance.uniform(0, 50_000) for _ in range(2000))
    batches = [
        batch(n, second, count=chance.randint(1, 9), code=chance.choice(["a", "b", None]), run_id=chance.choice([1, 2]))
        for n, second in enumerate(seconds)
    ]
    for seconds_apart in (1.0, 300.0, 1e9):
        found = lines(of_batches(batches, seconds_apart))
        assert sum(line.count for line in found) == sum(each.events for each in batches)
        assert [line.since for line in found] == sorted(line.since for line in found)
    assert len(lines(of_batches(batches, 1e9))) == 6


def test_a_long_time_has_not_many_more_lines_than_a_short_one() -> None:
    assert apart([]) == apart([run(1, 0, 3600)]) == SAME_LINE_SECONDS
    assert apart([run(1, 0, 10), run(2, 500_000 - 10, 500_000)]) == 10_000


def test_an_outage_ends_once_or_never() -> None:
    found = lines(
        of_notes(
            [
                note(1, 0, "outage_began"),
                note(2, 70, "outage_ended", seconds=64.5),
                note(3, 80, "outage_ended", seconds=1),
                note(4, 90, "outage_began"),
                note(5, 100, "outage_began"),
            ],
            900,
        )
    )
    assert [(line.since, line.until, line.seconds) for line in found] == [
        (at(0), at(70), 64.5),
        (at(90), None, None),
        (at(100), None, None),
    ]


def test_cuts_are_one_line_until_they_are_over_for_long() -> None:
    found = lines(
        of_notes(
            [
                note(1, 0, "limit_cut", limit="submit", per_minute=21.0, retry_after=None),
                note(2, 5, "limit_cut", limit="requests", per_minute=80, retry_after=3),
                note(3, 60, "limit_cut", limit="submit", per_minute=14.7, retry_after=30.0),
                note(4, 300, "limit_restored", limit="submit"),
                note(5, 400, "limit_cut", limit="submit", per_minute=20.0, retry_after=2.0),
                note(6, 500, "limit_restored", limit="submit"),
                note(7, 1401, "limit_cut", limit="submit", per_minute=25.0, retry_after=None),
                note(8, 1402, "limit_restored", limit="nothing"),
                note(9, 1410, "limit_restored", limit="submit"),
                note(10, 1500, "limit_cut", limit="submit", per_minute=24.0, retry_after=None),
            ],
            900,
        )
    )
    assert found == [
        TimelineEntry("limit_cut", at(0), at(500), 1, 3, "submit", seconds=30.0, per_minute=14.7),
        TimelineEntry("limit_cut", at(5), None, 1, 1, "requests", seconds=3.0, per_minute=80.0),
        TimelineEntry("limit_cut", at(1401), None, 1, 2, "submit", per_minute=24.0),
    ]


def test_runs_are_brackets_and_the_time_between_them_is_told() -> None:
    first, second, third = (RunTraces(*events, {}) for events in ((1, 5), (6, 7), (8, 9)))
    runs = [
        run(1, 0, 100, state="killed", exit_code=None, reason=None, traces=first),
        run(2, 700, 800, traces=second),
        run(3, 1399, 1500, traces=third),
    ]
    assert [(line.kind, line.run_id) for line in lines(of_runs(runs))] == [
        ("run_began", 1),
        ("run_killed", 1),
        ("no_run", None),
        ("run_began", 2),
        ("run_ended", 2),
        ("run_began", 3),
        ("run_ended", 3),
    ]
    going = [*runs[:2], run(3, 1399, 1500, state="going", traces=third)]
    assert [line.kind for line in lines(of_runs(going))][-1] == "run_began"


def test_the_order_is_that_of_the_writing_also_when_the_clock_was_set_back() -> None:
    placed = [
        *of_runs([run(1, 5000, 100, traces=RunTraces(1, 9, {}))]),
        *of_batches([batch(4, 4000), batch(6, 50)], 900),
    ]
    assert [line.kind for line in lines(placed)] == ["run_began", "failed", "run_ended"]


def idle_runs(*changes: dict[str, Any]) -> list[TimelineEntry]:
    runs = [
        run(n, n * 1000, n * 1000 + 5, traces=RunTraces(2 * n, 2 * n + 1, {}), **change)
        for n, change in enumerate(changes, 1)
    ]
    return list(fold(lines(of_runs(runs)), runs))


def test_runs_that_found_nothing_to_do_are_one_line() -> None:
    [line] = idle_runs({}, {}, {})
    assert line == TimelineEntry("runs_idle", at(1000), at(3005), 3, 3, "0", "done")
    kinds = [line.kind for line in idle_runs({"bought": 1}, {}, {}, {"went_on": 1}, {})]
    assert kinds == [
        *("run_began", "run_ended", "no_run"),
        *("runs_idle", "no_run"),
        *("run_began", "run_ended", "no_run"),
        *("run_began", "run_ended"),
    ]


@pytest.mark.parametrize("change", [{"exit_code": 6}, {"reason": "x"}, {"saved": 1}, {"state": "killed"}])
def test_runs_that_ended_otherwise_stay_apart(change: dict[str, Any]) -> None:
    assert "runs_idle" not in [line.kind for line in idle_runs({}, change)]


def test_what_happened_in_an_idle_run_is_not_folded_away() -> None:
    runs = [run(1, 0, 5, traces=RunTraces(1, 3, {})), run(2, 10, 15, traces=RunTraces(4, 6, {}))]
    placed = [*of_runs(runs), *of_batches([batch(2, 1, kind="late_answer")], 900)]
    assert [line.kind for line in fold(lines(placed), runs)].count("late_answer") == 1


def test_quiet_times_are_told_but_for_outages_and_other_runs() -> None:
    gaps = [Gap(1, 1, at(0), at(700), 700), Gap(2, 1, at(1000), at(2000), 1000), Gap(3, 9, at(0), at(700), 700)]
    outage = TimelineEntry("outage", at(999), at(2000), 1)
    assert [(line.kind, line.since, line.seconds) for line in lines(quiet(gaps, {1}, [outage]))] == [
        ("quiet", at(0), 700)
    ]
    endless = TimelineEntry("outage", at(999), None, 1)
    assert len(lines(quiet(gaps, {1}, [endless]))) == 1
    assert len(lines(quiet(gaps, {1}, []))) == 2


def test_only_what_touches_the_time_is_told() -> None:
    from batcher.ledger.queries.spend import Scope

    placed = [TimelineEntry("failed", at(0), at(100)), TimelineEntry("outage", at(50), None)]
    assert len(in_time(placed, Scope(at(100), None))) == 2
    assert [line.kind for line in in_time(placed, Scope(at(101), None))] == ["outage"]
    assert [line.kind for line in in_time(placed, Scope(None, at(50)))] == ["failed"]


@pytest.mark.parametrize(
    ("kind", "code", "message", "cause"),
    [
        (Kind.KEY, "api_key_revoked", "The key: gone", "key"),
        (Kind.CAPPED, "insufficient_credits", "3 left", "credits"),
        (Kind.CAPPED, "canary", "not price<=quote", "stop"),
        (Kind.CAPPED, "downloads_blocked", "cdn.example: not public", "stop"),
        (Kind.CAPPED, "", "10 jobs failed in a row: see", "stop"),
        (Kind.UNREACHABLE, "", "the API could not be reached", "unreachable"),
    ],
)
def test_why_a_run_was_halted(kind: Kind, code: str, message: str, cause: str) -> None:
    """By the fields of the event; of an older batcher's by its reason, which a code begins."""
    reason, expected = halt_reason(message, code), (cause, code or None, message)
    assert halt_cause({"kind": kind.value, "reason": reason, "code": code, "message": message}) == expected
    assert halt_cause({"kind": kind.value, "reason": reason}) == expected


def test_a_halt_is_told_by_its_fields_whatever_its_message_looks_like() -> None:
    halt = {"kind": "capped", "reason": "odd: words", "code": "", "message": "odd: words"}
    assert halt_cause(halt) == ("stop", None, "odd: words")
    assert halt_cause(halt | {"code": "two words", "message": "x"}) == ("credits", "two words", "x")


def row(number: int, since: float, until: float, **limits: tuple[int, float]) -> RunEntry:
    stated = {"submit": (30, 60.0), "requests": (2, 1.0)} | limits
    return run(number, since, until, traces=RunTraces(1, 2, stated))


def test_requests_belong_to_the_run_in_whose_time_they_lie() -> None:
    sends = [
        (at(s)[:19], submits, all_)
        for s, submits, all_ in [(-5, 9, 9), (10, 1, 2), (130, 2, 2), (150, 9, 9), (300, 0, 5)]
    ]
    found = list(
        usage([row(1, 0, 140), row(2, 300, 400)], [note(1, 20, "limit_cut", limit="submit", per_minute=9)], sends)
    )
    assert [(each.run_id, each.limit, each.sent, each.per_minute, each.busiest, each.cuts) for each in found] == [
        (1, "submit", 3, 1.5, 2, 1),
        (1, "requests", 4, 2.0, 2, 0),
        (2, "requests", 5, 5.0, 5, 0),
    ]
    assert (found[0].allowed, found[1].allowed, found[0].lowest) == (30, 120, 9)


def test_a_cut_is_told_when_the_send_log_is_gone() -> None:
    [found] = usage([row(1, 0, 140)], [note(1, 20, "limit_cut", limit="submit", per_minute=9)], [])
    assert (found.sent, found.per_minute, found.busiest, found.cuts) == (None, None, None, 1)
