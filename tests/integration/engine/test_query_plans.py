"""No query that runs while batcher works reads a whole table: SQLite is asked for the plan of each one."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import events, faults, manifest, pictured
from integration.lifecycle.test_chains import chain
from support import Bench

from batcher.ledger import Change, LedgerWriter, NotAdmitted
from batcher.ledger.store import caps, purchases
from batcher.ledger.store.caps import Admission
from batcher.ledger.store.facts import Facts
from batcher.settings import Selection
from batcher.simulator.switches import Limit

TABLES = ("wanted", "attempts", "events", "files", "sends", "uploads", "spent", "inputs")
#: Indexes that hold only rows of what is still under way.
OPEN = ("wanted_unsettled", "files_unsaved")
Statements = dict[str, Any]


class Watched(sqlite3.Connection):
    """Keeps each statement that is carried out, once, with values that it had."""

    seen: Statements | None = None

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        if self.seen is not None:
            self.seen.setdefault(sql, values)
        return super().execute(sql, values)

    def executemany(self, sql: str, rows: Any, /) -> sqlite3.Cursor:
        rows = list(rows)
        if self.seen is not None and rows:
            self.seen.setdefault(sql, rows[0])
        return super().executemany(sql, rows)


def scans(ledger: sqlite3.Connection, sql: str, values: Any = ()) -> list[str]:
    """The steps of a statement that read a whole table of the ledger."""
    named = re.findall(rf"(?:FROM|JOIN|INTO|UPDATE) ({'|'.join(TABLES)})\b(?: AS (\w+))?", sql)
    tables = {alias or table for table, alias in named} | set(TABLES)
    steps = [row["detail"] for row in ledger.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    found = [step for step in steps if (match := re.match(r"SCAN (\w+)", step)) and match[1] in tables]
    # SQLite says so of min() and max() too where it has no index for them; of the row id it needs none.
    bare = [step for step in steps if (match := re.fullmatch(r"SEARCH (\w+)", step)) and match[1] in tables]
    found += [step for step in bare if not re.search(rf"max\(id\)[ +1]* FROM {step.split()[1]}\b(?! WHERE)", sql)]
    # A foreign key's children, looked at only while one is violated, which no statement of ours does.
    children = "SCAN wanted" if sql.startswith("INSERT INTO attempts") else ""
    return [step for step in found if step != children and not step.endswith(OPEN)]


def trigger_statements(ledger: sqlite3.Connection) -> Iterator[str]:
    """What triggers do: SQLite tells no plan of that unless it is asked for by itself."""
    for (sql,) in ledger.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'"):
        body = sql.partition("BEGIN")[2].rpartition("END")[0]
        for statement in filter(str.strip, body.split(";")):
            yield re.sub(r"\b(?:NEW|OLD)\.(\w+)", r":\1", statement.strip())


@contextmanager
def planner(bench: Bench) -> Iterator[sqlite3.Connection]:
    """The ledger, to ask for plans."""
    Watched.seen = None
    with closing(sqlite3.connect(bench.ledger_path)) as ledger:
        ledger.row_factory = sqlite3.Row
        yield ledger


@pytest.fixture
def seen(bench: Bench) -> Iterator[Statements]:
    """What runs carry out while `Watched.seen` says so."""
    bench.connection = Watched
    yield {}
    Watched.seen = None


def work(bench: Bench, seen: Statements) -> set[str]:
    """Runs in which everything happens that can happen; the events that they left."""

    def begin(change: Change) -> None:
        if change.event == "run_started":
            Watched.seen = seen
        elif change.event == "run_ended":
            Watched.seen = None

    bench.observe = begin
    caps = "budget: {campaign: 400, day: 500, keep: 99000}\n"
    texts = [f"Boat {n}" for n in range(14)]
    spring = manifest(bench, *texts, more=caps)
    refused = {"on": "create", "do": "status", "status": 422, "code": "validation_error"}
    # The answer to the first job is lost and its repeat refused: doubtful; the third is refused at once: failed.
    faults(bench, {"on": "create", "do": "lost", "nth": 1}, *({**refused, "nth": nth} for nth in (2, 3)))
    bench.run(spring, selection=Selection(only=("p1*", "p2"), limit=5))
    bench.switches.fail_prompt = "Boat 7"
    bench.switches.limits = (Limit(("create",), 2, 10.0),)
    bench.switches.price_rise = (9, 1.5)
    faults(bench, {"on": "status", "do": "status", "status": 500, "nth": 2})
    begun = bench.clock.wall()

    def fail(request: httpx.Request) -> None:
        if 15 < bench.clock.wall() - begun < 200:
            raise httpx.ConnectError("down", request=request)

    bench.api.before = fail
    autumn = pictured(bench, 6, more=caps.replace("400", "40"))
    autumn.write_text(autumn.read_text("utf-8").replace("spring", "autumn"), "utf-8")
    bench.run(spring, autumn)
    fewer = autumn.read_text("utf-8").replace("  - {name: p6, prompt: Boat 6}\n", "")
    bench.run(spring, bench.write(fewer, autumn.name))
    bench.run(manifest(bench, "Ship", name="free"))  # the cap is what the plan quotes
    return set(events(bench))


def scanning(ledger: sqlite3.Connection, seen: Statements) -> dict[str, list[str]]:
    """Statements that read a whole table, with the steps in which they do."""
    verbs = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
    asked = {sql: values for sql, values in seen.items() if sql.split()[0] in verbs}
    assert len(asked) > 20
    return {sql: bad for sql, values in asked.items() if (bad := scans(ledger, sql, values))}


def test_no_query_of_a_run_scans_a_table(bench: Bench, seen: Statements) -> None:
    happened = work(bench, seen)
    assert happened >= {
        *("planned", "cancelled", "intended", "maybe_received", "doubtful", "refused", "failed", "succeeded", "saved"),
        *("uploaded", "cap_reached", "price_rose", "outage_began", "outage_ended", "limit_cut", "wallet_read"),
    }
    with planner(bench) as ledger:
        assert scanning(ledger, seen) == {}


def test_no_query_for_chains_scans_a_table(bench: Bench, seen: Statements) -> None:
    LedgerWriter.open(bench.ledger_path, bench.clock).close()
    path = chain(bench, more="budget: {campaign: 24, keep: 10}\n")
    Watched.seen = seen
    bench.run(path)
    with planner(bench) as ledger:
        of_chains = {sql: values for sql, values in seen.items() if " sources " in sql}
        assert sum("wanted_begun" in sql for sql in of_chains) == 2
        assert {sql: bad for sql, values in of_chains.items() if (bad := scans(ledger, sql, values))} == {}


def test_no_trigger_scans_a_table(bench: Bench) -> None:
    bench.run(manifest(bench, "Boat"))
    with planner(bench) as ledger:
        bodies = list(trigger_statements(ledger))
        assert len(bodies) == 4
        names = {name for sql in bodies for name in re.findall(r":(\w+)", sql)}
        assert [sql for sql in bodies if scans(ledger, sql, dict.fromkeys(names, 1))] == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM attempts AS a WHERE +a.account = ?",
        "SELECT min(attempt_id) FROM wanted WHERE status = 'failed' AND created_at > ?",
        "SELECT sum(held) FROM spent WHERE held > ?",
    ],
)
def test_a_scan_is_found(bench: Bench, seen: Statements, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    honest = caps.admission

    def planted(facts: Facts, *words: Any, **named: Any) -> Admission | NotAdmitted:
        facts.read.row(sql, (named["account"],))
        return honest(facts, *words, **named)

    monkeypatch.setattr(purchases, "admission", planted)
    LedgerWriter.open(bench.ledger_path, bench.clock).close()  # what makes the tables is no query of a run
    Watched.seen = seen
    bench.run(manifest(bench, "Boat"))
    with planner(bench) as ledger:
        assert sql in scanning(ledger, seen)


def test_whatever_index_it_goes_by_a_scan_is_one(bench: Bench) -> None:
    bench.run(manifest(bench, "Boat"))
    with planner(bench) as ledger:
        assert scans(ledger, "SELECT campaign, status, count(*) FROM wanted GROUP BY 1, 2")
        assert scans(ledger, "SELECT w.id FROM wanted AS w JOIN files AS f ON f.sha256 = w.reference_sha256")
        assert not scans(ledger, "SELECT * FROM wanted WHERE campaign = 'x' AND status = 'planned'")
        assert not scans(ledger, "SELECT * FROM campaigns")
