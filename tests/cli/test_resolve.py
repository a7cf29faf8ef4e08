"""`batcher resolve`: its question, its effect, and naming the doubtful."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from cli.helpers import (
    BATCHER,
    DOUBT,
    REVEAL_1,
    REVEAL_2,
    Cli,
    Ran,
    Site,
    clean,
    money,
    normal,
    refused,
    statuses,
)
from core_helpers import resolve_failed

from batcher.cli import job_actions
from batcher.cli.terminal import Terminal
from batcher.jobs import JobId

# Resolve


def test_resolve_submitted_fetches_what_the_api_has(cli: Cli, doubtful: Site) -> None:
    [task] = doubtful.world.oracle().tasks
    ran = cli("resolve", REVEAL_1, "--as", "submitted", "--task", f" {task}", "--yes")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "1 job resolved. The next run asks for the task and fetches its result.\n"
        f"  {REVEAL_1}  reveal: doubtful → queued\n"
    )
    assert money() == (10, 0)
    assert cli("run", "m.yaml").code == 0
    assert len(doubtful.world.oracle().tasks) == 4
    assert money() == (0, 40)
    refused(cli("resolve", REVEAL_1, "--as", "failed", "--yes"), "it is succeeded, not doubtful")


def test_resolve_again_buys_once_more(cli: Cli, doubtful: Site) -> None:
    found = cli("resolve", REVEAL_1, "--as", "again", "--charged", "10", "--yes", "--json").document
    [job] = found["jobs"]
    assert (job["from"], job["to"], job["freed_credits"], job["charged_credits"]) == ("doubtful", "planned", 10, 10)
    assert money() == (0, 10)
    assert cli("run", "m.yaml").code == 0
    assert money() == (0, 50)
    assert doubtful.world.oracle().spent == 50, "what the person knew is what the API took"


def test_resolve_by_filter(cli: Cli, doubtful: Site) -> None:
    refused(cli("resolve", "--campaign", "other", "--as", "failed", "--yes"), "there is no campaign 'other'")
    none = cli("resolve", "--campaign", "tiny", "--code", "other", "--as", "failed")
    assert (none.code, none.out) == (0, "No doubtful job is like that.\n")
    ran = cli("resolve", "--code", "validation_error", "--as", "failed", "--yes")
    assert ran.out.startswith("1 job resolved. Failed; `batcher retry` would buy again.\n")
    assert money() == (0, 0)
    assert cli("resolve", "--campaign", "tiny", "--as", "failed").code == 0
    assert cli("retry", REVEAL_1).code == 0


def test_what_resolve_does_not_take(cli: Cli, doubtful: Site) -> None:
    wrong: list[tuple[list[str], str]] = [
        (["x"], "Missing option '--as'"),
        (["--as", "failed"], "name either jobs or --campaign and --code"),
        (["x", "--code", "y", "--as", "failed"], "name either jobs or --campaign and --code"),
        (["x", "--as", "submitted"], "--as submitted needs --task ID"),
        (["x", "--as", "submitted", "--task", "t", "--charged", "1"], "--charged goes with"),
        (["x", "--as", "failed", "--task", "t"], "--task goes with --as submitted"),
        (["x", "--as", "failed", "--charged", "-1"], "--charged"),
        (["x", "--as", "failed", "--charged", "99999999999999999999"], "--charged"),
        ([REVEAL_1, REVEAL_2, "--as", "submitted", "--task", "t"], "one task is one job"),
        ([REVEAL_1, REVEAL_2, "--as", "again"], f"job {REVEAL_2}: it is planned, not doubtful"),
        ([REVEAL_1, "--as", "again"], "this changes 1 job and would ask first, but there is no terminal"),
        ([REVEAL_1, "--as", "submitted", "--task", "two words"], "cannot be the id of a task"),
    ]
    for words, why in wrong:
        refused(cli("resolve", *words), why)
    assert statuses(cli)[0] == "doubtful"


def test_the_question(cli: Cli, doubtful: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "can_ask", True)

    def answer(text: str, *words: str) -> Ran:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return cli("resolve", REVEAL_1, *words)

    for text in ("n\n", "\n", "", "nonsense\n"):
        ran = answer(text, "--as", "failed", "--charged", "4")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.endswith("Nothing was changed.\n")
    lines = ran.err.splitlines()
    assert lines[0].split() == ["job", "campaign", "name", "held", "task", "doubtful", "because"]
    assert lines[2].split(maxsplit=4)[:4] == [REVEAL_1, "tiny", "reveal", "10"]
    assert "validation_error: The simulator was told to say so." in lines[2]
    assert lines[3] == (
        "10 credits held are freed, and 4 credits settled for good. Failed; `batcher retry` would buy again."
    )
    assert lines[4].startswith("Is that so? [y/N]")
    assert "The API has made task t of it. The next run asks" in answer("n\n", "--as", "submitted", "--task", "t").err
    ran = answer("Yes\n", "--as", "again", "--json")
    assert (ran.code, ran.document["jobs"][0]["to"]) == (0, "planned")


def test_a_long_list_is_cut_in_the_question(cli: Cli, doubtful: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "can_ask", True)
    monkeypatch.setattr("batcher.cli.commands.resolve.SHOWN", 0)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert "… and 1 more\n" in cli("resolve", "--campaign", "tiny", "--as", "failed").err


def test_somebody_else_decides_while_the_question_is_read(
    cli: Cli, doubtful: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Terminal, "can_ask", True)

    def ask(*_: object) -> bool:
        with job_actions.decisive_ledger(tmp_path / "state") as other:
            resolve_failed(other, JobId(other.read.resolve(REVEAL_1)), 7)
        return True

    monkeypatch.setattr(Terminal, "ask", ask)
    ran = cli("resolve", REVEAL_1, "--as", "again")
    assert ran.code == 1
    assert "left as it is: it is failed, not doubtful" in ran.out
    assert money() == (0, 7), "decided once"


@pytest.mark.parametrize(
    ("answer", "code", "now"), [(b"y\n", 0, "planned"), (b"\n", 1, "doubtful"), (b"\x04", 1, "doubtful")]
)
def test_the_question_on_a_terminal(
    cli: Cli, doubtful: Site, tmp_path: Path, answer: bytes, code: int, now: str
) -> None:
    ours, theirs = pty.openpty()
    command = [*BATCHER, "resolve", REVEAL_1, "--as", "again", "--json"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean(NO_COLOR="1", COLUMNS="200"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, answer)
        out, _ = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == code
    assert (json.loads(out)["jobs"][0]["to"] if out else "doubtful") == now
    assert statuses(cli)[0] == now


def test_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for stdin in (None, io.StringIO("y\n")):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert not Terminal().can_ask
    closed = io.StringIO()
    closed.close()
    terminal = Terminal()
    terminal._err.is_terminal = True
    monkeypatch.setattr(sys, "stdin", closed)
    assert not terminal.can_ask


# Naming the doubtful


def test_status_names_them(cli: Cli, doubtful: Site) -> None:
    assert normal(cli("status").out).endswith(
        "\n"
        "\n"
        "  1 job is doubtful: nobody here can know whether the API charged it; 10 credits stay held.\n"
        f"    {REVEAL_1}  reveal: validation_error: The simulator was told to say so. (request <request>)\n"
        f"  decide: batcher resolve {REVEAL_1} --as submitted --task ID | --as failed | --as again\n"
    )
    [job] = cli("status", "--json").document["doubtful_jobs"]
    assert job == {
        "id": job["id"],
        "campaign": "tiny",
        "name": "reveal",
        "error_code": "validation_error",
        "error_message": job["error_message"],
        "held_credits": 10,
        "task_id": None,
    }


def test_status_names_some_of_many(cli: Cli, doubtful: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.cli.doubtful_jobs.SHOWN", 1)
    doubtful.app.faults.replace([])
    from batcher.simulator.faults import parse_all

    doubtful.app.faults.replace(parse_all(DOUBT))
    Path("state").rename("my state")
    assert cli("run", "m.yaml", "--only", "reveal", "--limit", "1", "--state", "my state").code == 1
    out = cli("status", "--state", "my state").out
    assert "  2 jobs are doubtful: nobody here can know whether the API charged them; 20 credits stay held.\n" in out
    assert "    … and 1 more: batcher jobs --state 'my state' --status doubtful\n" in out
    assert "  decide: batcher resolve --state 'my state' JOB --as submitted" in out
    assert "2 jobs are doubtful; decide: batcher resolve" in cli("jobs", "--state", "my state").err
