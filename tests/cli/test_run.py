"""`batcher run` in this process, against a simulator behind a real socket."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import DOUBT, MANIFEST, Cli, Ran, Site, environment, normal, purchases, site

import batcher.manifest
from batcher import run, workload
from batcher.errors import StorageError
from batcher.jobs import JobSpec
from batcher.ledger import hold_lock
from batcher.planning import caps_for
from batcher.storage import Artifacts


def test_a_run_buys_waits_fetches_and_says_so(cli: Cli, place: Site, tmp_path: Path) -> None:
    ran = cli("run", "m.yaml")
    assert ran.code == 0
    assert normal(ran.out, tmp_path) == (
        "Done in <seconds>: everything selected is done.\n"
        "  tiny      4 succeeded\n"
        "  credits   40 settled, 0 held\n"
        "  this run  4 jobs bought, 40 quoted, 40 settled, 0 held\n"
        "  files     4 in state/results/tiny\n"
        "  see every job: batcher jobs\n"
    )
    assert ran.err.startswith(f"New ledger: {tmp_path}/state/ledger.db\ncampaign   jobs   new   done   credits\n")
    assert len(list((tmp_path / "state/results/tiny").glob("*.mp4"))) == 4
    assert purchases(place) == 4
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_the_same_command_again_sends_nothing(cli: Cli, place: Site) -> None:
    assert cli("run", "m.yaml", "--quiet").err.startswith("New ledger")
    before = len(place.world.oracle().requests)
    again = cli("run", "m.yaml", "--quiet")
    assert (again.code, again.err) == (0, "")
    assert "  credits   40 settled, 0 held\n  this run  nothing bought\n" in again.out
    assert len(place.world.oracle().requests) == before


def test_the_summary_as_json(cli: Cli, place: Site, tmp_path: Path) -> None:
    ran = cli("run", "m.yaml", "--json", "--limit", "3")
    found = ran.document
    assert found["seconds"] < 60
    del found["seconds"]
    tiny = {
        "campaign": "tiny",
        "manifest": str(tmp_path / "m.yaml"),
        "statuses": {"planned": 1, "succeeded": 3},
        "superseded": 0,
        "files": 3,
        "held": 0,
        "settled": 30,
        "doubtful": 0,
    }
    assert found == {
        "version": 1,
        "run_id": 1,
        "exit_code": 0,
        "kind": "done",
        "reason": "everything selected is done",
        "simulated": False,
        "ledger": str(tmp_path / "state/ledger.db"),
        "results": str(tmp_path / "state/results"),
        "campaigns": [tiny],
        "credits": {"attempts": 3, "refused": 0, "quoted": 30, "settled": 30, "held": 0, "doubtful": 0},
        "budget": None,
        "used_before": 0,
        "learned": [],
        "doubtful_jobs": [],
        "files": 3,
        "left": {},
        "blocked": [],
        "left_behind": [],
    }


def test_only_named_prompts_and_then_the_rest(cli: Cli, place: Site) -> None:
    assert cli("run", "m.yaml", "--only", "du*").code == 0
    assert purchases(place) == 2
    assert cli("run", "m.yaml").code == 0
    assert purchases(place) == 4


def test_a_selection_of_nothing_is_a_usage_error(cli: Cli, place: Site, tmp_path: Path) -> None:
    ran = cli("run", "m.yaml", "--only", "nothing")
    assert ran.code == 2
    assert "matches no prompt" in ran.err
    assert not (tmp_path / "state").exists()


def test_without_download_and_fetched_later(cli: Cli, place: Site, tmp_path: Path) -> None:
    assert cli("run", "m.yaml", "--no-download").code == 0
    assert not (tmp_path / "state/results/tiny").exists()
    ran = cli("run", "m.yaml", "--json")
    assert (ran.document["files"], ran.document["credits"]["attempts"]) == (4, 0)


def test_jobs_that_fail(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(fail_prompt="watch on") as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        ran = cli("run", "m.yaml")
        assert ran.code == 1
        assert "  tiny      3 succeeded, 1 failed\n" in ran.out
        assert ran.out.endswith("  what failed: batcher jobs --status failed\n")
        assert "failed " in ran.err
        assert "dunes: generation_failed" in ran.err
        assert cli("run", "m.yaml", "--only", "reveal").code == 0
        assert cli("run", "m.yaml").code == 1
        assert purchases(place) == 4


def test_a_doubtful_job_says_how_to_find_out(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(faults=list(DOUBT)) as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        ran = cli("run", "m.yaml", "--only", "dunes", "--limit", "1")
        assert ran.code == 1
        assert "1 doubtful" in ran.out
        assert "10 held (10 doubtful)" in ran.out
        assert "batcher jobs --status doubtful; batcher show JOB\n" in ran.out
        assert "no answer" in ran.err
        listed = cli("jobs", "--status", "doubtful", "--json").document["jobs"]
        job = listed[0]["id"][:12]
        decide = f"batcher resolve {job} --as submitted --task ID | --as failed | --as again"
        assert (
            "  1 job is doubtful: nobody here can know whether the API charged it; 10 credits stay held.\n"
            f"    {job}  dunes: validation_error: The simulator was told to say so. (request <request>)\n"
            f"  decide: {decide}\n"
        ) in normal(ran.out)
        assert cli("jobs").err == f"1 job is doubtful; decide: {decide}\n"
        assert cli("jobs", "--status", "failed").err == ""
        shown = cli("show", job).out
        assert f"Then: {decide}\n" in shown
        assert "Doubtful: nobody can know whether the API charged this: validation_error" in shown
        assert "yes: a sending of it ended without an answer" in shown


def test_a_cap_stops_the_run(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST + "budget: {campaign: 25}\n")
    ran = cli("run", "m.yaml", "--state", "my state")
    assert ran.code == 3
    assert "  campaign tiny of 25: 20 held or settled, 10 more wanted\n" in ran.out
    assert "when there is room again, go on with: batcher run m.yaml --state 'my state'\n" in ran.out
    assert purchases(place) == 2


def test_a_key_that_the_api_refuses(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVYA_API_KEY", "rvya_sk_wrong")
    ran = cli("run", "m.yaml")
    assert ran.code == 4
    assert "api_key_invalid" in ran.out
    assert "with a key that the API takes, go on with: batcher run m.yaml\n" in ran.out
    assert "rvya_sk_wrong" not in ran.out + ran.err
    assert purchases(place) == 0
    with sqlite3.connect("state/ledger.db") as ledger:
        assert ledger.execute("SELECT exit_code FROM runs").fetchall() == [(4,)]
        assert "rvya_sk_wrong" not in "".join(ledger.iterdump())
    ledger.close()


def test_a_key_that_is_missing(cli: Cli, tmp_path: Path) -> None:
    ran = cli("run", "m.yaml")
    assert ran.code == 2
    assert "RIVYA_API_KEY is not set" in ran.err
    assert "--simulate" in ran.err
    assert not (tmp_path / "state").exists()


def test_a_ledger_that_another_run_holds(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with hold_lock(tmp_path / "state", started="2026-01-02T03:04:05Z"):
        ran = cli("run", "m.yaml", "--json")
    assert ran.code == 5
    assert f"pid {os.getpid()}, started 2026-01-02T03:04:05Z" in ran.err
    assert ran.document["error"]["kind"] == "locked"
    assert purchases(place) == 0


def test_two_manifests_and_one_campaign_twice(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(MANIFEST.replace("tiny", "other"))
    (tmp_path / "c.yaml").write_text(MANIFEST)
    ran = cli("run", "m.yaml", "c.yaml")
    assert ran.code == 2
    assert "m.yaml and c.yaml both describe the campaign 'tiny'" in ran.err
    ran = cli("run", "m.yaml", "b.yaml", "--json")
    assert [c["campaign"] for c in ran.document["campaigns"]] == ["tiny", "other"]
    assert purchases(place) == 8


def test_a_file_that_becomes_faulty_after_the_plan_sends_nothing(
    cli: Cli, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = MANIFEST.replace("prompts:\n", "prompts:\n  - file: p.csv\n")
    (tmp_path / "m.yaml").write_text(text)
    (tmp_path / "p.csv").write_text("prompt\nhello {{ product }}\n")

    def spoil(*args: object) -> object:
        (tmp_path / "p.csv").write_text("prompt\nhello {{ nonsense }}\n")
        return caps_for(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(workload, "caps_for", spoil)
    ran = cli("run", "m.yaml")
    assert ran.code == 2
    assert "nonsense" in ran.err
    assert purchases(place) == 0
    assert cli("status", "--json").document["last_run"]["exit_code"] == 2


def test_an_error_that_nobody_foresaw(cli: Cli, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError(f"boom with {os.environ['RIVYA_API_KEY']} and rvya_sk_other")

    monkeypatch.setattr(run, "RateLimiter", explode)
    ran = cli("run", "m.yaml")
    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert "error: RuntimeError: boom with [key] and [key]\nNothing bought is lost." in ran.err
    (crash,) = (tmp_path / "state/logs").glob("crash-*")
    assert str(crash) in ran.err
    assert "in explode" in crash.read_text()
    assert "rvya_sk" not in crash.read_text()
    assert cli("status", "--json").document["last_run"]["exit_code"] == 1


def test_a_disk_that_breaks_while_it_runs(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("no space left", hint="Free some.")

    monkeypatch.setattr(Artifacts, "part", full)
    ran = cli("run", "m.yaml")
    assert ran.code == 7
    assert ran.err.endswith("error: no space left\nFree some.\n")
    assert cli("status", "--json").document["last_run"]["reason"] == "StorageError: no space left\nFree some."


def test_a_display_that_breaks_does_not_end_the_run(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def explode(_: object) -> None:
        raise RuntimeError("no picture")

    monkeypatch.setattr("batcher.cli.display.Plain.watch", explode)
    ran = cli("run", "m.yaml")
    assert ran.code == 0
    assert "warning: the display ended: RuntimeError: no picture; the run goes on" in ran.err


def test_a_state_folder_that_cannot_be_made(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = cli("run", "m.yaml", "--state", "file/state")
    assert ran.code == 7
    assert "error: file/state: Not a directory" in ran.err


def test_an_open_state_folder_becomes_private(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    assert cli("run", "m.yaml").code == 0
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_dry_run_is_a_plan(cli: Cli, tmp_path: Path) -> None:
    for words in ((), ("--json",), ("--only", "dunes"), ("--limit", "1")):
        dry: Ran = cli("run", "m.yaml", "--dry-run", *words)
        assert dry == cli("plan", "m.yaml", *words)
    assert not (tmp_path / "state").exists()


def test_a_dry_run_of_the_simulator_needs_no_key(cli: Cli) -> None:
    account = cli("run", "m.yaml", "--dry-run", "--simulate", "--json").document["account"]
    assert account.startswith("simulator#")


def test_the_run_writes_down_what_it_obeyed(cli: Cli, place: Site) -> None:
    started = time.time()
    cli("run", "m.yaml", "--only", "reveal", "--no-download")
    last = cli("status", "--json").document["last_run"]
    assert last["settings"]["selection"] == {"only": ["reveal"], "limit": None}
    caps = {"run": 20, "campaigns": {}, "allowances": {}, "day": None, "keep": None, "unpriced": None, "until": None}
    assert last["settings"]["caps"] == caps
    assert last["settings"]["limits"]["submit"] == {"count": 1000, "seconds": 1.0}
    assert last["settings"]["download"] is False
    assert last["account"].startswith(place.base_url)
    assert started - 1 < time.time()
    assert json.dumps(last)


def test_a_signal_before_anything_was_sent(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(run, "hold_lock", interrupted)
    ran = cli("run", "m.yaml")
    assert (ran.code, ran.out) == (143, "")
    assert ran.err == "Stopped before anything was sent: asked to end (SIGTERM).\n"


def test_what_is_unchanged_is_not_expanded_again(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("run", "m.yaml", "--limit", "1").code == 0

    def never(*_: object, **__: object) -> Iterator[JobSpec]:
        yield from ()
        pytest.fail("it was expanded")

    with monkeypatch.context() as watched:
        watched.setattr(batcher.manifest, "expand", never)
        assert cli("run", "m.yaml", "--limit", "1").code == 0
        assert cli("run", "m.yaml").code == 0
        assert cli("run", "m.yaml").code == 0
    assert purchases(place) == 4


def test_a_signal_while_jobs_are_written_down(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> dict[str, object]:
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    monkeypatch.setattr(run, "begin_enrolment", interrupted)
    ran = cli("run", "m.yaml")
    assert ran.code == 130
    assert ran.out.startswith("Stopped in 0 s: interrupted.\n")
    assert cli("status", "--json").document["last_run"]["exit_code"] == 130
    assert purchases(place) == 0
