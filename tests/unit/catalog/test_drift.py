"""What the API's list of models says, in whatever shape, beside the catalogue."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.catalog import get_model, model_ids
from batcher.catalog.drift import differences
from batcher.simulator.rules import describe

VIDEO = get_model("grok-imagine-video")
RANGE = {"min": 6, "max": 30, "step": 1}


@pytest.mark.parametrize("name", model_ids())
def test_an_entry_that_says_the_same_has_no_difference(name: str) -> None:
    assert differences(get_model(name), describe(get_model(name))) == []


def params(value: Any) -> dict[str, Any]:
    return {"params": value}


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        # Nothing that can be compared says nothing.
        ({}, []),
        ({"base_credits": None, "max_prompt_length": None, "params": []}, []),
        ({"base_credits": "from 10", "max_prompt_length": 0, "params": "see the page"}, []),
        ({"base_credits": True, "params": {"duration": None, "mode": ["fun"]}}, []),
        (params([{"key": "duration"}, {"key": "seed", "default": 7}, "mode", None]), []),
        # Prices and prompts.
        ({"base_credits": 10, "max_prompt_length": 5000}, []),
        ({"base_credits": "12"}, ["base credits are 12, 10 in the catalogue"]),
        ({"baseCredits": 8.5}, ["base credits are 8.5, 10 in the catalogue"]),
        ({"max_prompt_length": 4000}, ["a prompt may have 4000 characters, 5000 in the catalogue"]),
        # Defaults, in each shape, and with each type.
        (params([{"key": "duration", "default": "6"}, {"name": "mode", "default": "normal"}]), []),
        (params([{"key": "duration", "default": 8}]), ["duration: the default is 8, 6 in the catalogue"]),
        (params([{"name": "duration", "default": "8"}]), ["duration: the default is 8, 6 in the catalogue"]),
        (params([{"id": "duration", "default": 60}]), ["duration: the default is 60, 6 in the catalogue"]),
        (params({"mode": {"default": "fun"}}), ["mode: the default is fun, normal in the catalogue"]),
        (params({"properties": {"mode": {"default": False}}}), ["mode: the default is false, normal in the catalogue"]),
        # Ranges.
        (params([{"key": "duration", **RANGE}]), []),
        (params([{"key": "duration", "range": "min 6 / max 30 / step 1"}]), []),
        (params([{"key": "duration", "range": [6, 30]}]), []),
        (params([{"key": "duration", **RANGE, "max": 15}]), ["duration: max is 15, 30 in the catalogue"]),
        (params([{"key": "duration", "range": "min 4 / max 30"}]), ["duration: min is 4, 6 in the catalogue"]),
        (params({"duration": {"minimum": 6, "maximum": "20"}}), ["duration: max is 20, 30 in the catalogue"]),
        (params({"duration": {"range": {"step": 0.5}}}), ["duration: step is 0.5, 1 in the catalogue"]),
        # Options.
        (params([{"key": "resolution", "options": ["720p", "480p"]}]), []),
        (params([{"key": "resolution", "options": [{"value": "480p"}, {"value": "720p"}]}]), []),
        (params([{"key": "resolution", "options": {"480p": "SD", "720p": "HD"}}]), []),
        (params({"resolution": {"enum": ["480p", "720p", "1080p"]}}), ["resolution: the API also takes 1080p"]),
        (params([{"key": "resolution", "options": ["720p"]}]), ["resolution: the API does not list 480p"]),
    ],
)
def test_what_differs_is_told(entry: dict[str, Any], found: list[str]) -> None:
    assert differences(VIDEO, entry) == found


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["key", "name", "duration", "mode", "params", "default", "min", "range", "options", "properties"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=40)  # the kinds stand in the table above
@given(ANYTHING, ANYTHING, ANYTHING)
def test_nothing_breaks_it(base: Any, length: Any, listed: Any) -> None:
    entry = {"base_credits": base, "max_prompt_length": length, "params": listed}
    assert all(isinstance(words, str) for words in differences(VIDEO, entry))
