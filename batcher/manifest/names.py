"""Names: short ones made from texts, and file names that are safe on every disk."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from .problems import Fault
from .values import Value

if TYPE_CHECKING:
    from .templates import Template

MAX_SLUG = 40
MAX_PART = 120
MAX_FOLDERS = 8
_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# ASCII's letters small, its digits, and a space for all else: as bytes the quickest way to its words.
_SMALL = bytes(ord(chr(c).lower()) if c < 128 and chr(c).isalnum() else ord(" ") for c in range(256))
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE | re.DOTALL
)
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]+')
_SPACE = re.compile(r"\s+")
_CLEAN = re.compile(r"[A-Za-z0-9_.-]*")
# No more of a text than this can matter to a name. Bounded before it is normalised (which takes quadratic time over
# marks out of order) and before it is kept in a cache.
_MOST_READ = 500
#: What `results.name` knows beyond the variables.
ALWAYS = ("prompt_name", "job", "take", "campaign", "model", "reference_name")
_SIMPLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,118}[A-Za-z0-9_-]")


def slug(text: str, limit: int = MAX_SLUG) -> str:
    """The words of a text, small and joined with `-`, whole words up to `limit` characters; may be empty."""
    joined = "-".join(_words(text[: _MOST_READ + limit]))
    if len(joined) <= limit:
        return joined
    whole, dash, _ = joined[: limit + 1].rpartition("-")
    return whole if dash else joined[:limit]


def _words(text: str) -> Iterable[str]:
    if text.isascii() and "'" not in text:
        return text.encode().translate(_SMALL).decode().split()
    found = _WORDS.findall(unicodedata.normalize("NFC", text).lower())
    return (re.sub(r"['’]", "", word) for word in found)


def safe(text: str) -> str:
    """A text as a piece of one file name: no separators, no control, format or private characters; its beginning."""
    return _safe(text[:_MOST_READ])


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


def _finish(pieces: list[tuple[str, bool]]) -> str:
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


class FileNames:
    """Makes file names from `results.name`. Folders come from the `/` of its literal text only."""

    def __init__(self, template: Template) -> None:
        """Raises Fault for folders that lead astray."""
        literal = "".join(piece if isinstance(piece, str) else "x" for piece in template.pieces)
        parts = literal.split("/")
        if literal.startswith("/") or "\\" in literal or any(part.strip() in ("", ".", "..") for part in parts):
            raise Fault("a results.name is relative, without empty parts, `.`, `..` and backslashes")
        if len(parts) > MAX_FOLDERS:
            raise Fault(f"a results.name has at most {MAX_FOLDERS - 1} folders")
        self.template = template
        #: Whether every name can be made: nothing in it but words that are always there, and texts or numbers.
        self.sure = all(isinstance(piece, str) or piece.only in ALWAYS for piece in template.pieces)
        self._layout = [
            piece.split("/") if isinstance(piece, str) else (piece, "job" in piece.names) for piece in template.pieces
        ]

    def render(self, variables: Mapping[str, Value]) -> str:
        """The name for these variables, without extension. Raises Fault."""
        parts: list[list[tuple[str, bool]]] = [[]]
        for piece in self._layout:
            if isinstance(piece, list):
                parts[-1].append((safe(piece[0]), False))
                parts.extend([(safe(text), False)] for text in piece[1:])
            else:
                text = piece[0].text(variables).strip()
                # an id is safe as it is and always new: it would only push others out of the cache
                parts[-1].append((text if piece[1] and text.isalnum() else safe(text), piece[1]))
        return "/".join(map(_finish, parts))
