"""DuckDB itself reads the ledger, while it is open: `jobs` with types, and every table that docs/ledger.md names."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from core_helpers import Shelf, make_spec, make_task

duckdb = pytest.importorskip("duckdb")
PAGE = (Path(__file__).parents[3] / "docs/ledger.md").read_text()
OTHERS = PAGE.partition("\n## The other tables\n")[2].partition("\n## ")[0]
TABLES = ["jobs", "attempts", *re.findall(r"^\| `(\w+)` \|", OTHERS, re.MULTILINE)]
NUMBERS = {"take", "attempt", "quoted_credits", "reserved_credits", "hold_credits", "final_credits", "position"}


@pytest.fixture
def duck(shelf: Shelf, tmp_path: Path) -> Iterator[Any]:
    """The ledger as DuckDB attaches it, by the SQLite extension of a wheel (nothing is fetched)."""
    found = find_spec("duckdb_extension_sqlite")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the wheel duckdb-extension-sqlite")
    [there] = Path(found.submodule_search_locations[0]).glob("extensions/*/sqlite.duckdb_extension")
    extension = tmp_path / "sqlite_scanner.duckdb_extension"  # the name by which DuckDB finds its entry
    shutil.copy(there, extension)
    shelf.enrol([make_spec(number) for number in (1, 2)])
    shelf.ledger.submitted(shelf.buy(1), make_task(1))
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        connection.execute(f"ATTACH '{shelf.path}' AS ledger (TYPE sqlite, READ_ONLY)")
        yield connection


def test_jobs_have_types(duck: Any) -> None:
    types = {row[0]: row[1] for row in duck.execute("DESCRIBE ledger.jobs").fetchall()}
    assert {name for name, kind in types.items() if kind == "BIGINT"} == NUMBERS
    assert set(types.values()) == {"BIGINT", "VARCHAR"}
    assert duck.execute("SELECT sum(reserved_credits), max(attempt) FROM ledger.jobs").fetchall() == [(10, 1)]
    assert duck.execute("SELECT DISTINCT result_url, result_path FROM ledger.jobs").fetchall() == [(None, None)]


def test_every_documented_table_is_counted(duck: Any, shelf: Shelf) -> None:
    assert len(TABLES) > 10
    for table in TABLES:
        [(rows,)] = duck.execute(f"SELECT count(*) FROM ledger.{table}").fetchall()
        assert [{"rows": rows}] == shelf.rows(f"SELECT count(*) AS rows FROM {table}"), table
