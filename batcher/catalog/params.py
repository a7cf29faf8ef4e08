"""What a param of a model takes, and how a value of it goes on the wire."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from batcher.jobs import ParamValue
from batcher.text import did_you_mean

_LEAST_STEP = 1e-6


class CatalogValue(BaseModel):
    """A part of a model's file; a key that nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Param(CatalogValue):
    """What all params have. `required`: without a default, each job has to set it.

    `when` says with which jobs it counts; what a job sets of it otherwise is sent and changes nothing.
    """

    required: bool = False
    when: Literal["always", "no reference"] = "always"


class SelectParam(_Param):
    """One of a list of texts. Numbers and booleans of such a param travel as texts too (API model pages)."""

    type: Literal["select"]
    options: tuple[str, ...]
    default: str | None = None

    def wire(self, value: ParamValue) -> str:
        """The value as it goes on the wire. Raises ValueError with what is allowed."""
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if text not in self.options:
            near = did_you_mean(text, self.options)
            raise ValueError(f"must be one of {', '.join(self.options)}" + (f"; {near}" if near else ""))
        return text

    @property
    def allowed(self) -> str:
        return " | ".join(self.options)


class NumberParam(_Param):
    """A JSON number between `min` and `max` in steps of `step` counted from `min` (from 0 without one)."""

    type: Literal["number"]
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    step: Annotated[FiniteFloat, Field(ge=_LEAST_STEP)] | None = None
    default: FiniteFloat | None = None

    def wire(self, value: ParamValue) -> int | float:
        """The value as it goes on the wire, a whole number as int. Raises ValueError with what is allowed."""
        if isinstance(value, bool):
            raise ValueError(f"must be a number, {self.allowed}")
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise ValueError(f"must be a number, {self.allowed}") from None
        outside = (self.min is not None and number < self.min) or (self.max is not None and number > self.max)
        if outside or number != number or abs(number) == float("inf"):
            raise ValueError(f"must be {self.allowed}")
        if self.step is not None:
            steps = (number - (self.min or 0)) / self.step
            if not math.isfinite(steps) or abs(steps - round(steps)) > 1e-9:
                raise ValueError(f"must be {self.allowed}")
            # a value that is a hair off would be another job at another price: what is sent is the grid's own
            number = float(Decimal(str(self.min or 0)) + round(steps) * Decimal(str(self.step)))
        return int(number) if number.is_integer() else number

    @property
    def allowed(self) -> str:
        low = "" if self.min is None else f"{self.min:g}"
        high = "" if self.max is None else f"{self.max:g}"
        whole = "a whole number " if self.step == 1 else ""
        step = f" in steps of {self.step:g}" if self.step not in (None, 1) else ""
        return f"{whole}from {low} to {high}{step}"


class TextParam(_Param):
    """Free text."""

    type: Literal["text"]
    default: str | None = None

    def wire(self, value: ParamValue) -> str:
        """The value as it goes on the wire."""
        return str(value).lower() if isinstance(value, bool) else str(value)

    @property
    def allowed(self) -> str:
        return "text"


class UrlParam(_Param):
    """A public URL that the API fetches itself; not a file of this machine."""

    type: Literal["url"]
    default: None = None

    def wire(self, value: ParamValue) -> str:
        """The value as it goes on the wire. Raises ValueError with what is allowed."""
        parts = urlsplit(str(value))
        if parts.scheme != "https" or not parts.hostname or parts.username is not None:
            raise ValueError(f"must be {self.allowed}")
        return str(value)

    @property
    def allowed(self) -> str:
        return "a public https URL"


class ArrayParam(_Param):
    """A list of objects, each with texts of these `fields`; `optional` ones may be left out."""

    type: Literal["array"]
    fields: tuple[str, ...]
    optional: tuple[str, ...] = ()
    default: None = None

    def wire(self, value: object) -> list[dict[str, str]]:
        """The value as it goes on the wire; a text (a cell of a table) is read as JSON. Raises ValueError."""
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise ValueError(f"must be {self.allowed}") from None
        if not isinstance(value, list) or not value:
            raise ValueError(f"must be {self.allowed}")
        return [self._item(number, each) for number, each in enumerate(value, 1)]

    def _item(self, number: int, value: object) -> dict[str, str]:
        if not isinstance(value, Mapping) or value.keys() - set(self.fields):
            raise ValueError(f"entry {number} must have {self._members}, and nothing else")
        texts = {name: str(text).strip() for name, text in value.items() if isinstance(text, str | int | float)}
        if lacking := [name for name in self.fields if not texts.get(name) and name not in self.optional]:
            raise ValueError(f"entry {number} has no text for {lacking[0]!r}; it must have {self._members}")
        if len(texts) < len(value):
            raise ValueError(f"entry {number} must have texts for {self._members}")
        return {name: text for name, text in texts.items() if text}

    @property
    def _members(self) -> str:
        return " and ".join(f"{name} (optional)" if name in self.optional else name for name in self.fields)

    @property
    def allowed(self) -> str:
        return f"a list of entries with {self._members}"


class UncheckedParam(_Param):
    """A param that nobody knows but the manifest, which says of which `kinds` its values are; it goes as written."""

    type: Literal["unchecked"]
    kinds: tuple[str, ...]
    default: None = None

    def wire(self, value: object) -> Any:
        """The value as it goes on the wire: of one of the kinds. Raises ValueError.

        A text (a cell of a table) is read as the number or boolean that it has to be.
        """
        if isinstance(value, str) and "text" not in self.kinds:
            with suppress(ValueError, RecursionError):
                value = json.loads(value.lower() if value in ("TRUE", "True", "FALSE", "False") else value)
        if kind_of_json(value) not in self.kinds:
            raise ValueError(f"must be {self.allowed}")
        return plain_json(value)

    @property
    def allowed(self) -> str:
        return f"a {' or a '.join(self.kinds)}, as under `params`"


def kind_of_json(value: object) -> str:
    """What a value is in JSON, in the manual's words; "" for what no param can be."""
    match value:
        case bool():
            return "boolean"
        case int() | float() if math.isfinite(value):
            return "number"
        case str():
            return "text"
        case list():
            return "list"
        case _:
            return ""


def plain_json(value: Any) -> Any:
    """The value of JSON's own types, a whole number as int."""
    match value:
        case bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return int(value) if value.is_integer() else float(value)
        case list():
            return [plain_json(each) for each in value]
        case _:
            return {str(name): plain_json(each) for name, each in value.items()}


Param = Annotated[
    SelectParam | NumberParam | TextParam | UrlParam | ArrayParam | UncheckedParam, Field(discriminator="type")
]
