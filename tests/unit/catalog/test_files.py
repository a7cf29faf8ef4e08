"""Every model file that is shipped: its facts, the defaults frozen in it, and an example that plans.

The facts were read off the models' pages; what is golden here was checked against them once, and moves only with them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from core_helpers import example

from batcher.catalog import Model, NumberParam, SelectParam, get_model, model_ids
from batcher.manifest import Problems, load

GOLDEN = json.loads((Path(__file__).parent / "expected" / "models.json").read_text("utf-8"))


def facts(model: Model) -> dict[str, object]:
    """What identity, price and body of a job hang on."""
    return {
        "result": model.result,
        "base_credits": model.base_credits,
        "prompt": [model.prompt.min, model.prompt.max],
        "identity_defaults": dict(model.identity_defaults),
        "params": {name: param.allowed for name, param in model.params.items()},
        "required": [name for name, param in model.params.items() if param.required],
        "when": {name: param.when for name, param in model.params.items() if param.when != "always"},
        "price": [*model.price_params, *(["reference"] if model.price_reference else [])],
        **({"billing": model.billing} if model.is_unpriced else {}),
        "references": model.references.model_dump(mode="json", exclude_defaults=True),
    }


def test_no_file_comes_goes_or_moves_unnoticed() -> None:
    assert {name: facts(get_model(name)) for name in model_ids()} == GOLDEN


@pytest.mark.parametrize("name", model_ids())
def test_a_model_file(name: str, tmp_path: Path) -> None:
    model = get_model(name)
    assert (model.id, model.provider) == (name, "rivya")
    assert model.base_credits > 0
    assert set(model.price_params) <= set(model.params)
    for each, param in model.params.items():
        if isinstance(param, SelectParam):
            assert len(set(param.options)) == len(param.options), each
        if isinstance(param, NumberParam) and param.min is not None and param.max is not None:
            assert param.min < param.max, each
        if param.default is not None:
            assert param.wire(param.default) == param.default, f"{each}: a default as it goes on the wire"
    path = tmp_path / "example.yaml"
    path.write_text(example(model), "utf-8")
    (spec,) = load(path).expand(problems := Problems())
    problems.raise_if_any()
    assert (spec.model, spec.catalog_credits) == (name, model.base_credits)
    assert list(spec.params) == model.lacking({}), "defaults that are written out are left out of what a job is"
