"""The filters of templates: a fixed list, each bounded before it works."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .names import slug
from .problems import Fault
from .values import Value, kind_of, shown, text_of, to_number

MAX_TEXT = 100_000
# Normalising takes quadratic time over marks out of order.
_MAX_SLUG_TEXT = 10_000


@dataclass(frozen=True, slots=True)
class Filter:
    """What it does, which constants it takes (the first `least` are needed), and how it is written."""

    apply: Callable[..., Value]
    takes: tuple[type | tuple[type, ...], ...] = ()
    least: int = 0
    usage: str = ""

    def fits(self, arguments: Sequence[Value]) -> bool:
        """Whether these constants are what it takes."""
        return self.least <= len(arguments) <= len(self.takes) and all(
            isinstance(argument, kind) and (not isinstance(argument, bool) or kind is not int)
            for argument, kind in zip(arguments, self.takes, strict=False)
        )


def _text(value: Value) -> str:
    try:
        return _bounded(text_of(value))
    except TypeError:
        raise Fault(f"this filter takes a text, not {kind_of(value)}") from None


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise Fault(f"the text grows to more than {MAX_TEXT:,} characters")
    return text


def _slug(value: Value) -> str:
    text = _text(value)
    if len(text) > _MAX_SLUG_TEXT:
        raise Fault("the text is too long for `slug`")
    return slug(text, limit=_MAX_SLUG_TEXT)


def _replace(value: Value, old: str, new: str) -> str:
    text = _text(value)
    # worked out before it is made: a chain of these could double a text each time
    found = text.count(old)
    if len(text) + found * (len(new) - len(old)) > MAX_TEXT:
        raise Fault(f"the text grows to more than {MAX_TEXT:,} characters")
    return text.replace(old, new)


def _number(value: Value) -> int | float:
    number = to_number(value.strip()) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise Fault(f"{shown(value)} is no number")
    return number


def _int(value: Value) -> int:
    return int(_number(value))


def _round(value: Value, digits: int = 0) -> int | float:
    if not 0 <= digits <= 10:
        raise Fault("`round` takes 0 to 10 digits")
    # through float: a typed number would show what was typed
    number = _number(value)
    if isinstance(number, int):
        return int(number)
    return round(float(number), digits) if digits else round(float(number))


def _join(value: Value, between: str = "") -> str:
    if not isinstance(value, list):
        raise Fault(f"`join` takes a list, not {kind_of(value)}")
    texts = [_text(item) for item in value]
    if sum(map(len, texts)) + len(between) * len(texts) > MAX_TEXT:
        raise Fault(f"the text grows to more than {MAX_TEXT:,} characters")
    return between.join(texts)


def _title(value: Value) -> str:
    # str.title() would make "It'S" of "it's"
    return _bounded(re.sub(r"(?<![\w'’])\w", lambda m: m[0].upper(), _text(value).lower()))


def _default(value: Value, _fallback: Value = "") -> Value:
    return value


_SCALAR: Any = (str, int, float)

FILTERS: dict[str, Filter] = {
    "capitalize": Filter(lambda v: _bounded(_text(v).capitalize()), usage="{{ x | capitalize }}"),
    # templates.py handles it: it must see that a name is undefined
    "default": Filter(_default, (_SCALAR,), usage="{{ x | default('text') }}"),
    "int": Filter(_int, usage="{{ x | int }}"),
    "join": Filter(_join, (str,), usage="{{ list | join(', ') }}"),
    "lower": Filter(lambda v: _bounded(_text(v).lower()), usage="{{ x | lower }}"),
    "replace": Filter(_replace, (str, str), 2, usage="{{ x | replace('old', 'new') }}"),
    "round": Filter(_round, (int,), usage="{{ x | round(2) }}"),
    "slug": Filter(_slug, usage="{{ x | slug }}"),
    "title": Filter(_title, usage="{{ x | title }}"),
    "trim": Filter(lambda v: _text(v).strip(), usage="{{ x | trim }}"),
    "upper": Filter(lambda v: _bounded(_text(v).upper()), usage="{{ x | upper }}"),
    "urlencode": Filter(lambda v: _urlencode(_text(v)), usage="{{ x | urlencode }}"),
}


def _urlencode(text: str) -> str:
    if len(text) > MAX_TEXT // 12:
        raise Fault("the text is too long for `urlencode`")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise Fault("the text holds half a character (a lone surrogate)") from None
