"""The pages cannot drift: docs/cli.md names every command and option, docs/json.md every member of every document."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from cli.helpers import DOUBT, MANIFEST, ROOT, Cli, environment, site
from click.shell_completion import ShellComplete
from core_helpers import Shelf, make_spec

from batcher.canary import CanaryStep
from batcher.cli import app
from batcher.cli.examples import EXAMPLES
from batcher.errors import Kind, exit_code
from batcher.jobs import Status
from batcher.ledger.queries.chains import ChainCounts
from batcher.ledger.queries.left_behind import LeftBehind
from batcher.simulator.__main__ import make_parser

CLI_PAGE = (ROOT / "docs/cli.md").read_text("utf-8")
#: What the simulator's own parser takes.
SIMULATORS = set(re.findall(r"--[a-z-]+", make_parser().format_help()))
JSON_PAGE = (ROOT / "docs/json.md").read_text("utf-8")
#: A report with everything in it, which tests/report holds to what the command makes.
REPORT = json.loads((ROOT / "tests/integration/report/expected/report.json").read_text("utf-8")) | {
    "version": 1,
    "ledger": "",
    "unit": "credits",
}
#: The same of tests/timeline.
TIMELINE = json.loads((ROOT / "tests/integration/timeline/expected/timeline.json").read_text("utf-8"))


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(app.cli)
    for name in app.cli.list_commands(context):
        command = app.cli.get_command(context, name)
        assert command
        yield name, command


def section(page: str, heading: str) -> str:
    """A section of a page, without its subsections' headings being ends."""
    found = re.search(rf"^(#+) {re.escape(heading)}$\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading!r}"
    return found[2]


@pytest.mark.parametrize(("name", "command"), [pytest.param(*pair, id=pair[0]) for pair in commands()])
def test_every_command_option_and_argument_is_on_its_page(name: str, command: click.Command) -> None:
    heading = re.search(rf"^### `({name}\b[^`]*)`$", CLI_PAGE, re.MULTILINE)
    assert heading, f"docs/cli.md has no section of `{name}`"
    text = section(CLI_PAGE, f"`{heading[1]}`")
    for param in command.params:
        if isinstance(param, click.Argument):
            shown = param.make_metavar(click.Context(command))
            assert shown in heading[1], f"{name}: {shown}"
            continue
        for option in (*param.opts, *param.secondary_opts):
            assert f"`{option}" in text, f"{name}: {option}"
    assert command.help


def test_every_command_has_an_example_that_it_takes(cli: Cli) -> None:
    """In its `--help`, which `batcher help` shows too."""
    assert list(EXAMPLES) == list(app.COMMANDS)
    for name, command in commands():
        known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        known |= SIMULATORS
        for typed, _ in EXAMPLES[name]:
            words = shlex.split(re.split(r" [|>] ", typed)[0])
            assert words[:2] == ["batcher", name]
            assert {word for word in words if word.startswith("-")} <= known, typed
            assert name == "simulator" or typed in cli("help", name).out
    assert cli("help").out == cli("--help").out
    assert "did you mean 'run'?" in cli("help", "rnu").err


def test_campaigns_jobs_and_models_are_completed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_BATCHER_COMPLETE", "bash_complete")

    def offered(*words: str) -> list[str]:
        shell = ShellComplete(app.cli, {}, "batcher", "_BATCHER_COMPLETE")
        return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]

    assert offered("ca") == ["cancel"]
    assert offered("models", "grok") == ["grok-imagine", "grok-imagine-video"]
    assert offered("report", "--campaign", "") == []
    Path("state").mkdir()
    shelf = Shelf(Path("state/ledger.db"))
    shelf.enrol([make_spec(1)])
    shelf.ledger.close()
    assert offered("report", "--campaign", "") == ["spring"]
    assert offered("retry", "s") == ["spring"]
    assert offered("show", "0") == ["000000000000"]
    assert offered("retry", "--state", "nowhere", "") == []


def test_the_page_names_no_other_command_or_option() -> None:
    assert re.findall(r"^### `(\w+)", CLI_PAGE, re.MULTILINE) == list(app.COMMANDS)
    known = {option for _, command in commands() for param in command.params for option in param.opts}
    known |= SIMULATORS | {"--help", "--version"}
    assert set(re.findall(r"(?<=[`\s])--[a-z-]+", CLI_PAGE)) <= known


def test_the_page_names_the_simulators_options_the_environment_and_the_exit_codes() -> None:
    text = section(CLI_PAGE, "`simulator`")
    for option in SIMULATORS - {"--help"}:
        assert f"`{option}" in text, option
    for word in ("RIVYA_API_KEY", "RIVYA_BASE_URL", "BATCHER_STATE", "NO_COLOR", *Status):
        assert word in CLI_PAGE
    table = section(CLI_PAGE, "Exit codes")
    for kind in Kind:
        assert str(exit_code(kind)) in table
        assert f"`{kind.value}`" in table


def members(heading: str) -> set[str]:
    rows = re.findall(r"^\| (`.*?) \|", section(JSON_PAGE, heading), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def check(value: Any, heading: str, seen: set[str]) -> None:
    """Hold an object, and what is in it where that has a section of its own, to the page."""
    seen.add(heading)
    assert set(value) <= members(heading), heading
    for name, inner in value.items():
        below = f"{heading}.{name}"
        if f"# {below}\n" in JSON_PAGE and inner is not None:
            check(inner, below, seen)
        elif f"# {below}[]\n" in JSON_PAGE:
            for one in inner:
                check(one, f"{below}[]", seen)
        elif f"# {below}{{}}\n" in JSON_PAGE:
            for one in inner.values():
                check(one, f"{below}{{}}", seen)


def test_every_document_is_as_the_page_says(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST + "budget: {campaign: 35}\n")
    (tmp_path / "bad.yaml").write_text("campaign: x\n")
    seen: set[str] = set()
    with site(fail_prompt="watch on", faults=list(DOUBT)) as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        check(cli("run", "m.yaml", "--only", "reveal", "--limit", "1", "--json").document, "run", seen)
        check(cli("run", "m.yaml", "--json", "--on", "end", "sh -c 'cat > alert.json'").document, "run", seen)
        check(json.loads(Path("alert.json").read_text()), "alert", seen)
        check(cli("credits", "--json").document, "credits", seen)
    status = cli("status", "--json").document
    check(status, "status", seen)
    check(
        cli("resolve", status["doubtful_jobs"][0]["id"], "--as", "failed", "--yes", "--json").document, "resolve", seen
    )
    for _ in range(2):
        check(cli("retry", "tiny", status["doubtful_jobs"][0]["id"], "--json").document, "retry", seen)
    for _ in range(2):
        check(cli("cancel", "tiny", status["doubtful_jobs"][0]["id"], "--json").document, "cancel", seen)
    left = cli("cancel", status["doubtful_jobs"][0]["id"], "--json").document
    check(left, "resolve", seen)
    check(cli("doctor", "--json").document, "doctor", seen)
    check(cli("plan", "m.yaml", "--jobs", "--state", "new", "--json").document, "plan", seen)
    (tmp_path / "noted.yaml").write_text("campaign: noted\nmodel: grok-imagine-video\nprompts:\n  - A boat # at dawn\n")
    check(cli("validate", "noted.yaml", "--json").document, "validate", seen)
    check({"version": 1, "url": "", "pid": 1, "ledger": ""}, "listen", seen)  # tests/cli/test_listen.py
    check({"left_behind": [LeftBehind("tiny", "m.yaml", 1, 0, 10)._asdict()]}, "plan", seen)
    check({"running": {"pid": 1, "started": None}}, "status", seen)
    check(cli("ctl", "status", "--json").document, "ctl", seen)
    step = CanaryStep(
        1, 2, jobs=1, succeeded=1, failed=0, doubtful=0, unfinished=0, credits=10, price=10, above_quote=0, differs=0
    )
    check({"version": 1, "event": "canary", "state": "", "step": step.json()}, "canary", seen)
    check({"budget": [{"cap": "run", "credits": 1, "used": 0}]}, "ctl", seen)
    check(cli("report", "--json").document, "report", seen)
    check(REPORT | {"chains": [ChainCounts("")._asdict() | {"total": 0}]}, "report", seen)
    check(cli("report", "--timeline", "--json").document, "timeline", seen)
    check(TIMELINE, "timeline", seen)
    check(cli("watch", "--once", "--json").document, "watch", seen)
    check(cli("results", "tiny", "--json").document, "results", seen)
    jobs = cli("jobs", "--json").document
    check(jobs, "jobs", seen)
    saved = next(job for job in jobs["jobs"] if job["result_path"])
    shown = cli("show", saved["id"], "--json").document
    check(shown, "show", seen)
    check(shown["job"], "jobs.jobs[]", seen)
    for word in ("approve", "approve", "reject", "reject"):
        check(cli(word, saved["id"], "--json").document, word, seen)
    check(cli("claim", saved["id"], "--json").document, "claim", seen)
    check(cli("fetch", saved["id"], "--forget", "--json").document, "fetch", seen)
    check(cli("models", "--json").document, "models", seen)
    check({"version": 1, "sync": [{"id": "x", "state": "new", "notes": [], "file": None}]}, "sync", seen)
    check(cli("report", "--invoice", "--price", "1", "--currency", "EUR", "--json").document, "invoice", seen)
    check(cli("validate", "bad.yaml", "--json").document, "error", seen)
    for campaign in cli("run", "m.yaml", "--dry-run", "--json").document["campaigns"]:
        check(campaign, "plan.campaigns[]", seen)
    assert seen == set(re.findall(r"^##+ (\S+)$", JSON_PAGE, re.MULTILINE))


def test_the_page_names_no_member_that_is_not_there(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST + "budget: {campaign: 35}\n")
    with site() as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        run = cli("run", "m.yaml", "--json", "--on", "end", "sh -c 'cat > alert.json'").document
    with site(faults=list(DOUBT)) as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        doubtful = cli("run", "m.yaml", "--state", "other", "--limit", "1", "--json").document["doubtful_jobs"][0]
    retried = cli("retry", "tiny", "--status", "succeeded", "--json").document
    cancelled = cli("cancel", doubtful["id"], "--state", "other", "--json").document
    resolved = cli("resolve", doubtful["id"], "--as", "again", "--yes", "--state", "other", "--json").document
    doctor = cli("doctor", "--json").document
    plan = cli("plan", "m.yaml", "--jobs", "--json").document
    status = cli("status", "--json").document
    assert set(cli("report", "--json").document) == set(REPORT)
    invoice = cli("report", "--invoice", "--price", "1", "--currency", "EUR", "--json").document
    (job, *_) = cli("jobs", "--json").document["jobs"]
    shown = cli("show", job["id"], "--json").document
    watched = cli("watch", "--once", "--json").document
    results = cli("results", "tiny", "--status", "planned", "--json").document
    for value, heading in [
        (run, "run"),
        (json.loads(Path("alert.json").read_text()), "alert"),
        (run["credits"], "run.credits"),
        (doubtful, "run.doubtful_jobs[]"),
        (doubtful, "status.doubtful_jobs[]"),
        (retried, "retry"),
        (retried["jobs"][0], "retry.jobs[]"),
        (cancelled, "cancel"),
        (cancelled["left"][0], "cancel.left[]"),
        (cancelled["left"][0], "retry.left[]"),
        (cancelled["left"][0], "resolve.left[]"),
        (resolved, "resolve"),
        (resolved["jobs"][0], "resolve.jobs[]"),
        (resolved["jobs"][0], "cancel.jobs[]"),
        (doctor, "doctor"),
        (doctor["checks"][0], "doctor.checks[]"),
        (plan, "plan"),
        (plan["campaigns"][0], "plan.campaigns[]"),
        (plan["campaigns"][0]["prices"][0], "plan.campaigns[].prices[]"),
        (plan["caps"][0], "plan.caps[]"),
        (status, "status"),
        (status["campaigns"][0], "status.campaigns[]"),
        (status["last_run"], "status.last_run"),
        (status["credits"], "status.credits"),
        (REPORT, "report"),
        (REPORT["total"], "report.total"),
        *((REPORT["total"][name], f"report.total.{name}") for name in ("jobs", "attempts", "credits", "wait")),
        *((REPORT[name][0], f"report.{name}[]") for name in ("rows", "troubles", "prices", "budget")),
        (ChainCounts("")._asdict() | {"total": 0}, "report.chains[]"),
        (REPORT["forecast"], "report.forecast"),
        *((REPORT["forecast"][name][0], f"report.forecast.{name}[]") for name in ("campaigns", "bites")),
        (REPORT["reconcile"], "report.reconcile"),
        (REPORT["reconcile"]["since"], "report.reconcile.since"),
        (REPORT["reconcile"]["causes"][0], "report.reconcile.causes[]"),
        (invoice, "invoice"),
        *((invoice[name][0], f"invoice.{name}[]") for name in ("lines", "totals")),
        (watched, "watch"),
        (watched["work"], "watch.work"),
        (watched["credits"], "watch.credits"),
        (results, "results"),
        (results["results"][0], "results.results[]"),
        (job, "jobs.jobs[]"),
        (shown, "show"),
        (shown["attempts"][0], "show.attempts[]"),
        (shown["attempts"][0]["files"][0], "show.attempts[].files[]"),
        (shown["events"][0], "show.events[]"),
        (cli("models", "--json").document["models"][0], "models.models[]"),
    ]:
        assert set(value) == members(heading), heading
