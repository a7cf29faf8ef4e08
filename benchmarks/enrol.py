"""Rows a second into a ledger: `LedgerWriter.enrol` beside a bare `executemany` of the very same rows, in this process.

Bare means: tables, indexes, pragmas, sizes of transactions, rows of `wanted` and `events` as the ledger has them, but
prepared as tuples beforehand; nothing is asked, nothing compared. What is enrolled is prepared too: making jobs is the
matter of `plan`. CPU seconds of the process, by turns; the figures are of the run with the middle ratio.

`again` enrols what the ledger holds already, as an edited manifest does; beside it the bare `UPDATE` of these rows.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batcher.clock import SystemClock
from batcher.jobs import JobSpec, ParamValue, job_id
from batcher.ledger import LedgerWriter
from batcher.ledger.store.connection import open_writer
from batcher.ledger.store.enrolment import BATCH

from .figures import Figure, at_least

JOBS, FULL_JOBS = 12_000, 1_000_000
GOAL = 0.5
_TURNS = 3
# As an expansion makes them: what sets the same shares one mapping.
_PARAMS: list[dict[str, ParamValue]] = [{"mode": "fun", "duration": duration} for duration in range(7, 12)]
_UPDATED = ("name", "reference", "file_name", "price_class", "catalog_credits", "expansion", "position", "id")
_CAMPAIGN, _MODEL = "enrol", "grok-imagine-video"


@dataclass(frozen=True, slots=True)
class _Took:
    """CPU seconds for the same rows."""

    enrolled: float
    bare: float

    @property
    def ratio(self) -> float:
        return self.bare / self.enrolled


def measure(full: bool) -> Iterator[Figure]:
    """12,000 jobs, with `full` a million."""
    jobs = FULL_JOBS if full else JOBS
    specs = [_spec(number) for number in range(jobs)]
    turns = [_turn(specs) for _ in range(1 if full else _TURNS)]
    for what, took in (("new", [new for new, _ in turns]), ("again", [again for _, again in turns])):
        middle = sorted(took, key=lambda each: each.ratio)[len(took) // 2]
        yield Figure(f"{what}: LedgerWriter.enrol, {jobs:,} jobs", jobs / middle.enrolled, "rows/s")
        yield Figure(f"{what}: bare executemany of the same rows", jobs / middle.bare, "rows/s")
        yield at_least(f"{what}: enrol as fast as executemany, times", middle.ratio, GOAL)


def _turn(specs: Sequence[JobSpec]) -> tuple[_Took, _Took]:
    with TemporaryDirectory() as scratch:
        path, bare = Path(scratch) / "ledger.db", Path(scratch) / "bare.db"
        with closing(LedgerWriter.open(path, SystemClock())) as ledger:
            new = _seconds(lambda: ledger.enrol(_CAMPAIGN, "m.yaml", specs))
            rows = _Rows.of(path)
            again = _seconds(lambda: ledger.enrol(_CAMPAIGN, "m.yaml", specs))
        LedgerWriter.open(bare, SystemClock()).close()
        with closing(open_writer(bare, ledger_id="0", at="")) as connection:
            connection.execute(
                "INSERT INTO campaigns (name, manifest, expansion) VALUES (?, 'm.yaml', 1)", (_CAMPAIGN,)
            )
            inserted = _seconds(lambda: rows.insert(connection))
            assert _Rows.of(bare).wanted == rows.wanted
            updates = rows.updates()
            updated = _seconds(lambda: rows.update(connection, updates))
            assert _Rows.of(bare).wanted == _Rows.of(path).wanted
    return _Took(new, inserted), _Took(again, updated)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


@dataclass(frozen=True, slots=True)
class _Rows:
    """What a ledger holds after its first enrolment, as tuples."""

    columns: Sequence[str]
    wanted: list[tuple[Any, ...]]
    events: list[tuple[Any, ...]]

    @classmethod
    def of(cls, path: Path) -> _Rows:
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT * FROM wanted ORDER BY seq")
            columns = [each[0] for each in found.description]
            events = connection.execute("SELECT at, run_id, job_id, event, detail FROM events ORDER BY id").fetchall()
            return cls(columns[1:], [row[1:] for row in found], events)

    def insert(self, connection: sqlite3.Connection) -> None:
        marks = ", ".join("?" * len(self.columns))
        sql = f"INSERT INTO wanted ({', '.join(self.columns)}) VALUES ({marks})"
        event = "INSERT INTO events (at, run_id, job_id, event, detail) VALUES (?, ?, ?, ?, ?)"
        for start in range(0, len(self.wanted), BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql, self.wanted[start : start + BATCH])
            connection.executemany(event, self.events[start : start + BATCH])
            connection.execute("COMMIT")

    def updates(self) -> list[tuple[Any, ...]]:
        """What a second expansion sets: the same, but for the number of the expansion."""
        number = self.columns.index("expansion")
        places = [self.columns.index(name) for name in _UPDATED]
        return [tuple(row[place] + 1 if place == number else row[place] for place in places) for row in self.wanted]

    def update(self, connection: sqlite3.Connection, updates: Sequence[tuple[Any, ...]]) -> None:
        sql = f"UPDATE wanted SET {' = ?, '.join(_UPDATED[:-1])} = ? WHERE id = ?"
        for start in range(0, len(updates), BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql, updates[start : start + BATCH])
            connection.execute("COMMIT")


def _spec(number: int) -> JobSpec:
    params = _PARAMS[number % len(_PARAMS)]
    prompt = f"A cinematic reveal of product {number}, with smooth camera movement and soft light"
    identity = job_id(campaign=_CAMPAIGN, model=_MODEL, prompt=prompt, params=params, reference=None, take=1)
    return JobSpec(
        id=identity,
        campaign=_CAMPAIGN,
        model=_MODEL,
        name=f"product-{number}",
        prompt=prompt,
        params=params,
        reference=None,
        take=1,
        price_class=f"{_MODEL} mode=fun duration={params['duration']} resolution=480p reference=no",
        catalog_credits=10,
        file_name=f"product-{number}-{identity[:12]}",
    )
