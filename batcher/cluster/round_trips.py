"""Fewer round trips within a transaction that holds everybody else up: what nobody waits for goes along with the rest.

The end of a part is not waited for either: what it breaks is met later, and then the whole group is done again, slowly.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Statement(NamedTuple):
    """A statement of the store's with its values."""

    sql: str
    values: tuple[Any, ...]


class Answered:
    """The rows of a statement, as a cursor has them."""

    def __init__(self, rows: list[Any], rowcount: int | None = None) -> None:
        self._rows = iter(rows)
        self.rowcount = len(rows) if rowcount is None else rowcount

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def __iter__(self) -> Any:
        return self._rows


class PutOff:
    """What goes with the next statement that is waited for. Knows no database: statements in, statements out."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self.of_others = False  # some are of parts that have ended: who asks next is not whose they are
        self._mark: int | None = None  # where the part under way begins, as long as that was not sent

    def add(self, statement: Statement) -> None:
        self.statements.append(statement)

    def begin_part(self, mark: Statement) -> None:
        """A part begins; the mark is where its writes are taken back to."""
        self._mark = len(self.statements)
        self.statements.append(mark)

    def end_part(self, release: Statement) -> None:
        """A part has ended. One that has waited for nothing needs no mark: it stands or falls with the whole."""
        if self._mark is None:
            self.statements.append(release)
        else:
            del self.statements[self._mark]
        self._mark, self.of_others = None, bool(self.statements)

    def take_back(self) -> bool:
        """Drop what the part under way has written; whether that is all there is to do."""
        del self.statements[0 if self._mark is None else self._mark + 1 :]
        return self._mark is not None
