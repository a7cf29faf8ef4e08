"""`batcher results`: paths for scripts, and the sidecars beside the files."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path

import pytest
from cli.export.helpers import held_to, plain, second_file, steady
from cli.helpers import ROOT, Cli
from core_helpers import retry
from support import Bench

from batcher.jobs import JobId, Status
from batcher.ledger import LedgerWriter

REVEAL = "state/results/spring/reveal-32aa52ddc832.mp4"
DUNES = ["state/results/spring/dunes-5ef1bebc397d.mp4", "state/results/spring/dunes-2327889f17cd.mp4"]
STORM = "state/results/spring/storm-1d9eb690f5c0.mp4"
LEAF = "state/results/autumn/leaf-4886b0201564.mp4"


def lines(cli: Cli, *words: str) -> list[str]:
    ran = cli("results", *words)
    assert (ran.code, ran.err) == (0, "")
    return ran.out.splitlines()


def test_paths_lead_to_the_files_in_the_order_of_the_manifest(bench: Bench, cli: Cli) -> None:
    assert lines(cli, "spring") == [REVEAL, *DUNES, STORM]
    assert all(Path(path).is_file() for path in lines(cli, "spring"))
    assert lines(cli, "autumn", "spring") == [LEAF, REVEAL, *DUNES, STORM]
    whole = str(bench.state.absolute())
    assert lines(cli, "autumn", "--state", whole) == [LEAF.replace("state", whole, 1)]


def test_every_file_of_a_job(bench: Bench, cli: Cli) -> None:
    more = second_file(bench, "reveal")
    assert lines(cli, "spring", "--where", "name=reveal") == [REVEAL, f"state/{more}"]


def test_nul_for_scripts(bench: Bench, cli: Cli) -> None:
    assert cli("results", "spring", "-0", "--where", "mode=fun").out == "".join(f"{path}\0" for path in DUNES)
    assert cli("results", "spring", "--null", "--json").code == 2


def test_a_job_that_is_to_be_bought_again_is_found_by_its_status(bench: Bench, cli: Cli) -> None:
    (job,) = (job["id"] for job in bench.jobs() if job["name"] == "reveal")
    with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as ledger:
        retry(ledger, JobId(job), [Status.SUCCEEDED])
    assert lines(cli, "spring") == [*DUNES, STORM]
    assert lines(cli, "spring", "--status", "planned") == [REVEAL]
    assert lines(cli, "spring", "--status", "planned", "--status", "succeeded") == [REVEAL, *DUNES, STORM]
    assert lines(cli, "spring", "--status", "doubtful", "--status", "failed") == []


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["duration=10"], [REVEAL]),
        (["duration=10.0"], [REVEAL]),
        (["duration=6"], [*DUNES, STORM]),  # the catalogue's default, which no job sets
        (["mode=fun"], DUNES),
        (["mode=normal"], [REVEAL, STORM]),
        (["mode=fun", "take=2"], DUNES[1:]),
        (["name=storm", "model=grok-imagine-video"], [STORM]),
        (["mode=*n*"], [REVEAL, *DUNES, STORM]),
        (["param.mode=fun", "name=d*"], DUNES),
        (["name=storm", "mode=fun"], []),
    ],
)
def test_where(bench: Bench, cli: Cli, where: list[str], found: list[str]) -> None:
    assert lines(cli, "spring", *(word for text in where for word in ("--where", text))) == found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sprung"], "there is no campaign 'sprung'"),
        (["spring", "--where", "mode"], "--where mode: no condition"),
        (["spring", "--where", "=fun"], "--where =fun: no condition"),
        (["spring", "--where", "durtion=10"], "--where durtion: no job has such a param, variable or tag"),
        (["spring", "--where", "mode=Fun"], "--where mode=Fun: no job has such a value"),
        (["spring", "--where", "duration="], "no job has such a value"),
        ([], "Missing argument 'CAMPAIGN...'"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_cannot_be_had(bench: Bench, cli: Cli, words: list[str], message: str, form: list[str]) -> None:
    ran = cli("results", *words, *form)
    assert ran.code == 2
    assert message in ran.err
    assert message in ran.document["error"]["message"] if form else ran.out == ""


def test_as_json(bench: Bench, cli: Cli, tmp_path: Path, story: Path) -> None:
    held_to("results.json", steady(cli("results", "autumn", "--json").out, tmp_path, story))
    found = cli("results", "spring", "autumn", "--json").document["results"]
    assert [each["path"] for each in found] == [REVEAL, *DUNES, STORM, LEAF]
    assert cli("results", "spring", "--status", "failed", "--json").document["results"] == []


# Sidecars


def sidecar(path: str) -> Path:
    return Path(f"{path}.json")


def test_sidecars_tell_what_the_ledger_knows(bench: Bench, cli: Cli, story: Path) -> None:
    ran = cli("results", "spring", "autumn", "--sidecars")
    assert (ran.code, ran.err) == (0, "5 sidecars written.\n")
    assert ran.out.splitlines() == [REVEAL, *DUNES, STORM, LEAF]
    held_to("sidecar.json", steady(sidecar(LEAF).read_text("utf-8"), story))
    for path in (REVEAL, *DUNES, STORM, LEAF):
        found = json.loads(sidecar(path).read_text("utf-8"))
        (job,) = plain(bench, "SELECT * FROM jobs WHERE id = ?", found["job"])
        assert job["result_path"] == path.removeprefix("state/")
        assert (job["prompt"], json.loads(job["params"]), job["take"]) == (
            found["prompt"],
            found["params"],
            found["take"],
        )
        assert job["task_id"] == found["task_id"]
        assert job["final_credits"] == found["credits"]["final"]
        assert job["result_sha256"] == found["file"]["sha256"]
        assert found["sidecar_of"] == Path(path).name
        assert found["attempt"] == (2 if path == STORM else 1)
    (leaf,) = plain(bench, "SELECT reference_sha256 FROM wanted WHERE name = 'leaf'")
    assert json.loads(sidecar(LEAF).read_text("utf-8"))["reference_sha256"] == leaf["reference_sha256"] != None  # noqa: E711


def test_sidecars_are_brought_up_to_date(bench: Bench, cli: Cli) -> None:
    assert cli("results", "spring", "--sidecars", "--where", "mode=fun").err == "2 sidecars written.\n"
    before = {path: sidecar(path).stat() for path in DUNES}
    assert cli("results", "spring", "--sidecars").err == "2 sidecars written; 2 unchanged.\n"
    assert {path: sidecar(path).stat().st_ino for path in DUNES} == {p: stat.st_ino for p, stat in before.items()}
    old = sidecar(DUNES[0]).read_text("utf-8")
    sidecar(DUNES[0]).write_text(old.replace('"final": 10', '"final": 11'), "utf-8")
    assert cli("results", "spring", "--sidecars").err == "1 sidecar written; 3 unchanged.\n"
    assert sidecar(DUNES[0]).read_text("utf-8") == old
    names = sorted(path.name for path in Path(REVEAL).parent.iterdir())
    assert names == sorted(Path(p).name + end for p in (REVEAL, *DUNES, STORM) for end in ("", ".json"))


@pytest.mark.parametrize("foreign", ["notes of mine", '{"sidecar_of": "another.mp4"}', "[1]", "\xff", '"x"' * 400_000])
def test_a_file_of_somebody_else_stays(bench: Bench, cli: Cli, foreign: str) -> None:
    data = foreign.encode("latin-1")
    sidecar(REVEAL).write_bytes(data)
    ran = cli("results", "spring", "--sidecars")
    assert (ran.code, ran.err) == (1, "3 sidecars written; 1 not written: a file of somebody else has the name.\n")
    assert sidecar(REVEAL).read_bytes() == data


def test_a_link_is_not_followed(bench: Bench, cli: Cli, tmp_path: Path) -> None:
    assert cli("results", "spring", "--sidecars").code == 0
    elsewhere = tmp_path / "elsewhere.json"
    sidecar(REVEAL).rename(elsewhere)
    elsewhere.write_text(elsewhere.read_text("utf-8").replace("HYPERLINK", "x"), "utf-8")
    text = elsewhere.read_text("utf-8")
    sidecar(REVEAL).symlink_to(elsewhere)
    assert cli("results", "spring", "--sidecars").code == 1
    assert elsewhere.read_text("utf-8") == text
    assert sidecar(REVEAL).is_symlink()


def test_a_file_that_was_moved_away_gets_none(bench: Bench, cli: Cli) -> None:
    Path(STORM).unlink()
    ran = cli("results", "spring", "--sidecars")
    told = "3 sidecars written; 1 not written: the file that it belongs to is not there.\n"
    assert (ran.code, ran.err) == (0, told)
    assert not sidecar(STORM).exists()


def test_the_page_has_every_member_of_a_sidecar(bench: Bench, cli: Cli) -> None:
    cli("results", "autumn", "--sidecars")
    page = (ROOT / "docs/json.md").read_text("utf-8").partition("## The sidecar of a file")[2]
    named = set(re.findall(r"`(\w+)`", page))
    found = json.loads(sidecar(LEAF).read_text("utf-8"))
    inner = {name for part in ("credits", "times", "file") for name in found[part]}
    assert set(found) | inner <= named
