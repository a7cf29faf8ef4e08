"""`batcher ctl`: what is asked of the run that goes on, as people and programs ask it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cli.helpers import Cli
from core_helpers import Shelf, make_spec
from psycopg.conninfo import conninfo_to_dict

from batcher.cluster.store import PostgresLedger
from batcher.ledger import LedgerWriter, hold_lock

CAPS: dict[str, object] = {
    "limits": {"submit": {"count": 30, "seconds": 60.0}, "requests": {"count": 120, "seconds": 60.0}, "in_flight": 20},
    "caps": {"run": 300, "campaigns": {"spring": 100}, "allowances": {"spring": {"name": "night", "total": 500}}},
}


def started(ledger: LedgerWriter, settings: dict[str, object]) -> int:
    return ledger.start_run(version="1", pid=1, account="a", campaigns=["spring"], settings=json.dumps(settings))


@contextmanager
def going(settings: dict[str, object], *, held: bool = True) -> Iterator[Shelf]:
    """A run that goes on in `state`, or was cut off there."""
    Path("state").mkdir(mode=0o700)
    shelf = Shelf(Path("state/ledger.db"))
    shelf.enrol([make_spec(1)])
    started(shelf.ledger, settings)
    try:
        if held:
            with hold_lock(Path("state"), started="2027-01-15T08:00:00Z"):
                yield shelf
        else:
            yield shelf
    finally:
        shelf.ledger.close()


def test_it_writes_down_what_is_asked_and_shows_what_holds(cli: Cli) -> None:
    with going(CAPS) as shelf:
        assert "is paused by" in cli("ctl", "pause").out
        changed = json.loads(cli("ctl", "limits", "submit=60/minute", "in_flight=40", "--json").out)
        assert changed["changed"] == {"limits.submit": ["30/minute", "60/minute"], "limits.in_flight": [20, 40]}
        assert cli("ctl", "budget", "campaign:spring=50").code == 0, "tightening is free"
        refused = cli("ctl", "budget", "run=400", "campaign:spring=70")
        assert (refused.code, "run 300 → 400, campaign:spring 50 → 70" in refused.err) == (2, True)
        assert "--yes" in refused.err
        assert cli("ctl", "budget", "run=400", "--yes").code == 0
        standing = json.loads(cli("ctl", "status", "--json").out)
        assert (standing["state"], standing["going"], standing["run"]) == ("paused", True, 2)
        assert standing["limits"] == {"submit": "60/minute", "requests": "120/minute", "in_flight": 40}
        caps = {each["cap"]: (each["credits"], each["used"]) for each in standing["budget"]}
        assert caps == {"run": (400, 0), "campaign:spring": (50, 0), "allowance:night": (500, 0)}
        events = [json.loads(row["detail"]) for row in shelf.rows("SELECT * FROM events WHERE event = 'commanded'")]
        assert [each["command"] for each in events] == ["pause", "limits", "budget", "budget"]
        assert len({each["who"] for each in events}) == 1
        assert {row["run_id"] for row in shelf.rows("SELECT * FROM events WHERE event = 'commanded'")} == {2}
        assert cli("ctl", "resume").code == 0
        shelf.ledger.end_run(exit_code=0, reason="done")
        assert shelf.rows("SELECT * FROM commands") == []
    assert cli("ctl", "pause").code == 2
    assert "No run is going" in cli("ctl", "status").out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pause", "now"), "takes nothing more"),
        (("limits",), "limits of what?"),
        (("limits", "submit=60", "downloads=65", "in_flight=0"), "'submit=60'.*'downloads=65'.*'in_flight=0'"),
        (("budget", "campaign=3", "run:x=1", "day=-1", "run=1e3", "keep=3"), "'campaign=3'.*'run:x=1'.*'keep=3'"),
        (
            ("budget", "campaign:sprig=3"),
            "no campaign:sprig.*It has allowance:night, campaign:spring, day",
        ),
        (("stop",), "is not one of"),
    ],
)
def test_what_it_does_not_take(cli: Cli, words: tuple[str, ...], told: str) -> None:
    with going(CAPS) as shelf:
        found = cli("ctl", *words)
        assert (found.code, bool(re.search(told, found.err, re.DOTALL))) == (2, True), found.err
        assert shelf.rows("SELECT * FROM commands") == []


def test_a_saved_plans_total_is_not_raised(cli: Cli) -> None:
    with going(CAPS | {"plan": "p"}):
        assert cli("ctl", "budget", "run=200").code == 0
        found = cli("ctl", "budget", "run=400", "--yes")
        assert (found.code, "saved plan" in found.err) == (2, True)


def test_of_a_run_that_was_cut_off_only_its_pause_is_anybodys_matter(cli: Cli) -> None:
    with going(CAPS) as shelf:
        cli("ctl", "pause")
        shelf.ledger.close()
    shelf.restart()
    assert "The next one begins paused" in cli("ctl", "status").out
    assert cli("ctl", "budget", "run=1").code == 2
    assert "begins as ever" in cli("ctl", "resume").out
    shelf.ledger.close()


@pytest.fixture
def runs(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresLedger]:
    """A ledger on PostgreSQL, on which two runs go on; a third never began to buy."""
    monkeypatch.setenv("BATCHER_LEDGER", f"postgresql:///?{urlencode(conninfo_to_dict(postgres))}")
    with closing(PostgresLedger.connect(postgres)) as ledger:
        for begins in (True, True, False):
            run_id = started(ledger, CAPS)
            if begins:
                spec = "INSERT INTO cluster_runs (run_id, kind, spec) VALUES (%s, 'a batcher 1', '{}') RETURNING 1"
                ledger.connection.query(spec, (run_id,))
        yield ledger


def test_on_postgresql_it_asks_the_same_of_the_run_that_is_named(cli: Cli, runs: PostgresLedger) -> None:
    """What is asked of one of several runs holds for that one alone, and ends with it alone."""
    unnamed = cli("ctl", "pause")
    assert (unnamed.code, "runs 1, 2 are going" in unnamed.err, "--run N" in unnamed.err) == (2, True, True)
    assert cli("ctl", "pause", "--run", "3").code == 2
    assert "is paused by" in cli("ctl", "pause", "--run", "1").out
    changed = cli("ctl", "limits", "submit=60/minute", "in_flight=40", "--run", "1", "--json").document
    assert changed["changed"] == {"limits.submit": ["30/minute", "60/minute"], "limits.in_flight": [20, 40]}
    refused = cli("ctl", "budget", "run=400", "--run", "2")
    assert (refused.code, "run 300 → 400" in refused.err, "--yes" in refused.err) == (2, True, True)
    assert cli("ctl", "budget", "run=400", "--yes", "--run", "2").code == 0
    standing = [cli("ctl", "status", "--run", n, "--json").document for n in "12"]
    assert [each["state"] for each in standing] == ["paused", "buying"]
    assert [each["limits"]["submit"] for each in standing] == ["60/minute", "30/minute"]
    assert [each["budget"][0]["credits"] for each in standing] == [300, 400]
    with closing(PostgresLedger.connect(runs.connection._conninfo)) as other:
        other.join_run(2)
        other.end_run(exit_code=0, reason="done")
        other.connection.query("UPDATE cluster_runs SET ending = '{}' WHERE run_id = 2 RETURNING 1")
    assert cli("ctl", "status", "--json").document["state"] == "paused", "the other run's end is not this one's"
    assert "is draining by" in cli("ctl", "drain").out
    assert cli("ctl", "resume").code == 2
    rows = runs.read.rows("SELECT run_id, detail FROM events WHERE event = 'commanded' ORDER BY id")
    found = [(row["run_id"], json.loads(row["detail"])["command"]) for row in rows]
    assert found == [(1, "pause"), (1, "limits"), (2, "budget"), (1, "drain")]
    runs.connection.query("UPDATE cluster_runs SET ending = '{}' RETURNING 1")
    assert "No run is going" in cli("ctl", "status").out
    assert cli("ctl", "pause").code == 2
