"""The pages cannot drift: every table, column, status, exit code, manifest key and setting stands on its page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from virtual_time import VirtualClock

from batcher.cli.timeline_view import MET
from batcher.errors import Kind, exit_code
from batcher.jobs import MOVES, Status
from batcher.ledger import LedgerWriter
from batcher.ledger.queries.timeline import NOTES
from batcher.manifest import Problems, json_schema, load

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LEDGER = (DOCS / "ledger.md").read_text("utf-8")
CONTRACT = [
    "id",
    "campaign",
    "name",
    "model",
    "prompt",
    "params",
    "reference",
    "take",
    "status",
    "attempt",
    "client_request_id",
    "idempotency_key",
    "task_id",
    "quoted_credits",
    "reserved_credits",
    "final_credits",
    "result_url",
    "result_path",
    "result_sha256",
    "error_code",
    "error_message",
    "created_at",
    "submitted_at",
    "finished_at",
    "updated_at",
]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerWriter]:
    ledger = LedgerWriter.open(tmp_path / "ledger.db", VirtualClock())
    yield ledger
    ledger.close()


def test_every_table_and_column_is_on_the_page(ledger: LedgerWriter) -> None:
    tables = [
        row["name"]
        for row in ledger.read.rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        if not row["name"].startswith(("_", "sqlite_"))
    ]
    assert {"jobs", "attempts", "events", "uploads", "runs"} <= set(tables)
    for table in tables:
        columns = {row["name"] for row in ledger.read.rows(f"PRAGMA table_info({table})")}
        if f"## `{table}`" in LEDGER:
            text = LEDGER.partition(f"## `{table}`")[2].partition("\n## ")[0]
        else:
            text = next(line for line in LEDGER.splitlines() if line.startswith(f"| `{table}` |"))
        assert columns <= set(re.findall(r"`([a-z0-9_]+)`", text)), table


def test_the_view_has_the_columns_of_the_contract(ledger: LedgerWriter) -> None:
    columns = [row["name"] for row in ledger.read.rows("PRAGMA table_info(jobs)")]
    assert set(CONTRACT) <= set(columns)


def test_every_status_is_explained_and_has_its_moves() -> None:
    glossary = (DOCS / "glossary.md").read_text("utf-8")
    assert all(f"`{status}`" in glossary and f"`{status}`" in LEDGER for status in Status)
    assert set(MOVES) == set(Status)


def test_every_exit_code_is_on_the_page() -> None:
    page = (DOCS / "cli.md").read_text("utf-8")
    assert all(re.search(rf"\b{exit_code(kind)}\b", page) for kind in Kind)


def keys(schema: dict[str, Any]) -> Iterator[str]:
    for name, value in schema.get("properties", {}).items():
        yield name
        yield from keys(value)
    for part in schema.get("$defs", {}).values():
        yield from keys(part)


def test_every_key_of_a_manifest_is_on_the_page() -> None:
    page = (DOCS / "manifest.md").read_text("utf-8")
    missing = {key for key in keys(json_schema()) if not re.search(rf"\b{re.escape(key)}\b", page)}
    assert missing == set()


def test_every_kind_of_line_in_a_timeline_is_on_the_page() -> None:
    table = (DOCS / "report.md").read_text("utf-8").partition("| kind | is |")[2].partition("\n\n")[0]
    told = {word for line in table.splitlines() for word in re.findall(r"`(\w+)`", line.partition(" | ")[0])}
    of_runs = {"run_began", "run_killed", "runs_idle", "no_run", "quiet", "outage"} | (
        {*NOTES} - {"outage_began", "outage_ended", "limit_restored"}
    )
    assert told == of_runs | MET.keys()


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "manifests").glob("*.yaml")))
def test_every_example_expands(name: str) -> None:
    manifest = load(ROOT / "manifests" / name)
    problems = Problems()
    jobs = {spec.id for spec in manifest.expand(problems)}
    problems.raise_if_any()
    assert 5 < len(jobs) < 50


def test_the_quickstart_is_what_the_readme_says() -> None:
    manifest = load(ROOT / "manifests" / "quickstart.yaml")
    specs = list(manifest.expand(Problems()))
    assert len({spec.id for spec in specs}) == 12
    assert {spec.take for spec in specs} == {1, 2}
    assert len({spec.name for spec in specs}) == 2
    assert any(spec.reference for spec in specs)
