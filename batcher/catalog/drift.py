"""Where an entry of the API's own list of models differs from the catalogue. Pure, and total over anything.

What cannot be read says nothing, and what is not said is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from . import Model, NumberParam, Param, SelectParam
from .served import BILLINGS, bounds_of, first, number_of, options_of, specs_of, text_of

#: Options shown at most.
_SHOWN = 8


def differences(model: Model, entry: Mapping[str, object]) -> list[str]:
    """A sentence for each thing of which the API says something else; none for what it does not say."""
    found = []
    served = number_of(first(entry, ("base_credits", "baseCredits")))
    if served is not None and served != model.base_credits:
        found.append(f"base credits are {served:g}, {model.base_credits} in the catalogue")
    billing = entry.get("billing_type")
    if billing in BILLINGS and billing != model.billing:
        found.append(f"billing is {billing}, {model.billing} in the catalogue")
    longest = number_of(first(entry, ("max_prompt_length", "maxPromptLength")))
    if longest is not None and longest > 0 and longest != model.prompt.max:
        ours = "no limit" if model.prompt.max is None else model.prompt.max
        found.append(f"a prompt may have {longest:g} characters, {ours} in the catalogue")
    specs = specs_of(entry.get("params"))
    for name, param in model.params.items():
        if name in specs:
            found += (f"{name}: {words}" for words in _of_param(param, specs[name]))
    return found


def _of_param(param: Param, spec: Mapping[str, object]) -> Iterator[str]:
    default = first(spec, ("default", "default_value", "defaultValue"))
    if (said := text_of(default)) and not _same(param, default):
        yield f"the default is {said}, {text_of(param.default) or 'none'} in the catalogue"
    if isinstance(param, NumberParam):
        bounds = bounds_of(spec)
        for name, value in bounds.items():
            ours: float | None = getattr(param, name)
            if value != ours:
                yield f"{name} is {value:g}, {'none' if ours is None else f'{ours:g}'} in the catalogue"
    if isinstance(param, SelectParam) and (options := options_of(spec)):
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


def _listed(values: list[str]) -> str:
    return ", ".join(values[:_SHOWN]) + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")
