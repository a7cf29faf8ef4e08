"""How soon a run that is taken up asks for what is open: with very many jobs in the ledger, beside an empty one.

All jobs are brought into the ledger by batcher's own room for that; a real run buys 1,000, which stay open, and is
killed with SIGKILL; then the same command is started again, and the server's stamps say when its first poll came.
Beside it: the same command with a manifest of one job and no ledger, up to its first submission.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from batcher.clock import SystemClock
from batcher.enrolling import begin_enrolment
from batcher.ledger import LedgerWriter
from batcher.manifest import load

from .figures import Figure, at_most, middle
from .running import UNLIMITED, Server, Start, background, scratch, server, until_request

OPEN = 1000
_MANIFEST = f"""\
campaign: resume
model: grok-imagine-video
matrix: {{resolution: [480p, 720p]}}
prompts:
  - {{file: rows.jsonl, prompt: "A cinematic reveal of {{{{ title }}}}, with smooth camera movement and soft light"}}
limits: {UNLIMITED.replace("in_flight: 256", f"in_flight: {OPEN}")}
polling: {{first: 5s, every: 5s, max: 30s, give_up: 10h}}
"""


def measure(full: bool) -> Iterator[Figure]:
    """100,000 jobs, and a million of them with `full`."""
    for jobs in (100_000, 1_000_000) if full else (100_000,):
        with scratch() as folder, server("--wait", "1000000") as place:
            yield from _measure(jobs, folder, place, full=full)


def _measure(jobs: int, folder: Path, place: Server, *, full: bool) -> Iterator[Figure]:
    many = _write(folder / "many", jobs)
    _leave_open(many, place)
    resumed, fresh = list[Start](), list[Start]()
    for number in range(3 if full else 1):
        resumed.append(until_request(_command(many), place, "poll"))
        fresh.append(until_request(_command(_write(folder / f"fresh-{number}", 1)), place, "submit"))
    until_poll, until_submit = (middle([each.seconds for each in starts]) for starts in (resumed, fresh))
    name = f"{jobs:,} jobs, {OPEN:,} of them open"
    yield Figure(f"start to first submission, an empty ledger and one job ({name})", until_submit, "s")
    yield Figure(f"start to first poll, {name}", until_poll, "s")
    yield at_most(f"the first poll comes later by, {name}", until_poll - until_submit, 1, "s")
    yield Figure(f"peak memory at the first poll, {name}", middle([each.peak for each in resumed]), "MB")
    yield Figure("peak memory at the first submission, an empty ledger", middle([each.peak for each in fresh]), "MB")
    if full:
        with (many / "rows.jsonl").open("a") as rows:
            rows.write('{"title": "one more"}\n')
        yield Figure(
            f"start to first poll after a row was added, {name}",
            until_request(_command(many), place, "poll").seconds,
            "s",
        )


def _write(folder: Path, jobs: int) -> Path:
    """A manifest that makes so many jobs, one or two a row."""
    folder.mkdir()
    (folder / "m.yaml").write_text(_MANIFEST if jobs > 1 else _MANIFEST.replace("[480p, 720p]", "[480p]"))
    with (folder / "rows.jsonl").open("w") as rows:
        for number in range(max(1, jobs // 2)):
            rows.write(json.dumps({"title": f"product {number}"}) + "\n")
    return folder


def _command(folder: Path) -> list[str]:
    files = (str(folder / "m.yaml"), "--state", str(folder / "state"))
    return ["run", *files, "--limit", str(OPEN), "--max-jobs", "10000000", "--quiet"]


def _leave_open(folder: Path, place: Server) -> None:
    """Bring all jobs into the ledger, buy 1,000 that do not end, and kill the run when it has asked for them."""
    (folder / "state").mkdir(mode=0o700)
    with closing(LedgerWriter.open(folder / "state" / "ledger.db", SystemClock())) as ledger:
        begin_enrolment(ledger, [load(folder / "m.yaml")], {})
    with background(_command(folder), place, signal.SIGKILL) as process:
        while len(place.stamps("poll")) < OPEN:
            if process.ended:
                raise RuntimeError("the command ended before all was bought")
            time.sleep(0.2)
    assert len(place.truth()["charged"]) == OPEN
