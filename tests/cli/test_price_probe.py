"""`run --probe`: one job of each price class of unknown price, after asking, and what that told."""

from __future__ import annotations

from pathlib import Path

from cli.helpers import Cli, Site


def charged(place: Site) -> int:
    return len(place.world.oracle().charges)


def test_a_probe_buys_one_of_each_unseen_class_and_leaves_the_rest(cli: Cli, place: Site) -> None:
    place.world.switches.set({"price_factor": 1.5})
    ran = cli("run", "m.yaml", "--probe")
    assert (ran.code, charged(place)) == (2, 0)
    assert "a probe buys 2 jobs for 20 credits and would ask first, but there is no terminal" in ran.err
    ran = cli("run", "m.yaml", "--probe", "--yes", "--budget", "40", "--json")
    assert (ran.code, charged(place)) == (3, 2)
    assert "it was a probe for prices" in ran.document["reason"]
    classes = [each["price_class"] for each in cli("plan", "m.yaml", "--json").document["campaigns"][0]["prices"]]
    assert ran.document["learned"] == [
        {"price_class": name, "expected": 10, "credits_each": 15} for name in sorted(classes)
    ]
    assert cli("status", "--json").document["last_run"]["exit_code"] == 3
    ran = cli("run", "m.yaml", "--probe")
    assert (ran.code, charged(place)) == (0, 2), "nothing is unknown any more, and so nothing is asked"
    assert "a probe has nothing to buy" in ran.err
    assert cli("run", "m.yaml").code == 0
    assert charged(place) == 4


def test_a_probe_is_of_what_is_selected_and_shown_by_a_dry_run(cli: Cli, place: Site) -> None:
    ran = cli("run", "m.yaml", "--probe", "--only", "dunes", "--dry-run", "--json")
    assert (ran.code, ran.document["new"], charged(place)) == (0, 1, 0)
    ran = cli("run", "m.yaml", "--probe", "--only", "dunes", "--yes")
    assert (ran.code, "go on with: batcher run m.yaml --only dunes\n" in ran.out) == (3, True), ran
    assert charged(place) == 1


def test_a_class_with_a_job_under_way_is_probed_already(cli: Cli, place: Site, tmp_path: Path) -> None:
    place.world.switches.set({"reserved_says": 0, "run_seconds": [1000, 1000]})
    text = (tmp_path / "m.yaml").read_text().replace("max: 50ms", "max: 50ms, give_up: 1s")
    (tmp_path / "m.yaml").write_text(text)
    assert cli("run", "m.yaml", "--limit", "1").code == 1
    assert cli("run", "m.yaml", "--probe", "--dry-run", "--json").document["new"] == 1, "the other class"


def test_a_plan_until_a_time_of_the_day(cli: Cli, place: Site, tmp_path: Path) -> None:
    slow = (tmp_path / "m.yaml").read_text().replace("submit: 1000/second", "submit: 2/day")
    (tmp_path / "slow.yaml").write_text(slow)
    ran = cli("plan", "slow.yaml", "--until", "7:00", "--jobs")
    assert "Buys 2 of 4 jobs for 20 credits; stops after reveal (the time of --until)" in ran.out
    assert ran.out.count("; stopped by the time of --until") == 2
    assert "No job is started after " in ran.out
    assert cli("plan", "m.yaml", "--until", "7:00", "--out", "p.json").code == 2


def test_a_plan_is_made_for_the_simulator(cli: Cli, tmp_path: Path) -> None:
    saved = cli("plan", "m.yaml", "--simulate", "--out", "p.json", "--json")
    assert saved.code == 0, saved
    assert saved.document["account"].startswith("simulator#")
    ran = cli("run", "p.json", "--simulate", "--dry-run", "--json")
    assert (ran.code, ran.document["new"]) == (0, 4), ran
    assert "made for the account simulator#" in cli("run", "p.json", "--dry-run").err
