"""Fewer round trips within a transaction that holds everybody else up: what is known to come goes along.

Each part of a group asks what the part before it has asked, of another job. So with a statement that has to be waited
for go those that nobody waits for (`later`), and the questions that came after it the last time: their answers are kept
until the next write, by their very words and values, and where another question comes, it is asked as ever. The end of
a part is not waited for either: what it breaks is met by the next one, and then the whole group is done again, slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: So many statements of a part are kept; a purchase has fewer.
_MOST = 64


class Statement(NamedTuple):
    """A statement of the store's with its values."""

    sql: str
    values: tuple[Any, ...]

    @property
    def reads(self) -> bool:
        return self.sql.startswith(("SELECT", "WITH"))


class Answered:
    """The rows of a question that was asked before it came, as a cursor has them."""

    def __init__(self, rows: list[Any], rowcount: int | None = None) -> None:
        self._rows = iter(rows)
        self.rowcount = len(rows) if rowcount is None else rowcount

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def __iter__(self) -> Any:
        return self._rows


@dataclass(slots=True)
class Course:
    """The first statements of a part, which is about one job."""

    about: str | None = None
    steps: list[Statement] = field(default_factory=list)


class Foresight:
    """What goes along within a transaction. Knows no database: statements in, statements out."""

    def __init__(self) -> None:
        self.later: list[Statement] = []
        self.about: str | None = None  # the job of the part to come
        self._known: dict[Statement, list[Any]] = {}
        self._courses: dict[str, Course] = {}  # the last of each kind, by their first statement
        self._before, self._now = Course(), Course()
        self._place = 0

    def begin(self) -> None:
        """A transaction begins: nothing is known."""
        self.later.clear()
        self._known.clear()
        self.part()

    def part(self) -> None:
        """A part begins."""
        if self._now.steps:
            self._courses[self._now.steps[0].sql] = self._now
        self._now, self._before, self._place, self.about = Course(self.about), Course(), 0, None

    def answer(self, statement: Statement) -> Answered | None:
        """The answer, if it is known; whatever comes is written down."""
        if not self._place:
            self._before = self._courses.get(statement.sql, self._before)
        self._place += 1
        if self._place <= _MOST:
            self._now.steps.append(statement)
        if not statement.reads:
            self._known.clear()
        found = self._known.get(statement)
        return None if found is None else Answered(found)

    def foreseen(self, statement: Statement) -> list[Statement]:
        """The questions that came after this statement the last time, up to the next write; none where the part is
        about no job: nobody could guess what it asks of."""
        steps, found = self._before.steps, list[Statement]()
        if self._now.about is None or self._place > len(steps) or steps[self._place - 1].sql != statement.sql:
            return found
        for step in steps[self._place :]:
            if not step.reads:
                break
            found.append(Statement(step.sql, tuple(map(self._instead, step.values))))
        return found

    def _instead(self, value: Any) -> Any:
        return self._now.about if self._now.about is not None and value == self._before.about else value

    def keep(self, statement: Statement, rows: list[Any]) -> None:
        """An answer that came along."""
        self._known[statement] = rows

    def put_off(self, statement: Statement) -> None:
        """A write that nobody waits for: it goes with the next statement, and what was known may not hold after it."""
        self.later.append(statement)
        self._known.clear()

    def drop(self, *, all_of_it: bool) -> None:
        """What was written is taken back: all of the transaction, or what came after the mark of this part."""
        marks = [number for number, each in enumerate(self.later, 1) if each.sql.startswith("SAVEPOINT")]
        del self.later[0 if all_of_it or not marks else marks[-1] :]
        self._known.clear()

    def take(self) -> Sequence[Statement]:
        """What nobody waits for, to be sent now."""
        found, self.later = self.later, []
        return found
