"""The soak's audit (benchmarks/soak) finds what it is there to find: a small run of the real command is clean, and each
way of spoiling what it left behind is found.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import batcher

ROOT = Path(batcher.__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # the benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks.soak.api import Api  # noqa: E402
from benchmarks.soak.audit import audit, busiest  # noqa: E402
from benchmarks.soak.driver import Story, drive  # noqa: E402
from benchmarks.soak.scenarios import Scenario, Sizes, capped  # noqa: E402

Driven = tuple[Scenario, Story, int]


def roomy(scenario: Scenario) -> Scenario:
    """The scenario with ten times its limits, which nobody has to wait for."""
    submit, requests = 10 * scenario.submit, 10 * scenario.requests
    for path in scenario.manifests:
        manifest = json.loads(path.read_text("utf-8"))
        manifest["limits"] |= {"submit": f"{submit}/minute", "requests": f"{requests}/minute"}
        path.write_text(json.dumps(manifest), "utf-8")
    return replace(scenario, submit=submit, requests=requests)


def driven(folder: Path) -> Driven:
    """A small capped campaign against the hostile simulator, by the real command; nobody kills it here."""
    sizes = Sizes(jobs=240, seed=3, kill_every=(900.0, 900.0), outage=0, submit=3000, requests=15000, api_creates=1000)
    scenario = roomy(capped(folder, sizes))
    api = Api(folder / "api", scenario.switches, ROOT)
    api.start()
    try:
        story = drive(scenario, api, ROOT)
        return scenario, story, api.wallet()
    finally:
        api.kill()


def test_the_busiest_window() -> None:
    assert busiest([], 60.0) == 0
    assert busiest([0.0, 59.9, 60.0, 61.0], 60.0) == 3
    assert busiest([0.0, 60.0, 120.0], 60.0) == 1


def sql(*statements: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "state" / "ledger.db", isolation_level=None)) as ledger:
            for statement in statements:
                assert ledger.execute(statement).rowcount > 0

    return spoil


def lines(name: str, change: Callable[[list[dict[str, object]]], None]) -> Callable[[Path], None]:
    """Change the records of one of the simulator's files."""

    def spoil(folder: Path) -> None:
        path = folder / "api" / name
        records = [json.loads(line) for line in path.read_text().splitlines()]
        change(records)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))

    return spoil


def tasks(records: list[dict[str, object]]) -> list[dict[str, object]]:
    return [record for record in records if record["op"] == "task"]


def sold_again(records: list[dict[str, object]]) -> None:
    records.append(tasks(records)[0] | {"id": "task_other", "key": "another key"})


def dearer(records: list[dict[str, object]]) -> None:
    record = max(tasks(records), key=lambda each: str(each["final"]))
    record["final"] = 99


def other_body(records: list[dict[str, object]]) -> None:
    create = next(record for record in records if record.get("kind") == "create")
    create["body"] = "0" * 64


def early(records: list[dict[str, object]]) -> None:
    create = next(record for record in records if record.get("kind") == "create")
    create["at"] = 0.0


def dead(records: list[dict[str, object]]) -> None:
    for record in records:
        if record["op"] == "ended":
            record["did"] = "outage"


def any_file(folder: Path) -> Path:
    return next(path for path in sorted((folder / "state" / "results").rglob("*")) if path.is_file())


def cut(folder: Path) -> None:
    path = any_file(folder)
    path.write_bytes(path.read_bytes()[:-1])


def stray(folder: Path) -> None:
    path = folder / "state" / "results" / ".parts" / "9-0.part"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half")


def tell(text: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        with (folder / "runs.log").open("a") as log:
            log.write(text)

    return spoil


ONE = "id = (SELECT min(id) FROM attempts WHERE outcome = 'succeeded')"
SPOILS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a job paid twice": (lines("journal.jsonl", sold_again), "duplicate", "was charged 2 times"),
    "a task nobody knows": (sql(f"UPDATE attempts SET task_id = NULL WHERE {ONE}"), "lost", "was charged; attempt"),
    "a file gone": (lambda folder: any_file(folder).unlink(), "lost", "has no file"),
    "a file cut": (cut, "lost", "is not what was served"),
    "a stray part": (stray, "breach", "nobody's file: results/.parts/9-0.part"),
    "a dearer task": (lines("journal.jsonl", dearer), "breach", "gone from the wallet"),
    "a settlement forgotten": (
        sql(f"UPDATE attempts SET final_credits = NULL WHERE {ONE}"),
        "breach",
        "still holds its credits",
    ),
    "a sum gone wrong": (sql("UPDATE spent SET settled = settled + 1"), "breach", "the attempts"),
    "another body": (lines("requests.jsonl", other_body), "breach", "another one than the ledger has"),
    "an intent too late": (lines("requests.jsonl", early), "breach", "before its intent was on disk"),
    "a request without a stamp": (
        sql("DELETE FROM sends WHERE kind = 'submit' AND id = (SELECT max(id) FROM sends WHERE kind = 'submit')"),
        "breach",
        "without or before their stamp",
    ),
    "a job in doubt": (
        sql("UPDATE wanted SET status = 'doubtful' WHERE id = (SELECT min(id) FROM jobs WHERE status = 'succeeded')"),
        "breach",
        "is doubtful",
    ),
    "a cheap hold": (
        sql(
            "UPDATE events SET detail = json_set(detail, '$.hold', 1)"
            " WHERE id = (SELECT max(id) FROM events WHERE event = 'intended')"
        ),
        "breach",
        "the last prices were",
    ),
    "an illegal move": (
        sql("DELETE FROM events WHERE id = (SELECT min(id) FROM events WHERE event = 'intended')"),
        "breach",
        "moved from submitting",
    ),
    "a traceback": (tell("Traceback (most recent call last)\n"), "breach", "Traceback"),
    "the key": (tell("rvya_sk_simulated_soak\n"), "breach", "the API key stands in"),
}


def test_a_small_run_is_clean_and_what_is_spoiled_is_found(tmp_path: Path) -> None:
    scenario, story, wallet = driven(tmp_path / "whole")
    whole = audit(scenario, story, wallet)
    assert whole.findings == []
    assert story.endings[3] >= 1, "the cap binds"
    assert whole.settled == whole.charged > 0
    statuses = [job["status"] for job in whole.books.jobs]
    assert len(statuses) == scenario.jobs
    assert {"succeeded", "planned"} <= set(statuses) <= {"succeeded", "planned", "failed"}

    def findings(**changes: Any) -> list[tuple[str, str]]:
        found = audit(replace(scenario, **changes), story, wallet).findings
        return [(finding.sort, finding.text) for finding in found]

    missed = []
    for name, (spoil, sort, text) in SPOILS.items():
        folder = tmp_path / name
        shutil.copytree(scenario.folder, folder)
        spoil(folder)
        found = findings(folder=folder)
        if not any(sort == s and text in t for s, t in found):
            missed.append((name, found))
    assert missed == []
    less = {"soak-capped": scenario.caps["soak-capped"] - 60}
    assert any("over the cap of" in text for _, text in findings(caps=less))
    assert any("in a minute, 3 allowed" in text for _, text in findings(submit=3))
    shutil.copytree(scenario.folder, tmp_path / "an outage")
    lines("requests.jsonl", dead)(tmp_path / "an outage")
    story.outages.append((0.0, 1e12))
    assert any("asked for again in an outage" in text for _, text in findings(folder=tmp_path / "an outage"))
