"""Fonts of this machine, by the script that a text is in, for what Pillow draws."""

from __future__ import annotations

from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

#: Characters of a text that are looked at.
_ENOUGH = 2500
#: Where fonts lie on Linux and macOS.
_FONT_FOLDERS = (
    *("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"),
    *("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
)


def load_font(size: int, path: Path | None = None) -> ImageFont.FreeTypeFont:
    """A font of this machine, or the one that Pillow brings, so that nothing needs to be installed."""
    font = ImageFont.truetype(str(path), size) if path else ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def font_for(text: str) -> Path | None:
    """The font of this machine that knows most of a text; None where Pillow's own, which is Latin, knows as much."""
    return _best_font("".join(sorted({c for c in text[:_ENOUGH] if c > "\u024f" and c.isalpha()})))


@lru_cache(maxsize=256)
def _best_font(letters: str) -> Path | None:
    best, most = None, _known(load_font(16), letters)
    for path in _installed() if most < len(letters) else ():
        with suppress(OSError):  # a font of bitmaps, or none at all
            if (known := _known(load_font(16, path), letters)) > most:
                best, most = path, known
        if most == len(letters):
            break
    return best


def _known(font: ImageFont.FreeTypeFont, letters: str) -> int:
    """How many of the letters are drawn other than what no font has."""
    box = bytes(font.getmask("\uffff"))
    return sum(bytes(font.getmask(letter)) != box for letter in letters)


@cache
def _installed() -> list[Path]:
    """The fonts of this machine, the plain ones first."""
    folders = (Path(folder).expanduser() for folder in _FONT_FOLDERS)
    found = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".ttf", ".otf", ".ttc")]
    return sorted(found, key=lambda path: ("Regular" not in path.name, len(path.name), path))
