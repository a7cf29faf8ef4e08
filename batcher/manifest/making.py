"""What makes jobs of one model: its params as a combination sets them, worked out once, and the rule of its prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from batcher.catalog import ArrayParam, Model, UncheckedParam
from batcher.jobs import Identities, WireValue, clean_prompt, params_text
from batcher.spelling import is_visible, utf16_length

from .files import Cache
from .problems import Fault
from .values import Value, unsafe_character


@dataclass(frozen=True, slots=True)
class Chosen:
    """The params of a job, the same as the identity has them, and the price class without and with a reference."""

    params: dict[str, WireValue]
    text: str
    plain: str
    dearer: str
    lacking: list[str]
    ignored: list[str]


class Maker:
    """Of one campaign and model."""

    def __init__(self, campaign: str, model: Model) -> None:
        self.model = model
        self.identities = Identities(campaign, model.id)
        self.words = {"campaign": campaign, "model": model.id}
        self.not_kept = {*model.params, "name", "reference"}  # columns that the job has as its own
        self._defaults = [(name, model.default(name)) for name in sorted(model.params)]
        self._prompt, self._takes_none = model.prompt, model.prompt.is_none
        self._key = _key_of(model)
        self._choices: Cache[Any, Chosen] = Cache()

    def chosen(self, variables: dict[str, Value]) -> Chosen:
        """What a combination sets, worked out once for all that set the same."""
        # equal values are the same on the wire: they are in wire type already
        try:
            key = self._key(variables)
        except KeyError:  # a param without a default, which nothing sets
            key = tuple([variables.get(name, self) for name, _ in self._defaults])
        return self._choices.get(key) or self._choices.keep(key, self._choose(variables))

    def _choose(self, variables: dict[str, Value]) -> Chosen:
        params = {n: variables[n] for n, default in self._defaults if n in variables and variables[n] != default}
        plain, dearer = (self.model.price_class(params, has_reference=has) for has in (False, True))
        lacking, ignored = self.model.lacking(params), self.model.ignored(params)
        return Chosen(params, params_text(params), plain, dearer, lacking, ignored)

    def checked_prompt(self, raw: str) -> str:
        """The prompt as it is hashed and sent. Raises Fault when the model does not take it."""
        text = clean_prompt(raw)
        rule, length = self._prompt, len(text)
        if not (text.isascii() and text.isprintable()):
            if (bad := unsafe_character(text)) is not None:
                raise Fault(f"the prompt holds the character {bad}", "only line ends and tabs are allowed")
            if not is_visible(text):
                raise Fault("the prompt holds nothing that can be seen")
            # in UTF-16 units no text is shorter than the API may count it
            length = utf16_length(text)
        if self._takes_none and text:
            raise Fault(f"{self.model.id} takes no prompt", "leave `prompt` out")
        if not text and not self._takes_none:
            raise Fault("the prompt is empty")
        if len(text) < rule.min or (rule.max is not None and length > rule.max):
            most = f"{rule.min:,} to {rule.max:,}" if rule.max is not None else f"at least {rule.min:,}"
            units = " (UTF-16 units; an emoji has two or more)" if length > len(text) else ""
            raise Fault(f"the prompt has {length:,} characters{units}; {self.model.id} takes {most}")
        return text


def _key_of(model: Model) -> Callable[[dict[str, Value]], Any]:
    """What is the same for variables that set the same params. Raises KeyError where one is missing."""
    if any(isinstance(param, ArrayParam | UncheckedParam) for param in model.params.values()):
        return lambda variables: json.dumps([variables.get(name) for name in model.params])
    return itemgetter(*sorted(model.params)) if model.params else lambda _: None
