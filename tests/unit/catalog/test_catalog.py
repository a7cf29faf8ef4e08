"""Models as data: wire types, defaults, price classes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from batcher.catalog import Model, NumberParam, SelectParam, TextParam, get_model, model_ids
from batcher.errors import UsageError
from batcher.jobs import ParamValue

VIDEO = get_model("grok-imagine-video")


def test_the_models() -> None:
    assert {get_model(name).result for name in model_ids()} == {"image", "video", "audio"}
    assert get_model("grok-imagine-video") is VIDEO


@pytest.mark.parametrize(
    ("name", "close"), [("grok-imagine-vido", "did you mean 'grok-imagine-video'?"), ("zzz", "Known: 4o-image, ")]
)
def test_an_unknown_model(name: str, close: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_model(name)
    assert caught.value.hint.startswith(close)


def test_the_video_model_as_its_page_has_it() -> None:
    assert (VIDEO.base_credits, VIDEO.prompt.min, VIDEO.prompt.max) == (10, 1, 5000)
    assert {name: VIDEO.default(name) for name in VIDEO.params} == {
        "mode": "normal",
        "duration": 6,
        "resolution": "480p",
        "aspect_ratio": "2:3",
    }
    assert {name: param.allowed for name, param in VIDEO.params.items()} == {
        "mode": "fun | normal | spicy",
        "duration": "a whole number from 6 to 30",
        "resolution": "480p | 720p",
        "aspect_ratio": "1:1 | 16:9 | 9:16 | 2:3 | 3:2",
    }
    assert VIDEO.references.max_files == 1
    rule = VIDEO.references.rule_for("image/webp")
    assert rule is not None
    assert rule.max_bytes == 10_000_000
    assert VIDEO.references.rule_for("image/gif") is None


@pytest.mark.parametrize("value", [8, "8", 8.0, "8.0", " 8 "])
def test_a_number_reaches_the_wire_as_a_number(value: ParamValue) -> None:
    wired = VIDEO.params["duration"].wire(value)
    assert wired == 8
    assert type(wired) is int


@pytest.mark.parametrize("value", [5, 31, 6.5, "x", "", True, "nan", "inf", "-inf", "1e999", 10**400, "6,5"])
def test_a_number_outside_its_rule(value: ParamValue) -> None:
    with pytest.raises(ValueError, match="a whole number from 6 to 30"):
        VIDEO.params["duration"].wire(value)


def test_numbers_with_and_without_bounds() -> None:
    free = NumberParam(type="number")
    assert free.wire("0.25") == 0.25
    assert free.allowed == "from  to "
    half = NumberParam(type="number", min=0.5, max=22, step=0.5)
    assert half.wire(1.5) == 1.5
    assert half.allowed == "from 0.5 to 22 in steps of 0.5"
    with pytest.raises(ValueError, match="in steps of"):
        half.wire(1.25)
    assert NumberParam(type="number", step=2).wire(4) == 4
    for endless in ("nan", "inf"):
        with pytest.raises(ValueError, match="must be"):
            free.wire(endless)


@pytest.mark.parametrize(
    ("low", "step", "typed", "sent"),
    [
        (6, 1, 7.0000000001, 7),
        (6, 1, "6.9999999999", 7),
        (6, 1, 7, 7),
        (0, 0.1, 0.30000000000000004, 0.3),
        (0, 0.1, 0.3, 0.3),
        (0.5, 0.25, "0.7500000000001", 0.75),
        (None, 0.01, 0.29, 0.29),
        (0.1, 0.2, 0.7000000000000001, 0.7),
        (10000, 1, 99999, 99999),
    ],
)
def test_a_number_is_sent_as_its_grid_has_it(low: float | None, step: float, typed: ParamValue, sent: float) -> None:
    wired = NumberParam(type="number", min=low, max=100_000, step=step).wire(typed)
    assert (wired, type(wired)) == (sent, type(sent))


def test_a_selection_travels_as_text() -> None:
    select = SelectParam(type="select", options=("5", "true", "16:9"))
    assert [select.wire(v) for v in (5, "5", True, "true", "16:9")] == ["5", "5", "true", "true", "16:9"]
    with pytest.raises(ValueError, match=r"must be one of 5, true, 16:9; did you mean '16:9'\?"):
        select.wire("16:8")
    with pytest.raises(ValueError, match=r"must be one of 5, true, 16:9$"):
        select.wire("zzzzzz")


def test_a_text_is_taken_as_it_is() -> None:
    text = TextParam(type="text")
    assert [text.wire(v) for v in ("a", 5, True)] == ["a", "5", "true"]
    assert text.allowed == "text"


def test_a_price_class_is_what_may_move_the_price() -> None:
    base = VIDEO.price_class({}, has_reference=False)
    assert base == "grok-imagine-video mode=normal duration=6 resolution=480p reference=no"
    assert VIDEO.price_class({"aspect_ratio": "1:1"}, has_reference=False) == base
    assert VIDEO.price_class({"duration": 7}, has_reference=False) != base
    assert VIDEO.price_class({}, has_reference=True) != base
    plain = Model(id="m", result="audio", base_credits=1, params={"p": TextParam(type="text")}, price_params=("p",))
    assert plain.price_class({}, has_reference=True) == "m p=None"
    assert plain.references.rule_for("image/png") is None


def test_a_misspelt_key_of_a_model_file_is_an_error() -> None:
    with pytest.raises(ValidationError):
        Model.model_validate({"id": "m", "result": "video", "base_credits": 1, "promt": {}})


@pytest.mark.parametrize("name", model_ids())
def test_a_default_that_moves_on_its_page_changes_no_identity_price_class_or_body(name: str) -> None:
    """What is frozen for identity is what a job has; only another value that is written down is something else."""
    model = get_model(name)
    moved = {
        each: param.model_copy(update={"default": param.options[-1] if isinstance(param, SelectParam) else 30})
        for each, param in model.params.items()
    }
    later = model.model_copy(update={"params": moved})
    assert [later.default(each) for each in model.params] == [model.default(each) for each in model.params]
    assert later.whole({}) == model.whole({}) == model.identity_defaults
    assert later.price_class({}, has_reference=False) == model.price_class({}, has_reference=False)


def test_a_param_with_a_default_has_it_frozen() -> None:
    with pytest.raises(ValidationError, match="identity_defaults"):
        Model.model_validate(VIDEO.model_dump() | {"identity_defaults": {"mode": "normal"}})


def test_what_is_sent_names_every_param() -> None:
    assert list(VIDEO.whole({"duration": 10})) == list(VIDEO.params), "in the order of the page"
    assert VIDEO.whole({"duration": 10}) == {
        "mode": "normal",
        "duration": 10,
        "resolution": "480p",
        "aspect_ratio": "2:3",
    }
