"""Names: short ones made from texts, and what `results.name` makes of a template."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from batcher.file_names import MOST_READ, finish, safe

from .problems import Fault
from .values import Value

if TYPE_CHECKING:
    from .templates import Template

MAX_SLUG = 40
MAX_FOLDERS = 8
_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# ASCII's letters small, its digits, and a space for all else: as bytes the quickest way to its words.
_SMALL = bytes(ord(chr(c).lower()) if c < 128 and chr(c).isalnum() else ord(" ") for c in range(256))
#: What `results.name` knows beyond the variables.
ALWAYS = ("prompt_name", "job", "take", "campaign", "model", "reference_name")


def slug(text: str, limit: int = MAX_SLUG) -> str:
    """The words of a text, small and joined with `-`, whole words up to `limit` characters; may be empty."""
    joined = "-".join(_words(text[: MOST_READ + limit]))
    if len(joined) <= limit:
        return joined
    whole, dash, _ = joined[: limit + 1].rpartition("-")
    return whole if dash else joined[:limit]


def _words(text: str) -> Iterable[str]:
    if text.isascii() and "'" not in text:
        return text.encode().translate(_SMALL).decode().split()
    found = _WORDS.findall(unicodedata.normalize("NFC", text).lower())
    return (re.sub(r"['’]", "", word) for word in found)


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
            [(safe(text), False) for text in piece.split("/")]
            if isinstance(piece, str)
            else (piece, "job" in piece.names)
            for piece in template.pieces
        ]

    def render(self, variables: Mapping[str, Value]) -> str:
        """The name for these variables, without extension. Raises Fault."""
        parts: list[list[tuple[str, bool]]] = [[]]
        for piece in self._layout:
            if isinstance(piece, list):
                parts[-1].append(piece[0])
                parts.extend([text] for text in piece[1:])
            else:
                text = piece[0].text(variables).strip()
                # an id is safe as it is and always new: it would only push others out of the cache
                parts[-1].append((text if piece[1] and text.isalnum() else safe(text), piece[1]))
        return "/".join(map(finish, parts))
