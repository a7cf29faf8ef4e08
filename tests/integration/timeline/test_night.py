"""The post-mortem of a whole night, to the letter and against what the simulator and the ledger know."""

from __future__ import annotations

import io
import json
import re
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli.helpers import Cli
from integration.timeline.helpers import timeline_of
from rich.console import Console
from support import Bench
from virtual_time import EPOCH

from batcher.cli.advice import advice
from batcher.cli.timeline_view import timeline_view
from batcher.clock import from_iso
from batcher.ledger import LedgerReader, hold_lock
from batcher.report.question import ask
from batcher.report.timeline import Timeline, make_timeline, timeline_json
from batcher.report.timeline_entries import TimelineEntry

EXPECTED = Path(__file__).parent / "expected"
STATE = Path("/state")


def shown(timeline: Timeline, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False, highlight=False, emoji=False)
    for part in timeline_view(timeline, STATE / "ledger.db"):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def same(text: str, name: str) -> None:
    # The numbers of requests depend on which of two goes first.
    assert re.sub(r"req_\d+", "req_0", text) == (EXPECTED / name).read_text("utf-8")


def test_text(dark: Bench) -> None:
    text = shown(timeline_of(dark), 100)
    assert max(map(len, text.splitlines())) <= 100
    same(text, "timeline.txt")


def test_json(dark: Bench) -> None:
    found = timeline_json(timeline_of(dark), lambda cause: advice(cause, STATE))
    same(json.dumps({"version": 1, "ledger": "", **found}, indent=2) + "\n", "timeline.json")


def rows(bench: Bench, sql: str) -> list[Any]:
    with bench.reader() as read:
        return [tuple(row) for row in read.rows(sql)]


def test_every_event_that_matters_is_in_one_line(dark: Bench) -> None:
    counted: Counter[str] = Counter()
    for entry in timeline_of(dark).entries:
        counted[entry.kind] += entry.count
    events = Counter(name for (name,) in rows(dark, "SELECT event FROM events"))
    assert counted["failed"] == events["failed"] == 3
    assert counted["refused"] + counted["unsent"] == events["refused"] == 2
    assert counted["unanswered"] == events["maybe_received"] == 1
    assert counted["limit_cut"] == events["limit_cut"] >= 1
    for same_name in ("doubtful", "resolved", "cancelled", "halted", "cap_reached"):
        assert counted[same_name] == events[same_name] >= 1, same_name
    runs = len(rows(dark, "SELECT id FROM runs"))
    assert counted["run_began"] + counted["runs_idle"] == runs == 6


def test_the_runs_are_the_simulators_truth(dark: Bench) -> None:
    timeline = timeline_of(dark)
    assert [run.state for run in timeline.runs] == ["killed", "ended", "ended", "ended", "ended", "ended"]
    assert [run.exit_code for run in timeline.runs] == [None, 3, 4, 0, 0, 0]
    assert sum(run.saved for run in timeline.runs) == len(list(dark.state.glob("results/*/*.*")))
    # Also what a person said of the doubtful one: it was charged.
    charged = sum(task.final for task in dark.world.oracle().tasks.values() if task.final)
    assert sum(run.settled for run in timeline.runs) == charged
    [resumed] = rows(
        dark,
        "SELECT count(DISTINCT e.job_id) FROM events AS e JOIN attempts AS a USING (job_id)"
        " WHERE a.run_id = 1 AND e.run_id = 2 AND e.attempt = a.number AND e.event IN ('succeeded', 'saved')",
    )
    assert timeline.runs[1].went_on == resumed[0] >= 1


def test_the_outage_is_as_long_as_the_network_was_dead(dark: Bench) -> None:
    [outage] = [entry for entry in timeline_of(dark).entries if entry.kind == "outage"]
    assert outage.until is not None
    assert outage.seconds is not None
    lasted = from_iso(outage.until) - from_iso(outage.since)
    assert abs(lasted - outage.seconds) < 1
    assert 1800 < lasted < 2000


def test_limits_come_from_the_send_log(dark: Bench) -> None:
    limits = {(each.run_id, each.limit): each for each in timeline_of(dark).limits}
    for number, (start, end) in enumerate(rows(dark, "SELECT started_at, ended_at FROM runs"), 1):
        if end is None:
            continue
        sends = rows(dark, f"SELECT at, kind FROM sends WHERE at >= '{start}' AND at <= '{end}'")
        used = limits.get((number, "requests"))
        assert (used.sent if used else 0) == len(sends)
        submits = limits.get((number, "submit"))
        assert (submits.sent if submits else 0) == sum(kind == "submit" for _, kind in sends)
    first = limits[1, "submit"]
    assert (first.allowed, first.count, first.seconds) == (30, 30, 60)
    assert first.cuts == 1
    assert first.lowest is not None
    assert first.lowest < 30
    assert sum(sent for _, sent in first.minutes) == first.sent


def test_a_part_of_the_night(dark: Bench) -> None:
    before = timeline_of(dark, until="2027-01-15T23:30")
    assert {entry.run_id for entry in before.entries} == {1}
    assert [entry.kind for entry in before.entries][-1] == "run_killed"
    after = timeline_of(dark, since="2027-01-16", campaigns=["dawn"])
    assert [run.campaigns for run in after.runs] == [("dawn",)] * 4
    assert [(run.bought, run.refused) for run in after.runs] == [(0, 1), (2, 0), (0, 0), (0, 0)]
    assert {cause.kind for cause in after.causes} == {"key", "unsent"}
    assert all(wait.campaign == "dawn" for wait in after.slowest)
    middle = timeline_of(dark, since="2027-01-15T23:00", until="2027-01-15T23:01")
    assert [entry.kind for entry in middle.entries] == ["limit_cut", "outage"]
    assert [(run.id, run.state) for run in middle.runs] == [(1, "killed")]
    assert middle.causes == ()  # the kill came later


def test_the_slowest_are_the_slowest(dark: Bench) -> None:
    waits = rows(
        dark,
        "SELECT job_id, julianday(finished_at) - julianday(submitted_at) AS d FROM attempts"
        " WHERE outcome IN ('succeeded', 'failed') ORDER BY d DESC, id LIMIT 5",
    )
    found = timeline_of(dark).slowest
    assert [wait.job_id for wait in found] == [job for job, _ in waits]
    assert [wait.seconds for wait in found] == [pytest.approx(days * 86400, abs=0.002) for _, days in waits]


@pytest.mark.parametrize(
    ("state", "outage", "cut"),
    [("going", "no answer yet", "not restored yet"), ("killed", "until the run ended", "not restored by the end")],
)
def test_what_has_no_end(dark: Bench, state: str, outage: str, cut: str) -> None:
    timeline = timeline_of(dark)
    run = replace(timeline.runs[0], state=state)
    entries = (TimelineEntry("outage", run.since, None, 1), TimelineEntry("limit_cut", run.since, None, 1, 2, "submit"))
    text = shown(replace(timeline, runs=(run,), entries=entries), 100)
    assert outage in text
    assert f"429s: limit submit cut 2 times; {cut}" in text


def test_many_lines_are_for_a_program(dark: Bench) -> None:
    timeline = timeline_of(dark)
    unanswered = next(entry for entry in timeline.entries if entry.kind == "unanswered")
    entries = tuple(replace(unanswered, count=n) for n in range(1, 703))
    text = shown(replace(timeline, entries=entries), 4000)
    assert "  … 202 earlier lines; `--since` chooses, `--json` has all.\n" in text
    assert "702 requests had no answer" in text
    assert " 202 jobs had" not in text


# The command


@pytest.fixture
def kept(cli: Cli, dark: Bench, tmp_path: Path) -> Path:
    """The night's state folder, to be changed."""
    shutil.copytree(dark.state, tmp_path / "state")
    return tmp_path / "state"


def change(state: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(state / "ledger.db")) as ledger, ledger:
        ledger.execute(sql, values)


def test_the_command_in_both_forms(cli: Cli, kept: Path) -> None:
    text = cli("report", "--timeline").out
    assert "22:41:54 – 23:14:01  outage: no answer for 32 min" in text
    assert "`batcher show" in text
    document = cli("report", "--timeline", "--json").document
    assert document["ledger"] == str(kept / "ledger.db")
    again = cli("report", "--timeline", "--format", "json").document
    assert again["moments"] == document["moments"]
    some = cli("report", "--timeline", "--campaign", "dawn", "--json").document
    assert [run["id"] for run in some["runs"]] == [3, 4, 5, 6]


@pytest.mark.parametrize("words", [["--by", "day"], ["--online"], ["--format", "csv"]])
def test_what_does_not_go_together(cli: Cli, kept: Path, words: list[str]) -> None:
    ran = cli("report", "--timeline", *words)
    assert ran.code == 2
    assert "--timeline goes with neither" in ran.err


def test_a_run_that_is_going_is_not_killed(cli: Cli, kept: Path) -> None:
    change(kept, "UPDATE runs SET ended_at = NULL, exit_code = NULL, reason = NULL WHERE id = 6")
    assert cli("report", "--timeline", "--json").document["runs"][-1]["state"] == "killed"
    with hold_lock(kept, started="2026-01-02T03:04:05Z"):
        document = cli("report", "--timeline", "--json").document
        assert [run["state"] for run in document["runs"]] == ["killed", *["ended"] * 4, "going"]
        assert document["running"] is True
        assert "; a run is going." in cli("report", "--timeline").out


def test_nothing_of_the_ledger_reaches_the_terminal_raw(cli: Cli, kept: Path) -> None:
    nasty = "\x1b]0;pwned\x07[red]\u202eevil\x9b2J"
    change(kept, "UPDATE runs SET reason = ?, campaigns = ?", nasty, json.dumps([nasty]))
    change(kept, "UPDATE wanted SET name = ?", nasty)
    change(
        kept,
        "UPDATE events SET detail = json_set(detail, '$.code', ?1, '$.message', ?1, '$.reason', ?1, '$.why', ?1,"
        " '$.cap', ?1)",
        nasty,
    )
    change(kept, "UPDATE events SET detail = json_set(detail, '$.limit', ?) WHERE event LIKE 'limit%'", nasty)
    for words in ([], ["--json"]):
        out = cli("report", "--timeline", *words).out
        assert out.count("evil") > 10
        assert not set(out) & set("\x1b\x07\u202e\x9b")
    assert "[red]" in cli("report", "--timeline").out
    with closing(LedgerReader.open(kept / "ledger.db")) as read:
        timeline = make_timeline(read, ask(read, now=EPOCH), now=EPOCH, running=False)
    assert not set(shown(timeline, 4000)) & set("\x1b\u202e\x9b")  # without the net below the terminal's console


def test_a_ledger_that_somebody_spoilt_can_still_be_read(cli: Cli, kept: Path) -> None:
    change(kept, "UPDATE events SET detail = 'no JSON'")
    change(kept, "UPDATE runs SET settings = '[1]', campaigns = 'x'")
    ran = cli("report", "--timeline", "--json")
    assert ran.code == 0
    assert [run["campaigns"] for run in ran.document["runs"]] == [[]] * 6
    assert cli("report", "--timeline").code == 0
    for detail in ("[]", '{"limit": {}, "seconds": "x", "per_minute": [], "code": [1], "why": 7, "left": 3}'):
        change(kept, "UPDATE events SET detail = ?", detail)
        assert cli("report", "--timeline").code == 0


def test_nothing_has_happened_yet(cli: Cli, kept: Path) -> None:
    change(kept, "DELETE FROM events")
    change(kept, "DELETE FROM runs WHERE id NOT IN (SELECT run_id FROM attempts)")
    assert cli("report", "--timeline", "--since", "2030-01-01").out.endswith("What happened\n  Nothing.\n")


def test_what_is_still_to_be_done_is_said(cli: Cli, kept: Path) -> None:
    change(
        kept, "UPDATE wanted SET status = 'doubtful' WHERE id IN (SELECT job_id FROM events WHERE event = 'doubtful')"
    )
    change(kept, "UPDATE files SET saved_at = NULL WHERE attempt_id = (SELECT max(attempt_id) FROM files)")
    causes = {each["kind"]: each for each in cli("report", "--timeline", "--json").document["causes"]}
    job = causes["doubtful"]["job_id"][:12]
    assert causes["doubtful"]["open"] == 1
    assert f"batcher resolve {job} --as submitted --task ID" in causes["doubtful"]["advice"]
    assert causes["without_file"]["open"] == 1
    assert "fetches them" in causes["without_file"]["advice"]
    assert causes["cap"]["open"] == 0
    change(kept, "UPDATE wanted SET status = 'planned' WHERE status = 'cancelled'")
    causes = {each["kind"]: each for each in cli("report", "--timeline", "--json").document["causes"]}
    assert causes["cap"]["open"] == 1
    assert "--budget" in causes["cap"]["advice"]
    assert causes["key"]["advice"] == "Nothing: it is over."
