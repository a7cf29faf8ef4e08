"""A ledger with everything in it, made by runs against the simulator, and what differs from one making to the next."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from cli.helpers import normal
from core_helpers import cancel, retry
from support import PIXEL, Bench

from batcher.ledger import LedgerWriter
from batcher.settings import Selection
from batcher.simulator.faults import parse_all

FAST = """\
limits: {submit: 1000/second, requests: 1000/second}
polling: {first: 1s, every: 1s, max: 2s}
budget: {campaign: 500}
"""

SPRING = f"""\
campaign: spring
model: grok-imagine-video
prompts:
  - {{name: reveal, prompt: '=HYPERLINK("http://x.test")', params: {{duration: 10}}}}
  - {{name: dunes, prompt: "+ größer, \\"schöner\\"", params: {{mode: fun}}, repeat: 2}}
  - {{name: storm, prompt: -storm over the sea}}
  - {{name: gale, prompt: "@storm\\nin the bay", params: {{mode: fun}}}}
  - {{name: doubt, prompt: Nobody knows}}
  - {{name: later, prompt: Not yet}}
{FAST}"""

AUTUMN = f"""\
campaign: autumn
model: grok-imagine-video
prompts: [{{name: leaf, prompt: A leaf, references: [leaf.png]}}]
{FAST}"""


def mixed(bench: Bench) -> None:
    """Two campaigns on two days: jobs that succeeded, failed, succeeded when retried, are doubtful, were cancelled."""
    (bench.folder / "leaf.png").write_bytes(PIXEL)
    spring, autumn = bench.write(SPRING, "spring.yaml"), bench.write(AUTUMN, "autumn.yaml")
    bench.world.switches.set({"fail_prompt": "storm"})
    bench.run(spring, selection=Selection(only=("reveal", "dunes", "storm", "gale")))
    bench.clock.start += 86400
    lost = {"on": "create", "do": "lost", "nth": 1}
    refused = {"on": "create", "do": "status", "status": 422, "code": "validation_error", "nth": 2}
    bench.app.faults.replace(parse_all([lost, refused]))
    bench.run(spring, selection=Selection(only=("doubt",)))
    bench.app.faults.replace([])
    bench.world.switches.set({"fail_prompt": "", "price_factor": 1.5})
    ids = {job["name"]: job["id"] for job in bench.jobs()}
    with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as ledger:
        retry(ledger, ids["storm"])
        cancel(ledger, ids["later"])
    bench.run(spring, autumn)


def second_file(bench: Bench, job: str) -> str:
    """Give a job's result a second file, which the simulator never does; its path below the state folder."""
    with closing(sqlite3.connect(bench.ledger_path)) as db, db:
        (attempt,) = db.execute("SELECT attempt_id FROM wanted WHERE name = ?", (job,)).fetchone()
        (target,) = db.execute("SELECT target FROM files WHERE attempt_id = ?", (attempt,)).fetchone()
        more = target.replace(".mp4", "-2.mp4")
        values = (attempt, 1, more, "f" * 64, 3, "2027-01-16T08:00:00.000000Z")
        db.execute(
            "INSERT INTO files (attempt_id, number, target, sha256, size, saved_at) VALUES (?,?,?,?,?,?)", values
        )
    (bench.state / more).write_bytes(b"abc")
    return str(more)


def plain(bench: Bench, sql: str, *values: object) -> list[dict[str, Any]]:
    """Rows by plain SQL, beside all of batcher's own."""
    with closing(sqlite3.connect(bench.ledger_path)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql, values)]


def steady(text: str, *folders: Path) -> str:
    """A text without what differs from one making of the ledger to the next."""
    for folder in folders:
        text = text.replace(str(folder), "<folder>")
    text = re.sub(r"^\d+,|(?<=\"id\": )\d+", "<row>", normal(text), flags=re.MULTILINE)
    text = re.sub(r"(?<=\"size\": )\d+", "<size>", text)
    text = re.sub(r"(?<=\"pid\": )\d+", "<pid>", text)
    text = re.sub(r"(?<=\"version\": \")[^\"]+", "<version>", text)
    text = re.sub(r"(?<=<time>,)\d+\.\d+(?=,)", "<seconds>", text)
    text = re.sub(r"(?<=,boot-1,)\d+\.\d+(?=,)", "<seconds>", text)
    return re.sub(r"\d{4}-\d\d-\d\d\b", "<day>", text)


def held_to(name: str, text: str) -> None:
    """Hold a text to its snapshot; look at the difference, and only then put a new one in its place."""
    assert text == (Path(__file__).parent / "snapshots" / name).read_text("utf-8")
