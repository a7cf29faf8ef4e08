"""Pieces of SQL that are put together from what is asked for."""

from __future__ import annotations

from collections.abc import Sequence


def marks(values: Sequence[object]) -> str:
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
        where.append(f"{table}status IN ({marks(statuses)})")
        values += map(str, statuses)
    return where, values
