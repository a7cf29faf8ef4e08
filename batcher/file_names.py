"""File names that are safe on every disk and system, whatever text they are made of."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

#: Bytes of one part of a path, at most.
MAX_PART = 120
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE | re.DOTALL
)
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]+')
_SPACE = re.compile(r"\s+")
_CLEAN = re.compile(r"[A-Za-z0-9_.-]*")
#: No more of a text than this can matter to a name. Bounded before it is normalised (which takes quadratic time over
#: marks out of order) and before it is kept in a cache.
MOST_READ = 500
_SIMPLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,118}[A-Za-z0-9_-]")


def safe(text: str) -> str:
    """A text as a piece of one file name: no separators, no control, format or private characters; its beginning."""
    return _safe(text[:MOST_READ])


@lru_cache(maxsize=16_384)
def _safe(text: str) -> str:
    if _CLEAN.fullmatch(text):
        return text
    text = unicodedata.normalize("NFC", text)
    text = _SPACE.sub("-", text)
    text = _FORBIDDEN.sub("-", text)
    return "".join(c for c in text if unicodedata.category(c)[0] != "C")


def _cut(text: str, size: int) -> str:
    """The longest beginning of at most `size` UTF-8 bytes."""
    return text.encode()[: max(size, 0)].decode(errors="ignore")


def finish(pieces: list[tuple[str, bool]]) -> str:
    """One part of a path from its pieces; where it is too long, what is not protected is cut, longest first."""
    name = "".join(text for text, _ in pieces)
    if _SIMPLE.fullmatch(name) and not _RESERVED.fullmatch(name):
        return name
    texts = [text for text, _ in pieces]
    while (over := len("".join(texts).encode()) - MAX_PART) > 0:
        free = [i for i, (_, protected) in enumerate(pieces) if not protected and texts[i]]
        at = max(free, key=lambda i: len(texts[i].encode()), default=None)
        if at is None:
            texts = [_cut("".join(texts), MAX_PART)]
            break
        texts[at] = _cut(texts[at], len(texts[at].encode()) - over)
    # a leading dot hides a file, a leading dash is taken for an option, a trailing dot or space is lost on Windows
    name = unicodedata.normalize("NFC", "".join(texts)).lstrip("-. ").rstrip(". ")
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    return name or "_"
