"""What nobody would go on with is named: paid jobs of a renamed campaign, and what a run's budget has spent already."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli.helpers import MANIFEST, Cli, Site

from batcher.ledger import hold_lock


def purchases(place: Site) -> int:
    return len(place.world.oracle().tasks)


def edit(sql: str, *values: object) -> None:
    with closing(sqlite3.connect("state/ledger.db")) as ledger, ledger:
        ledger.execute(sql, values)


@pytest.fixture
def under_way(cli: Cli, place: Site) -> None:
    """Campaign `tiny` with two films, and two tasks under way that hold 10 credits each."""
    assert cli("run", "m.yaml").code == 0
    two = "(SELECT id FROM attempts ORDER BY id LIMIT 2)"
    edit(f"UPDATE wanted SET status = 'processing' WHERE attempt_id IN {two}")
    edit(f"UPDATE attempts SET final_credits = NULL, outcome = NULL, finished_at = NULL WHERE id IN {two}")
    edit(f"DELETE FROM files WHERE attempt_id IN {two}")


TELLS = "Campaign tiny has 2 jobs under way, 20 credits held, and {}: `batcher fetch tiny` brings them home"
NOT_NAMED = TELLS.format("stands in none of these manifests")


def test_a_renamed_campaign_is_named_by_whoever_has_manifests(cli: Cli, under_way: None) -> None:
    expected = {"campaign": "tiny", "manifest": str(Path("m.yaml").absolute()), "jobs": 2, "files": 0, "held": 20}
    assert cli("plan", "m.yaml", "--json").document["left_behind"] == []
    Path("m.yaml").write_text(MANIFEST.replace("tiny", "big"))
    assert NOT_NAMED in cli("plan", "m.yaml", "--state", "state").out
    assert cli("plan", "m.yaml", "--state", "state", "--json").document["left_behind"] == [expected]
    assert NOT_NAMED in cli("run", "m.yaml", "--state", "state", "--dry-run").out
    ran = cli("run", "m.yaml", "--state", "state", "--limit", "0")
    assert NOT_NAMED in ran.out
    assert NOT_NAMED in ran.err
    assert cli("run", "m.yaml", "--state", "state", "--limit", "0", "--json").document["left_behind"] == [expected]
    assert "left" not in cli("fetch", "tiny").err
    assert cli("plan", "m.yaml", "--state", "state", "--json").document["left_behind"] == []


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (MANIFEST, None),
        (MANIFEST.replace("campaign: tiny", "campaign:  'tiny'  # as ever"), None),
        ("prompts: [A boat]\n", None),  # nobody can tell
        (MANIFEST.replace("tiny", "big"), "now names the campaign big"),
        (MANIFEST.replace("campaign: tiny", 'campaign: "big"\r'), "now names the campaign big"),
        (None, "is gone"),
        ("pipe", None),
    ],
)
def test_without_manifests_it_is_named_once_its_own_is_gone(
    cli: Cli, under_way: None, manifest: str | None, told: str | None
) -> None:
    path = Path("m.yaml").absolute()
    path.unlink()
    if manifest == "pipe":
        os.mkfifo(path)
    elif manifest is not None:
        path.write_text(manifest, newline="")
    status, doctor = cli("status").out, cli("doctor").out.replace("\n", " ")
    expected = TELLS.format(f"its manifest {path} {told}")
    assert (expected in status) is bool(told)
    assert ("Campaign tiny has 2 jobs under way" in doctor) is bool(told)
    assert [each["jobs"] for each in cli("status", "--json").document["left_behind"]] == ([2] if told else [])
    edit("UPDATE runs SET ended_at = NULL")
    with hold_lock(Path("state"), started="2026-01-02T03:04:05Z"):
        assert "brings them home" not in cli("status").out


def test_results_that_a_manifest_leaves_there_are_not_missed(cli: Cli, place: Site) -> None:
    Path("m.yaml").write_text(MANIFEST + "results: {download: false}\n")
    assert cli("run", "m.yaml").code == 0
    Path("m.yaml").unlink()
    assert cli("status", "--json").document["left_behind"] == []
    edit("UPDATE runs SET settings = json_remove(settings, '$.left_there')")
    assert [each["files"] for each in cli("status", "--json").document["left_behind"]] == [4]


def test_a_budget_that_is_spent_is_not_offered_again(cli: Cli, place: Site) -> None:
    """A run cap counts anew in each run: what runs in a row used under it is told, and the hint takes it off."""
    go = ("run", "m.yaml", "--budget", "25")
    first = cli(*go)
    assert first.code == 3
    assert "(--budget counts anew in each run: 20 are used): batcher run m.yaml --budget 5\n" in first.out
    edit("UPDATE runs SET ended_at = NULL, exit_code = NULL, reason = NULL")  # as if it had been killed
    second = cli(*go)
    assert "Earlier runs under a --budget of 25 used 20; this one may use 25 more." in second.err
    assert second.code == 0
    assert "Earlier runs" not in cli(*go).err, "a good end ends the row"
    assert cli(*go, "--json").document["used_before"] == 0


def test_a_plans_total_that_is_used_up_is_not_offered_again(cli: Cli, place: Site) -> None:
    """Run again, a run would have the total of the new plan as its cap: the rest at the risen price, on top."""
    place.world.switches.set({"price_factor": 1.5})
    ran = cli("run", "m.yaml")
    assert ran.code == 3
    assert purchases(place) < 4
    assert "the plan's total is used up; see first what the rest costs now: batcher run m.yaml --dry-run\n" in ran.out
    assert "go on with" not in ran.out


def test_an_allowance_is_not_overspent_by_what_is_typed_next(cli: Cli, place: Site, tmp_path: Path) -> None:
    night = MANIFEST + "budget: {allowance: {name: night, total: %s}}\n"
    (tmp_path / "m.yaml").write_text(night % 35)
    (tmp_path / "n.yaml").write_text(night.replace("tiny", "other") % 40)
    two = cli("run", "m.yaml", "n.yaml")
    assert two.code == 2
    assert "m.yaml gives the allowance 'night' a total of 35, n.yaml one of 40" in two.err
    ran = cli("run", "m.yaml", "--limit", "9")
    assert (ran.code, purchases(place)) == (3, 3)
    assert "no room left under: allowance night." in ran.out
    assert "when there is room again, go on with: batcher run m.yaml --limit 6\n" in ran.out
    (tmp_path / "n.yaml").write_text(night.replace("tiny", "other") % 35)
    assert (cli("run", "n.yaml").code, purchases(place)) == (3, 3)
    assert "Cap allowance night: 35, 30 used, 40 wanted; it bites: 35 too many" in cli("plan", "n.yaml").out
    [cap] = cli("report", "--json").document["budget"]
    assert (cap["cap"], cap["name"], cap["limit"], cap["used"], cap["free"]) == ("allowance", "night", 35, 30, 5)


def test_a_budget_that_is_used_up_is_not_offered_again(cli: Cli, place: Site) -> None:
    go = ("run", "m.yaml", "--budget", "10")
    assert cli(*go).code == 3
    again = cli(*go)
    assert "the budget of 10 is used up; go on with what is bought: batcher run m.yaml --budget 0\n" in again.out
    assert "Earlier runs under a --budget of 10 used 10;" in again.err
    assert cli(*go, "--json").document["used_before"] == 20
    assert "used 10" not in cli("run", "m.yaml", "--budget", "7").err, "another budget"
