"""`batcher fetch`: polls, downloads and mends without a manifest, and buys nothing; what is told of missing files."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli.helpers import Cli, Site
from core_helpers import ManualClock

from batcher.ledger import LedgerWriter
from batcher.ledger.queries.run_settings import last_settings
from batcher.settings import Settings
from batcher.simulator.faults import parse_all

STATE = Path("state")


def rows(sql: str = "SELECT * FROM jobs ORDER BY position") -> list[dict[str, Any]]:
    with closing(sqlite3.connect(STATE / "ledger.db")) as ledger:
        ledger.row_factory = sqlite3.Row
        return [dict(row) for row in ledger.execute(sql)]


def bought(place: Site) -> int:
    return len(place.world.oracle().charges)


@pytest.fixture
def made(cli: Cli, place: Site) -> list[Path]:
    """The four files of a run whose manifest is gone since."""
    assert cli("run", "m.yaml", "--quiet").code == 0
    Path("m.yaml").unlink()
    return [STATE / row["result_path"] for row in rows()]


def test_what_is_bought_comes_without_a_manifest(cli: Cli, place: Site) -> None:
    assert cli("run", "m.yaml", "--quiet", "--no-download", "--limit", "3").code in (0, 1)
    Path("m.yaml").unlink()
    ran = cli("fetch", "--json")
    assert (ran.code, bought(place)) == (0, 3)
    assert [row["result_path"] is not None for row in rows()] == [True] * 3 + [False]
    assert ran.document["credits"]["attempts"] == 0


def test_one_job_only(cli: Cli, place: Site) -> None:
    assert cli("run", "m.yaml", "--quiet", "--no-download").code == 0
    assert cli("fetch", rows()[1]["id"][:12], "--quiet").code == 0
    assert [row["result_path"] is not None for row in rows()] == [False, True, False, False]
    assert cli("fetch", "nosuch").code == 2


@pytest.mark.parametrize("command", ["fetch", "run"])
def test_a_missing_file_is_told_and_brought_back(cli: Cli, place: Site, command: str) -> None:
    assert cli("run", "m.yaml", "--quiet").code == 0
    path = STATE / rows()[0]["result_path"]
    content = path.read_bytes()
    path.unlink()
    status = cli("status", "--json")
    assert (status.code, status.document["missing_files"]) == (0, [rows()[0]["result_path"]])
    doctor = cli("doctor", "--json")
    assert any(check["name"] == "files" and "missing" in check["message"] for check in doctor.document["checks"])
    assert cli(command, *(["m.yaml"] if command == "run" else []), "--quiet").code == 0
    assert path.read_bytes() == content
    assert bought(place) == 4
    assert cli("status", "--json").document["missing_files"] == []


def test_a_changed_file_stays_and_its_original_comes_beside_it(cli: Cli, place: Site, made: list[Path]) -> None:
    content = made[1].read_bytes()
    made[1].write_bytes(b"x" * len(content))  # of the same size: only its hash tells
    made[2].write_bytes(b"edited")
    ran = cli("fetch", "--quiet")
    assert ran.code == 0
    assert ran.err.count("has been changed") == 2
    assert (made[1].read_bytes(), made[2].read_bytes()) == (b"x" * len(content), b"edited")
    assert made[1].with_suffix(".original.mp4").read_bytes() == content
    asked = len([each for each in place.world.oracle().requests if each.kind == "result"])
    assert cli("fetch", "--quiet").code == 0
    assert len([each for each in place.world.oracle().requests if each.kind == "result"]) == asked, (
        "it is there already"
    )
    assert bought(place) == 4


def test_forgotten_files_are_not_wanted_until_they_are(cli: Cli, place: Site, made: list[Path]) -> None:
    job = rows()[0]["id"]
    made[0].unlink()
    assert cli("fetch", "--forget").code == 2
    assert cli("fetch", job, "--forget", "--json").document["forgotten"] == 1
    assert cli("status", "--json").document["missing_files"] == []
    assert cli("fetch", "--quiet").code == 0
    assert not made[0].exists()
    assert cli("fetch", job, "--quiet").code == 0
    assert made[0].exists()


def test_what_is_kept_aside_is_accepted_by_a_person(cli: Cli, place: Site) -> None:
    place.app.faults.replace(parse_all([{"on": "result", "do": "html"}]))
    text = Path("m.yaml").read_text()
    Path("m.yaml").write_text(text + "retries: {times: 1}\n")
    assert cli("run", "m.yaml", "--quiet", "--limit", "1").code == 1
    [row] = [each for each in rows() if each["status"] == "succeeded"]
    kept = [path for path in (STATE / "unverified").rglob("*") if path.is_file()]
    assert (len(kept), row["result_path"]) == (1, None)
    content = kept[0].read_bytes()
    ran = cli("fetch", row["id"], "--accept")
    assert ran.code == 0, ran
    [row] = [each for each in rows() if each["id"] == row["id"]]
    assert (STATE / row["result_path"]).read_bytes() == content
    assert cli("fetch", row["id"], "--accept").code == 2


def test_an_error_of_the_manifest_names_fetch_where_something_is_paid(
    cli: Cli, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the ledger is that knows its campaign."""
    assert cli("run", "m.yaml", "--quiet", "--no-download", "--limit", "1").code == 0
    (tmp_path / "deep/er").mkdir(parents=True)
    folders = {".": "`batcher fetch` goes on", "deep/er": f"`batcher fetch --state {tmp_path / 'state'}` goes on"}
    for folder, words in folders.items():
        monkeypatch.chdir(tmp_path / folder)
        for text, named in {"campaign: tiny\nmodle: x\n": True, "campaign: other\nmodle: x\n": False}.items():
            Path("f.yaml").write_text(text)
            ran = cli("run", "f.yaml")
            assert (ran.code, words in ran.err) == (2, named), ran
    monkeypatch.chdir(tmp_path)
    for unnamed in ("modle: x\n", None):
        Path("f.yaml").write_text(unnamed) if unnamed else Path("f.yaml").unlink()
        assert "`batcher fetch` goes on" in cli("run", "f.yaml").err


def test_it_goes_by_what_the_campaigns_were_run_with_last(cli: Cli, place: Site) -> None:
    """As far as the ledger knows it; never by less than a number."""
    polling = "polling: {first: 20ms, every: 30ms, max: 40ms, give_up: 2h}"
    changed = {
        "limits": "limits: {submit: 500/second, requests: 700/minute, in_flight: 7, downloads: 2}",
        "polling": polling,
        "retries": "retries: {times: 3, replay_window: 30m, outage: 10m}",
        "results": "results: {sidecar: true}",
    }
    text = "\n".join(line for line in Path("m.yaml").read_text().splitlines() if line.split(":")[0] not in changed)
    Path("m.yaml").write_text("\n".join([text, *changed.values(), ""]))
    assert cli("run", "m.yaml", "--quiet", "--limit", "0").code in (0, 1)
    assert cli("fetch", "--quiet").code in (0, 1)
    ran, fetched = ({**json.loads(row["settings"])} for row in rows("SELECT settings FROM runs ORDER BY id"))
    names = ("limits", "polling", "retries", "sidecars")
    assert [fetched[name] for name in names] == [ran[name] for name in names]
    assert (fetched["limits"]["in_flight"], fetched["polling"]["give_up"], fetched["retries"]["times"]) == (7, 7200, 3)


UNUSABLE = (
    *("", "{", "[]", "{}", '{"limits": 3, "polling": [], "retries": null, "sidecars": 1}'),
    '{"limits": {"submit": {"count": 0, "seconds": 1}, "requests": {"count": -1, "seconds": 60}, "in_flight": 0}}',
    '{"limits": {"submit": {"count": 1, "seconds": 0}, "requests": {"count": 1, "seconds": Infinity}}}',
    '{"polling": {"first": 0, "every": -1, "max": NaN, "give_up": "1h"}, "retries": {"times": 1.5}}',
    '{"retries": {"times": -1, "replay_window": true, "outage": null}}',
)


def test_a_run_that_says_nothing_usable_of_its_settings(tmp_path: Path) -> None:
    with closing(LedgerWriter.open(tmp_path / "ledger.db", ManualClock())) as ledger:
        for settings in UNUSABLE:
            ledger.start_run(version="test", pid=1, account="", campaigns=["tiny"], settings=settings)
            assert last_settings(ledger.read, "tiny") == Settings() == last_settings(ledger.read, "other"), settings


def test_each_campaign_says_for_itself_whether_it_downloads(cli: Cli, place: Site) -> None:
    text = Path("m.yaml").read_text()
    Path("n.yaml").write_text(text.replace("tiny", "there") + "results: {download: false}\n")
    assert cli("run", "m.yaml", "n.yaml", "--quiet").code == 0
    found = {row["campaign"]: row["result_path"] is not None for row in rows()}
    assert found == {"tiny": True, "there": False}
