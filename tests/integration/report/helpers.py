"""A ledger in which everything has happened once, with the simulator's truth beside it."""

from __future__ import annotations

import io
import json
from contextlib import closing
from pathlib import Path
from typing import Any

from core_helpers import Shelf, cancel, resolve_failed, retry
from rich.console import Console
from support import Bench, SimulatedApi

from batcher.cli.report_view import report_view
from batcher.events import Event
from batcher.jobs import Status
from batcher.ledger import LedgerReader, LedgerWriter, decisions
from batcher.report.figures import Figures, Report, make_report
from batcher.report.question import ask
from batcher.simulator.app import Simulator
from batcher.simulator.faults import Faults, parse_all

SPRING = """\
campaign: spring
model: grok-imagine-video
matrix: {mode: [normal, fun]}
prompts:
  - {name: boat, prompt: A boat, repeat: 3}
  - {name: storm, prompt: A storm}
  - {name: -rain, prompt: Rain, params: {duration: 10}}
limits: {in_flight: 1}
budget: {campaign: 200, day: 300, keep: 50}
"""
AUTUMN = """\
campaign: autumn
model: grok-imagine-video
prompts:
  - {name: leaf, prompt: A leaf, repeat: 6}
limits: {in_flight: 1}
budget: {campaign: 40, day: 300}
"""

#: The second create's answer is lost, and its repeat is refused: doubtful, though charged. The fifth is refused.
FAULTS: list[object] = [
    {"on": "create", "do": "lost", "nth": 2},
    {"on": "create", "do": "status", "status": 422, "code": "validation_error", "nth": 3},
    {"on": "create", "do": "status", "status": 400, "code": "validation_failed", "nth": 5},
]


def story(folder: Path) -> Bench:
    """Two campaigns over two days: saved, failed, retried, refused, unsent, doubtful, resolved, cancelled, capped jobs.

    A result costs 9 of the 12 credits that are reserved for it; the catalogue says 10.
    """
    bench = Bench(folder, wallet=1000)
    # Ready before the first poll, so that nothing depends on which of two requests goes first.
    bench.switches.set({"queue_seconds": 0.5, "run_seconds": 1})
    bench.switches.set({"price_factor": 1.2, "final_factor": 0.75, "fail_prompt": "storm"})
    order_faults(bench, FAULTS)
    spring, autumn = bench.write(SPRING), bench.write(AUTUMN, "autumn.yaml")
    read_wallet(bench)
    bench.run(spring)
    keep_caps(bench, {"run": None, "campaigns": {"spring": 200}, "day": 300, "keep": 50})
    bench.clock.start += 86_400
    with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as ledger:
        failed = [case.id for case in decisions.select(ledger.read, statuses=[Status.FAILED]) if case.name == "storm"]
        retry(ledger, failed[0])
        [doubtful] = decisions.select(ledger.read, statuses=[Status.DOUBTFUL])
        resolve_failed(ledger, doubtful.id, charged=12)
    bench.switches.set({"fail_prompt": ""})
    order_faults(bench, [{"on": "create", "do": "status", "status": 402, "code": "insufficient_credits"}])
    bench.run(spring)
    order_faults(bench, [])
    bench.run(spring)
    keep_caps(bench, {"run": None, "campaigns": {"spring": 200}, "day": 300, "keep": 50})
    order_faults(bench, FAULTS[:2])
    bench.run(autumn)
    keep_caps(bench, {"run": None, "campaigns": {"autumn": 40}, "day": 300, "keep": None})
    with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as ledger:
        planned = [case.id for case in decisions.select(ledger.read, statuses=[Status.PLANNED])]
        cancel(ledger, planned[0])
    return bench


def shown(report: Report, width: int = 4000) -> str:
    """The text for people, as on a terminal of that width without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False, highlight=False, emoji=False)
    for part in report_view(report, Path("/state/ledger.db")):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def order_faults(bench: Bench, faults: list[object]) -> None:
    """From now on the simulator does these, counted from here."""
    bench.app = Simulator(bench.world, Faults(parse_all(faults)))
    bench.api = SimulatedApi(bench.app)


def read_wallet(bench: Bench) -> int:
    """Write down a wallet reading, as a run does; returns it."""
    found = bench.world.oracle().wallet
    with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as ledger:
        ledger.note(Event.WALLET_READ, account=bench.provider().account.text, credits=found)
    return found


def keep_caps(bench: Bench, caps: dict[str, Any]) -> None:
    """Write the caps into the newest run, as the command does."""
    bench.edit("UPDATE runs SET settings = ? WHERE id = (SELECT max(id) FROM runs)", json.dumps({"caps": caps}))


def report_of(bench: Bench, *, running: bool = False, **words: Any) -> Report:
    """The report over a ledger, as of the bench's clock."""
    with closing(LedgerReader.open(bench.ledger_path)) as read:
        now = bench.clock.wall()
        return make_report(read, ask(read, now=now, **words), now=now, running=running)


def figures(shelf: Shelf, **words: Any) -> Figures:
    read = shelf.ledger.read
    return make_report(read, ask(read, now=shelf.clock.now, **words), now=shelf.clock.now, running=False).total
