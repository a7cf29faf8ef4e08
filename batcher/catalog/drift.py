"""Where an entry of the API's own list of models differs from the catalogue. Pure, and total over anything.

The shape of `params` in that list is not documented, so each of the usual ones is read (a list or an object of objects,
a JSON schema, a range as text). What cannot be read says nothing, and what is not said is no difference.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from . import Model, NumberParam, Param, SelectParam

_NAMES = ("key", "name", "id")
_BOUNDS = {"min": ("min", "minimum"), "max": ("max", "maximum"), "step": ("step", "multipleOf")}
_OPTIONS = ("options", "enum", "values", "choices")
_RANGE = re.compile(r"\b(min|max|step)\D{0,3}?(-?\d+(?:\.\d+)?)")
#: So many options, and characters of a value, are shown.
_SHOWN = 8
_LONG = 40


def differences(model: Model, entry: Mapping[str, object]) -> list[str]:
    """A sentence for each thing of which the API says something else; none for what it does not say."""
    found = []
    served = _number(_first(entry, ("base_credits", "baseCredits")))
    if served is not None and served != model.base_credits:
        found.append(f"base credits are {served:g}, {model.base_credits} in the catalogue")
    longest = _number(_first(entry, ("max_prompt_length", "maxPromptLength")))
    if longest is not None and longest > 0 and longest != model.prompt.max:
        ours = "no limit" if model.prompt.max is None else model.prompt.max
        found.append(f"a prompt may have {longest:g} characters, {ours} in the catalogue")
    specs = _specs(entry.get("params"))
    for name, param in model.params.items():
        if name in specs:
            found += (f"{name}: {words}" for words in _of_param(param, specs[name]))
    return found


def _of_param(param: Param, spec: Mapping[str, object]) -> Iterator[str]:
    default = _first(spec, ("default", "default_value", "defaultValue"))
    if (said := _text(default)) and not _same(param, default):
        yield f"the default is {said}, {_text(param.default) or 'none'} in the catalogue"
    if isinstance(param, NumberParam):
        bounds = _range(spec.get("range")) | _range(dict(spec))
        for name, value in bounds.items():
            ours: float | None = getattr(param, name)
            if value != ours:
                yield f"{name} is {value:g}, {'none' if ours is None else f'{ours:g}'} in the catalogue"
    if isinstance(param, SelectParam) and (options := _options(_first(spec, _OPTIONS))):
        if more := [each for each in options if each not in param.options]:
            yield f"the API also takes {_listed(more)}"
        if less := [each for each in param.options if each not in options]:
            yield f"the API does not list {_listed(less)}"


def _same(param: Param, default: object) -> bool:
    """Whether a default of the API is the catalogue's: as both go on the wire, whatever their JSON types."""
    if param.default is None or not isinstance(default, str | int | float):
        return False
    try:
        return param.wire(default) == param.wire(param.default)
    except ValueError:
        return False


def _specs(params: object) -> dict[str, Mapping[str, object]]:
    """What is said of each param, by its key."""
    if isinstance(params, dict):
        listed = params.get("properties", params)
        listed = listed if isinstance(listed, dict) else params
        return {str(name): spec for name, spec in listed.items() if isinstance(spec, dict)}
    each = [spec for spec in params if isinstance(spec, dict)] if isinstance(params, list) else []
    return {name: spec for spec in each if isinstance(name := _first(spec, _NAMES), str)}


def _range(said: object) -> dict[str, float]:
    """Bounds of a `range`: an object, a pair, or a text as on the model pages (`min 6 / max 30 / step 1`)."""
    if isinstance(said, dict):
        found = {name: _number(_first(said, names)) for name, names in _BOUNDS.items()}
    elif isinstance(said, list):
        found = dict(zip(("min", "max", "step"), map(_number, said), strict=False))
    else:
        found = {name: float(value) for name, value in _RANGE.findall(said[:200])} if isinstance(said, str) else {}
    return {name: value for name, value in found.items() if value is not None}


def _options(said: object) -> list[str]:
    each = list(said) if isinstance(said, list | dict) else []
    each = [_first(one, ("value", *_NAMES)) if isinstance(one, dict) else one for one in each]
    return [text for text in map(_text, each) if text]


def _text(value: object) -> str:
    """A value as it would go on the wire of a select; "" for what is none."""
    if isinstance(value, bool):
        return str(value).lower()
    number = _number(value) if not isinstance(value, str) else None
    return f"{number:g}" if number is not None else value.strip()[:_LONG] if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _first(of: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((of[name] for name in names if of.get(name) is not None), None)


def _listed(values: list[str]) -> str:
    return ", ".join(values[:_SHOWN]) + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")
