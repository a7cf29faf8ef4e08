"""What a person or a test may set, before the start or while the simulator runs. Values come as in JSON or as texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .records import KINDS

#: The key that the simulator takes unless told otherwise; made not to be mistaken for a real one.
DEFAULT_KEY = "rvya_sk_simulated"

#: The scopes of the calls that need a key (rivya-api.md section 0).
SCOPES: Mapping[str, str] = {
    "create": "generations:create",
    "status": "generations:read",
    "upload": "files:create",
    "file": "files:read",
    "credits": "credits:read",
}


def split(mark: str) -> BeforeValidator:
    """A reader of lists that may come as one text."""
    return BeforeValidator(lambda value: [*filter(None, value.split(mark))] if isinstance(value, str) else value)


def one_of(*words: str) -> AfterValidator:
    """A check of texts that are one of a few."""

    def check(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(filter(None, words))}")
        return value

    return AfterValidator(check)


def _known(kinds: tuple[str, ...]) -> tuple[str, ...]:
    if strange := set(kinds) - {*KINDS, "*"}:
        raise ValueError(f"must be one of {', '.join(KINDS)} or *, or several with +, not {', '.join(sorted(strange))}")
    return KINDS if "*" in kinds else kinds


def _span(value: object) -> object:
    return value.split("-") if isinstance(value, str) and "-" in value else value


def _both(value: object) -> object:
    """One number of seconds as a range of its own."""
    found = _span(value)
    return found if isinstance(found, list | tuple) else (found, found)


def _ordered(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the range ends before it starts")
    return span


def _limit(value: object) -> object:
    match = re.fullmatch(r"([a-z*+]+)=(\d+)/([\d.]+)", value) if isinstance(value, str) else None
    if match is None and not isinstance(value, Limit):
        raise ValueError("must look like create=30/60, create+status=30/60 or *=120/60")
    return {"kinds": match[1], "count": match[2], "seconds": match[3]} if match else value


_NONE = BeforeValidator(lambda value: None if value in ("", "none") else value)

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
HttpStatus = Annotated[int, Field(ge=200, le=599)]
#: Seconds from the lesser to the greater, as `"0.5-2"`, `[0.5, 2]` or `2`.
Range = Annotated[tuple[Amount, Amount], BeforeValidator(_both), AfterValidator(_ordered)]
Lifetime = Annotated[Amount | None, _NONE]
#: Kinds of request, such as `create+status`; `*` is every one.
Kinds = Annotated[tuple[str, ...], split("+"), AfterValidator(_known)]
#: What a figure of credits says: "truth", "null", "absent", or a share of the truth such as 0.
Said = Amount | Annotated[str, one_of("truth", "null", "absent")]
#: What a 429 says: seconds, a date (`naive`: without its zone), a Unix time, nothing.
RetryAfter = Annotated[str, one_of("seconds", "date", "naive", "epoch", "none")]


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests of these kinds in any window of `seconds`, as `"create=30/60"`, or `*=120/60` for all.

    The API names no numbers (section 12).
    """

    kinds: Kinds
    count: Count
    seconds: Amount


class Switches(BaseModel):
    """All settings. Durations in seconds; None means without end. The API's pages leave most of these open."""

    model_config = ConfigDict(extra="forbid")

    api_key: str = DEFAULT_KEY
    key_state: Annotated[str, one_of("valid", "revoked", "expired")] = "valid"
    scopes_off: Annotated[tuple[Annotated[str, one_of(*SCOPES.values())], ...], split(",")] = ()
    #: disabled: 503 public_api_disabled; errors: 502 pages; cut: closed on arrival.
    outage: Annotated[str, one_of("none", "disabled", "errors", "cut")] = "none"
    queue_seconds: Range = (0.5, 2.0)
    run_seconds: Range = (1.0, 4.0)
    fail_rate: Share = 0.0  # share of tasks that fail
    fail_prompt: str = ""  # a task whose prompt contains this fails
    fail_code: str = "generation_failed"
    price_factor: Amount = 1.0
    #: `10:1.5`: after so many creates, this factor on top.
    price_rise: Annotated[tuple[Count, Amount] | None, split(":"), _NONE] = None
    #: what a model makes that has no file; else the API does not know it
    unknown_model: Annotated[str, one_of("", "video", "image", "audio")] = ""
    final_factor: Amount = 1.0  # times what was taken: what a success costs in the end
    failed_factor: Amount = 0.0  # the same for a task that fails
    reserved_says: Said = "truth"  # what `reserved_credits` says of what was taken
    settle_seconds: Range = (0.0, 0.0)  # how long after its end `final_says` stands in place of the final credits
    final_says: Said = 0.0
    insufficient_status: HttpStatus = 402
    create_status: HttpStatus = 200
    upload_status: HttpStatus = 200
    upload_lifetime: Lifetime = None
    upload_url_lifetime: Lifetime = None  # of the URL alone: GET /files/{id} gives a fresh one
    result_lifetime: Lifetime = None
    key_lifetime: Lifetime = None  # of an Idempotency-Key from its charge on; after it the same key buys again
    expired_status: HttpStatus = 403
    limits: Annotated[tuple[Annotated[Limit, BeforeValidator(_limit)], ...], split(",")] = ()
    retry_after: RetryAfter = "seconds"
    clock_skew: float = 0.0  # seconds by which the API's clock is ahead of the world's
    tell_date: bool = True  # whether answers have a Date
    etags: Annotated[str, one_of("strong", "weak", "none")] = "strong"
    ranges: bool = True  # whether results are served in parts

    def set(self, changes: Mapping[str, object]) -> None:
        """Change switches by name, all or none. Raises ValueError naming what is wrong and what is allowed."""
        checked = read(Switches, {**dict(self), **changes})
        for name in changes:
            setattr(self, name, getattr(checked, name))


Settings = TypeVar("Settings", bound=BaseModel)


def read(kind: type[Settings], found: Mapping[str, Any]) -> Settings:
    """Settings from their values. Raises ValueError for the first that is wrong."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = fault["loc"][0] if fault["loc"] else ""
        if fault["type"] == "extra_forbidden":
            raise ValueError(f"unknown name {name!r}; known: {', '.join(kind.model_fields)}") from None
        words = fault["msg"].removeprefix("Value error, ").replace("Input should", "must")
        raise ValueError(f"{name}: {words}, not {fault['input']!r}".removeprefix(": ")) from None
