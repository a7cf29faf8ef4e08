"""What the JSON Schema of manifests says of each model: its params, wherever a manifest sets them."""

from __future__ import annotations

from typing import Any

from batcher.catalog import ArrayParam, Model, NumberParam, Param, SelectParam, UrlParam, get_model, model_ids

_WORDS = {"true": True, "false": False}
#: A prompt with a model of its own.
_OWN_MODEL: dict[str, Any] = {"type": "object", "required": ["model"]}


def rules() -> list[dict[str, Any]]:
    """A rule for each model: where a manifest names it, these are its params, and these their values."""
    return [_rule(get_model(model_id), f"#/allOf/{n}/then/else/properties") for n, model_id in enumerate(model_ids())]


def _rule(model: Model, here: str) -> dict[str, Any]:
    """A model's rule; `here` is the pointer to its parts, so that each value stands once."""
    values = {name: _values(model, name, param) for name, param in model.params.items()}
    axes = {name: {"items": {"$ref": f"{here}/params/properties/{name}"}} for name in values}
    entry = {"params": {"$ref": f"{here}/params"}, "matrix": {"$ref": f"{here}/matrix"}}
    this = {"properties": {"model": {"const": model.id}}, "required": ["model"]}
    several = {"required": ["prompts"], "properties": {"prompts": {"contains": _OWN_MODEL}}}
    return {
        "if": this,
        "then": {
            "properties": {"prompts": {"items": {"if": _OWN_MODEL, "else": {"properties": entry}}}},
            "if": several,  # then params and axes may be another model's
            "else": {
                "properties": {
                    "params": {"properties": values, "additionalProperties": False},
                    "matrix": {"properties": axes},  # other axes are variables
                }
            },
        },
        "properties": {"prompts": {"items": {"if": {"type": "object", **this}, "then": {"properties": entry}}}},
    }


def _values(model: Model, name: str, param: Param) -> dict[str, Any]:
    """What a param takes; a number or a boolean may stand in quotes, as the manifest's own check has it."""
    default = model.default(name)
    notes = [
        param.allowed,
        f"default {default}" if default is not None else "",
        "required" if param.required else "",
        "moves the price" if name in model.price_params else "",
        "counts for jobs without a reference" if param.when == "no reference" else "",
    ]
    found: dict[str, Any] = {"description": "; ".join(filter(None, notes))}
    if default is not None:
        found["default"] = default
    match param:
        case SelectParam(options=options):
            return found | {"enum": [*options, *(each for option in options for each in _unquoted(option))]}
        case NumberParam(min=low, max=high):
            ends = {"minimum": low, "maximum": high}
            return found | {"type": ["number", "string"]} | {k: v for k, v in ends.items() if v is not None}
        case ArrayParam(fields=fields, optional=optional):
            texts = {name: {"type": "string"} for name in fields}
            needed = [name for name in fields if name not in optional]
            entry = {"type": "object", "properties": texts, "required": needed, "additionalProperties": False}
            return found | {"type": "array", "items": entry, "minItems": 1}
        case UrlParam():
            return found | {"type": "string"}
        case _:
            return found | {"type": ["string", "number", "boolean"]}


def _unquoted(option: str) -> list[bool | int | float]:
    """The option as YAML has it without quotes, where that is no text."""
    if option in _WORDS:
        return [_WORDS[option]]
    try:
        number = float(option)
    except ValueError:
        return []
    whole = int(number) if number.is_integer() else number
    return [whole] if str(whole) == option else []


def without_titles(schema: Any) -> Any:
    """The schema without pydantic's titles: an editor would show them in place of the descriptions."""
    match schema:
        case dict():
            return {
                name: {key: without_titles(value) for key, value in part.items()}
                if name in ("properties", "$defs")
                else without_titles(part)
                for name, part in schema.items()
                if not (name == "title" and isinstance(part, str))
            }
        case list():
            return [without_titles(part) for part in schema]
        case _:
            return schema
