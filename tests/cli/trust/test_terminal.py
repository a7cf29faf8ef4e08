"""Texts of others never reach a terminal raw: control characters, bidi marks, what is invisible, Rich's markup."""

from __future__ import annotations

import os
import pty
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest
from cli.helpers import BATCHER, ROOT, Cli, Ran
from cli.trust.helpers import NASTY, NASTY_PROMPT, Request, Said, error, hostile, raw, task

from batcher.cli.terminal import Terminal, table

MANIFEST = f"""\
campaign: tiny
model: grok-imagine-video
prompts: [{{name: 'n [red]x[/] \u202en', prompt: {NASTY_PROMPT.replace(chr(10), " ")!r}}}]
limits: {{submit: 1000/second, requests: 1000/second}}
polling: {{first: 10ms, every: 10ms, max: 10ms, give_up: 1s}}
retries: {{times: 0, outage: 1s}}
"""


def nasty_answers(request: Request) -> Said | None:
    """A task whose id, word and failure are all nasty."""
    if request.kind == "POST generations":
        return Said(200, task(NASTY, NASTY))
    if request.kind == "GET generations":
        return Said(200, task(NASTY, "failed", error={"code": NASTY, "message": NASTY}))
    return None


def check(ran: Ran) -> Ran:
    """Nothing raw, and Rich's markup stands as it was typed."""
    assert raw(ran.out + ran.err) == set(), sorted(map(ascii, raw(ran.out + ran.err)))
    assert "Traceback" not in ran.out + ran.err
    return ran


def commands(job: str) -> list[list[str]]:
    plain = [["status"], ["jobs"], ["show", job], ["doctor"], ["plan", "m.yaml"], ["validate", "m.yaml"]]
    plain += [["report"], ["report", "--by", "prompt"], ["watch", "--once"]]
    return plain + [[*words, "--json"] for words in plain] + [["report", "--format", "csv", "--by", "prompt"]]


def look(cli: Cli, job: str) -> str:
    """All that the looking commands say; each is checked."""
    said = ""
    for words in commands(job):
        ran = check(cli(*words))
        assert "--json" not in words or ran.out.isascii()
        said += ran.out + ran.err
    return said


@pytest.mark.parametrize("refused", [False, True])
def test_what_the_api_says(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    refusal = Said(422, error(NASTY, NASTY, NASTY))
    with hostile(
        lambda r: (refusal if r.kind == "POST generations" else None) if refused else nasty_answers(r), monkeypatch
    ):
        ran = check(cli("run", "m.yaml"))
        assert ran.code == 1
        assert "[red]x[/][link=https://x.example]y[/link]:smile:\\x1b[666mz\\x1b]0;owned\\x07" in ran.err
        (job,) = cli("jobs", "--json").document["jobs"]
        assert job["error_code"] == NASTY
        said = look(cli, job["id"])
        assert "\\u202erl\\u2066iso\\u200bzero" in said
        for words in (["retry", "tiny"], ["cancel", "tiny"], ["retry", "tiny", "--status", "cancelled"]):
            check(cli(*words))


@pytest.mark.parametrize("status", [401, 402, 403, 404, 418, 429, 500, 503])
def test_what_the_api_refuses(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    with hostile(lambda _: Said(status, error(NASTY, NASTY, NASTY)), monkeypatch):
        for words in (["run", "m.yaml"], ["credits"], ["credits", "--json"], ["doctor", "--online"]):
            ran = check(cli(*words))
            assert ran.code != 0
            assert "\\x1b[666m" in ran.out + ran.err


def test_result_urls_and_redirects(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)

    def speak(request: Request) -> Said | None:
        where = {"primary_url": f"ftp://x.example/{NASTY}", "urls": [NASTY, f"https://{NASTY}/"]}
        return Said(200, task("t", "succeeded", result=where)) if "generations" in request.kind else None

    with hostile(speak, monkeypatch):
        ran = check(cli("run", "m.yaml"))
        assert ran.code == 1
        assert "the result's URL is not fetched" in ran.out
        look(cli, cli("jobs", "--json").document["jobs"][0]["id"])


#: Every text of a ledger that somebody may have edited by hand.
EDITS = {
    "wanted": ["name", "prompt", "error_code", "error_message", "file_name", "price_class", "reference"],
    "attempts": ["account", "task_id", "api_status", "error_code", "error_message", "client_request_id"],
    "runs": ["reason", "version", "account"],
    "events": ["event"],
    "campaigns": ["manifest"],
    "uploads": ["url", "name"],
}


@pytest.fixture
def edited(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with a doubtful job, in which every text is nasty, also those that its own rules would not let in."""
    (tmp_path / "m.yaml").write_text(MANIFEST)
    with hostile(nasty_answers, monkeypatch):
        assert cli("run", "m.yaml").code == 1
    ledger = sqlite3.connect("state/ledger.db")
    ledger.execute("PRAGMA ignore_check_constraints = on")
    ledger.execute("UPDATE wanted SET status = 'doubtful'")
    ledger.execute(
        "UPDATE attempts SET outcome = 'doubtful', final_credits = NULL, result_urls = json_array(?)", (NASTY,)
    )
    for name, columns in EDITS.items():
        for column in columns:
            ledger.execute(f"UPDATE {name} SET {column} = ?", (NASTY.replace("\0", ""),))
    ledger.commit()
    ledger.close()
    return tmp_path / "state/ledger.db"


def test_a_ledger_that_was_edited(cli: Cli, edited: Path) -> None:
    job = cli("jobs", "--json").document["jobs"][0]["id"]
    assert "\\x1b[666m" in look(cli, job)
    for words in (["retry", job], ["cancel", job], ["resolve", job, "--as", "failed"]):
        assert check(cli(*words)).code != 0
    assert check(cli("resolve", job, "--as", "again", "--yes")).code == 0
    assert check(cli("retry", "tiny")).code == 0
    assert check(cli("cancel", "tiny")).code == 0


@pytest.mark.parametrize("column", ["id", "campaign", "status", "params", "created_at", "updated_at"])
def test_a_ledger_that_was_broken(cli: Cli, edited: Path, column: str) -> None:
    """What batcher itself would never write: the commands may fail, with words; they never print it raw."""
    ledger = sqlite3.connect(edited)
    ledger.execute("PRAGMA ignore_check_constraints = on")
    if column in ("id", "campaign"):
        ledger.execute("UPDATE attempts SET job_id = ?", (NASTY,)) if column == "id" else None
        ledger.execute("UPDATE campaigns SET name = ?", (NASTY,)) if column == "campaign" else None
    value = NASTY if column != "params" else f'{{"a": "x{NASTY[:3]}", "\\u001b]0;x": 1}}'
    ledger.execute(f"UPDATE wanted SET {column} = ?", (value,))
    ledger.commit()
    ledger.close()
    for words in (
        ["status"],
        ["jobs"],
        ["jobs", "--status", "doubtful"],
        ["show", "["],
        ["doctor"],
        ["plan", "m.yaml"],
        ["run", "m.yaml", "--dry-run"],
        ["retry", NASTY.replace("\0", "")],
        ["cancel", "["],
        ["resolve", "--campaign", "tiny", "--as", "failed", "--yes"],
    ):
        check(cli(*words))
        check(cli(*words, "--json"))


def test_words_of_the_command_line(cli: Cli) -> None:
    nasty = NASTY.replace("\0", "")  # no system hands a NUL on
    for words in (
        ["run", nasty],
        ["validate", "m.yaml", nasty.replace("/", "")],
        ["status", "--state", nasty],
        ["run", "m.yaml", "--only", nasty],
        ["plan", "m.yaml", "--limit", nasty],
        ["models", nasty],
        [nasty],
        ["jobs", f"--{nasty}"],
        ["init", nasty],
    ):
        check(cli(*words))


def test_what_somebody_forgot_to_make_safe(capsys: pytest.CaptureFixture[str]) -> None:
    """The net below all callers: whatever is printed goes through it."""
    terminal = Terminal(["run", NASTY])
    terminal.show(NASTY, table([NASTY], [[NASTY]], total=True))
    terminal.say(NASTY)
    terminal.line(NASTY)
    terminal.warn(NASTY)
    out, err = capsys.readouterr()
    assert raw(out + err + terminal.typed) == set()
    assert (out + err).count("[red]x[/][link=https://x.example]y[/link]:smile:\\x1b[666m") == 6


#: What Rich itself says to a terminal: colours, the cursor's way, lines erased, the cursor hidden and shown.
_RICH = re.compile(r"\x1b\[(?:[0-9;]*m|\d*[ABCDGK]|2K|\?25[lh])|\r")


def test_a_real_terminal(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The live display, with colours: nothing but Rich's own orders, and none of those that came from outside."""
    (tmp_path / "m.yaml").write_text(MANIFEST)
    with hostile(nasty_answers, monkeypatch):
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100"}
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [*BATCHER, "run", "m.yaml"], env=environ, stdin=theirs, stdout=theirs, stderr=theirs
        ) as run:
            os.close(theirs)
            said = b""
            try:
                while piece := os.read(ours, 65536):
                    said += piece
            except OSError:  # Linux says so that the other end is closed
                pass
        os.close(ours)
    assert run.returncode == 1
    text = said.decode()
    assert "\x1b[?25l" in text
    assert "\x1b[666m" not in text
    assert raw(_RICH.sub("", text)) == set()
    assert "owned" in text
