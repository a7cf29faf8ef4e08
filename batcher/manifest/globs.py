"""Globs as shells know them, bounded: `**` follows no links, so neither a loop nor a link to `/` is walked.

The standard library's `glob` follows them, and with several `**` finds the same file again and again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from batcher.spelling import named_like, nfc

from .problems import Fault
from .values import shown

MAX_MATCHES = 100_000
MAX_SEEN = 1_000_000
MAGIC = re.compile(r"[*?[]")


def prefix(pattern: str) -> str:
    """The folder in which a glob begins to look: all before its first wildcard."""
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if MAGIC.search(part))
    return "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else ".")


def matches(pattern: str, folder: Path) -> list[str]:
    """The files that match, sorted; relative ones to `folder`. Hidden ones only where the pattern says the dot."""
    start = prefix(pattern)
    rest = pattern if start == "." else pattern[len(start) :]
    parts: list[str] = []
    for part in rest.split("/"):
        if part == "..":
            raise Fault(f"{shown(pattern)}: `..` cannot stand after a wildcard")
        if part not in ("", ".") and (part != "**" or parts[-1:] != ["**"]):
            parts.append(part)
    if parts.count("**") > 2:
        raise Fault(f"{shown(pattern)}: at most two `**`")
    if parts[-1] == "**":
        parts.append("*")
    found: set[str] = set()
    try:
        for match in _Walk().walk("" if start == "." else start, parts, folder):
            if os.path.isdir(folder / match):  # noqa: PTH112 - False, not an error, where a path cannot be
                continue
            found.add(match)
            if len(found) > MAX_MATCHES:
                raise Fault(f"{shown(pattern)} matches more than {MAX_MATCHES:,} files")
    except OSError as error:
        raise Fault(f"{shown(pattern)}: {shown(str(error.filename))} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise Fault(f"{shown(pattern)}: the folders are nested too deeply") from None
    return sorted(found)


class _Walk:
    def __init__(self) -> None:
        self.seen = 0

    def walk(self, base: str, parts: list[str], folder: Path) -> Iterator[str]:
        """Paths under `base` that match the parts."""
        if not parts:
            yield base
            return
        head, *rest = parts
        if head == "**":
            yield from self.walk(base, rest, folder)
            for entry in self.entries(base, folder):
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    yield from self.walk(_join(base, entry.name), parts, folder)
        elif not MAGIC.search(head):
            if os.path.lexists(folder / base / head):
                yield from self.walk(_join(base, head), rest, folder)
            elif not head.isascii():
                for entry in self.entries(base, folder):
                    if nfc(entry.name) == nfc(head):
                        yield from self.walk(_join(base, entry.name), rest, folder)
        else:
            for entry in self.entries(base, folder):
                hidden = entry.name.startswith(".") and not head.startswith(".")
                if not hidden and named_like(entry.name, head) and (not rest or entry.is_dir()):
                    yield from self.walk(_join(base, entry.name), rest, folder)

    def entries(self, base: str, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder / base) as listing:
                entries = list(listing)
        except (FileNotFoundError, NotADirectoryError):
            return []
        self.seen += len(entries)
        if self.seen > MAX_SEEN:
            raise Fault(f"a glob looks at more than {MAX_SEEN:,} files", "begin it with a folder of its own")
        return entries


def _join(base: str, name: str) -> str:
    return f"{base.rstrip('/')}/{name}" if base else name
