"""`--unchecked`, as a person meets it: the error that names it, the warning, the plan's words, a saved plan, a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.helpers import Cli, environment, site

import batcher
from batcher import own_models
from batcher.errors import ManifestError
from batcher.simulator.switches import DEFAULT_KEY

MANIFEST = """\
campaign: fresh
model: new-film
params: {seconds: 6}
matrix: {seconds: [6, 8]}
prompts: [A boat]
limits: {submit: 1000/second, requests: 1000/second}
polling: {first: 10ms, every: 10ms, max: 50ms}
"""
FILE = 'id = "new-film"\nresult = "image"\nbase_credits = 5\n[params.seconds]\ntype = "number"\n'
WARNING = "warning: m.yaml:2:8: new-film has no file in the catalogue"


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("m.yaml")
    path.write_text(MANIFEST, "utf-8")
    return path


def test_what_is_said(cli: Cli, manifest: Path) -> None:
    for command in ("validate", "plan", "run"):
        ran = cli(command, str(manifest), *(["--simulate"] if command == "run" else []))
        assert ran.code == 2
        assert "unknown model 'new-film'" in ran.err
        assert "--unchecked does without" in ran.err
    assert WARNING in cli("validate", str(manifest), "--unchecked").err
    plan = cli("plan", str(manifest), "--unchecked")
    assert plan.err.count(WARNING) == 1
    assert "params: seconds, as they are written" in plan.err
    assert "new-film unchecked unpriced      2      1         2   unknown" in plan.out
    assert "2 jobs without a price beforehand (no file in the catalogue): a run buys none of them, unless" in plan.out
    assert "Prices of the catalogue" not in plan.out
    document = cli("plan", str(manifest), "--unchecked", "--json").document
    assert [note["line"] for note in document["notes"]] == [2]
    assert [price["source"] for price in document["campaigns"][0]["prices"]] == ["unknown"]


def test_bought_saved_and_then_checked(cli: Cli, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = ("--unchecked", "--allow-unpriced", "14")
    with site(unknown_model="image", price_factor=7) as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        assert cli("run", str(manifest), "--unchecked", "-q").code == 3
        assert place.world.oracle().tasks == {}
        assert "Nobody knows the price of models without a file" in cli("report").out
        assert "Saved plan.json: 2 jobs" in cli("plan", str(manifest), *bound, "--out", "plan.json").err
        ran = cli("run", "plan.json", "-q")
        assert "warning: " in ran.err
        assert ran.code == 3, "its ceiling is the price that nobody knew: one job shows it"
        assert len(place.world.oracle().tasks) == 1
        ran = cli("run", str(manifest), *bound, "-q")
        assert (ran.code, ran.err.count(WARNING)) == (0, 1)
        assert {task.reserved for task in place.world.oracle().tasks.values()} == {7}
        # what is bought needs no leave and no file: it is looked at and fetched as ever
        for words in (("status",), ("jobs",), ("report",), ("fetch",)):
            assert cli(*words).code == 0
        # and a file that takes the same values for the same names makes the same jobs of them
        Path("mine").mkdir()
        Path("mine/new-film.toml").write_text(FILE, "utf-8")
        try:
            ran = cli("--catalog", "mine", "run", str(manifest), "--json")
        finally:
            own_models.use(())
        assert (ran.code, WARNING in ran.err) == (0, False)
        assert len(place.world.oracle().tasks) == 2


def test_in_python(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST, "utf-8")
    with pytest.raises(ManifestError):
        batcher.load(tmp_path / "m.yaml")
    manifest = batcher.load(tmp_path / "m.yaml", unchecked=True)
    with (
        site(unknown_model="video") as place,
        batcher.Ledger(tmp_path / "state", key=DEFAULT_KEY, base_url=place.base_url) as it,
    ):
        plan = it.plan(manifest)
        assert (plan.new, len(plan.warnings), plan.most) == (2, 1, 0)
        assert it.run(manifest, unpriced=2).kind.value == "done"
        assert [job.final_credits for job in it.jobs()] == [1, 1]
