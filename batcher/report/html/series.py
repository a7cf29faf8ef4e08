"""What charts are drawn from: sums of the read model's rows by one of their axes, and levels from changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from batcher.jobs import ParamValue, Status
from batcher.ledger.queries.gallery import StatusChange
from batcher.report.figures import GroupRow


@dataclass(frozen=True, slots=True)
class Cost:
    """What the jobs with one value of an axis came to, in credits; `None` is the value of those that have none."""

    value: ParamValue | None
    jobs: int = 0
    files: int = 0
    settled: int = 0
    held: int = 0

    @property
    def each(self) -> float | None:
        """Settled credits a file."""
        return round(self.settled / self.files, 2) if self.files else None


def costs(rows: Iterable[GroupRow], axis: str) -> list[Cost]:
    """The rows of a report, added up by one of its axes; in the order of its values."""
    found: dict[ParamValue | None, Cost] = {}
    for row in rows:
        value = dict(row.by)[axis]
        sums = found.get(value, Cost(value))
        found[value] = replace(
            sums,
            jobs=sums.jobs + sum(row.figures.jobs.values()),
            files=sums.files + row.figures.files,
            settled=sums.settled + row.figures.credits.settled,
            held=sums.held + row.figures.credits.held,
        )
    return sorted(found.values(), key=lambda cost: _order(cost.value))


def _order(value: ParamValue | None) -> tuple[int, float, str]:
    if value is None:
        return 0, 0, ""
    return (2, 0, value) if isinstance(value, str) else (1, value, "")


@dataclass(frozen=True, slots=True)
class StatusLevel:
    """How many jobs had which status from `at` (seconds since the epoch) on."""

    at: float
    jobs: Mapping[Status, int]


@dataclass(frozen=True, slots=True)
class States:
    """The levels, one after the other."""

    levels: Sequence[StatusLevel]


def states(moves: Sequence[StatusChange]) -> States:
    """The levels that the changes make."""
    jobs: dict[Status, int] = {}
    levels: list[StatusLevel] = []
    for move in moves:
        if move.old is not None:
            jobs[Status(move.old)] = jobs.get(Status(move.old), 0) - move.jobs
        jobs[Status(move.new)] = jobs.get(Status(move.new), 0) + move.jobs
        if levels and levels[-1].at == move.at:
            levels.pop()
        levels.append(StatusLevel(move.at, dict(jobs)))
    return States(levels)
