"""A night of 600 jobs under control: window, canary, pause, other limits, an alert at 80 %, a stop rule.

The transcript and the morning's report in docs/overnight.md are what this night says, line by line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import pytest
from integration.alerts.test_alerts import Target, at_once
from support import Bench, Looked

from batcher.alerts import Alerts
from batcher.alerts.causes import Causes
from batcher.canary import parse
from batcher.cli.report_view import report_view
from batcher.cli.run_log import plain as plain_text
from batcher.controls import read_values
from batcher.errors import Kind
from batcher.ledger import control
from batcher.ledger.queries.timeline import NOTES
from batcher.report.figures import make_report
from batcher.report.question import ask
from batcher.simulator.media import plain
from batcher.simulator.switches import Switches

BERLIN = ZoneInfo("Europe/Berlin")
PAGE = Path(__file__).parents[3] / "docs" / "overnight.md"
NIGHT = """
campaign: night
model: grok-imagine-video
prompts:
  - {name: boat, prompt: A boat on a lake, repeat: 600}
limits: {submit: 1/minute, requests: 60/minute, in_flight: 40}
polling: {first: 120s, every: 300s, max: 300s}
window: {hours: "22:00-06:00", timezone: Europe/Berlin, days: [sat, sun]}
stop: {failed: 5%, failures_in_a_row: 100}
budget: {campaign: 5000}
"""
JOBS = 600


def at(text: str) -> float:
    day = "2026-11-28" if text > "12" else "2026-11-29"
    return datetime.fromisoformat(f"{day}T{text}").replace(tzinfo=BERLIN).timestamp()


def test_a_night_of_600_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.engine.control.LOOK_SECONDS", 20.0)
    monkeypatch.setattr("batcher.alerts.LOOK_SECONDS", 60.0)
    bench = Bench(tmp_path, switches=Switches(queue_seconds=(5, 20), run_seconds=(60, 90)))
    bench.app.media = plain(60)
    bench.clock.shift = at("21:40") - bench.clock.wall()
    request = bench.request(bench.write(NIGHT))
    request = replace(request, workload=request.workload.ramped("2"), then=parse("failed<60% and price<=quote"))
    phone = Target()

    def give(run: Looked, word: control.Word, *words: str) -> None:
        values = read_values(word, words) if words else {}
        control.ask(run.ledger.path, bench.clock, word, values, who="ann@desk", raises=True)

    plan: list[tuple[str, Callable[[Looked], None]]] = [
        ("23:00", lambda run: give(run, "pause")),
        ("23:30", lambda run: give(run, "resume")),
        ("23:31", lambda run: give(run, "limits", "submit=2/minute", "in_flight=60")),
        ("23:45", lambda run: give(run, "budget", "campaign:night=4400")),
        ("02:00", lambda run: setattr(bench.switches, "fail_prompt", "boat")),  # the API has a bad hour
    ]
    run = bench.make(request)

    async def beside(ready: Callable[[], None]) -> None:
        causes = Causes(run.ledger.read, run.id, ["night"], lambda: run.caps, bench.clock, run_cap_stated=False)
        alerts = Alerts([phone], run.ledger, causes, bench.clock, run_id=run.id, start=at_once)
        async with anyio.create_task_group() as group:
            group.start_soon(alerts.watch)
            ready()
            for time, do in plan:
                await anyio.sleep(at(time) - bench.clock.wall())
                do(run)

    with run:
        outcome = run.execute(beside, loop=bench.clock.run)
    assert outcome.kind is Kind.CAPPED
    assert re.fullmatch(r"\d+ of \d+ jobs failed \(stop.failed: 5%\)", outcome.reason)
    bench.check()
    bought = [row["intended_at"] for row in run_rows(bench, "SELECT intended_at FROM attempts ORDER BY id")]
    clock = [datetime.fromisoformat(each).astimezone(BERLIN).strftime("%H:%M") for each in bought]
    assert clock[0] == "22:00"
    assert not [each for each in clock if "23:01" <= each < "23:30"], "it was paused"
    assert all(each >= "22:00" or each < "06:00" for each in clock)
    assert [alert["cause"].partition(" ")[0] for alert in phone.got if alert["event"] == "cap"] != []
    assert len(bought) < JOBS
    told = transcript(bench)
    assert told == block("night"), told
    morning = report(bench)
    assert morning == block("morning"), morning


def run_rows(bench: Bench, sql: str) -> list[dict[str, str]]:
    with bench.reader() as reader:
        return [dict(row) for row in reader.rows(sql)]


def transcript(bench: Bench) -> str:
    """What happened to the run as a whole, and what was alerted, a line each: the local time and the words."""
    rows = [
        (row["at"], row["event"], json.loads(row["detail"]))
        for row in run_rows(bench, "SELECT at, event, detail FROM events WHERE job_id IS NULL ORDER BY id")
        if row["event"] in NOTES
    ]
    rows += [
        (row["at"], "alert", json.loads(row["document"])) for row in run_rows(bench, "SELECT at, document FROM alerts")
    ]
    lines = []
    for when, what, detail in sorted(rows, key=lambda row: row[0]):
        clock = datetime.fromisoformat(when).astimezone(BERLIN).strftime("%H:%M")
        lines.append(f"{clock}  {what:<10} {detail.get('message') or detail.get('reason')}")
    return "\n".join(lines) + "\n"


def report(bench: Bench) -> str:
    """What `batcher report` says in the morning."""
    with bench.reader() as reader:
        now = at("07:00")
        found = make_report(reader, ask(reader, now=now), now=now, running=False)
        return plain_text(report_view(found, Path("/films/state/ledger.db"), None))


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return found[1] if found else ""
