"""Models that have no file in any catalogue, and that a person wants all the same (`--unchecked`)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from batcher.catalog import MODEL_ID, Model, find_model, unchecked_model

from .fields import SPECIAL
from .problems import Fault, joined, listed
from .schema import Document
from .values import Faulty, shown

#: What a person can do about a model without a file.
WAYS = (
    "`batcher models --sync` writes files of the API's models, `batcher --catalog DIR` reads yours,"
    " and --unchecked does without"
)
#: What a person can do where a name was meant for a param of such a model.
WRITTEN_TOO = "for a param of a model without a file, write it under `params` too"


def stand_in(model_id: str, document: Document) -> Model:
    """A model that takes what the manifest writes under `params` for it, and no other name.

    These are the names that its own prompts have there, and those of the campaign's that no model with a file knows.
    Raises Fault for an id or a name that cannot be one.
    """
    if not MODEL_ID.fullmatch(model_id):
        raise Fault(f"{shown(model_id)} cannot be a model's id", "a-z 0-9 . _ and -, and a letter or digit first")
    own = [_params(each) for each in document.prompts if _model_of(each, document) == model_id]
    names = _known(document) - {name for params in own for name in params}
    written = [{name: value for name, value in document.params.items() if name not in names}, *own]
    values: dict[str, list[Any]] = {}
    for name, value in (each for params in written for each in params.items()):
        if not isinstance(value, Faulty):
            values.setdefault(name, []).append(value)
    if taken := [name for name in values if name in SPECIAL]:
        raise Fault(f"{taken[0]!r} cannot be a param of {model_id}", "a column of that name means the job's own")
    return unchecked_model(model_id, values)


def warning(model: Model, hint: str) -> Fault:
    """What a person is told of it."""
    params = listed(list(model.params)) or "none"
    message = (
        f"{model.id} has no file in the catalogue, so nobody can check its params, its prompts or its price here"
        f" (--unchecked); params: {params}, as they are written"
    )
    return Fault(message, joined(hint, "`batcher models --sync` writes a file for review if the API lists it"))


def _params(entry: object) -> Mapping[str, Any]:
    found = entry.get("params", {}) if isinstance(entry, dict) else {}
    return found if isinstance(found, dict) else {}


def _model_of(entry: object, document: Document) -> str:
    return str(entry["model"]) if isinstance(entry, dict) and "model" in entry else document.model


def _known(document: Document) -> Set[str]:
    """The params of the manifest's models that have a file."""
    models = map(find_model, {_model_of(entry, document) for entry in document.prompts})
    return {name for model in models if model for name in model.params}
