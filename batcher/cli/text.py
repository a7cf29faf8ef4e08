"""Texts from outside (prompts, names, paths, what the API says), made fit for a terminal.

A terminal obeys what it prints: escape sequences move the cursor and rename the window, bidi marks turn the order of
what is read around. So every such character is shown as its code. Rich's markup is switched off where Rich prints.
"""

from __future__ import annotations

import unicodedata

# Emoji and several scripts are spelled with these two joiners; they cannot do harm.
_HARMLESS = frozenset("\u200c\u200d")
_DANGEROUS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class ReaderGone(Exception):
    """Nobody reads stdout any more (`batcher jobs | head`). No OSError, for which click has plans of its own."""


class OutputLost(ReaderGone):
    """Stdout cannot be written though somebody may read it: the disk behind it is full. The message says why."""


def safe(text: object, *, lines: bool = False) -> str:
    """The text without anything that a terminal would obey; on one line, unless `lines` keeps line ends."""
    given = str(text)
    if given.isprintable():
        return given
    return "".join(c if c.isprintable() else _shown(c, lines) for c in given.replace("\r\n", "\n"))


def short(text: object, width: int) -> str:
    """`safe`, cut to `width` characters with an ellipsis."""
    line = " ".join(safe(text).split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes: some characters take two, some none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """A text of exactly `width` columns: cut, or filled up with spaces."""
    if text.isascii():
        return text[:width].ljust(width)
    from rich.cells import set_cell_size

    return set_cell_size(text, width)


def _shown(character: str, lines: bool) -> str:
    if character == "\n" and lines:
        return character
    if character in "\t\n\r\v\f":
        return " "
    if character in _HARMLESS or unicodedata.category(character) not in _DANGEROUS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
