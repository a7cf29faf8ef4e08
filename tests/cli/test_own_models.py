"""Model files of one's own: they add to the catalogue, or stand in place of its files, and move no identity."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from cli.helpers import Cli, environment, site

from batcher import own_models
from batcher.catalog import get_model
from batcher.simulator.records import ApiAnswer
from batcher.simulator.rules import describe

GROK = (resources.files("batcher.catalog") / "grok-imagine-video.toml").read_text("utf-8")


@pytest.fixture(autouse=True)
def _none_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    yield
    own_models.use(())


def put(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    return folder


def test_one_is_added_and_one_overridden(cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "config/batcher/models", "new-film.toml", GROK.replace('"grok-imagine-video"', '"new-film"'))
    mine = put(tmp_path / "mine", "grok-imagine-video.toml", GROK.replace("base_credits = 10", "base_credits = 12"))
    manifest = tmp_path / "m.yaml"
    for model, price in (("new-film", 10), ("grok-imagine-video", 12)):
        manifest.write_text(f"campaign: own\nmodel: {model}\nprompts: [A boat]\n", "utf-8")
        plan = cli("--catalog", str(mine), "plan", str(manifest), "--json").document
        assert plan["credits"] == price
    models = {each["id"]: each for each in cli("--catalog", str(mine), "models", "--json").document["models"]}
    assert models["grok-imagine-video"]["file"] == str(mine / "grok-imagine-video.toml")
    assert models["new-film"]["file"].endswith("config/batcher/models/new-film.toml")
    assert models["kling-3-0"]["file"] is None
    assert "new-film is your own" in cli("models").out


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("grok-imagine-video", ("duration = 6\nresolution", "duration = 10\nresolution"), "identity_defaults differ"),
        ("grok-imagine-video", ("base_credits = 10", 'base_credits = "ten"'), "base_credits: Input should be"),
        ("grok-imagine-video", ("base_credits = 10", "base_credits = 0"), "base_credits: Input should be greater than"),
        ("grok-imagine-video", ("base_credits = 10", "base_credits = -5"), "base_credits: Input should be greater"),
        ("grok-imagine-video", ("step = 1", "step = 0"), "step: Input should be greater than"),
        ("grok-imagine-video", ("step = 1", "step = nan"), "step: Input should be a finite number"),
        ("grok-imagine-video", ('price_params = ["mode"', 'price_params = ["mod"'), "it has no param 'mod'"),
        ("grok-imagine-video", ('seconds = "duration"', 'seconds = "length"'), "it has no param 'length'"),
        ("other", ("", ""), "its id is 'grok-imagine-video'"),
        ("grok-imagine-video", ("[prompt]", "[prompt"), "Expected"),
    ],
)
def test_a_file_that_cannot_be_used(cli: Cli, tmp_path: Path, name: str, change: tuple[str, str], message: str) -> None:
    folder = put(tmp_path / "mine", f"{name}.toml", GROK.replace(*change) if change[0] else GROK)
    ran = cli("--catalog", str(folder), "models")
    assert ran.code == 2
    assert message in ran.err
    assert f"{name}.toml" in ran.err


def test_sync_writes_files_for_review_that_do_not_count_yet(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = put(tmp_path / "mine", "new-film.toml", GROK.replace('"grok-imagine-video"', '"new-film"'))
    image = (resources.files("batcher.catalog") / "z-image.toml").read_text("utf-8")
    put(mine, "z-image.toml", image.replace("base_credits = 1", "base_credits = 2"))
    review = tmp_path / "config/batcher/models/review"
    with site() as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        own_models.use([mine])  # what the API knows, and we do not
        listed = [describe(get_model(name)) for name in ("new-film", "z-image", "kling-3-0")]
        own_models.use([])
        monkeypatch.setattr(place.world, "answer", lambda *_: ApiAnswer(200, {"object": "list", "data": listed}))
        ran = cli("models", "--sync", "--json")
    assert ran.code == 0
    assert {each["id"]: each["state"] for each in ran.document["sync"]} == {
        "new-film": "new",
        "z-image": "changed",
        "kling-3-0": "same",
    }
    assert sorted(path.name for path in review.iterdir()) == ["new-film.toml", "z-image.toml"]
    manifest = tmp_path / "n.yaml"
    manifest.write_text("campaign: own\nmodel: new-film\nprompts: [A boat]\n", "utf-8")
    assert cli("plan", str(manifest)).code == 2, "nothing counts before somebody has looked at it"
    assert cli("--catalog", str(review), "plan", str(manifest), "--json").document["credits"] == 10
    assert cli("models", "--sync", "x").code == 2
