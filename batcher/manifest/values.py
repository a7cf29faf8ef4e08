"""Values of a manifest and of its rows: what a text means, and what a value looks like in a template.

A number that is not written in Python's own way keeps the text that was typed: `version: 1.10` must not
turn into 1.1 in a prompt, and `007` must not turn into 7.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from batcher.catalog import ArrayParam, Model, NumberParam, SelectParam, UncheckedParam
from batcher.jobs import WireValue
from batcher.spelling import nfc

#: A scalar, or (for variables only) lists and mappings of them.
Value = Any

_LONGEST_OPTION = 200
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_BASED = re.compile(r"0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,4})?")
_COMMA = re.compile(r"[-+]?[0-9]{1,40},[0-9]{1,40}")
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
# Cc but for tab and newline, and lone surrogates: nothing that a prompt, a name or a param may hold.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class TypedInt(int):
    """A whole number that is shown as it was typed."""

    text: str

    def __str__(self) -> str:
        return self.text


class TypedFloat(float):
    """A number that is shown as it was typed."""

    text: str

    def __str__(self) -> str:
        return self.text


class Faulty(str):
    """Stands where a faulty value was, so that the rest can still be checked. The fault is already told."""

    __slots__ = ()


FAULTY = Faulty("?")


def typed_int(text: str, base: int = 10) -> int:
    """A whole number that shows as `text`."""
    number = int(text, base)
    if str(number) == text:
        return number
    typed = TypedInt(number)
    typed.text = text
    return typed


def typed_float(text: str) -> float:
    """A number that shows as `text`."""
    number = float(text)
    if repr(number) == text:
        return number
    typed = TypedFloat(number)
    typed.text = text
    return typed


def to_number(text: str) -> int | float | None:
    """The number that a text is in YAML 1.2's (and JSON's) way of writing; None when it is none."""
    if _INT.fullmatch(text):
        return typed_int(text)
    if _FLOAT.fullmatch(text) and abs(number := typed_float(text)) != float("inf"):
        return number
    return None


def plain_scalar(text: str) -> Value:
    """What an unquoted YAML text means: YAML 1.2's core schema and nothing of 1.1.

    Texts that are no null, boolean or finite number stay texts: `no`, `on`, `16:9`, `1_000`, dates, `.inf`.
    """
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if text[0] in "0123456789+-.":
        if _BASED.fullmatch(text):
            return typed_int(text, 0)
        number = to_number(text)
        return text if number is None else number
    return text


def text_of(value: Value) -> str:
    """A scalar as it stands in a text. Raises TypeError for lists and mappings."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise TypeError


def comparable(value: Value) -> str:
    """Two values are the same to `include` and `exclude` when these texts are: `6` and `"6"` are, `é` however typed."""
    return nfc(json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else text_of(value))


#: Whole numbers up to here are the same to every reader of JSON.
_MOST_EXACT = 2**53


def kept(value: Value) -> Value:
    """A value as plain JSON; a number that JSON would show in another way is the text that was typed."""
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "replace").decode()  # no half characters
        case TypedInt() | TypedFloat():
            return value.text
        case int():
            return value if abs(value) <= _MOST_EXACT else str(value)
        case list():
            return [kept(item) for item in value]
        case dict():
            return {kept(name): kept(item) for name, item in value.items()}
        case _:
            return value


def unsafe_character(text: str) -> str | None:
    """The first character that no prompt, name or param may hold, as `U+0007`; None when all are fine."""
    found = _UNSAFE.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


def kind_of(value: Value) -> str:
    """What a value is, in the words of the manual."""
    match value:
        case None:
            return "empty (null)"
        case bool():
            return "true" if value else "false"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "a mapping"


def wire(model: Model, name: str, value: Value) -> WireValue:
    """A param's value as it goes on the wire. Raises ValueError with what is allowed."""
    param = model.params[name]
    if isinstance(param, ArrayParam):
        for text in _texts(value):
            _check_characters(text)
        return param.wire(kept(value))
    if isinstance(param, UncheckedParam):
        for text in _texts(value):
            _check_characters(text)
        found: WireValue = param.wire(value.strip() if isinstance(value, str) else value)
        return found
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"must be {param.allowed}, not {kind_of(value)}")
    if isinstance(value, str):
        value = value.strip()
        _check_characters(value)
        # the nearest of the options is searched for, which takes long in a long text
        if isinstance(param, SelectParam) and len(value) > _LONGEST_OPTION:
            raise ValueError(f"must be one of {', '.join(param.options)}")
        if isinstance(param, SelectParam) and value not in param.options:
            value = _BOOLS.get(value, value)  # as spreadsheets write it
        # a decimal comma is left to a person: 1,500 is more than one number
        if isinstance(param, NumberParam) and _COMMA.fullmatch(value):
            raise ValueError(f"must be a number with a point, not a comma, {param.allowed}")
        if isinstance(param, NumberParam) and value.isdecimal() and not value.isascii():
            raise ValueError(f"must be a number in the digits 0 to 9, {param.allowed}")
        # float() would take 1_0 and nan, which YAML 1.2 reads as texts
        if isinstance(param, NumberParam) and isinstance(value, str) and to_number(value) is None:
            raise ValueError(f"must be a number, {param.allowed}")
    return param.wire(value)


def _check_characters(text: str) -> None:
    if (bad := unsafe_character(text)) is not None:
        raise ValueError(f"holds the character {bad}, which cannot be sent")


def _texts(value: Value) -> Iterator[str]:
    """Every text in a value."""
    match value:
        case str():
            yield value
        case list() | dict():
            for each in value.values() if isinstance(value, dict) else value:
                yield from _texts(each)


def shown(value: Value, limit: int = 60) -> str:
    """A value for a message, cut to a readable length and safe to print."""
    text = value if isinstance(value, str) else comparable(value) if value is not None else "null"
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return repr(text) if isinstance(value, str) else ascii(text)[1:-1]
