"""`retry`, `resolve` and `cancel`, between runs and beside one."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from cli.helpers import (
    DOUBT,
    DUNES_1,
    DUNES_2,
    MANIFEST,
    REVEAL_1,
    REVEAL_2,
    Cli,
    Site,
    clean,
    environment,
    go,
    money,
    refused,
    site,
    statuses,
)
from forking import started

from batcher.cli import job_actions
from batcher.ledger import decisions, hold_lock

# Retry


def test_retry_a_campaign(cli: Cli, failed: Site) -> None:
    failed.world.switches.set({"fail_prompt": ""})
    ran = cli("retry", "tiny")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "1 job planned again. The next run buys what the manifest still asks for, as a new attempt, with a new key.\n"
        f"  {DUNES_1}  dunes: failed → planned\n"
    )
    assert cli("retry", "tiny").out == "Nothing to retry.\n"
    assert cli("run", "m.yaml").code == 0
    assert len(failed.world.oracle().tasks) == 5
    assert len(failed.world.oracle().charges) == 5
    assert money() == (0, 40)


def test_retry_some_of_a_campaign(cli: Cli, failed: Site) -> None:
    kept = ["succeeded", "succeeded", "failed", "succeeded"]
    for other in (["--name", "reveal"], ["--where", "product=ring"]):
        assert cli("retry", "tiny", *other).out.startswith("Nothing to retry.")
    for unknown in (["--name", "revel"], ["--code", "timeout"], ["--where", "product=boat"]):
        refused(cli("retry", "tiny", *unknown), f"{' '.join(unknown)}: no job has such a value")
    refused(cli("retry", DUNES_1, "--name", "dunes"), "choose among the jobs of a campaign")
    assert statuses(cli) == kept
    assert cli("retry", "tiny", "--name", "du*", "--code", "generation_*", "--where", "product=watch").code == 0
    assert statuses(cli) == ["succeeded", "succeeded", "planned", "succeeded"]


def test_retry_a_job_by_the_beginning_of_its_id(cli: Cli, failed: Site) -> None:
    assert cli("retry", "7e", DUNES_1).code == 0
    again = cli("retry", "7e")
    assert (again.code, again.out) == (
        0,
        f"Nothing to retry.\n  {DUNES_1}  dunes: left as it is: it is planned already\n",
    )
    assert statuses(cli) == ["succeeded", "succeeded", "planned", "succeeded"]


def test_retry_what_has_succeeded(cli: Cli, failed: Site) -> None:
    refused(
        cli("retry", REVEAL_1, DUNES_1), f"job {REVEAL_1}: it is succeeded; if that is meant, add --status succeeded"
    )
    assert statuses(cli)[2] == "failed", "nothing was changed"
    found = cli("retry", "tiny", "--status", "succeeded", "--status", "failed", "--json").document
    assert [job["from"] for job in found["jobs"]] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert {job["to"] for job in found["jobs"]} == {"planned"}
    assert (found["left"], found["others"]) == ([], {})
    assert cli("run", "m.yaml").code == 1
    assert len(failed.world.oracle().tasks) == 8
    assert money() == (0, 60)
    assert len(list(Path("state/results/tiny").iterdir())) == 6, "no file of the first attempts is lost"


def test_retry_a_result_that_a_run_may_be_fetching(cli: Cli, place: Site, tmp_path: Path) -> None:
    assert cli("run", "m.yaml", "--only", "reveal", "--no-download").code == 0
    with hold_lock(tmp_path / "state", started="now"):
        refused(cli("retry", REVEAL_1, "--status", "succeeded"), "a run is going that may be at it")
        found = cli("retry", "tiny", "--status", "succeeded", "--json")
        assert (found.code, found.document["jobs"], len(found.document["left"])) == (1, [], 2)
    assert cli("retry", REVEAL_1, "--status", "succeeded").code == 0
    assert cli("run", "m.yaml", "--only", "reveal").code == 0
    assert len(place.world.oracle().tasks) == 3


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("planned", "sent by the next run anyway"),
        ("queued", "the API has them"),
        ("doubtful", "nobody knows whether they were charged: `batcher resolve JOB --as again`"),
    ],
)
def test_statuses_that_cannot_be_retried(cli: Cli, failed: Site, status: str, why: str) -> None:
    refused(cli("retry", "tiny", "--status", status), why)
    refused(cli("retry", "tiny", "--status", "nonsense"), "is not one of")


def test_a_doubtful_job_is_not_retried(cli: Cli, doubtful: Site) -> None:
    refused(cli("retry", REVEAL_1), f"it is doubtful; decide first: batcher resolve {REVEAL_1} --as again")
    assert cli("retry", "tiny").out == "Nothing to retry.\n"
    assert statuses(cli)[0] == "doubtful"


def test_words_that_name_nothing(cli: Cli, failed: Site) -> None:
    refused(cli("retry", "nonsense"), "there is no job or campaign 'nonsense'")
    refused(cli("retry", "tin"), "there is no job or campaign 'tin'")
    refused(cli("cancel", "zz"), "there is no job or campaign 'zz'")
    refused(cli("resolve", "zz", "--as", "failed"), "there is no job 'zz'")
    refused(cli("retry"), "Missing argument 'CAMPAIGN|JOB...'")
    refused(cli("retry", "tiny", "--state", "nowhere"), "there is no ledger at nowhere/ledger.db", 7)
    assert not Path("nowhere").exists()


def test_a_campaign_that_is_named_like_a_job(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("campaign: tiny", "campaign: a"))
    cli("run", "m.yaml", "--limit", "0")
    ids = [job["id"] for job in cli("jobs", "--json").document["jobs"]]
    first = ids[0]
    (tmp_path / "b.yaml").write_text(MANIFEST.replace("campaign: tiny", f"campaign: {first[:4]}"))
    cli("run", "b.yaml", "--limit", "0")
    ran = cli("cancel", first[:4])
    assert f"'{first[:4]}' is taken for the campaign; a job's id begins so too" in ran.err
    found = {job["campaign"]: job["status"] for job in cli("jobs", "--json").document["jobs"]}
    assert found == {"a": "planned", first[:4]: "cancelled"}
    assert cli("cancel", first[:5]).err == ""
    empty = cli("cancel", "a", "a").out
    assert empty.startswith("3 jobs cancelled.")


def test_several_jobs_begin_so(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        MANIFEST.replace("product: [watch", "product: [" + ", ".join(f"p{n}" for n in range(40)))
    )
    cli("run", "m.yaml", "--limit", "0")
    ids = [job["id"] for job in cli("jobs", "--json").document["jobs"]]
    digit = next(d for d in "abcdef" if sum(i.startswith(d) for i in ids) > 1)
    refused(cli("cancel", digit), f"{digit!r} is the beginning of several job ids")
    (tmp_path / "b.yaml").write_text(MANIFEST.replace("campaign: tiny", f"campaign: {digit}"))
    cli("run", "b.yaml", "--limit", "0")
    ran = cli("cancel", digit, "tiny")
    assert "a job's id begins so too" in ran.err
    assert ran.out.startswith(f"{len(ids) + 4} jobs cancelled.")
    assert f"  … and {len(ids) + 4 - 20} more\n" in ran.out


# Cancel


def test_cancel_a_campaign_and_take_it_back(cli: Cli, place: Site, tmp_path: Path) -> None:
    assert cli("run", "m.yaml", "--only", "reveal").code == 0
    ran = cli("cancel", "tiny")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "2 jobs cancelled. No run sends them until `batcher retry … --status cancelled`.\n"
        f"  {DUNES_1}  dunes: planned → cancelled\n"
        f"  {DUNES_2}  dunes: planned → cancelled\n"
    )
    assert cli("cancel", "tiny").out == "Nothing to cancel.\n"
    assert cli("run", "m.yaml").code == 0
    assert len(place.world.oracle().tasks) == 2, "also if the manifest still asks for them"
    assert cli("plan", "m.yaml", "--json").document["campaigns"][0]["cancelled"] == 2
    assert cli("retry", "tiny").err == "2 cancelled jobs left as it is; --status cancelled brings such back.\n"
    assert cli("retry", DUNES_1).code == 0, "named one by one they come back without a word"
    found = cli("retry", "tiny", "--status", "cancelled", "--json").document
    assert ([job["id"][:12] for job in found["jobs"]], found["others"]) == ([DUNES_2], {"planned": 1, "succeeded": 2})
    assert cli("run", "m.yaml").code == 0
    assert len(place.world.oracle().tasks) == 4


def test_what_cannot_be_cancelled_is_told_and_the_rest_is_cancelled(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("max: 50ms", "max: 50ms, give_up: 1s"))
    with site(run_seconds=600) as place:
        go(place, monkeypatch)
        assert cli("run", "m.yaml", "--only", "reveal").code == 1
        ran = cli("cancel", REVEAL_1, DUNES_1)
        assert ran.code == 1
        assert f"  {DUNES_1}  dunes: planned → cancelled\n" in ran.out
        assert f"  {REVEAL_1}  reveal: left as it is: it is " in ran.out
        assert "the API cannot cancel what it has\n" in ran.out
        again = cli("cancel", "tiny", DUNES_1)
        assert again.code == 0
        assert "it is cancelled already" in again.out
        assert again.err == "2 jobs under way: bought already, and the API cannot cancel what it has.\n"
        refused(cli("retry", REVEAL_1), "it is bought, and the next run goes on with it")


def test_many_that_cannot_be_done_are_not_all_told(
    cli: Cli, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (job_actions, decisions):
        monkeypatch.setattr(module, "SHOWN", 2)
    assert cli("run", "m.yaml").code == 0
    names = [REVEAL_1, REVEAL_2, DUNES_1, DUNES_2]
    ran = cli("cancel", *names)
    assert ran.code == 1
    assert ran.out.count("there is nothing left to send") == 2
    assert "  … and 2 more jobs left\n" in ran.out
    ran = cli("retry", *names)
    assert ran.err.count("add --status succeeded") == 2
    assert "\n… and 2 more\nNothing was changed.\n" in ran.err


# Beside a run


def test_decisions_while_a_run_is_going(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run has bought one job and waits for it; meanwhile a person decides about the others."""
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("requests: 1000/second", "requests: 1000/second, in_flight: 1"))
    with site(faults=list(DOUBT)) as place:
        go(place, monkeypatch)
        assert cli("run", "m.yaml", "--only", "reveal", "--limit", "1").code == 1
        place.world.switches.set({"run_seconds": 600})
        polled = threading.Event()
        place.app.on_event = lambda _, name: polled.set() if name == "status:answered" else None
        environ = clean(**environment(place))
        with started("run", "m.yaml", "--json", cwd=tmp_path, env=environ) as process:
            assert polled.wait(30)
            assert cli("status", "--json").document["running"]["pid"] == process.pid
            assert money() == (20, 0)
            assert cli("cancel", REVEAL_2).code == 1, "it is bought"
            assert cli("cancel", DUNES_2).code == 0
            assert cli("resolve", REVEAL_1, "--as", "again", "--charged", "10", "--yes").code == 0
            assert money() == (10, 10)
            refused(cli("run", "m.yaml"), "another run holds", 5)
            place.world.switches.set({"run_seconds": 0})
            place.clock.ahead = 3600
            out, err = process.communicate(timeout=60)
        assert process.returncode == 1, err
        bought = {job["id"][:12]: job for job in cli("jobs", "--json").document["jobs"]}
        assert bought[DUNES_2]["status"] == "cancelled", "the run did not send it"
        assert {bought[job]["status"] for job in (REVEAL_2, DUNES_1)} == {"succeeded"}
        assert bought[REVEAL_1]["status"] == "planned", "its place in the manifest's order has passed: the next run's"
        assert json.loads(out)["credits"]["attempts"] == 2
        assert cli("run", "m.yaml").code == 0
        found = cli("show", REVEAL_1, "--json").document
        assert [(each["number"], each["outcome"]) for each in found["attempts"]] == [(1, "resolved"), (2, "succeeded")]
        assert len({each["idempotency_key"] for each in found["attempts"]}) == 2
        oracle = place.world.oracle()
        assert {len(charges) for charges in oracle.charges.values()} == {1}
        assert money() == (0, oracle.spent)


def test_the_decisions_import_nothing_for_buying(cli: Cli, doubtful: Site, tmp_path: Path) -> None:
    commands: list[list[str]] = [
        ["cancel", REVEAL_2],
        ["retry", REVEAL_2],
        ["resolve", REVEAL_1, "--as", "again", "--yes"],
    ]
    for words in commands:
        done: Any = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "batcher", *words],
            cwd=tmp_path,
            env=clean(),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
        found = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}
        assert not found & {"httpx2", "httpx", "pydantic", "jinja2", "yaml", "anyio", "sqlite_utils"}
