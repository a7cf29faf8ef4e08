"""Pieces of SQL that are put together from what is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from batcher.spelling import named_like

#: A job with its latest attempt.
LATEST = "FROM wanted AS w LEFT JOIN attempts AS a ON a.id = w.attempt_id"
#: A failed job of `wanted AS w` that its campaign's newest expansion does not ask for: its text was corrected since.
SUPERSEDED = "w.status = 'failed' AND w.expansion < (SELECT c.expansion FROM campaigns AS c WHERE c.name = w.campaign)"
#: The first purchase of an account (?1) and price class (?2), and which purchases are of them.
CLASS_ID = "(SELECT id FROM attempts WHERE account = ?1 AND price_class = ?2 AND class_id = id)"
OF_CLASS = f"class_id = {CLASS_ID}"
#: A row of `files AS f` that may be opened or shown as a result: whole once, wanted, and below `results/` by its words.
KEPT = (
    "f.saved_at IS NOT NULL AND f.forgotten_at IS NULL AND f.target GLOB 'results/?*'"
    " AND instr('/' || f.target || '/', '/../') = 0"
)
#: A row of `files AS f` that is still to be fetched.
UNSAVED = "f.saved_at IS NULL AND f.forgotten_at IS NULL"

#: Where a file `f` is not what was asked for, in words: one row of `json_each(f.differs) AS d`.
DIFFERENCE = "(d.value ->> 'of') || ' ' || (d.value ->> 'found') || ' in place of ' || (d.value ->> 'wanted')"
#: The same of all saved files of an attempt `a`; null where none differs.
DIFFERS = (
    f"(SELECT group_concat({DIFFERENCE}, '; ') FROM files AS f, json_each(f.differs) AS d"
    f" WHERE f.attempt_id = a.id AND {KEPT})"
)


def like(value: str | float | None, glob: str) -> bool:
    """Whether a value fits a glob, or is the number that stands there; SQL calls it `ledger_like`."""
    if value is None:
        return False
    if str(value) == glob or named_like(str(value), glob):
        return True
    try:
        return not isinstance(value, str) and float(glob) == value
    except ValueError:
        return False


def from_json(text: str | bytes | None) -> Any:
    """What a column of JSON holds; what somebody else wrote there is shown as it is."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.decode(errors="replace") if isinstance(text, bytes) else text


def among(*words: str) -> str:
    """Trusted words, such as names of events, as a list of SQL."""
    return "(" + ", ".join(f"'{word}'" for word in words) + ")"


def placeholders(values: Sequence[object]) -> str:
    """Question marks for values that stand in a list of SQL."""
    return ",".join("?" * len(values))


def of_jobs(campaign: str | None, statuses: Sequence[str], table: str = "") -> tuple[list[str], list[object]]:
    """Conditions, with their values, for the jobs of a campaign and of some statuses; of all where none is named.

    `table` stands before the columns, with its dot.
    """
    where, values = list[str](), list[object]()
    if campaign is not None:
        where.append(f"{table}campaign = ?")
        values.append(campaign)
    if statuses:
        where.append(f"{table}status IN ({placeholders(statuses)})")
        values += map(str, statuses)
    return where, values


#: Where each source of a job stands; `ready`: its file is there, and may be used.
SOURCE_STATES = (
    "(SELECT s.job_id, s.position, s.source_id, s.gate, u.name, u.status, a.number AS attempt, f.sha256, f.size,"
    " f.target AS path, r.verdict, f.forgotten_at IS NOT NULL AS forgotten,"
    " f.saved_at IS NOT NULL AND f.forgotten_at IS NULL AS has_file,"
    " f.saved_at IS NOT NULL AND f.forgotten_at IS NULL AND (NOT s.gate OR r.verdict IS 'approved') AS ready"
    " FROM sources AS s LEFT JOIN wanted AS u ON u.id = s.source_id"
    " LEFT JOIN attempts AS a ON a.id = u.attempt_id AND u.status = 'succeeded'"
    " LEFT JOIN files AS f ON f.attempt_id = a.id AND f.number = 0"
    " LEFT JOIN reviews AS r ON r.sha256 = f.sha256)"
)

#: What a reference is by `what` (`path`, `sha256`) of the file that went along, where it is the result of another job
#: (`text`, SQL); null where it is not, and before that.
USED = "CASE WHEN {text} GLOB 'result:*' THEN a.used ->> ('$.\"' || substr({text}, 8) || '\".{what}') END"
