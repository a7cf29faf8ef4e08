"""Campaigns with paid jobs under way that nobody's manifest stands for any more, such as one that was renamed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Sequence
from typing import NamedTuple

from batcher.ledger.reader import LedgerReader
from batcher.ledger.store.amounts import OPEN_HOLD
from batcher.statuses import DATA_MANIFEST

from .run_settings import leaves_files
from .sql import UNSAVED

# From the few that are under way or lack a file, whatever the planner thinks of their number.
_LEFT = (
    "SELECT w.campaign, c.manifest, sum(w.status <> 'succeeded') AS jobs, sum(w.status = 'succeeded') AS files,"
    f" sum({OPEN_HOLD}) AS held FROM (SELECT seq FROM wanted WHERE status IN ('submitting', 'queued', 'processing')"
    " UNION SELECT j.seq FROM files AS f CROSS JOIN attempts AS t ON t.id = f.attempt_id CROSS JOIN wanted AS j"
    f" ON j.id = t.job_id AND j.attempt_id = t.id WHERE {UNSAVED} AND j.status = 'succeeded') AS x"
    " CROSS JOIN wanted AS w ON w.seq = x.seq CROSS JOIN attempts AS a ON a.id = w.attempt_id"
    " CROSS JOIN campaigns AS c ON c.name = w.campaign GROUP BY w.campaign ORDER BY c.rowid"
)
_NAMED = re.compile(r"^campaign:[ \t]*(['\"]?)([a-z0-9][a-z0-9._-]{0,63})\1[ \t]*(?:#.*)?$", re.MULTILINE)
_HEAD_BYTES = 1 << 16


class LeftBehind(NamedTuple):
    """A campaign with `jobs` under way and `files` still to be fetched; `held` are the open credits of both."""

    campaign: str
    manifest: str
    jobs: int
    files: int
    held: int


def left_behind(read: LedgerReader, but: Collection[str] = ()) -> list[LeftBehind]:
    """Every campaign but those named that has something paid under way, in the order in which they came.

    Files of a campaign whose manifest leaves them where they are (`results.download: false`) are not missed.
    """
    found = []
    for row in read.rows(_LEFT):
        files = 0 if row["campaign"] in but or leaves_files(read, row["campaign"]) else row["files"]
        if row["campaign"] not in but and (row["jobs"] or files):
            found.append(LeftBehind(row["campaign"], row["manifest"], row["jobs"], files, row["held"]))
    return found


def without_manifest(found: Sequence[LeftBehind]) -> list[tuple[LeftBehind, str]]:
    """Those of which the manifest is gone (""), or names another campaign now, with that name."""
    named = [(each, _names_now(each.manifest)) for each in found]
    return [(each, name) for each, name in named if name is not None and name != each.campaign]


def _names_now(manifest: str) -> str | None:
    """The campaign that a manifest names; "" when there is none there any more, None when nobody can tell.

    The path is the ledger's word: only a file is read, a bounded part of it, and nothing but a campaign's name is used.
    """
    if os.path.basename(manifest) == DATA_MANIFEST:  # noqa: PTH119  (the ledger's word: it may be no path)
        return None
    try:
        descriptor = os.open(manifest, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
        except OSError:
            return None
    named = _NAMED.search(head.replace("\r\n", "\n"))
    return named[2] if named else None
