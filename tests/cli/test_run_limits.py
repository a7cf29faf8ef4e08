"""How far a run goes: its budget, its time, what is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.helpers import MANIFEST, Cli, Ran, Site, environment, purchases, site

from batcher.cli import options


def test_jobs_that_are_left_are_told_with_the_reason(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST + "retries: {times: 0}\n")
    waiting: list[object] = [{"on": "create", "do": "status", "status": 425, "code": "too_early"}]
    with site(faults=waiting) as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        ran = cli("run", "m.yaml", "--only", "reveal")
    assert ran.code == 1
    assert "\n  2 jobs left: too_early: The simulator was told to say so.\n" in ran.out
    assert "  go on with: batcher run m.yaml --only reveal\n" in ran.out


@pytest.mark.parametrize(("budget", "bought", "code"), [("0", 0, 3), ("25", 2, 3), ("40", 4, 0)])
def test_the_budget_of_a_run(cli: Cli, place: Site, budget: str, bought: int, code: int) -> None:
    ran = cli("run", "m.yaml", "--budget", budget)
    assert ran.code == code
    assert purchases(place) == bought
    assert f"Cap run: {budget}, 0 used, 40 wanted" in ran.err
    assert cli("watch", "--json").document["work"]["total"] == bought, "those without room are not waited for"
    assert f", of a budget of {budget}\n" in ran.out
    assert "held, of a budget" in ran.out or f"nothing bought, of a budget of {budget}" in ran.out
    assert cli("status", "--json").document["last_run"]["settings"]["caps"]["run"] == int(budget)
    assert cli("run", "m.yaml", "--json").document["budget"] is None
    assert purchases(place) == 4


def test_until_a_time_of_the_day(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "next_time", lambda hour, minute, now: now)
    ran = cli("run", "m.yaml", "--until", "7:00")
    assert ran.code == 3
    assert "Stopped in " in ran.out
    assert "the time of --until has come" in ran.out
    assert "no job is started after " in ran.out
    assert purchases(place) == 0


@pytest.mark.parametrize("typed", ["24:00", "7", "07:60", "tomorrow", ""])
def test_what_is_no_time_of_the_day(cli: Cli, place: Site, typed: str) -> None:
    ran = cli("run", "m.yaml", "--until", typed)
    assert ran.code == 2
    assert "no time of the day" in ran.err


def test_no_budget_only_goes_on_with_what_is_bought(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("max: 50ms", "max: 50ms, give_up: 1s"))
    with site(run_seconds=600) as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        assert cli("run", "m.yaml", "--only", "reveal").code == 1
        place.clock.ahead = 3600
        ran = cli("run", "m.yaml", "--budget", "0", "--json")
        assert ran.code == 3
        assert ran.document["budget"] == 0
        assert ran.document["campaigns"][0]["statuses"] == {"planned": 2, "succeeded": 2}
        assert ran.document["blocked"] == ["run cap of 0: 0 held or settled, 10 more wanted"]
        assert purchases(place) == 2


def test_a_budget_in_the_plan(cli: Cli) -> None:
    found = cli("plan", "m.yaml", "--budget", "25", "--json").document
    assert found["caps"] == [{"cap": "run", "limit": 25, "used": 0, "wanted": 40, "bites": True}]
    assert cli("plan", "m.yaml", "--budget", "-1").code == 2
    dry: Ran = cli("run", "m.yaml", "--dry-run", "--budget", "25")
    assert dry == cli("plan", "m.yaml", "--budget", "25")
