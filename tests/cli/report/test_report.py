"""`batcher report` itself: its forms, its faults, while a run is going, and beside the wallet."""

from __future__ import annotations

import csv
import io
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli.helpers import MANIFEST, Cli, Site
from core_helpers import multiply
from support import Bench

from batcher.ledger import hold_lock


@pytest.fixture
def bought(cli: Cli, place: Site, tmp_path: Path) -> Site:
    """Four films for 10 credits each, of a wallet of 1000."""
    (tmp_path / "m.yaml").write_text(MANIFEST + "budget: {keep: 900}\n")
    assert cli("run", "m.yaml").code == 0
    return place


@pytest.fixture
def night(cli: Cli, told: Bench, tmp_path: Path) -> None:
    """The ledger of the reports' story, and no API."""
    shutil.copytree(told.state, tmp_path / "state")


def edit(sql: str, *values: object) -> None:
    with closing(sqlite3.connect("state/ledger.db")) as ledger, ledger:
        ledger.execute(sql, values)


def test_every_form_from_the_ledger_alone(cli: Cli, night: None) -> None:
    text, document = cli("report").out, cli("report", "--json").document
    assert "campaign autumn      40        18     12     10   after" in text
    assert "Cap campaign autumn is 14 credits short of that." in text
    assert document["total"]["credits"]["settled"] == 93
    assert document["forecast"]["credits"] == 24
    assert document["reconcile"] is None
    assert document["ledger"] == str(Path("state/ledger.db").absolute())
    later = cli("report", "--format", "json").document
    assert later | {"as_of": None} == document | {"as_of": None}
    records = list(csv.DictReader(io.StringIO(cli("report", "--format", "csv", "--by", "mode").out)))
    assert [(r["mode"], r["jobs"], r["credits_settled"]) for r in records] == [
        ("fun", "5", "27"),
        ("normal", "11", "66"),
    ]


def test_groups_with_commas_or_one_by_one(cli: Cli, night: None) -> None:
    one = cli("report", "--json", "--by", "mode, prompt", "--by", "day").document
    assert one["by"] == ["mode", "prompt", "day"]
    assert one["rows"] == cli("report", "--json", "--by", "mode", "--by", "prompt", "--by", "day").document["rows"]
    assert [list(row["by"].values())[:2] for row in one["rows"]][:2] == [["fun", "-rain"], ["fun", "boat"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "moed"], "Did you mean 'mode'?"),
        (["--campaign", "sprig"], "Did you mean 'spring'?"),
        (["--since", "soon"], "'soon' is not a time"),
        (["--json", "--format", "csv"], "two things"),
        (["--format", "xml"], "'xml' is not one of"),
    ],
)
def test_what_cannot_be_asked(cli: Cli, night: None, words: list[str], message: str) -> None:
    ran = cli("report", *words)
    assert ran.code == 2
    assert message in ran.err
    if "--json" in words:
        assert ran.document["error"]["kind"] == "usage"


def test_without_a_ledger(cli: Cli) -> None:
    assert cli("report").code == 7


def test_while_a_run_is_going(cli: Cli, night: None) -> None:
    edit("UPDATE runs SET ended_at = NULL")
    assert cli("report", "--json").document["running"] is False
    with hold_lock(Path("state"), started="2026-01-02T03:04:05Z"):
        assert cli("report", "--json").document["running"] is True
        assert "; a run is going." in cli("report").out


def test_nothing_of_a_name_reaches_the_terminal_or_a_spreadsheet_raw(cli: Cli, night: None) -> None:
    nasty = '=HYPERLINK("x")\x1b]0;pwned\x07\u202eevil\x9b2J'
    edit("UPDATE wanted SET name = ?", nasty)
    edit("UPDATE wanted SET error_code = ?, error_message = ?, status = 'failed'", nasty, f"[red]{nasty}")
    edit("UPDATE wanted SET name = name || char(127) WHERE seq = 1")
    assert cli("report", "--by", "prompt", "--json").document["rows"][-1]["by"] == {"prompt": f"{nasty}\x7f"}
    for words in ([], ["--json"], ["--format", "csv"]):
        out = cli("report", "--by", "prompt", *words).out
        assert "evil" in out
        assert not set(out) & set("\x1b\x07\u202e\x7f\x9b")
    [header, record, *_] = csv.reader(io.StringIO(cli("report", "--by", "prompt", "--format", "csv").out))
    assert header[0] == "prompt"
    assert record[0].startswith("'=HYPERLINK")
    assert "[red]" in cli("report").out


def test_many_rows_are_for_a_program(cli: Cli, night: None) -> None:
    changes = {"status": "'planned'", "attempt_id": "NULL", "error_code": "NULL", "error_message": "NULL"}
    multiply(Path("state/ledger.db"), 250, "1", name="printf('many-%03d', i)", **changes)
    out = cli("report", "--by", "prompt").out
    assert "… and 54 more rows; `batcher report --format csv` has them all." in out
    assert "\ntotal       266 " in out
    assert len(cli("report", "--by", "prompt", "--format", "csv").out.splitlines()) == 255


def online(cli: Cli) -> Any:
    return cli("report", "--online", "--json").document["reconcile"]


def test_online(cli: Cli, bought: Site) -> None:
    first = online(cli)
    assert (first["wallet"], first["settled"], first["held"]) == (960, 40, 0)
    with closing(sqlite3.connect("state/ledger.db")) as ledger:
        readings = ledger.execute("SELECT count(*) FROM events WHERE event = 'wallet_read'").fetchone()[0]
        sent = ledger.execute("SELECT count(*) FROM sends WHERE kind = 'credits'").fetchone()[0]
    assert readings >= 1
    cli("report", "--online")
    with closing(sqlite3.connect("state/ledger.db")) as ledger:
        again = ledger.execute("SELECT count(*) FROM sends WHERE kind = 'credits'").fetchone()[0]
    assert again == sent + 1
    second = online(cli)
    assert (second["difference"], second["unexplained"]) == (0, 0)
    assert second["since"]["credits"] + 0 == second["expected"] + second["spent"]
    assert "Wallet and ledger agree." in cli("report", "--online").out
    bought.world.set_wallet(1200)
    out = cli("report", "--online").out
    assert re.search(r"difference +\+240\n", out)
    assert "240 credits came in that this ledger knows nothing of" in out
    bought.world.set_wallet(900)
    assert "60 credits went that this ledger knows nothing of" in cli("report", "--online").out


def test_the_first_reading_is_kept_for_the_next_time(cli: Cli, bought: Site) -> None:
    edit("DELETE FROM events WHERE event = 'wallet_read'")
    assert "No earlier reading is known" in cli("report", "--online").out
    assert "Wallet and ledger agree." in cli("report", "--online").out


def test_online_what_is_doubtful_may_explain_it(cli: Cli, bought: Site) -> None:
    edit("DELETE FROM events WHERE event = 'wallet_read'")  # the run's own
    cli("report", "--online")
    edit("UPDATE wanted SET status = 'doubtful' WHERE status = 'succeeded'")
    edit("UPDATE attempts SET outcome = 'doubtful', final_credits = NULL")
    bought.world.set_wallet(950)
    out = cli("report", "--online").out
    assert "It may be up to 40 lower or 40 higher: doubtful jobs" in out
    assert "That explains the difference." in out


def test_online_needs_a_key(cli: Cli, bought: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIVYA_API_KEY")
    ran = cli("report", "--online")
    assert ran.code == 2
    assert "RIVYA_API_KEY is not set" in ran.err
    monkeypatch.setenv("RIVYA_API_KEY", "rvya_sk_wrong")
    assert cli("report", "--online").code == 4
