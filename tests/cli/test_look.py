"""`status`, `jobs`, `show` and `credits`: what they print, also while a run is going."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cli.helpers import MANIFEST, Cli, Site, environment, normal, site

from batcher.cli.open_ledger import need_reader
from batcher.errors import StorageError
from batcher.ledger import hold_lock
from batcher.ledger.queries import jobs


@pytest.fixture
def bought(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """A run with three films and one failure; gives the job ids."""
    (tmp_path / "m.yaml").write_text(MANIFEST + "budget: {campaign: 35}\n")
    with site(fail_prompt="watch on") as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        assert cli("run", "m.yaml").code == 1
        with closing(need_reader(Path("state"))) as read:
            yield [row["id"] for row in jobs.jobs(read)]


def edit(sql: str, *values: object) -> None:
    with closing(sqlite3.connect("state/ledger.db")) as ledger, ledger:
        ledger.execute(sql, values)


def test_status(cli: Cli, bought: list[str], tmp_path: Path) -> None:
    assert normal(cli("status").out, tmp_path) == (
        "Ledger <folder>/state/ledger.db\n"
        "No run is going. The last one ended <time> with exit code 1: 1 failed.\n"
        "\n"
        "campaign   succeeded   failed   files   settled   held\n"
        "──────────────────────────────────────────────────────\n"
        "tiny               3        1       3        30      0\n"
    )


def test_status_of_two_campaigns_has_a_total(cli: Cli, bought: list[str], tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(MANIFEST.replace("tiny", "other"))
    assert cli("run", "b.yaml", "--only", "reveal").code == 0
    assert cli("status").out.endswith(
        "campaign   planned   succeeded   failed   files   settled   held\n"
        "────────────────────────────────────────────────────────────────\n"
        "tiny             0           3        1       3        30      0\n"
        "other            2           2        0       2        20      0\n"
        "total            2           5        1       5        50      0\n"
    )


def test_status_while_a_run_is_going_and_after_it_was_cut_off(cli: Cli, bought: list[str], tmp_path: Path) -> None:
    edit("UPDATE runs SET ended_at = NULL, exit_code = NULL, reason = NULL")
    with hold_lock(tmp_path / "state", started="2026-01-02T03:04:05Z"):
        assert f"A run is going: pid {os.getpid()}, started 2026-01-0" in cli("status").out
        running = cli("status", "--json").document["running"]
        assert running == {"pid": os.getpid(), "started": "2026-01-02T03:04:05Z"}
        (tmp_path / "state/run.lock").write_text("")
        assert "A run is going.\n" in cli("status").out
    assert "No run is going. The last one, of " in cli("status").out
    assert "was cut off; run it again to go on." in cli("status").out
    assert cli("status", "--json").document["running"] is None
    (tmp_path / "state/run.lock").unlink()
    assert "was cut off" in cli("status").out


def test_status_before_the_first_run(cli: Cli, bought: list[str]) -> None:
    edit("PRAGMA foreign_keys = OFF")
    edit("DELETE FROM runs")
    assert "No run yet." in cli("status").out
    assert cli("status", "--json").document["last_run"] is None


def test_status_as_json(cli: Cli, bought: list[str], tmp_path: Path) -> None:
    edit("UPDATE wanted SET status = 'doubtful' WHERE id = ?", bought[0])
    edit("UPDATE attempts SET final_credits = NULL, outcome = 'doubtful' WHERE job_id = ?", bought[0])
    found = cli("status", "--json").document
    assert found["ledger"] == str(tmp_path / "state/ledger.db")
    assert found["campaigns"] == [
        {
            "campaign": "tiny",
            "manifest": str(tmp_path / "m.yaml"),
            "statuses": {"doubtful": 1, "failed": 1, "succeeded": 2},
            "superseded": 0,
            "files": 3,
            "held": 10,
            "settled": 20,
            "doubtful": 10,
        }
    ]
    assert found["credits"] == {"held": 10, "settled": 20, "doubtful": 10}
    assert found["last_run"]["campaigns"] == ["tiny"]


def test_jobs(cli: Cli, bought: list[str]) -> None:
    assert cli("jobs").out == (
        "id            campaign  name    status     attempt  credits  file or error\n"
        "2f750cf74004  tiny      reveal  succeeded        1       10  results/tiny/reveal-2f750cf74004.mp4\n"
        "30c976a363c0  tiny      reveal  succeeded        1       10  results/tiny/reveal-30c976a363c0.mp4\n"
        "7ecb7e6e4c91  tiny      dunes   failed           1        0  generation_failed: The generation failed.\n"
        "d366cf3f983a  tiny      dunes   succeeded        1       10  results/tiny/dunes-d366cf3f983a.mp4\n"
    )


@pytest.mark.parametrize(
    ("words", "places"),
    [
        (["--status", "failed"], [2]),
        (["--status", "failed", "--status", "succeeded"], [0, 1, 2, 3]),
        (["--name", "re*"], [0, 1]),
        (["--name", "du*", "--limit", "1"], [2]),
        (["--campaign", "tiny", "--limit", "3"], [0, 1, 2]),
        (["--limit", "0"], []),
        (["--where", "product=watch"], [0, 2]),
        (["--where", "var.product=r*", "--where", "mode=fun"], [3]),
        (["--where", "status=failed", "--where", "error_code=generation_*"], [2]),
        (["--where", "status=doubtful"], []),
    ],
)
def test_jobs_chosen(cli: Cli, bought: list[str], words: list[str], places: list[int]) -> None:
    found = cli("jobs", "--json", *words).document["jobs"]
    assert [job["id"] for job in found] == [bought[place] for place in places]


def test_jobs_of_a_campaign_that_is_not_there(cli: Cli, bought: list[str]) -> None:
    ran = cli("jobs", "--campaign", "tinyy")
    assert ran.code == 2
    assert "there is no campaign 'tinyy'" in ran.err
    assert "Did you mean 'tiny'?" in ran.err


def test_failures_with_what_was_asked_for(cli: Cli, bought: list[str]) -> None:
    [_, line] = cli("jobs", "--status", "failed").out.splitlines()
    params = "aspect_ratio=2:3, duration=6, mode=fun, resolution=480p"
    assert line.endswith(f"  generation_failed; watch on dunes; {params}; The generation failed.")


def test_what_is_superseded_stands_apart(cli: Cli, bought: list[str], tmp_path: Path) -> None:
    edit("UPDATE wanted SET expansion = 0 WHERE id = ?", bought[2])
    assert cli("jobs", "--status", "failed", "--json").document["jobs"] == []
    [campaign] = cli("status", "--json").document["campaigns"]
    assert (campaign["statuses"], campaign["superseded"]) == ({"succeeded": 3}, 1)
    assert "superseded" in cli("status").out


@pytest.mark.parametrize("words", [["--name", "reveel"], ["--where", "name=reveel"]])
def test_a_name_that_no_job_has(cli: Cli, bought: list[str], words: list[str]) -> None:
    ran = cli("jobs", *words)
    assert ran.code == 2
    assert f"{' '.join(words)}: no job has such a value" in ran.err
    assert "Did you mean 'reveal'?" in ran.err


def test_jobs_that_hold_or_cost_nothing_yet(cli: Cli, bought: list[str]) -> None:
    edit("UPDATE attempts SET final_credits = NULL, reserved_credits = NULL WHERE job_id = ?", bought[0])
    edit("UPDATE wanted SET attempt_id = NULL, status = 'planned' WHERE id = ?", bought[1])
    lines = cli("jobs").out.splitlines()
    assert "  (10)  " in lines[1]
    assert lines[2] == "30c976a363c0  tiny      reveal  planned"


def test_show(cli: Cli, bought: list[str], tmp_path: Path) -> None:
    shown = normal(cli("show", bought[0][:5]).out, tmp_path)
    assert shown == (
        "Job 2f750cf7400441371a0dd51d859b1676\n"
        "  status    succeeded\n"
        "  campaign  tiny\n"
        "  name      reveal, take 1\n"
        "  model     grok-imagine-video\n"
        "  prompt    A reveal of a watch\n"
        "  params    aspect_ratio=2:3, duration=6, mode=normal, resolution=480p\n"
        "  vars      product=watch\n"
        "  file      state/results/tiny/reveal-2f750cf74004.mp4\n"
        "  updated   <time>\n"
        "\n"
        "Attempt 1\n"
        "  outcome            succeeded\n"
        "  credits            10 quoted, 10 reserved by the API, 10 settled\n"
        "  task               <task>\n"
        "  API says           succeeded\n"
        "  account            http://<host>#9b265da21f6f\n"
        "  key                <key>\n"
        "  client_request_id  tiny-2f750cf7400441371a0dd51d859b1676-take1-1\n"
        "  intended           <time>\n"
        "  submitted          <time>\n"
        "  finished           <time>\n"
        "  result URL         http://<host>/results/<token>/<task>.mp4\n"
        "  file               state/results/tiny/reveal-2f750cf74004.mp4, 2,032 bytes, sha256 <sha256>\n"
        "  body               {\n"
        '                       "model": "grok-imagine-video",\n'
        '                       "prompt": "A reveal of a watch",\n'
        '                       "params": {\n'
        '                         "mode": "normal",\n'
        '                         "duration": 6,\n'
        '                         "resolution": "480p",\n'
        '                         "aspect_ratio": "2:3"\n'
        "                       },\n"
        '                       "client_request_id": "tiny-2f750cf7400441371a0dd51d859b1676-take1-1"\n'
        "                     }\n"
        "\n"
        "when                  run   attempt   event       detail\n" + "─" * shown.split("\n")[-6].count("─") + "\n"
        "<time>     1             planned     planned\n"
        "<time>     1         1   intended    planned → submitting, hold=10\n"
        "<time>     1         1   succeeded   submitting → succeeded, task_id=<task>, word=succeeded, reserved=10\n"
        "<time>     1         1   saved       number=0\n"
    )


def test_show_a_failure_and_what_others_have_written(cli: Cli, bought: list[str]) -> None:
    edit(
        "UPDATE attempts SET body = x'ff00', reserved_credits = NULL, final_credits = NULL WHERE job_id = ?", bought[2]
    )
    edit("UPDATE events SET detail = 'no json' WHERE job_id = ? AND event = 'intended'", bought[2])
    edit("UPDATE files SET saved_at = NULL")
    shown = cli("show", bought[2]).out
    assert "  error     generation_failed: The generation failed.\n" in shown
    assert "  params    aspect_ratio=2:3, duration=6, mode=fun, resolution=480p\n" in shown
    assert "  credits            10 quoted, 10 held\n" in shown
    assert '  body               "\\ufffd\\u0000"\n' in shown
    assert "intended   no json\n" in shown
    assert "not fetched yet" in cli("show", bought[0]).out


def test_nothing_of_a_prompt_reaches_the_terminal_raw(cli: Cli, bought: list[str]) -> None:
    nasty = "[red]x\x1b]0;pwned\x07\u202eevil\x7f\x9b2J\nsecond line"
    edit("UPDATE wanted SET prompt = ?, name = ? WHERE id = ?", nasty, nasty, bought[2])
    edit("UPDATE attempts SET error_message = ? WHERE job_id = ?", nasty, bought[2])
    for words in (["jobs"], ["jobs", "--json"], ["show", bought[2]], ["show", bought[2], "--json"]):
        out = cli(*words).out
        assert "evil" in out
        assert "[red]" in out
        assert not set(out) & set("\x1b\x07\u202e\x7f\x9b")
    assert "second line" in cli("jobs").out.splitlines()[3]


@pytest.mark.parametrize("words", [["show", ""], ["show", "zz"], ["show", "7ecb7e6e4c919e1235171299a7b73ef80"]])
def test_a_job_that_is_not_there(cli: Cli, bought: list[str], words: list[str]) -> None:
    assert cli(*words).code == 2


@pytest.mark.parametrize("words", [["status"], ["jobs"], ["show", "a"]])
def test_no_ledger(cli: Cli, words: list[str]) -> None:
    ran = cli(*words, "--state", "nowhere")
    assert ran.code == 7
    assert "there is no ledger at nowhere/ledger.db" in ran.err


def test_only_a_simulated_ledger(tmp_path: Path) -> None:
    (tmp_path / "simulated").mkdir()
    (tmp_path / "simulated/ledger.db").write_text("")
    with pytest.raises(StorageError, match="of a simulated run") as caught:
        need_reader(tmp_path)
    assert caught.value.hint.endswith(f"--state {tmp_path}/simulated")


def test_the_state_folder_from_the_environment(
    cli: Cli, bought: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("BATCHER_STATE", "elsewhere")
    assert cli("status").code == 0


def test_credits_beside_the_ledger(cli: Cli, bought: list[str]) -> None:
    assert cli("credits").out == (
        "credits\n"
        "────────────────────────────\n"
        "wallet, says the API     970\n"
        "held in this ledger        0\n"
        "settled in this ledger    30\n"
    )
    with closing(sqlite3.connect("state/ledger.db")) as ledger:
        assert ledger.execute("SELECT count(*) FROM sends WHERE kind = 'credits'").fetchone() == (2,), (
            "the run looks before it buys"
        )


def test_credits_without_a_ledger(cli: Cli, place: Site, tmp_path: Path) -> None:
    assert cli("credits").out.endswith("wallet, says the API   1,000\n")
    found = cli("credits", "--json").document
    assert found == {"version": 1, "account": f"{place.base_url}#9b265da21f6f", "wallet": 1000, "ledger": None}
    assert not (tmp_path / "state").exists()


def test_credits_as_json(cli: Cli, bought: list[str]) -> None:
    assert cli("credits", "--json").document["ledger"] == {"held": 0, "settled": 30}


def test_credits_that_cannot_be_had(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("credits").code == 2
    refused: list[object] = [{"on": "credits", "do": "status", "status": 404, "code": "not_found", "nth": "1"}]
    with site(faults=refused) as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        ran = cli("credits")
        assert ran.code == 2
        assert "the API refused: not_found" in ran.err
        monkeypatch.setenv("RIVYA_API_KEY", "rvya_sk_wrong")
        ran = cli("credits", "--json")
        assert ran.code == 4
        assert ran.document["error"]["kind"] == "key"
    ran = cli("credits")
    assert ran.code == 6
    assert "the API gave no wallet: unreachable" in ran.err


@pytest.mark.parametrize("column", ["settings", "campaigns"])
def test_what_somebody_wrote_into_a_run_breaks_no_command(cli: Cli, bought: list[str], column: str) -> None:
    for written in (
        *("", "no JSON", "7", "null", '"text"', "[]", "{}", "[[1], {}]", "[" * 2000),
        '{"caps": 5, "selection": [], "limits": "x", "download": 3}',
        '{"caps": {"run": "all", "campaigns": ["tiny"], "day": 1e400, "keep": true}, "selection": {"only": 9}}',
        '{"caps": {"campaigns": {"tiny": "much"}}, "limits": {"submit": {"count": "x", "seconds": 0}, "requests": 7}}',
    ):
        edit(f"UPDATE runs SET {column} = ?", written)
        for words in (("report",), ("report", "--timeline"), ("watch", "--once"), ("status",), ("export", "runs")):
            ran = cli(*words)
            assert ran.code == 0, (words, written[:40], ran.err)
