"""`init`, `validate`, `plan`, `models`, `schema`, and what every command does with wrong arguments and errors."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import pytest
from cli.helpers import MANIFEST, Cli, Site

from batcher import __main__, __version__
from batcher.cli import app, crash
from batcher.cli.plan_view import plan_view
from batcher.cli.terminal import ReaderGone, Terminal
from batcher.ledger import LedgerReader
from batcher.planning import CampaignPlan, CapLine, Plan
from batcher.workload import prepare

PLAN = """\
campaign   jobs   new   done   credits
──────────────────────────────────────
tiny          4     4      0        40

new jobs by price class   jobs   each   credits   price
─────────────────────────────────────────────────────────────────
mode=fun                     2     10        20   catalogue, from
mode=normal                  2     10        20   catalogue, from
total                        4               40
All of them: grok-imagine-video duration=6 resolution=480p reference=no.

40 credits for 4 new jobs; submitting them takes at least 1 min 00 s at 2/minute.
Prices of the catalogue are "from": the API names the real one with the first job of each class.
Cap campaign tiny: 35, 0 used, 40 wanted; it bites: 5 too many, the rest stays planned.
Cap day DAY: 1,000, 0 used, 40 wanted; 960 to spare.
Buys 3 of 4 jobs for 30 credits; stops after dunes (campaign tiny); all sent by 05:40 at the earliest (how long such jobs take is not known yet).
"""  # noqa: E501


def test_plan(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.workload.local_day", lambda *_: "DAY")
    monkeypatch.setattr("batcher.cli.plan_jobs.local_time", lambda at: "05:40")
    text = MANIFEST.replace("submit: 1000/second", "submit: 2/minute") + "budget: {campaign: 35, day: 1000}\n"
    (tmp_path / "m.yaml").write_text(text)
    ran = cli("plan", "m.yaml")
    assert (ran.code, ran.out, ran.err) == (0, PLAN, "")
    assert not (tmp_path / "state").exists()


def test_plan_against_a_ledger_with_a_price_that_was_seen(cli: Cli, place: Site, tmp_path: Path) -> None:
    place.world.switches.set({"price_factor": 1.5})
    assert cli("run", "m.yaml", "--limit", "1").code == 0
    ran = cli("plan", "m.yaml")
    assert "tiny          4     3      1        35\n" in ran.out
    assert "     1     15        15   seen 20" in ran.out
    assert "\n35 credits for 3 new jobs.\n" in ran.out
    assert "No cap is set: a run of this plan stops at 35 credits.\n" in ran.out
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("[watch, ring]", "[ring]"))
    shown = cli("plan", "m.yaml").out
    assert "no longer wanted" in shown
    assert "1 planned job no longer in the manifest: a run cancels them; they cost nothing.\n" in shown


def test_plan_of_two_manifests_has_a_total(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(MANIFEST.replace("tiny", "other").replace("[watch, ring]", "[watch, watch]"))
    ran = cli("plan", "m.yaml", "b.yaml", "--limit", "5")  # the campaigns take turns
    assert ran.out.startswith(
        "campaign   jobs   new   not selected   done   duplicates   credits\n"
        "──────────────────────────────────────────────────────────────────\n"
        "tiny          4     3              1      0            0        30\n"
        "other         2     2              0      0            2        20\n"
        "total         6     5              1      0            2        50\n"
    )


def test_plan_as_json(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST + "budget: {campaign: 35}\n")
    found = cli("plan", "m.yaml", "--only", "reveal", "--json").document
    assert found == {
        "version": 1,
        "account": None,
        "unit": "credits",
        "campaigns": [
            {
                "campaign": "tiny",
                "manifest": "m.yaml",
                "model": "grok-imagine-video",
                "jobs": 4,
                "new": 2,
                "unselected": 2,
                "done": 0,
                "under_way": 0,
                "failed": 0,
                "doubtful": 0,
                "cancelled": 0,
                "gone": 0,
                "duplicates": 0,
                "to_fetch": 0,
                "credits": 20,
                "prices": [
                    {
                        "price_class": "grok-imagine-video mode=normal duration=6 resolution=480p reference=no",
                        "jobs": 2,
                        "credits_each": 10,
                        "credits": 20,
                        "source": "catalogue, from",
                    }
                ],
            }
        ],
        "caps": [{"cap": "campaign tiny", "limit": 35, "used": 0, "wanted": 20, "bites": False}],
        "new": 2,
        "credits": 20,
        "seconds": found["seconds"],
        "notes": [],
        "left_behind": [],
        "buys": {
            "jobs": 2,
            "of": 2,
            "credits": 20,
            "stops_after": "",
            "stopped_by": [],
            "seconds": 0.0,
            "seconds_known": False,
            "chains": 0,
            "chains_of": 0,
            "done_by": None,
        },
    }


def test_a_plan_shows_every_job_with_what_stops_it(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST + "budget: {campaign: 35}\n")
    shown = cli("plan", "m.yaml", "--jobs").out.split("\n\n")[-4:]
    assert [re.sub(r"[0-9a-f]{12}", "ID", text) for text in (shown[0], shown[3])] == [
        "reveal  ID  tiny: new, 10 credits (catalogue, from)\n    A reveal of a watch\n"
        "    grok-imagine-video: mode=normal, duration=6, resolution=480p, aspect_ratio=2:3",
        "dunes  ID  tiny: new, 10 credits (catalogue, from); stopped by cap campaign tiny\n    ring on dunes\n"
        "    grok-imagine-video: mode=fun, duration=6, resolution=480p, aspect_ratio=2:3\n",
    ]
    rows = list(csv.DictReader(io.StringIO(cli("plan", "m.yaml", "--format", "csv").out)))
    assert [(row["prompt"], row["credits"], row["stopped_by"]) for row in rows] == [
        ("A reveal of a watch", "10", ""),
        ("A reveal of a ring", "10", ""),
        ("watch on dunes", "10", ""),
        ("ring on dunes", "10", "campaign tiny"),
    ]
    found = cli("plan", "m.yaml", "--rows", "1", "--format", "json", "--limit", "0").document
    assert [(job["name"], job["standing"], job["credits"]) for job in found["jobs"]] == [("reveal", "unselected", None)]
    assert cli("plan", "m.yaml", "--rows", "3").out.endswith("… and 1 job more\n")


def test_a_plan_fails_over_a_sum(cli: Cli) -> None:
    assert cli("plan", "m.yaml", "--fail-over", "40").code == 0
    ran = cli("plan", "m.yaml", "--fail-over", "39")
    assert (ran.code, ran.err) == (3, "warning: the plan wants 40 credits, more than --fail-over 39\n")


def test_a_plan_knows_what_is_to_fetch_and_what_the_wallet_pays_for(
    cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("run", "m.yaml", "--limit", "3", "--no-download").code == 0
    place.world.set_wallet(5)
    found = cli("plan", "m.yaml", "--online", "--json").document
    assert (found["campaigns"][0]["to_fetch"], found["campaigns"][0]["done"]) == (3, 3)
    assert (found["buys"]["jobs"], found["buys"]["stopped_by"]) == (0, ["wallet"])
    assert found["caps"] == [{"cap": "wallet", "limit": 5, "used": 0, "wanted": 10, "bites": True}]
    monkeypatch.setattr(LedgerReader, "waits", lambda *_: [(90.0, 120.0)])
    ahead = cli("plan", "m.yaml").out
    assert "to fetch" in ahead
    assert re.search(r"\nBuys 1 of 1 job for 10 credits; done by \d\d:\d\d\.\n", ahead)


def test_a_plan_without_anything_new(cli: Cli) -> None:
    campaign = CampaignPlan("c", "m.yaml", 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, ())
    plan = Plan((campaign,), (CapLine("run", 10, 20),), 0.0)
    shown = [str(part) for part in plan_view(plan, prepare([Path("m.yaml")]))]
    assert shown[-2:] == [
        "Nothing new to buy.",
        "Cap run: 10, 20 used, 0 wanted; it bites: 0 too many, the rest stays planned.",
    ]


def test_more_jobs_than_allowed(cli: Cli) -> None:
    ran = cli("plan", "m.yaml", "--max-jobs", "3")
    assert ran.code == 2
    assert "more than 3 jobs" in ran.err


def test_validate(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(MANIFEST.replace("tiny", "other").replace("[watch, ring]", "[watch, watch]"))
    ran = cli("validate", "m.yaml", "b.yaml")
    assert ran.out == (
        "m.yaml: campaign tiny, 4 jobs\nb.yaml: campaign other, 2 jobs, 2 entries that ask for one of them again\n"
    )
    found = cli("validate", "m.yaml", "--json").document
    tiny = {"manifest": "m.yaml", "campaign": "tiny", "jobs": 4, "duplicates": 0}
    assert found == {"version": 1, "valid": True, "manifests": [tiny], "notes": []}


def test_all_errors_of_all_manifests_come_in_one_go(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("campaign: Bad Name\nmodel: nonsense\nprompts: [x]\n")
    (tmp_path / "c.yaml").write_text("campaign: c\nmodel: grok-imagine-video\nprompts: [{file: p.csv}]\n")
    (tmp_path / "p.csv").write_text("prompt\n{{ nothing }}\n")
    ran = cli("validate", "m.yaml", "b.yaml", "c.yaml", "missing.yaml", "--json")
    assert ran.code == 2
    error = ran.document["error"]
    files = [problem["file"] for problem in error["problems"]]
    assert set(files) == {"b.yaml", "missing.yaml", "p.csv"}
    assert files.count("b.yaml") == 2
    assert (error["kind"], error["exit_code"], error["more"]) == ("usage", 2, 0)
    assert set(error["problems"][0]) == {"file", "line", "column", "row", "sheet", "message", "hint"}
    assert "4 errors; nothing was sent." in ran.err
    for problem in error["problems"]:
        assert problem["message"] in ran.err


def test_errors_that_show_in_the_expansion_only(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("prompts:\n", "prompts:\n  - file: p.csv\n"))
    (tmp_path / "p.csv").write_text("prompt\n{{ nothing }} {{ product }}\n")
    for words in (["plan", "m.yaml"], ["plan", "m.yaml", "--only", "none"], ["validate", "m.yaml"]):
        ran = cli(*words)
        assert ran.code == 2
        assert "nothing" in ran.err


def test_init_writes_a_manifest_that_plans_and_never_overwrites(cli: Cli, tmp_path: Path) -> None:
    ran = cli("init", "new folder")
    assert ran.code == 0
    assert ran.out.startswith(
        "Wrote new folder/campaign.yaml (and manifest.schema.json for editors). Look at it, then:\n"
        "  batcher plan 'new folder/campaign.yaml'"
    )
    assert (tmp_path / "new folder/manifest.schema.json").read_text() == cli("schema").out
    assert cli("plan", "new folder/campaign.yaml").code == 0
    before = (tmp_path / "new folder/campaign.yaml").read_text()
    ran = cli("init", "new folder")
    assert ran.code == 2
    assert "exists already" in ran.err
    assert (tmp_path / "new folder/campaign.yaml").read_text() == before
    assert cli("init").code == 0
    assert (tmp_path / "campaign.yaml").read_text() == before


def test_init_where_nothing_can_be_written(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = cli("init", "file/below")
    assert ran.code == 7


def test_models(cli: Cli) -> None:
    assert cli("models").out.splitlines()[0].split() == ["model", "makes", "credits", "from", "params", "references"]
    shown = cli("models", "grok-imagine-video").out
    assert "duration       a whole number from 6 to 30     6         yes\n" in shown
    assert "A reference may move the price too.\n" in shown
    assert "  prompt      1 to 5,000 characters\n" in shown
    ran = cli("models", "grok-imagine-vide")
    assert ran.code == 2
    assert "did you mean 'grok-imagine-video'?" in ran.err


def test_a_model_with_nothing_special(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from batcher.catalog import Model, TextParam

    plain = Model(id="plain", result="audio", base_credits=1, params={"voice": TextParam(type="text")})
    monkeypatch.setattr("batcher.cli.commands.models.get_model", lambda _: plain)
    shown = cli("models", "plain").out
    assert "  prompt      at least 1 character\n" in shown
    assert "  references  none\n" in shown
    assert "voice   text      none" in shown


def test_models_as_json(cli: Cli) -> None:
    models = {model["id"]: model for model in cli("models", "--json").document["models"]}
    assert models["grok-imagine-video"]["params"]["duration"] == {
        "type": "number",
        "min": 6.0,
        "max": 30.0,
        "step": 1.0,
        "default": 6,
        "required": False,
        "when": "always",
        "moves_price": True,
    }
    (one,) = cli("models", "grok-imagine", "--json").document["models"]
    assert one == models["grok-imagine"]


def test_schema(cli: Cli) -> None:
    assert json.loads(cli("schema").out)["title"] == "batcher manifest"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runn"], "No such command 'runn'; did you mean 'run'?"),
        (["nonsense"], "No such command 'nonsense'."),
        (["--nonsense"], "No such option"),
        (["run"], "Missing argument 'MANIFEST...'."),
        (["plan", "m.yaml", "--limit", "-1"], "Invalid value for '--limit'"),
        (["jobs", "--status", "done"], "'done' is not one of"),
        (["plan", "m.yaml", "--allow-path", "nowhere"], "does not exist"),
        (["run", "m.yaml", "--api-key", "x"], "No such option"),
    ],
)
def test_wrong_arguments(cli: Cli, words: list[str], said: str) -> None:
    ran = cli(*words)
    assert ran.code == 2
    assert said in ran.err
    assert "--help` lists what it takes." in ran.err
    assert ran.out == ""
    assert cli(*words, "--json").document["error"]["exit_code"] == 2


def test_a_double_dash_ends_the_options(cli: Cli) -> None:
    assert cli("plan", "--", "--json").out == ""


def test_help_and_version(cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ran = cli()
    assert ran.code == 2
    assert "Usage: batcher" in ran.err
    assert cli("--help").out.startswith("Usage: batcher")
    assert cli("run", "-h").code == 0
    assert cli("--version").out == f"batcher {__version__}\n"
    for argv in (["--version"], ["schema"]):
        monkeypatch.setattr("sys.argv", ["batcher", *argv])
        assert __main__.main() == 0
    assert capsys.readouterr().out.startswith(f"batcher {__version__}\n{{")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "\nInterrupted.\n"),
        (click.Abort(), 130, "Interrupted.\n"),
        (ValueError("what"), 1, "error: ValueError: what\nNothing bought is lost. What happened in full: "),
        (PermissionError(13, "no"), 7, "error: PermissionError: [Errno 13] no\nNothing bought is lost."),
        (sqlite3.OperationalError("disk"), 7, "error: OperationalError: disk\nNothing bought is lost."),
    ],
)
def test_no_error_shows_a_traceback(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, told: str
) -> None:
    def raise_it(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("batcher.cli.commands.schema.Terminal.line", raise_it)
    ran = cli("schema")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(told)


def test_where_a_crash_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setenv("BATCHER_STATE", "from-environment")
    places = {
        ("--state", "named"): "named",
        ("--state=named2",): "named2",
        ("--state",): "from-environment",
        (): "from-environment",
    }
    for argv, folder in places.items():
        hint = crash.report(ValueError("x"), argv).hint
        assert str(tmp_path / folder / "logs/crash-") in hint
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "temporary/crash-") in crash.report(ValueError("x"), ["--state", "file"]).hint
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    assert "could not be written anywhere" in crash.report(ValueError("x"), ["--state", "file"]).hint


def test_every_command_is_there() -> None:
    context = click.Context(app.cli)
    assert {app.cli.get_command(context, name) is not None for name in app.cli.list_commands(context)} == {True}
    with closing(context):
        assert app.cli.get_command(context, "nonsense") is None


@pytest.mark.parametrize("method", ["line", "flush"])
def test_a_reader_that_went_away_is_no_error(cli: Cli, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def gone(*_: object) -> None:
        raise ReaderGone

    monkeypatch.setattr(Terminal, method, gone)
    assert cli("schema").code == 0
    assert cli("status", "--json").code == 7
