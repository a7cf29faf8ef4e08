"""One letter, several spellings: `é` as one character (NFC) or as `e` and an accent (NFD), as some disks write it.

Identity keeps texts as they were typed. What finds things (paths, names, globs) compares them normalised.
"""

from __future__ import annotations

import re
import unicodedata
from fnmatch import fnmatchcase

#: Normalising takes quadratic time over marks out of order: longer texts stay as they are.
_MOST = 10_000
# Letters and symbols by their category that show nothing: Hangul fillers and the blank of Braille.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_VISIBLE_ASCII = re.compile("[!-~]")
_UNSEEN = frozenset(["Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Mn", "Mc", "Me"])


def nfc(text: str) -> str:
    """The text in its composed spelling."""
    if text.isascii() or len(text) > _MOST:
        return text
    return unicodedata.normalize("NFC", text)


def spellings(text: str) -> set[str]:
    """The other ways to spell the same text, composed and decomposed; empty for most texts."""
    if text.isascii() or len(text) > _MOST:
        return set()
    return {unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)} - {text}


def named_like(name: str, pattern: str) -> bool:
    """Whether a glob matches a name, however either is spelled; capital letters count."""
    return fnmatchcase(nfc(name), nfc(pattern))


def is_visible(text: str) -> bool:
    """Whether a reader would see anything of it: a character that is no space, control, format or combining one."""
    if text.isascii():
        return _VISIBLE_ASCII.search(text) is not None
    return any(unicodedata.category(c) not in _UNSEEN and c not in _BLANK for c in text)


def utf16_length(text: str) -> int:
    """The length in UTF-16 units, as JavaScript counts: an emoji is two. Never less than in characters."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
