"""The catalogue: what each model accepts and what it is said to cost. A model is a TOML file beside this one.

Facts come from the API's model pages (docs/api/models/<id>); the API's own `reserved_credits` outranks every
price here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from batcher import own_models
from batcher.errors import UsageError
from batcher.jobs import UNCHECKED, UNPRICED, Job, ParamValue, WireValue
from batcher.measures import Requested
from batcher.text import did_you_mean

from .params import ArrayParam as ArrayParam
from .params import CatalogValue, kind_of_json
from .params import NumberParam as NumberParam
from .params import Param as Param
from .params import SelectParam as SelectParam
from .params import TextParam as TextParam
from .params import UncheckedParam as UncheckedParam
from .params import UrlParam as UrlParam

#: What a model's id may be: the name of a file too.
MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: What a job may be said to cost at the most.
_MOST_CREDITS = 1_000_000_000
#: Width over height, as the pages write it.
_RATIO = re.compile(r"\d+:\d+")


class PromptRule(CatalogValue):
    """Length of a prompt, both ends allowed: at least `min` characters, at most `max` UTF-16 units (0: no prompt)."""

    min: int = 1
    max: int | None = None

    @property
    def is_none(self) -> bool:
        """Whether the model takes no prompt."""
        return self.max == 0


class KindRule(CatalogValue):
    """What one kind of reference file may be; `max_bytes` in bytes.

    `max_files` bounds the files of the kind, `beside_video` the same where a video is among the others.
    """

    max_bytes: int
    mime_types: tuple[str, ...]
    max_files: int | None = None
    beside_video: int | None = None


class ReferenceRule(CatalogValue):
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


class Model(CatalogValue):
    """One model of an API. `base_credits` is the price of its default settings ("from"), in the unit of its `provider`.

    `identity_defaults` are what a job has where it sets nothing, and what its identity leaves out: frozen when a param
    comes into the file, whatever its page says later (the param's own `default`). So a default that moves buys nothing
    again, and nothing else. Unless its `billing` is FIXED, nobody knows what a job costs before it is bought.
    """

    id: str
    provider: str = "rivya"
    result: Literal["video", "image", "audio", "unknown"]
    base_credits: int = Field(ge=1, le=_MOST_CREDITS)
    billing: Literal["FIXED", "METERED", "TOKEN_BASED"] = "FIXED"
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

    @model_validator(mode="after")
    def _what_it_names_is_there(self) -> Self:
        for name in (*self.price_params, *filter(None, [self.seconds])):
            if name not in self.params:
                raise ValueError(f"it has no param {name!r}")
        return self

    def lacking(self, params: Mapping[str, WireValue]) -> list[str]:
        """The params that a job has to set and does not: also those whose frozen default is allowed no more."""
        needed = (name for name, param in self.params.items() if param.required or name in self.identity_defaults)
        return [name for name in needed if name not in params and self.default(name) is None]

    def ignored(self, params: Mapping[str, WireValue]) -> list[str]:
        """The params among these that do not count for a job with a reference: two such jobs buy the same thing."""
        return [name for name in params if self.params[name].when == "no reference"]

    def default(self, name: str) -> ParamValue | None:
        """What a job has where it does not set the param, in wire type; None where the model does not take that."""
        value = self.identity_defaults.get(name)
        param = self.params[name]
        with suppress(ValueError):
            return None if value is None or isinstance(param, ArrayParam) else param.wire(value)
        return None

    def whole(self, params: Mapping[str, WireValue]) -> dict[str, WireValue]:
        """The params of a job at their value, defaults included, in the order of the model's page."""
        found = ((name, params.get(name, value)) for name, value in self._defaults.items())
        return {name: value for name, value in found if value is not None}

    @cached_property
    def _defaults(self) -> Mapping[str, ParamValue | None]:
        """Of each param: asked for with every job that is planned or bought."""
        return {name: self.default(name) for name in self.params}

    @property
    def is_unchecked(self) -> bool:
        """Whether no file says anything of it."""
        return self.result == "unknown"

    @property
    def is_unpriced(self) -> bool:
        """Whether nobody knows what a job costs before it is bought; `base_credits` is the least."""
        return self.billing != "FIXED"

    @property
    def ratio(self) -> str | None:
        """The param that says width over height, if any."""
        for name, param in self.params.items():
            if isinstance(param, SelectParam) and any(_RATIO.fullmatch(option) for option in param.options):
                return name
        return None

    def asked(self, params: Mapping[str, WireValue], *, has_reference: bool) -> Requested:
        """What a result of a job with these params is to be; a reference may have a ratio of its own."""
        whole = self.whole(params)
        seconds = whole.get(self.seconds or "")
        ratio = None if has_reference else whole.get(self.ratio or "")
        lasts = None
        with suppress(ValueError):  # an `auto` among the seconds
            lasts = None if seconds is None else float(str(seconds))
        return Requested(self.result, lasts, None if ratio is None else str(ratio))

    def price_class(self, params: Mapping[str, WireValue], *, has_reference: bool) -> str:
        """The price class of a job: the model and every setting that may move its price.

        `params` are in wire type; those at their default may be left out.
        """
        parts = [self.id] + [f"{name}={params.get(name, self.default(name))}" for name in self.price_params]
        if self.price_reference:
            parts.append(f"reference={'yes' if has_reference else 'no'}")
        return " ".join(parts) + (UNCHECKED if self.is_unchecked else UNPRICED if self.is_unpriced else "")


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


def source_text(model_id: str) -> str:
    """The text of a model's file, the user's own or one that is shipped. Raises OSError, KeyError."""
    path = source(model_id)
    return _shipped()[model_id] if path is None else path.read_text("utf-8")


def whole(job: Job) -> Job:
    """The job as it is sent: every param at its value, defaults included."""
    return replace(job, params=whole_params(job.model, job.params))


def whole_params(model_id: str, params: Mapping[str, WireValue]) -> dict[str, WireValue]:
    """The params of a job as they are sent; of a model without a file (`--unchecked`) as the manifest has them."""
    model = find_model(model_id)
    return dict(params) if model is None else model.whole(params)


def unchecked_model(model_id: str, written: Mapping[str, Iterable[object]]) -> Model:
    """What stands for a model without a file: no reference, no price, and the params that somebody has written."""
    kinds = {name: dict.fromkeys(filter(None, map(kind_of_json, values))) for name, values in written.items()}
    params = {name: UncheckedParam(type="unchecked", kinds=tuple(each)) for name, each in kinds.items()}
    return Model(id=model_id, result="unknown", base_credits=1, billing="METERED", params=params)


def model_ids() -> list[str]:
    """The ids of all models of the catalogue, sorted."""
    return sorted(_shipped().keys() | _own(own_models.folders()).keys())


def providers() -> list[str]:
    """The names of all providers of the catalogue's models, sorted."""
    return sorted({get_model(model_id).provider for model_id in model_ids()})


def find_model(model_id: str) -> Model | None:
    """The model of that id; None where it has no file. Raises UsageError for a faulty file."""
    return get_model(model_id) if source(model_id) or model_id in _shipped() else None


def get_model(model_id: str) -> Model:
    """The model of that id. Raises UsageError, with the nearest name, when there is none, and for a faulty file."""
    path = source(model_id)
    return _shipped_model(model_id) if path is None else _own_model(path)


@cache
def _shipped_model(model_id: str) -> Model:
    text = _shipped().get(model_id)
    if text is None:
        hint = f"{did_you_mean(model_id, model_ids())} Known: {', '.join(model_ids())}"
        raise UsageError(f"unknown model {model_id!r}", hint=hint.lstrip())
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
    if model.is_unchecked:
        raise UsageError(f"{path}: result: must be video, image or audio")
    if model.id != path.stem:
        raise UsageError(f"{path}: its id is {model.id!r}", hint="The file of a model has its name.")
    if model.id in _shipped():
        frozen = _shipped_model(model.id).identity_defaults
        if moved := [name for name, value in frozen.items() if model.identity_defaults.get(name) != value]:
            hint = "They decide what a job is: with others, what is bought already would be bought again."
            raise UsageError(f"{path}: identity_defaults differ from those frozen for {', '.join(moved)}", hint=hint)
    return model
