"""The leaves of the manifest's schema: what a text, a rate, a duration, a name may be.

Messages are made here in full; `check.py` only adds the place. Leaves let `Faulty` through, a text that stands where a
fault was told already.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from batcher.catalog import model_ids, providers
from batcher.clock import find_zone
from batcher.settings import RATES, Rate, parse_rate
from batcher.spelling import nfc
from batcher.text import did_you_mean
from batcher.windows import DAY_MINUTES, DAYS

from .problems import Fault, joined, listed
from .values import Faulty, kind_of, shown, text_of, unsafe_character

CAMPAIGN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
MAX_REPEAT = 1000
MAX_TEXT = 100_000
MAX_NAME = 100
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(ms|s|m|h)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_JINJA_WORDS = frozenset(
    ["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None"]
)
#: Columns with a meaning of their own; also variables, but for `prompt` where it is the row's template.
SPECIAL = ("prompt", "name", "reference")
#: Names with a meaning of their own: as variables they would be taken for it.
RESERVED = {
    "campaign": "a manifest is one campaign",
    "model": "the model of a prompt stands beside it, as `model`",
    "prompt": "texts belong under `prompts`",
    "reference": "input files belong under `references`",
    "job": "it is the job's id in results.name",
    "take": "copies of a job are made by `repeat`",
    "prompt_name": "it is the prompt's name in results.name",
    "reference_name": "it is the reference's name in results.name",
}


def wrong(message: str, hint: str = "") -> PydanticCustomError:
    return PydanticCustomError("manifest", "{message}", {"message": message, "hint": hint})


def leaf(check: Callable[[Any], Any], json_schema: dict[str, Any]) -> Any:
    return PlainValidator(check), WithJsonSchema(json_schema)


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong(f"must be a whole number from {low:,} to {high:,}, not {kind_of(value)}")
        if not low <= value <= high:
            raise wrong(f"is {shown(value)}; must be a whole number from {low:,} to {high:,}")
        return int(value)

    return check


def whole(low: int, high: int) -> Any:
    return leaf(_whole(low, high), {"type": "integer", "minimum": low, "maximum": high})


def _cap(value: Any) -> int:
    """A cap in the unit of the jobs under it: a number, or one by the name of their provider. Today there is one."""
    if not isinstance(value, dict):
        return _credits(value)
    known = providers()
    for name in value:
        if name not in known:
            hint = joined(did_you_mean(str(name), known), f"known: {listed(known)}")
            raise wrong(f"names {shown(name)}, which is no provider", hint)
    if len(value) != 1:
        raise wrong("is an empty mapping", f"write a number, or one for each of {listed(known)}")
    return _credits(*value.values())


def duration(low: float, high: float) -> Any:
    allowed = f"must be seconds or a duration like 250ms, 3s, 10m or 1h, from {low:g} to {high:g} seconds"

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise wrong(f"{allowed}, not {kind_of(value)}")
        if isinstance(value, str):
            found = _DURATION.fullmatch(value.strip())
            if not found:
                raise wrong(f"is {shown(value)}; {allowed}")
            seconds = float(found[1]) * _DURATION_UNITS[found[2]]
        else:
            # comparing first: an int of hundreds of digits has no float
            seconds = float(value) if low <= value <= high else math.inf
        if not low <= seconds <= high:
            raise wrong(f"is {shown(value)}; {allowed}")
        return seconds

    text = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?(ms|s|m|h)$"}
    return leaf(check, {"anyOf": [{"type": "number", "minimum": low, "maximum": high}, text]})


def _rate(value: Any) -> Rate:
    if not isinstance(value, str):
        raise wrong(f"{RATES}, not {kind_of(value)}")
    try:
        return parse_rate(value)
    except ValueError as error:
        raise wrong(f"is {shown(value)}; {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        hint = "put it in quotes" if isinstance(value, (int, float, bool)) else ""
        raise wrong(f"must be a text, not {kind_of(value)}", hint)
    if len(value) > MAX_TEXT:
        raise wrong(f"has {len(value):,} characters; at most {MAX_TEXT:,}")
    if not value.strip():
        raise wrong("is empty")
    return value


def _name(value: Any) -> str:
    text = _text(value)
    if fault := name_fault(text):
        raise wrong(fault)
    return nfc(text.strip())


def name_fault(text: str) -> str:
    """What is wrong with a prompt's name, or with the template of one; empty where nothing is."""
    if len(text) > MAX_NAME and "{{" not in text:
        return f"has {len(text)} characters; a name has at most {MAX_NAME}"
    if not text.isprintable() and ("\n" in text or "\t" in text or unsafe_character(text)):
        return "must be one line without control characters"
    return ""


def _campaign(value: Any) -> str:
    if isinstance(value, Faulty):
        return value
    if not isinstance(value, str) or not CAMPAIGN.fullmatch(value):
        what = f"is {shown(value)}" if isinstance(value, (str, int, float)) else f"is {kind_of(value)}"
        hint = "put it in quotes" if not isinstance(value, str) and isinstance(value, (int, float)) else ""
        raise wrong(
            f"{what}; a campaign's name is a text of 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit", hint
        )
    return value


def _allowance_name(value: Any) -> str:
    if not isinstance(value, str) or not CAMPAIGN.fullmatch(value):
        what = f"is {shown(value)}" if isinstance(value, (str, int, float)) else f"is {kind_of(value)}"
        raise wrong(f"{what}; it is a text of 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit")
    return value


def _yes_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong(f"must be true or false, not {shown(value) if isinstance(value, str) else kind_of(value)}")
    return value


def _scalar(value: Any) -> Any:
    if isinstance(value, (str, int, float)):
        return value
    raise wrong(f"must be a text, a number or true/false, not {kind_of(value)}")


def _param(value: Any) -> Any:
    """What a param may be; a list is held against the model later."""
    return _value(value) if isinstance(value, list) else _scalar(value)


def _value(value: Any) -> Any:
    match value:
        case None:
            raise wrong("must be a text, a number or true/false, not empty (null)", 'for an empty text write ""')
        case list():
            for item in value:
                _value(item)
        case dict():
            for item in value.values():
                _value(item)
    return value


def _given(value: Any) -> Any:
    if value is None:
        raise wrong("is empty (null)", "remove the line or give it a value")
    return value


@dataclass(frozen=True, slots=True)
class FromResult:
    """`{from: GLOB, where: {…}, gate: review}`: results of other prompts; the values of `where` are templates."""

    glob: str
    where: dict[str, str]
    gate: bool


_FROM_KEYS = ("from", "gate", "where")


def _reference(value: Any) -> str | FromResult | list[str | FromResult] | None:
    if isinstance(value, list):
        if len(value) < 2 and not any(isinstance(each, dict) for each in value):
            raise wrong("is a list of fewer than two references", "a list is one variant of several references")
        return [_one_reference(each) for each in value]
    return None if value is None else _one_reference(value)


def _one_reference(value: Any) -> str | FromResult:
    if not isinstance(value, dict):
        return _text(value)
    for name in value:
        if name not in _FROM_KEYS:
            hint = joined(did_you_mean(str(name), _FROM_KEYS), f"allowed: {listed(_FROM_KEYS)}")
            raise wrong(f"has the unknown key {shown(name)}", hint)
    if "from" not in value:
        raise wrong("has no `from`", "such as {from: stills}: the results of the prompts of that name")
    if value.get("gate", "review") != "review":
        raise wrong(f"gate is {shown(value['gate'])}; it can be `review` only")
    where = value.get("where", {})
    if not isinstance(where, dict) or not all(isinstance(each, str | int | float) for each in where.values()):
        raise wrong("where must be a mapping of names to values", 'such as where: {scene: "{{ scene }}"}')
    texts = {name: text_of(each) for name, each in where.items()}
    return FromResult(_text(value["from"]).strip(), texts, "gate" in value)


def _results_name(value: Any) -> str:
    text = _text(value)
    if len(text) > 1000:
        raise wrong("has more than 1,000 characters")
    return text


# An optional key may be left out, but not left empty: an empty `references:` could mean two things.
Given = BeforeValidator(_given)
# Said by what it is not: an editor would offer `true` and `false` beside a param's own values.
_SCALAR_SCHEMA: dict[str, Any] = {"not": {"type": ["array", "object", "null"]}}
_VALUE_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean", "array", "object"]}
_TEXT_SCHEMA: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}

Text = Annotated[str, *leaf(_text, _TEXT_SCHEMA)]
Name = Annotated[str, *leaf(_name, {"type": "string", "minLength": 1, "maxLength": MAX_NAME})]
Scalar = Annotated[Any, *leaf(_scalar, _SCALAR_SCHEMA)]
ParamField = Annotated[Any, *leaf(_param, {"not": {"type": ["object", "null"]}})]
AnyValue = Annotated[Any, *leaf(_value, _VALUE_SCHEMA)]
_FROM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "from": {"type": "string", "description": "A glob over the names of this manifest's prompts"},
        "where": {"type": "object", "description": "Only those whose variables and params have these values"},
        "gate": {"const": "review", "description": "Wait until a person approves the file"},
    },
    "required": ["from"],
    "additionalProperties": False,
}
_REFERENCE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": ["string", "null"]},
        _FROM_SCHEMA,
        {"type": "array", "items": {"anyOf": [{"type": "string"}, _FROM_SCHEMA]}},
    ]
}
ReferenceText = Annotated[Any, *leaf(_reference, _REFERENCE_SCHEMA)]
Repeat = Annotated[int, *whole(1, MAX_REPEAT)]
Bool = Annotated[bool, *leaf(_yes_no, {"type": "boolean"})]
Requests = Annotated[Rate, *leaf(_rate, {"type": "string", "pattern": "^[0-9]+ ?/ ?(second|minute|hour|day|s|m|h|d)$"})]
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d) ?- ?([01]\d|2[0-4]):([0-5]\d)")


def _hours(value: Any) -> tuple[int, int]:
    """When a window opens and closes, in minutes since midnight."""
    allowed = 'must be hours like "22:00-06:00", in quotes'
    if not isinstance(value, str):
        raise wrong(f"{allowed}, not {kind_of(value)}")
    found = _HOURS.fullmatch(value.strip())
    if not found:
        raise wrong(f"is {shown(value)}; {allowed}")
    opens, closes = (60 * int(found[n]) + int(found[n + 1]) for n in (1, 3))
    if closes > DAY_MINUTES or opens == closes:
        raise wrong(f"is {shown(value)}; {'it ends when it begins' if opens == closes else allowed}")
    return opens, closes


def _time_of_day(value: Any) -> int:
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value.strip()) if isinstance(value, str) else None
    if not found:
        told = f"is {shown(value)}; " if isinstance(value, str) else ""
        raise wrong(f'{told}must be a time of the day like "07:00", in quotes')
    return 60 * int(found[1]) + int(found[2])


def _timezone(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise wrong(f"must be the name of a time zone like Europe/Berlin, not {kind_of(value)}")
    try:
        find_zone(value)
    except LookupError:
        hint = "a name of the IANA's list, like Europe/Berlin"
        raise wrong(f"is {shown(value)}, which is no time zone", hint) from None
    return value


def _days(value: Any) -> tuple[int, ...]:
    """Days of the week, 0 is Monday: of `mon` … `sun`, and of spans like `mon-fri` or `fri-mon`."""
    if not isinstance(value, list) or not value:
        what = "an empty one" if value == [] else kind_of(value)
        raise wrong(f"must be a list of days like [mon-fri, sun], not {what}")
    found = set[int]()
    for each in value:
        first, dash, last = each.strip().lower().partition("-") if isinstance(each, str) else ("", "", "")
        if first not in DAYS or (dash and last not in DAYS):
            raise wrong(f"has {shown(each)}; each must be one of {', '.join(DAYS)}, or a span like mon-fri")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found.update(n % 7 for n in range(begin, end + 1 if end >= begin else end + 8))
    return tuple(sorted(found))


def _percent(value: Any) -> int:
    found = re.fullmatch(r"([1-9]\d?|100) ?%", value.strip()) if isinstance(value, str) else None
    if not found:
        told = f"is {shown(value)}; " if isinstance(value, (str, int, float)) else ""
        raise wrong(f"{told}must be a share from 1% to 100%, like 10%")
    return int(found[1])


_credits = _whole(0, 1_000_000_000)
_CREDITS_SCHEMA: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 1_000_000_000}
_BY_PROVIDER = {"type": "object", "additionalProperties": _CREDITS_SCHEMA, "minProperties": 1}
Cap = Annotated[int, *leaf(_cap, {"anyOf": [_CREDITS_SCHEMA, _BY_PROVIDER]})]
Percent = Annotated[int, *leaf(_percent, {"type": "string", "pattern": "^([1-9][0-9]?|100) ?%$"})]
Hours = Annotated[
    tuple[int, int], *leaf(_hours, {"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9] ?- ?[0-2][0-9]:[0-5][0-9]$"})
]
TimeOfDay = Annotated[int, *leaf(_time_of_day, {"type": "string", "pattern": "^[0-2]?[0-9]:[0-5][0-9]$"})]
TimeZone = Annotated[str, *leaf(_timezone, {"type": "string", "minLength": 1})]
_DAY = f"({'|'.join(DAYS)})"
_DAYS_SCHEMA = {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": f"^{_DAY}(-{_DAY})?$"}}
WeekDays = Annotated[tuple[int, ...], *leaf(_days, _DAYS_SCHEMA)]
Campaign = Annotated[str, *leaf(_campaign, {"type": "string", "pattern": f"^{CAMPAIGN.pattern}$"})]
AllowanceName = Annotated[str, *leaf(_allowance_name, {"type": "string", "pattern": f"^{CAMPAIGN.pattern}$"})]
ModelId = Annotated[str, *leaf(_text, {"enum": model_ids()})]
ResultsName = Annotated[str, *leaf(_results_name, _TEXT_SCHEMA)]


_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def tag_name_fault(name: str) -> Fault | None:
    """Why a name cannot be a tag's; None where it can."""
    if _TAG.fullmatch(name):
        return None
    return Fault(f"{shown(name)} cannot be a tag: letters, digits, _ and -, and no digit first")


def variable_name_fault(name: str) -> Fault | None:
    """Why a name cannot be a variable's; None where it can."""
    if name in RESERVED:
        return Fault(f"{name!r} cannot be a variable", RESERVED[name])
    if not NAME.fullmatch(name) or name in _JINJA_WORDS:
        better = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
        hint = f"write {better!r}" if NAME.fullmatch(better) and better not in _JINJA_WORDS else ""
        return Fault(f"{shown(name)} cannot be a variable: letters, digits and _, and no digit first", hint)
    return None
