"""Model files made of the API's own list: what it says is followed, what it does not say stays, no identity moves."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from batcher.catalog import Model, get_model, model_ids
from batcher.catalog.sync import sync, toml
from batcher.simulator.rules import describe

FILM: dict[str, Any] = {
    "id": "grok-imagine-video",
    "category": "video",
    "base_credits": 10,
    "billing_type": "FIXED",
    "max_prompt_length": 5000,
}


def made(entry: dict[str, Any]) -> Model:
    return Model.model_validate(tomllib.loads(sync(entry).text))


@pytest.mark.parametrize("name", model_ids())
def test_the_catalogue_as_the_simulator_tells_it_is_the_same(name: str) -> None:
    found = sync(describe(get_model(name)))
    assert (found.state, found.notes, found.text) == ("same", (), "")


def test_what_is_said_is_followed_and_the_rest_stays() -> None:
    params = {"properties": {"duration": {"minimum": 4, "default": 8}, "mode": {"enum": ["fun", "wild"]}}}
    found = sync({**FILM, "base_credits": 12.5, "billing_type": "METERED", "params": params})
    assert found.state == "changed"
    assert "billing is METERED, FIXED in the catalogue" in found.notes
    old, new = get_model("grok-imagine-video"), made({**FILM, "base_credits": 12.5, "params": params})
    assert (new.base_credits, new.prompt, new.references) == (13, old.prompt, old.references)
    assert new.params["duration"].allowed == "a whole number from 4 to 30"
    assert new.params["mode"].allowed == "fun | wild"
    assert new.params["resolution"] == old.params["resolution"]
    assert new.identity_defaults == old.identity_defaults, "frozen: what is bought is not bought again"
    assert (old.lacking({}), new.lacking({}), new.lacking({"mode": "fun"})) == ([], ["mode"], [])


@pytest.mark.parametrize(
    "params",
    [None, [], {}, "x", 5, [1, {"key": 2}], {"mode": {"default": ["x"]}}, [{"name": "mode", "options": {}}], [[]]],
)
def test_what_cannot_be_read_says_nothing(params: object) -> None:
    assert sync({**FILM, "params": params}).state == "same"


def test_a_model_that_has_no_file() -> None:
    entry = {
        "id": "new-film",
        "category": "video",
        "base_credits": 7,
        "billing_type": "FIXED",
        "max_prompt_length": 900,
        "params": [
            {"key": "quality", "options": [{"value": "low"}, {"value": "high"}], "default": "low"},
            {"key": "seed", "type": "number", "range": "min 0 / max 9 / step 1"},
            {"key": "hint", "type": "text", "required": True},
        ],
        "reference_media": {"max_files": 2},
        "file_kinds": ["image"],
    }
    assert sync(entry).state == "new"
    model = made(entry)
    assert (model.id, model.result, model.base_credits, model.prompt.max) == ("new-film", "video", 7, 900)
    assert model.price_params == ("quality",)
    assert model.price_reference
    assert {name: param.allowed for name, param in model.params.items()} == {
        "quality": "low | high",
        "seed": "a whole number from 0 to 9",
        "hint": "text",
    }
    assert model.identity_defaults == {"quality": "low"}
    assert model.lacking({}) == ["hint"]
    assert (model.references.max_files, list(model.references.kinds)) == (2, ["image"])


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"id": "../../x", "category": "video"}, "its id cannot be the name of a file"),
        ({"category": "video"}, "its id cannot be the name of a file"),
        ({"id": "talk", "category": "chat"}, "it makes no video, image or audio (chat)"),
        (
            {"id": "half", "category": "image", "params": [{"key": "a\ud800"}, {"key": "a\ud801"}]},
            "no file can be made of it: Cannot declare ('params', 'a?') twice (at line 14, column 13)",
        ),
        ({"id": "soon", "category": "video", "api_status": "coming_soon"}, "the API does not take it (coming_soon)"),
    ],
)
def test_what_is_skipped(entry: dict[str, Any], why: str) -> None:
    found = sync(entry)
    assert (found.state, found.notes, found.text) == ("skipped", (why,), "")


def test_toml_holds_any_plain_data() -> None:
    data = {"a": 'q"\\\n\x7f', "b": [1, "é"], "c": {"d e 😀": {"f": 0.5}, "g": True}, "h": 2}
    assert tomllib.loads(toml(data)) == data
    assert tomllib.loads(toml({"a\ud800": ["\ud800"]})) == {"a?": ["?"]}, "half a character"
