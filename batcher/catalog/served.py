"""Reading an entry of the API's own list of models, whatever its shape. Pure, and total over anything.

The shape of `params` in that list is not documented, so each of the usual ones is read (a list or an object of objects,
a JSON schema, a range as text). What cannot be read says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

_NAMES = ("key", "name", "id")
_BOUNDS = {"min": ("min", "minimum"), "max": ("max", "maximum"), "step": ("step", "multipleOf")}
BILLINGS = ("FIXED", "METERED", "TOKEN_BASED")
OPTIONS = ("options", "enum", "values", "choices")
_RANGE = re.compile(r"\b(min|max|step)\D{0,3}?(-?\d+(?:\.\d+)?)")
#: Characters of a value that are taken.
_LONG = 40


def specs_of(params: object) -> dict[str, Mapping[str, object]]:
    """What is said of each param, by its key."""
    if isinstance(params, dict):
        listed = params.get("properties", params)
        listed = listed if isinstance(listed, dict) else params
        return {str(name): spec for name, spec in listed.items() if isinstance(spec, dict)}
    each = [spec for spec in params if isinstance(spec, dict)] if isinstance(params, list) else []
    return {name: spec for spec in each if isinstance(name := first(spec, _NAMES), str)}


def range_of(said: object) -> dict[str, float]:
    """Bounds of a `range`: an object, a pair, or a text as on the model pages (`min 6 / max 30 / step 1`)."""
    if isinstance(said, dict):
        found = {name: number_of(first(said, names)) for name, names in _BOUNDS.items()}
    elif isinstance(said, list):
        found = dict(zip(("min", "max", "step"), map(number_of, said), strict=False))
    else:
        found = {name: float(value) for name, value in _RANGE.findall(said[:200])} if isinstance(said, str) else {}
    return {name: value for name, value in found.items() if value is not None}


def bounds_of(spec: Mapping[str, object]) -> dict[str, float]:
    """`min`, `max` and `step` of a number, as far as they are said."""
    return range_of(spec.get("range")) | range_of(dict(spec))


def options_of(spec: Mapping[str, object]) -> list[str]:
    """What a select allows; empty where that is not said."""
    said = first(spec, OPTIONS)
    each = list(said) if isinstance(said, list | dict) else []
    each = [first(one, ("value", *_NAMES)) if isinstance(one, dict) else one for one in each]
    return [text for text in map(text_of, each) if text]


def text_of(value: object) -> str:
    """A value as it would go on the wire of a select; "" for what is none."""
    if isinstance(value, bool):
        return str(value).lower()
    number = number_of(value) if not isinstance(value, str) else None
    return f"{number:g}" if number is not None else value.strip()[:_LONG] if isinstance(value, str) else ""


def number_of(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def first(of: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((of[name] for name in names if of.get(name) is not None), None)
