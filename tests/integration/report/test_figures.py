"""The figures of a report are the simulator's truth, however they are grouped and in whatever form they are shown."""

from __future__ import annotations

import csv
import io
import json
import random
import statistics
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from core_helpers import Shelf, job_name, make_spec, make_task, resolve_again
from integration.report.helpers import figures, report_of, shown
from support import Bench

from batcher.clock import from_iso, iso, local_day
from batcher.jobs import FileReference, ParamValue, Reference, Status, UrlReference
from batcher.ledger import LedgerReader, decisions
from batcher.ledger.queries import jobs
from batcher.report.document import csv_headers, csv_rows, report_json, rows_json
from batcher.report.figures import make_report
from batcher.report.question import ask
from batcher.report.table import csv_lines

AXES = [
    ["campaign"],
    ["day"],
    ["model"],
    ["prompt"],
    ["reference"],
    ["mode"],
    ["duration"],
    ["day", "campaign", "mode", "prompt"],
]


def rows(bench: Bench, sql: str) -> list[dict[str, Any]]:
    with bench.reader() as read:
        return [dict(row) for row in read.rows(sql)]


# Against the simulator


def test_the_total_is_the_simulators_truth(told: Bench) -> None:
    oracle, total = told.world.oracle(), report_of(told).total
    attempts = rows(told, "SELECT * FROM attempts")
    open_or_judged = {a["idempotency_key"] for a in attempts if a["outcome"] in ("doubtful", "resolved")}
    charged = [task for task in oracle.tasks.values() if task.key not in open_or_judged]
    assert len(oracle.tasks) - len(charged) == 2  # the answers to these were lost: one resolved with 12, one doubtful
    assert total.credits.settled == sum(task.final for task in charged) + 12
    assert total.credits.held == total.credits.doubtful == 12
    assert total.attempts.succeeded == sum(task.final > 0 for task in charged)
    assert total.attempts.failed == sum(task.final == 0 for task in charged)
    refused = sum(a["quoted_credits"] for a in attempts if a["outcome"] == "refused")
    assert total.credits.returned == sum(task.reserved - task.final for task in charged) + refused
    assert total.files == len(list(told.state.glob("results/*/*.mp4"))) == 9
    assert total.jobs == Counter(job["status"] for job in told.jobs())


def test_what_happened_in_the_story(told: Bench) -> None:
    total = report_of(told).total
    assert {status: n for status, n in total.jobs.items() if n} == {
        Status.PLANNED: 2,
        Status.SUCCEEDED: 9,
        Status.FAILED: 3,
        Status.DOUBTFUL: 1,
        Status.CANCELLED: 1,
    }
    attempts = total.attempts
    assert (attempts.total, attempts.succeeded, attempts.failed, attempts.refused) == (15, 9, 2, 1)
    assert (attempts.unsent, attempts.resolved, attempts.doubtful, attempts.open) == (1, 1, 1, 0)
    # Of 13 that came to an end 2 failed, 1 was refused, 1 came to nothing in a person's judgement.
    assert total.failure_rate == round(4 / 13, 4)
    assert total.cost_of_result == round((9 * 9 + 12) / 9, 2)


def test_the_ledger_keeps_the_same_sums(told: Bench) -> None:
    report = report_of(told)
    with told.reader() as read:
        assert (report.total.credits.held, report.total.credits.settled) == (read.spent().held, read.spent().settled)
        for row in report.rows:
            [(_, name)] = row.by
            spent = read.spent(campaign=str(name))
            assert (row.figures.credits.held, row.figures.credits.settled) == (spent.held, spent.settled)
        for row in report_of(told, by=["day"]).rows:
            [(_, day)] = row.by
            assert row.figures.credits.held + row.figures.credits.settled == read.spent(day=str(day)).committed


# Against the same sums by hand


def by_hand(read: LedgerReader, axes: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Every figure, added up one by one in Python."""

    def rows(sql: str) -> list[dict[str, Any]]:
        return [dict(row) for row in read.rows(sql)]

    wanted = {row["id"]: row for row in rows("SELECT * FROM wanted")}
    attempts = rows("SELECT * FROM attempts")
    defaults = {"mode": "normal", "duration": 6}
    saved = Counter(row["attempt_id"] for row in rows("SELECT * FROM files WHERE saved_at IS NOT NULL"))
    found: dict[tuple[Any, ...], dict[str, Any]] = {}

    def group(job: dict[str, Any], day: str) -> dict[str, Any]:
        values = {"campaign": job["campaign"], "day": day, "model": job["model"], "prompt": job["name"]}
        values["reference"] = job["reference"]
        values |= defaults | json.loads(job["params"])
        key = tuple(values[axis] for axis in axes)
        return found.setdefault(key, {"jobs": Counter(), "n": 0, "credits": Counter(), "files": 0, "waits": []})

    for attempt in attempts:
        into = group(wanted[attempt["job_id"]], attempt["day"])
        hold = attempt["hold_credits"]
        final = attempt["final_credits"]
        into["n"] += 1
        into["credits"]["quoted"] += attempt["quoted_credits"]
        into["credits"]["held"] += hold if final is None else 0
        into["credits"]["settled"] += final or 0
        into["credits"]["returned"] += 0 if final is None else max(0, hold - final)
        into["files"] += saved[attempt["id"]]
        if attempt["outcome"] == "succeeded":
            into["waits"].append(from_iso(attempt["finished_at"]) - from_iso(attempt["submitted_at"]))
    latest = {attempt["id"]: attempt for attempt in attempts}
    for job in wanted.values():
        bought = latest.get(job["attempt_id"])
        day = bought["day"] if bought else local_day(from_iso(job["updated_at"]), None)
        group(job, day)["jobs"][job["status"]] += 1
    return found


@pytest.mark.parametrize("axes", AXES, ids=",".join)
def test_groups_are_the_same_sums_by_hand(told: Bench, axes: list[str]) -> None:
    with told.reader() as read:
        same_by_hand(read, axes, told.clock.wall())


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_the_same_sums_by_hand_whatever_happened(shelf: Shelf, seed: int) -> None:
    chaos(shelf, random.Random(seed))
    for axes in AXES:
        same_by_hand(shelf.ledger.read, axes, shelf.clock.now)
    total, spent = figures(shelf), shelf.ledger.read.spent()
    assert (total.credits.held, total.credits.settled) == (spent.held, spent.settled)
    assert total.attempts.total > 30
    assert total.attempts.unsent > 0
    assert total.credits.over > 0


def chaos(shelf: Shelf, chance: random.Random) -> None:
    """Forty jobs over days, each bought up to three times with whatever end."""
    params: list[dict[str, ParamValue]] = [{}, {"mode": "fun"}, {"duration": 10}]
    for campaign, first in (("spring", 0), ("autumn", 20)):
        numbers = range(first, first + 20)
        shelf.enrol(
            [
                make_spec(n, campaign=campaign, name=f"p{n % 3}", params=params[n % 3], price_class=f"{n}")
                for n in numbers
            ],
            campaign,
        )
    for number in range(40):
        for _ in range(chance.randrange(4)):
            shelf.clock.now += chance.uniform(0, 20_000)
            happen(shelf, number, chance)
            if chance.random() < 0.6:
                again = decisions.Retry(frozenset({Status.FAILED, Status.SUCCEEDED}), alone=True)
                list(decisions.decide(shelf.ledger, again, [job_name(number)]))
            if shelf.job(number)["status"] != "planned":
                break


def happen(shelf: Shelf, number: int, chance: random.Random) -> None:
    """One purchase, from its intent to some end, or to none."""
    intent = shelf.buy(number)
    task = f"{number}-{intent.number}"
    match chance.choice(
        ["done", "done", "done", "failed", "refused", "unsent", "doubtful", "resolved", "open", "unanswered"]
    ):
        case "done" | "failed" as end:
            shelf.ledger.submitted(intent, make_task(task_id=task, reserved_credits=chance.randrange(8, 15)))
            shelf.clock.now += chance.uniform(1, 500)
            status = Status.SUCCEEDED if end == "done" else Status.FAILED
            final = chance.randrange(16) if end == "done" else chance.choice([0, 0, 5])
            urls = ("https://cdn.test/a",) * chance.randrange(3)
            ended = make_task(task_id=task, status=status, final_credits=final, urls=urls)
            shelf.ledger.record(intent.attempt_id, ended)
            for place in range(len(urls) if end == "done" else 0):
                shelf.ledger.file_saved(intent.job_id, intent.attempt_id, place)
        case "refused":
            shelf.ledger.refused(intent, "validation_failed", "no")
        case "unsent":
            shelf.ledger.unsent(intent, "insufficient_credits", "no")
        case "doubtful" | "resolved" as end:
            shelf.ledger.doubt(intent.attempt_id, "lost", "who knows")
            if end == "resolved":
                resolve_again(shelf.ledger, intent.job_id, charged=chance.choice([0, 10]))
        case "open":
            shelf.ledger.submitted(intent, make_task(task_id=task, reserved_credits=14))


def same_by_hand(read: LedgerReader, axes: list[str], now: float) -> None:
    report, hand = make_report(read, ask(read, now=now, by=axes), now=now, running=False), by_hand(read, axes)
    assert [tuple(value for _, value in row.by) for row in report.rows] == sorted(hand)
    for row in report.rows:
        figures, expected = row.figures, hand[tuple(value for _, value in row.by)]
        assert figures.jobs == expected["jobs"]
        assert figures.attempts.total == expected["n"]
        for name in ("quoted", "held", "settled", "returned"):
            assert getattr(figures.credits, name) == expected["credits"][name], name
        assert figures.files == expected["files"]
        waits = sorted(expected["waits"])
        if figures.wait is None:
            assert waits == []
        else:
            assert figures.wait.count == len(waits)
            assert figures.wait.median == pytest.approx(statistics.median(waits), abs=0.0011)
            assert figures.wait.p90 == pytest.approx(waits[-(-9 * len(waits) // 10) - 1], abs=0.0011)


@pytest.mark.parametrize("axes", AXES, ids=",".join)
def test_every_grouping_has_the_same_total(told: Bench, axes: list[str]) -> None:
    assert report_of(told, by=axes).total == report_of(told).total


def test_the_parts_of_the_attempts_and_credits_add_up(told: Bench) -> None:
    for row in report_of(told, by=["day", "prompt", "mode"]).rows:
        a, c = row.figures.attempts, row.figures.credits
        assert a.total == a.succeeded + a.failed + a.refused + a.unsent + a.resolved + a.doubtful + a.open
        assert c.reserved + c.over == c.held + c.settled + c.returned
        assert c.doubtful <= c.held


# In every form


def test_json_csv_and_text_show_the_same_sums(told: Bench) -> None:
    for axes in AXES:
        report = report_of(told, by=axes)
        document = report_json(report) | {"rows": [json.loads(json.dumps(row)) for row in rows_json(report)]}
        text = "\n".join(csv_lines(csv_headers(axes), csv_rows(report)))
        records = list(csv.DictReader(io.StringIO(text, newline="")))
        assert len(records) == len(document["rows"])
        for name in ("quoted", "reserved", "held", "doubtful", "settled", "returned", "over"):
            total = document["total"]["credits"][name]
            assert sum(row["credits"][name] for row in document["rows"]) == total, name
            assert sum(int(record[f"credits_{name}"]) for record in records) == total, name
        for status in Status:
            total = document["total"]["jobs"][status]
            assert sum(int(record[status]) for record in records) == total
        assert sum(int(record["files"]) for record in records) == document["total"]["files"]
        sums = totals_of_text(shown(report))
        assert sums["jobs"] == document["total"]["jobs"]["total"]
        assert sums["files"] == document["total"]["files"]
        attempts = document["total"]["attempts"]
        assert sums["bought"] == attempts["bought"] == attempts["total"] - attempts["refused"] - attempts["unsent"] > 0
        assert sums["refused"] == attempts["refused"] + attempts["unsent"] > 0
        for name in ("quoted", "held", "settled", "returned"):
            assert sums[name] == document["total"]["credits"][name]


def totals_of_text(text: str) -> dict[str, int]:
    """The last lines of the two tables under the names of their columns: each column ends where its name ends."""
    found: dict[str, int] = {}
    blocks = [list(lines) for filled, lines in groupby(text.splitlines(), bool) if filled]
    for headers, _, *lines in blocks[1:3]:
        names = [name.strip() for name in headers.split("   ") if name.strip()]
        for name in names:
            end = headers.index(name) + len(name)
            cell = lines[-1][:end].split("   ")[-1].strip().replace(",", "")
            if cell.isdigit():
                found[name] = int(cell)
    return found


# What counts when


@pytest.mark.parametrize(
    ("words", "bought", "jobs"),
    [
        ({"since": "2027-01-16"}, 5, 7),  # a storm twice, three leaves, and three that were never bought
        ({"until": "2027-01-15"}, 10, 9),
        ({"since": "2027-01-15T09:00:13", "until": "2027-01-15T09:00:20"}, 2, 1),
        ({"since": "2027-01-15T08:00:13Z", "until": "2027-01-15T08:00:20Z"}, 2, 1),
        ({"since": "1d"}, 5, 7),
        ({"campaigns": ["autumn"]}, 3, 6),
        ({"campaigns": ["autumn", "spring"]}, 15, 16),
        ({"since": "2028-01-01"}, 0, 0),
    ],
)
def test_scope(told: Bench, words: dict[str, Any], bought: int, jobs: int) -> None:
    total = report_of(told, **words).total
    assert (total.attempts.total, sum(total.jobs.values())) == (bought, jobs)


def test_a_purchase_counts_on_the_local_day_of_its_intent(shelf: Shelf) -> None:
    shelf.clock.now = 1_800_054_000.0  # 2027-01-15T23:00Z: the 16th has begun here
    shelf.enrol([make_spec(1), make_spec(2)])
    intent = shelf.buy(1)
    shelf.clock.now += 90_000
    shelf.ledger.submitted(intent, make_task(1, Status.SUCCEEDED, reserved_credits=10, final_credits=10))
    question = ask(shelf.ledger.read, now=shelf.clock.now, by=["day"])
    [row] = make_report(shelf.ledger.read, question, now=shelf.clock.now, running=False).rows
    assert row.by == (("day", "2027-01-16"),)
    assert row.figures.credits.settled == 10
    assert row.figures.jobs == {Status.SUCCEEDED: 1, Status.PLANNED: 1}


def test_since_counts_its_own_moment_and_until_does_not(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1)])
    shelf.buy(1)
    at = iso(shelf.clock.now)
    assert figures(shelf, since=at).attempts.total == 1
    assert figures(shelf, until=at).attempts.total == 0
    just_after = iso(shelf.clock.now + 0.000001)
    assert figures(shelf, since=just_after).attempts.total == 0
    assert figures(shelf, until=just_after).attempts.total == 1


def test_by_reference(shelf: Shelf) -> None:
    """Paths and URLs as they stand in the ledger; jobs without any are a group of their own."""
    picture = FileReference(Path("refs/boat.png"), "ab" * 32, 9, "image/png")
    given: list[Reference | None] = [picture, picture, UrlReference("https://files.test/a.png"), None]
    shelf.enrol([make_spec(number, reference=each) for number, each in enumerate(given, 1)])
    for number, cost in ((1, 10), (2, 12), (3, 14)):
        task = make_task(number, Status.SUCCEEDED, reserved_credits=cost, final_credits=cost)
        shelf.ledger.submitted(shelf.buy(number), task)
    read = shelf.ledger.read
    report = make_report(read, ask(read, now=shelf.clock.now, by=["reference"]), now=shelf.clock.now, running=False)
    expected = {None: (1, 0), "https://files.test/a.png": (1, 14), "refs/boat.png": (2, 22)}
    assert {r.by[0][1]: (sum(r.figures.jobs.values()), r.figures.credits.settled) for r in report.rows} == expected
    assert {r["by"]["reference"]: (r["jobs"]["total"], r["credits"]["settled"]) for r in rows_json(report)} == expected
    lines = csv.DictReader(io.StringIO("\n".join(csv_lines(csv_headers(["reference"]), csv_rows(report))), newline=""))
    assert {r["reference"] or None: (int(r["jobs"]), int(r["credits_settled"])) for r in lines} == expected
    assert all(str(path or "–") in shown(report) for path in expected)


@pytest.mark.parametrize("end", ["refused", "unsent", "doubtful", "open"])
def test_bought_is_what_was_accepted_or_may_have_been(shelf: Shelf, end: str) -> None:
    """A create that was refused at no cost was not bought: in the report, and in the bill of the run."""
    shelf.enrol([make_spec(1)])
    intent = shelf.buy(1)
    if end == "refused":
        shelf.ledger.refused(intent, "x", "no")
    elif end == "unsent":
        shelf.ledger.unsent(intent, "x", "no")
    elif end == "doubtful":
        shelf.ledger.maybe_received(intent, "cut", "")
        shelf.ledger.doubt(intent.attempt_id, "x", "no")
    bought, refused = (0, 1) if end in ("refused", "unsent") else (1, 0)
    attempts = figures(shelf).attempts
    assert (attempts.bought, attempts.turned_away, attempts.total) == (bought, refused, 1)
    bill = jobs.bill(shelf.ledger.read, 1)
    assert (bill.attempts, bill.refused, bill.quoted) == (bought, refused, 10 * bought)
