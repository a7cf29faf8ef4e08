"""The catalogue: what each model accepts and what it is said to cost. A model is a TOML file beside this one.

Facts come from the API's model pages (docs/api/models/<id>); the API's own `reserved_credits` outranks every
price here.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from batcher import own_models
from batcher.errors import UsageError
from batcher.jobs import Job, ParamValue
from batcher.measures import Wanted

#: Width over height, as the pages write it.
_RATIO = re.compile(r"\d+:\d+")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Param(_Value):
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
            close = difflib.get_close_matches(text, self.options, n=1)
            raise ValueError(
                f"must be one of {', '.join(self.options)}" + (f"; did you mean {close[0]!r}?" if close else "")
            )
        return text

    @property
    def allowed(self) -> str:
        return " | ".join(self.options)


class NumberParam(_Param):
    """A JSON number between `min` and `max` in steps of `step` counted from `min` (from 0 without one)."""

    type: Literal["number"]
    min: float | None = None
    max: float | None = None
    step: float | None = None
    default: float | None = None

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
            if abs(steps - round(steps)) > 1e-9:
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
    """A public URL that the API fetches itself; no file of ours."""

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


Param = Annotated[SelectParam | NumberParam | TextParam | UrlParam, Field(discriminator="type")]


class PromptRule(_Value):
    """Length of a prompt, both ends allowed: at least `min` characters, at most `max` UTF-16 units (0: no prompt)."""

    min: int = 1
    max: int | None = None

    @property
    def is_none(self) -> bool:
        """Whether the model takes no prompt."""
        return self.max == 0


class KindRule(_Value):
    """What one kind of reference file may be; `max_bytes` in bytes.

    `max_files` bounds the files of the kind, `beside_video` the same where a video is among the others.
    """

    max_bytes: int
    mime_types: tuple[str, ...]
    max_files: int | None = None
    beside_video: int | None = None


class ReferenceRule(_Value):
    """How many reference files a job may have, of which kinds, and what they are in their `order`."""

    max_files: int = 0
    order: tuple[str, ...] = ()
    image: KindRule | None = None
    video: KindRule | None = None
    audio: KindRule | None = None

    @property
    def kinds(self) -> dict[str, KindRule]:
        """The rule of each kind that there is."""
        rules = {"image": self.image, "video": self.video, "audio": self.audio}
        return {kind: rule for kind, rule in rules.items() if rule is not None}

    def rule_for(self, mime: str) -> KindRule | None:
        """The rule that takes this MIME type, if any."""
        return next((rule for rule in self.kinds.values() if mime in rule.mime_types), None)

    def fault(self, kinds: Sequence[str]) -> str:
        """What is allowed where references of these kinds are not; "" where they are."""
        if len(kinds) > self.max_files:
            return f"at most {self.max_files} reference{'s' * (self.max_files != 1)}"
        for kind, rule in self.kinds.items():
            beside = "video" in kinds and rule.beside_video is not None
            most = rule.beside_video if beside else rule.max_files
            if most is not None and kinds.count(kind) > most:
                return f"at most {most} of kind {kind}{' beside a video' if beside else ''}"
        return ""


class Model(_Value):
    """One model of an API. `base_credits` is the price of its default settings ("from"), in the unit of its `provider`.

    `identity_defaults` are what a job has where it sets nothing, and what its identity leaves out: frozen when a param
    comes into the file, whatever its page says later (the param's own `default`). So a default that moves buys nothing
    again, and nothing else.
    """

    id: str
    provider: str = "rivya"
    result: Literal["video", "image", "audio"]
    base_credits: int
    price_params: tuple[str, ...] = ()
    price_reference: bool = False
    prompt: PromptRule = PromptRule()
    params: Mapping[str, Param] = {}
    identity_defaults: Mapping[str, ParamValue] = {}
    references: ReferenceRule = ReferenceRule()
    seconds: str | None = None  # the param that says for how many seconds a result lasts

    @model_validator(mode="after")
    def _each_default_is_frozen(self) -> Self:
        listed = {name for name, param in self.params.items() if param.default is not None}
        if missing := sorted(listed ^ self.identity_defaults.keys()):
            raise ValueError(f"identity_defaults and the params' defaults differ in {', '.join(missing)}")
        return self

    def lacking(self, params: Mapping[str, ParamValue]) -> list[str]:
        """The params that a job has to set and does not."""
        return [n for n, p in self.params.items() if p.required and n not in params and self.default(n) is None]

    def ignored(self, params: Mapping[str, ParamValue]) -> list[str]:
        """The params among these that do not count for a job with a reference: two such jobs buy the same thing."""
        return [name for name in params if self.params[name].when == "no reference"]

    def default(self, name: str) -> ParamValue | None:
        """What a job has where it does not set the param, in wire type."""
        value = self.identity_defaults.get(name)
        return None if value is None else self.params[name].wire(value)

    def whole(self, params: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
        """The params of a job at their value, defaults included, in the order of the model's page."""
        found = {name: params.get(name, self.default(name)) for name in self.params}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def ratio(self) -> str | None:
        """The param that says width over height, if any."""
        for name, param in self.params.items():
            if isinstance(param, SelectParam) and any(_RATIO.fullmatch(option) for option in param.options):
                return name
        return None

    def asked(self, params: Mapping[str, ParamValue], *, has_reference: bool) -> Wanted:
        """What a result of a job with these params is to be; a reference may have a ratio of its own."""
        whole = self.whole(params)
        seconds = whole.get(self.seconds or "")
        ratio = None if has_reference else whole.get(self.ratio or "")
        return Wanted(self.result, None if seconds is None else float(seconds), None if ratio is None else str(ratio))

    def price_class(self, params: Mapping[str, ParamValue], *, has_reference: bool) -> str:
        """The price class of a job: the model and every setting that may move its price.

        `params` are in wire type; those at their default may be left out.
        """
        parts = [self.id] + [f"{name}={params.get(name, self.default(name))}" for name in self.price_params]
        if self.price_reference:
            parts.append(f"reference={'yes' if has_reference else 'no'}")
        return " ".join(parts)


@cache
def _shipped() -> Mapping[str, str]:
    folder = resources.files(__package__)
    return {f.name.removesuffix(".toml"): f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".toml")}


@cache
def _own(folders: tuple[Path, ...]) -> Mapping[str, Path]:
    """The user's own files by the model's id. Raises UsageError for a folder that cannot be read."""
    found: dict[str, Path] = {}
    for folder in folders:
        try:
            found |= {path.stem: path for path in sorted(folder.iterdir()) if path.suffix == ".toml"}
        except OSError as error:
            raise UsageError(f"{folder}: {error.strerror or error}", hint="Name a folder of model files.") from None
    return found


def source(model_id: str) -> Path | None:
    """The user's own file of a model; None for one that is shipped."""
    return _own(own_models.folders()).get(model_id)


def whole(job: Job) -> Job:
    """The job as it is sent: every param at its value, defaults included. Raises UsageError for an unknown model."""
    return replace(job, params=get_model(job.model).whole(job.params))


def model_ids() -> list[str]:
    """The ids of all models of the catalogue, sorted."""
    return sorted(_shipped().keys() | _own(own_models.folders()).keys())


def providers() -> list[str]:
    """The names of all providers of the catalogue's models, sorted."""
    return sorted({get_model(model_id).provider for model_id in model_ids()})


def get_model(model_id: str) -> Model:
    """The model of that id. Raises UsageError, with the nearest name, when there is none, and for a faulty file."""
    path = source(model_id)
    return _shipped_model(model_id) if path is None else _own_model(path)


@cache
def _shipped_model(model_id: str) -> Model:
    text = _shipped().get(model_id)
    if text is None:
        close = difflib.get_close_matches(model_id, model_ids(), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown model {model_id!r}", hint=f"{hint}Known: {', '.join(model_ids())}")
    return Model.model_validate(tomllib.loads(text))


@cache
def _own_model(path: Path) -> Model:
    try:
        model = Model.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise UsageError(f"{path}: {f'{where}: ' if where else ''}{fault['msg']}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    if model.id != path.stem:
        raise UsageError(f"{path}: its id is {model.id!r}", hint="The file of a model has its name.")
    if model.id in _shipped():
        frozen = _shipped_model(model.id).identity_defaults
        if moved := [name for name, value in frozen.items() if model.identity_defaults.get(name) != value]:
            hint = "They decide what a job is: with others, what is bought already would be bought again."
            raise UsageError(f"{path}: identity_defaults differ from those frozen for {', '.join(moved)}", hint=hint)
    return model
