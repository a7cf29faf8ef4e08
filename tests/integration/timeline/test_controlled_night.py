"""A night under control: window, canary, pause, other limits, an alert at 80 %, a stop rule.

Two are in docs/overnight.md as these tests run them: 600 jobs on virtual time, line by line with the morning's report;
and 60 jobs in real time, as processes with a person at another terminal, but for figures, which depend on the machine.
"""

from __future__ import annotations

import json
import os
import re
import select
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import forking
import pytest
from cli.helpers import Cli, Site, clean, environment
from integration.alerts.helpers import Target, at_once
from support import Bench, Looked

from batcher.alerts import Alerts
from batcher.alerts.causes import Causes
from batcher.canary import parse
from batcher.cli.report_view import report_view
from batcher.cli.run_log import plain as plain_text
from batcher.controls import read_values
from batcher.errors import Kind
from batcher.ledger import LedgerReader, control
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
    with bench.reader() as reader:
        bought = [row["intended_at"] for row in reader.rows("SELECT intended_at FROM attempts ORDER BY id")]
        told = transcript(reader)
    clock = [datetime.fromisoformat(each).astimezone(BERLIN).strftime("%H:%M") for each in bought]
    assert clock[0] == "22:00"
    assert not [each for each in clock if "23:01" <= each < "23:30"], "it was paused"
    assert all(each >= "22:00" or each < "06:00" for each in clock)
    assert [alert["cause"].partition(" ")[0] for alert in phone.got if alert["event"] == "cap"] != []
    assert len(bought) < JOBS
    assert told == block("night"), told
    morning = report(bench)
    assert morning == block("morning"), morning


REAL = """
campaign: night
model: grok-imagine-video
prompts:
  - {name: boat, prompt: A boat on a lake, repeat: 60}
limits: {submit: 10/second, requests: 1000/second, in_flight: 5}
polling: {first: 200ms, every: 200ms, max: 400ms}
window: {hours: "22:00-06:00", timezone: Europe/Berlin}
stop: {failures_in_a_row: 5}
budget: {campaign: 900}
"""


class Mailbox:
    """A named pipe that `--on EVENT` writes to."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDWR)
        self._text = b""

    def wait(self, words: str) -> None:
        """Return when these words have come. Raises AssertionError when nothing comes for a minute."""
        while words.encode() not in self._text:
            assert select.select([self._end], [], [], 60)[0], f"never came: {words}"
            self._text += os.read(self._end, 1 << 16)

    def close(self) -> None:
        os.close(self._end)


class Heard:
    """What has happened at the API, and how often. From the purchase `last` on, it answers nothing until `go_on`."""

    def __init__(self, place: Site, last: int) -> None:
        self.times = Counter[str]()
        self.go_on = threading.Event()
        self._last = last
        self._news = threading.Condition()
        place.app.on_event = self._hear

    def _hear(self, _: int, name: str) -> None:
        with self._news:
            self.times[name] += 1
            self._news.notify_all()
        if self.times["create:arrived"] >= self._last:
            self.go_on.wait(60)

    def wait(self, event: str, times: int) -> None:
        """Return when it has happened so often. Raises AssertionError when it has not after a minute."""
        with self._news:
            assert self._news.wait_for(lambda: self.times[event] >= times, 60), (event, self.times)


def test_a_night_of_60_jobs_in_real_time(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "night.yaml").write_text(REAL)
    place.world.switches.set({"run_seconds": 0.2})
    heard = Heard(place, last=46)
    env = clean(**environment(place))
    # Their clocks go as this machine's does, five seconds before the window opens at their start.
    with forking.started("--version", cwd=tmp_path, env=env) as process:  # what others are forked from has started
        process.wait(60)
    shift = at("22:00") - 5 - time.time()
    clock = f"import time; real = time.time; time.time = lambda: real() + {shift}"
    words = ["--sample", "2", "--then", "failed<10% and price<=quote", "--on", "cap", "tee mail"]

    def ctl(*asked: str) -> None:
        with forking.started("ctl", *asked, cwd=tmp_path, env=env, first=clock) as person:
            assert person.wait(30) == 0, person.communicate()

    with (
        closing(Mailbox(tmp_path / "mail")) as mail,
        forking.started("run", "night.yaml", *words, cwd=tmp_path, env=env, first=clock) as process,
    ):
        assert process.stderr
        heard.wait("create:answered", 15)
        ctl("pause")
        assert any("paused by" in line for line in process.stderr)
        bought = heard.times["create:answered"]
        heard.wait("result:answered", bought)  # what was bought goes on
        for asked in (["limits", "submit=8/second", "in_flight=8"], ["budget", "campaign:night=500"], ["resume"]):
            assert heard.times["create:answered"] == bought, "it was paused"
            ctl(*asked)
        mail.wait("80 % of the cap")
        place.world.switches.set({"fail_prompt": "boat"})
        heard.go_on.set()
        out, err = process.communicate(60)
    assert process.returncode == 3, out + err
    oracle = place.world.oracle()
    with closing(LedgerReader.open(tmp_path / "state/ledger.db")) as read:
        told = transcript(read, "%H:%M:%S")
        spent = read.spent()
    # What comes in the same moment (an alert, the end) comes in any order here; on virtual time in one.
    assert sorted(without_figures(told).splitlines()) == sorted(without_figures(block("real")).splitlines()), told
    assert (spent.settled, spent.held, len(oracle.tasks)) == (oracle.spent, 0, heard.times["create:answered"])
    assert re.search(rf"night +60 +{60 - len(oracle.tasks)}", cli("report").out)


def without_figures(text: str) -> str:
    return re.sub(r"\d+(,\d+)*", "…", re.sub(r"by \S+@\S+", "by ann@desk", text))


def transcript(reader: LedgerReader, clock: str = "%H:%M") -> str:
    """What happened to the run as a whole, and what was alerted, a line each: the local time and the words."""
    rows = [
        (row["at"], row["event"], json.loads(row["detail"]))
        for row in reader.rows("SELECT at, event, detail FROM events WHERE job_id IS NULL ORDER BY id")
        if row["event"] in NOTES
    ]
    rows += [
        (row["at"], "alert", json.loads(row["document"])) for row in reader.rows("SELECT at, document FROM alerts")
    ]
    lines = []
    for when, what, detail in sorted(rows, key=lambda row: row[0]):
        local = datetime.fromisoformat(when).astimezone(BERLIN).strftime(clock)
        lines.append(f"{local}  {what:<10} {(detail.get('message') or detail['reason']).splitlines()[0]}")
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
