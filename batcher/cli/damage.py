"""Saved files that are not there any more, or not as they were: found, and told."""

from __future__ import annotations

from pathlib import Path

from batcher.artifacts import Artifacts
from batcher.engine.leftover import Damage
from batcher.fs import is_result, look
from batcher.jobs import JobId
from batcher.ledger import LedgerReader, browse
from batcher.settings import Settings
from batcher.text import count, safe

from .prepare import Prepared
from .terminal import Terminal

_TOLD = 20


def find_damage(
    read: LedgerReader, state: Path, prepared: Prepared, settings: Settings, terminal: Terminal, *, thorough: bool
) -> Damage:
    """The files to bring back: missing ones and, if `thorough`, those whose hash is another. Others are told only."""
    found: dict[JobId, dict[int, str]] = {}
    missing, changed = 0, list[str]()
    artifacts = Artifacts(state)
    for campaign in prepared.campaigns:
        if not settings.downloads(campaign):
            continue
        for file in browse.kept_files(read, campaign):
            if not prepared.selection.takes_job(file.job_id) or not is_result(file.target):
                continue
            how = look(state, file.target, file.size)
            if thorough and not how and not artifacts.holds(file.target, file.sha256):
                how = "changed"
            missing += how == "missing"
            if how == "changed":
                changed.append(file.target)
            if how == "missing" or (how and thorough):
                found.setdefault(file.job_id, {})[file.number] = how
    if missing:
        terminal.say(f"{count(missing, 'saved file')} missing: fetched again (`batcher fetch --forget` if not wanted).")
    then = "its original is put beside it" if thorough else "`batcher fetch` puts its original beside it"
    for target in changed[:_TOLD]:
        terminal.warn(f"{safe(state / target)} has been changed; it stays as it is, {then}")
    if len(changed) > _TOLD:
        terminal.warn(f"… and {count(len(changed) - _TOLD, 'more file')} changed")
    return found
