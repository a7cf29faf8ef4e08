"""Texts for people, one way of writing each: numbers, sums and times in words, and what comes from outside made safe.

A terminal obeys what it prints: escape sequences move the cursor and rename the window, bidi marks turn the order of
what is read around. So every such character of a prompt, a name, a path or an answer is shown as its code.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

# Emoji and several scripts are spelled with these two joiners; they cannot do harm.
_HARMLESS = frozenset("\u200c\u200d")
_DANGEROUS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def number(value: float | None) -> str:
    """`1,234`; `1,234.50` where it is no whole number; empty for none."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def count(value: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{value:,} {noun}{'s' * (value != 1)}"


def amount(value: int) -> str:
    """`10 credits`."""
    return count(value, "credit")


def percent(rate: float | None) -> str:
    """A part of one as `12.5 %`; empty for none."""
    return "" if rate is None else f"{rate * 100:.1f} %"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"


def wait(seconds: float | None) -> str:
    """A duration of which a tenth of a second matters below ten: `3.1 s`; empty for none."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if 0 <= seconds < 10 else duration(seconds)


def what_differs(texts: Sequence[str]) -> tuple[str, list[str]]:
    """The words that all texts have, and what is left of each; no words where something would have nothing left."""
    words = [text.split(" ") for text in texts]
    shared = [word for word in words[0] if all(word in each for each in words)] if words else []
    left = [" ".join(word for word in each if word not in shared) for each in words]
    return (" ".join(shared), left) if all(left) else ("", list(texts))


def local(iso: str) -> datetime:
    """A time of the ledger with this machine's offset."""
    return datetime.fromisoformat(iso).astimezone()


def moment(iso: str | None) -> str:
    """A time of the ledger in this machine's local time, to the second; empty for none."""
    return local(iso).strftime("%Y-%m-%d %H:%M:%S") if iso else ""


def safe(text: object, *, lines: bool = False) -> str:
    """The text without anything that a terminal would obey; on one line, unless `lines` keeps line ends."""
    given = str(text)
    if given.isprintable():
        return given
    return "".join(c if c.isprintable() else _shown(c, lines) for c in given.replace("\r\n", "\n"))


def change_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with each of its texts changed, names of members too, however they are nested."""
    match value:
        case str():
            return change(value)
        case dict():
            return {change(str(name)): change_texts(each, change) for name, each in value.items()}
        case list():
            return [change_texts(each, change) for each in value]
        case _:
            return value


def short(text: object, width: int) -> str:
    """`safe`, cut to `width` characters with an ellipsis."""
    line = " ".join(safe(text).split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when one of the known words is near, else nothing."""
    import difflib  # slow to import, and seldom asked

    # bounded: every row of a large file may ask
    if len(word) > 100:
        return ""
    by_fold = {each.lower(): each for each in islice(known, 100)}
    close = difflib.get_close_matches(word.lower(), by_fold, n=1)
    return f"did you mean {by_fold[close[0]]!r}?" if close else ""


def _shown(character: str, lines: bool) -> str:
    if character == "\n" and lines:
        return character
    if character in "\t\n\r\v\f":
        return " "
    if character in _HARMLESS or unicodedata.category(character) not in _DANGEROUS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
