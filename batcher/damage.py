"""Saved files that are not there any more, or not as they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from batcher.fs import is_result
from batcher.jobs import JobId
from batcher.ledger import LedgerReader
from batcher.ledger.queries import jobs
from batcher.settings import Selection, Settings
from batcher.storage import Artifacts

#: Of each job the files that were whole once and are not as they were: their numbers, and `missing` or `changed`.
Damage = Mapping[JobId, Mapping[int, str]]


class Found(NamedTuple):
    """What is to be brought back, and what a person is told: how many are missing, and the targets that are changed."""

    damage: Damage = MappingProxyType({})
    missing: int = 0
    changed: tuple[str, ...] = ()


def find_damage(
    read: LedgerReader,
    artifacts: Artifacts,
    campaigns: Sequence[str],
    settings: Settings,
    selection: Selection,
    *,
    thorough: bool,
    check: Callable[[], None] = lambda: None,
) -> Found:
    """The files to bring back: missing ones and, if `thorough`, those whose hash is another. Others are told only.

    `check` is called for each file, and ends it by raising.
    """
    found: dict[JobId, dict[int, str]] = {}
    missing, changed = 0, list[str]()
    for campaign in campaigns:
        downloads = settings.downloads(campaign)
        for file in jobs.kept_files(read, campaign):
            if not selection.takes_job(file.job_id) or not is_result(file.target):
                continue
            if not downloads and not read.is_source(file.job_id):
                continue
            check()
            how = artifacts.look(file.target, file.size)
            if thorough and not how and not artifacts.holds(file.target, file.sha256):
                how = "changed"
            missing += how == "missing"
            if how == "changed":
                changed.append(file.target)
            if how == "missing" or (how and thorough):
                found.setdefault(file.job_id, {})[file.number] = how
    return Found(found, missing, tuple(changed))
