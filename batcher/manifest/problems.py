"""Faults, collected: every one is told, none stops the search for the next. Beside them notes, which are no faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from batcher.errors import ManifestError, Problem

# Characters of a message or a hint: a stranger's key may have millions.
_MAX_WORDS = 2_000
Path = tuple[str | int, ...]
Place = tuple[int, int]


class Fault(ValueError):
    """Something wrong with a value; whoever knows where the value stands turns it into a Problem."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass
class Notes:
    """Collects what is to be told: the first `keep` as values, the rest as a count; the same one counts once."""

    keep: int = 200
    more: int = 0
    _found: dict[Problem, None] = field(default_factory=dict)

    def add(self, problem: Problem) -> None:
        """Takes a problem; the same place and words again change nothing."""
        message, hint = _cut(problem.message), _cut(problem.hint)
        texts = (problem.file, message, hint, problem.sheet)
        if (message, hint) != (problem.message, problem.hint) or not "".join(texts).isprintable():
            # texts of a stranger's file end up on a terminal
            file, message, hint, sheet = map(printable, texts)
            problem = problem._replace(file=file, message=message, hint=hint, sheet=sheet)
        if problem in self._found:
            return
        if len(self._found) < self.keep:
            self._found[problem] = None
        else:
            self.more += 1

    @property
    def count(self) -> int:
        """How many problems there are, kept or not."""
        return len(self._found) + self.more

    @property
    def values(self) -> list[Problem]:
        """The kept problems: file by file in the order in which the files came up, each from top to bottom."""
        order: dict[str, int] = {}
        for problem in self._found:
            order.setdefault(problem.file, len(order))
        return sorted(self._found, key=lambda p: (order[p.file], p.line, p.row, p.column))


@dataclass
class Problems(Notes):
    """What is wrong; and in `notes` what is right by the rules, and may not be what was meant."""

    notes: Notes = field(default_factory=lambda: Notes(keep=50))
    #: what a person has asked for, and is to be told of at each run
    warnings: Notes = field(default_factory=lambda: Notes(keep=50))

    def raise_if_any(self) -> None:
        """Raises ManifestError with all of them, if there are any."""
        if self.count:
            raise ManifestError(self.values, more=self.more)


@dataclass(frozen=True, slots=True)
class Places:
    """Line and column, from 1, of the values of a YAML file and of the keys of its mappings, by path.

    What stands in an alias stands where its anchor does: `aliases` has its path, and the anchor's.
    """

    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    aliases: dict[Path, Path] = field(default_factory=dict)


class SourceMap:
    """Where things stand in a file; found out when somebody asks, for a manifest without faults never does."""

    def __init__(
        self,
        file: str,
        find: Callable[[], Places] = Places,
        cuts: Mapping[Path, tuple[Place, str]] = MappingProxyType({}),
    ) -> None:
        """`cuts`: where YAML ended a text at a ` #`, and the rest of that line."""
        self.file, self.cuts, self._find = file, cuts, find

    @cached_property
    def _places(self) -> Places:
        return self._find()

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Line and column of a node, or of the nearest node around it."""
        places = self._places
        if key and path in places.keys:
            return places.keys[path]
        for end in range(len(path), -1, -1):
            if anchor := places.aliases.get(path[:end]):
                return self.place((*anchor, *path[end:]), key=key)
        while path and path not in places.values:
            path = path[:-1]
        return places.values.get(path, (0, 0))

    def problem(self, path: Path, message: str, *, hint: str = "", key: bool = False) -> Problem:
        """A problem at the place of a node."""
        line, column = self.place(path, key=key)
        return Problem(self.file, message, line, column, hint=hint)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_WORDS else text[: _MAX_WORDS - 1] + "…"


def printable(text: str) -> str:
    """A text with its control, bidi and half characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def listed(words: Sequence[str], limit: int = 20) -> str:
    """`a, b, c`, cut to a readable length."""
    head = ", ".join(words[:limit])
    return head + (f" … ({len(words)} in all)" if len(words) > limit else "")


def joined(*hints: str) -> str:
    """Several hints as one."""
    return "; ".join(h for h in hints if h)
