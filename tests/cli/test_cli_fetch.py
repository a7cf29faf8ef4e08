"""`batcher fetch`: polls, downloads and mends without a manifest, and buys nothing; what is told of missing files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli.cli_helpers import Cli, Site

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


def test_an_error_of_the_manifest_names_fetch_where_something_is_paid(cli: Cli, place: Site) -> None:
    assert cli("run", "m.yaml", "--quiet", "--no-download", "--limit", "1").code == 0
    Path("m.yaml").write_text("campaign: tiny\nmodle: x\n")
    ran = cli("run", "m.yaml")
    assert (ran.code, "batcher fetch" in ran.err) == (2, True)


def test_each_campaign_says_for_itself_whether_it_downloads(cli: Cli, place: Site) -> None:
    text = Path("m.yaml").read_text()
    Path("n.yaml").write_text(text.replace("tiny", "there") + "results: {download: false}\n")
    assert cli("run", "m.yaml", "n.yaml", "--quiet").code == 0
    found = {row["campaign"]: row["result_path"] is not None for row in rows()}
    assert found == {"tiny": True, "there": False}
