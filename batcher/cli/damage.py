"""Saved files that are not there any more, or not as they were, told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batcher.text import count, safe

from .terminal import Terminal

_TOLD = 20


def tell_damage(missing: int, changed: Sequence[str], state: Path, terminal: Terminal, *, thorough: bool) -> None:
    """Say how many files are missing, and which are `changed` (their paths below the state folder)."""
    if missing:
        terminal.say(f"{count(missing, 'saved file')} missing: fetched again (`batcher fetch --forget` if not wanted).")
    then = "its original is put beside it" if thorough else "`batcher fetch` puts its original beside it"
    for target in changed[:_TOLD]:
        terminal.warn(f"{safe(state / target)} has been changed; it stays as it is, {then}")
    if len(changed) > _TOLD:
        terminal.warn(f"… and {count(len(changed) - _TOLD, 'more file')} changed")
