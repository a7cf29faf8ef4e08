"""What an answer of somebody else's holds, as values that we can work with; what cannot be one counts as absent."""

from __future__ import annotations

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

MAX_CREDITS = 10**9
MAX_RETRY_AFTER = 86400.0
#: A number of seconds within ten years of now is no wait: somebody wrote a Unix time.
_YEARS = 10 * 365 * 86400.0
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
_TAG = re.compile(r"(?is)<(script|style)\b.*?(</\1>|$)|<[^>]*>|<[^>]*$")


def as_text(value: Any, longest: int = 4096) -> str | None:
    """A text of the API, bounded; whole numbers count as their digits, everything else as absent.

    So does a text with half a character (a lone surrogate is good JSON): neither UTF-8 nor SQLite takes it.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= longest and as_words(value, longest) == value else None


def as_words(value: Any, longest: int = 1000) -> str | None:
    """A message for people: cut, not dropped, when it is long."""
    return value[:longest].encode("utf-8", "replace").decode() if isinstance(value, str) and value else None


def first_words(page: str) -> str:
    """What a page says first, in one line, without its markup."""
    return " ".join(_TAG.sub(" ", page[:4000]).split())[:120]


def as_number(value: Any) -> float | None:
    """A number, also one written as a text ("10", "10.0"); None for what is none, or too large for anything here."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_CREDITS
    return float(value) if number else None


def as_credits(value: Any) -> int | None:
    """A price in whole credits, rounded up; None for what cannot be a price."""
    number = as_number(value)
    return math.ceil(number) if number is not None and number >= 0 else None


def as_date(value: str) -> float | None:
    """An HTTP date in seconds since the epoch; None for what is none. One without a zone is UTC."""
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def as_retry_after(value: str | None, now: float) -> float | None:
    """Retry-After in seconds from now, from a number or an HTTP date (RFC 9110, 10.2.3), at most a day.

    `now` is by the clock of who says it: the answer's own Date, where it has one. Some write a Unix time.
    """
    if not value:
        return None
    if _NUMBER.fullmatch(value.strip()):
        seconds = float(value)
        for unit in (1, 1000):  # some count milliseconds
            if abs(seconds / unit - now) < _YEARS:
                seconds = seconds / unit - now
                break
    else:
        date = as_date(value)
        if date is None:
            return None
        seconds = date - now
    return min(max(0.0, seconds), MAX_RETRY_AFTER)


def as_count(digits: str) -> int | None:
    """A number of bytes from a header; None for what cannot be one."""
    return int(digits) if digits.isdecimal() and len(digits) < 20 else None


def as_content_range(value: str) -> tuple[int | None, int | None, int | None]:
    """First byte, last byte and total of `bytes FIRST-LAST/TOTAL`; None for what is not said."""
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    first, _, last = span.partition("-")
    return (as_count(first), as_count(last), as_count(total)) if unit == "bytes" else (None, None, None)
