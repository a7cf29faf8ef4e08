"""References that are results of other prompts of the same manifest (`from:`): which jobs they are.

A job is known by its id, which holds the ids of the jobs that it needs, so it is known before any of them has a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from batcher.jobs import JobSpec, ResultReference
from batcher.spelling import named_like, nfc
from batcher.text import did_you_mean

from .compiler import Entry
from .problems import Fault, joined, listed
from .rows import Prompt
from .scope import ResultPart
from .values import Value, comparable, shown

#: Prompts that may stand before those that they are made from, each before the next; Python's stack has an end.
_DEEP = 30
_WILD = re.compile(r"[*?\[]")


class _Made(NamedTuple):
    """A job that a prompt makes, and what `where` may ask of it."""

    reference: ResultReference
    values: Mapping[str, Any]


class _Index(NamedTuple):
    """The jobs that a `from` may mean, by the values that its `where` asks for; `names` are all that they have."""

    jobs: dict[tuple[str | None, ...], dict[str, ResultReference]]
    names: frozenset[str]


class Results:
    """Finds the jobs whose results others are made from. `prompts` and `jobs` expand an entry, and a prompt."""

    def __init__(
        self,
        entries: Sequence[Entry],
        prompts: Callable[[Entry], Iterator[Prompt]],
        jobs: Callable[[Prompt], Iterator[JobSpec]],
    ) -> None:
        self._entries = entries
        self._prompts = prompts
        self._jobs = jobs
        self._indexes: dict[tuple[int, str, tuple[str, ...]], _Index] = {}
        self._made: dict[tuple[int, str], list[_Made]] = {}
        self._under_way: list[Entry] = []

    def find(self, part: ResultPart, entry: Entry, variables: dict[str, Value]) -> list[ResultReference]:
        """The jobs that an entry's `from` means for these variables. Raises Fault where there are none."""
        names = tuple(name for name, _ in part.where)
        key = (entry.number, part.glob, names)
        index = self._indexes.get(key)
        if index is None:
            index = self._indexes[key] = self._index(part.glob, names, entry)
        wanted = tuple(comparable(template.render(variables)) for _, template in part.where)
        if found := index.jobs.get(wanted):
            return [each if not part.gate else each.gated for each in found.values()]
        for name in names:
            if name not in index.names:
                hint = joined(did_you_mean(name, index.names), f"they have {listed(sorted(index.names))}")
                raise Fault(f"no prompt like {shown(part.glob)} has {shown(name)}", hint)
        asked = ", ".join(f"{name}: {text}" for name, text in zip(names, wanted, strict=True))
        raise Fault(f"no job of the prompts like {shown(part.glob)} has {asked}")

    def _index(self, glob: str, names: tuple[str, ...], entry: Entry) -> _Index:
        jobs: dict[tuple[str | None, ...], dict[str, ResultReference]] = {}
        every: set[str] = set()
        others = [other for other in self._that_may_fit(glob) if other.number != entry.number]
        kinds = entry.model.references.kinds
        if len(self._under_way) == _DEEP:
            hint = "let prompts stand behind those that they are made from"
            raise Fault(f"more than {_DEEP} prompts stand each before the one that it is made from", hint)
        self._under_way.append(entry)
        try:
            for made in (made for other in others if other.model.result in kinds for made in self._of(other, glob)):
                every |= made.values.keys()
                values = tuple(comparable(made.values[name]) if name in made.values else None for name in names)
                jobs.setdefault(values, {})[made.reference.job_id] = made.reference
        finally:
            self._under_way.pop()
        if not jobs:
            raise self._nothing(glob, entry, [other for other in self._entries if other.number != entry.number])
        return _Index(jobs, frozenset(every))

    @cached_property
    def _named(self) -> dict[str, list[Entry]]:
        """The entries by their names; those whose name is not known beforehand by the empty one."""
        named: dict[str, list[Entry]] = {}
        for each in self._entries:
            named.setdefault(nfc(_name(each) or ""), []).append(each)
        return named

    def _that_may_fit(self, glob: str) -> Sequence[Entry]:
        """The entries that may have prompts of such a name, in their order: few, where it is one name."""
        if _WILD.search(glob):
            return self._entries
        found = {each.number: each for name in ("", nfc(glob)) for each in self._named.get(name, ())}
        return [found[number] for number in sorted(found)]

    def _of(self, entry: Entry, glob: str) -> list[_Made]:
        """What the prompts of an entry make whose name fits. Raises Fault for a circle."""
        if (known := self._made.get((entry.number, glob))) is not None:
            return known
        found: list[_Made] = []
        fixed = _name(entry)
        for prompt in self._prompts(entry) if fixed is None or named_like(fixed, glob) else ():
            if isinstance(prompt.name, str) and not named_like(prompt.name, glob):
                continue
            if entry in self._under_way:
                if not isinstance(prompt.name, str):
                    break  # what its jobs are called is not known yet
                way = [_name(each) or each.file or "?" for each in self._under_way[self._under_way.index(entry) :]]
                raise Fault(f"{shown(glob)} makes a circle: {' ← '.join([*way, way[0]])}")
            found += (_made(spec, entry) for spec in self._jobs(prompt) if named_like(spec.name, glob))
        self._made[entry.number, glob] = found
        return found

    def _nothing(self, glob: str, entry: Entry, others: Sequence[Entry]) -> Fault:
        """Why a `from` means no prompt."""
        names = sorted({name for other in others if (name := _name(other))})
        fitting = [other for other in others if (name := _name(other)) and named_like(name, glob)]
        if fitting:
            makes, takes = fitting[0].model, listed(list(entry.model.references.kinds))
            if makes.is_unchecked:
                return Fault(f"{shown(glob)}: what {makes.id} makes is not known: it has no file in the catalogue")
            if makes.result not in entry.model.references.kinds:
                return Fault(f"{shown(glob)}: {makes.id} makes {makes.result}, and {entry.model.id} takes {takes}")
            return Fault(f"the prompts like {shown(glob)} make no job")
        hint = joined(did_you_mean(glob, names), f"there are {listed(names)}" if names else "there are no others")
        return Fault(f"no other prompt has a name like {shown(glob)}", hint)


def _name(entry: Entry) -> str | None:
    """What the prompt of an entry is called; None where rows or variables say that."""
    return entry.name if isinstance(entry.name, str) and not entry.file else None


def _made(spec: JobSpec, entry: Entry) -> _Made:
    values = {**entry.model.whole(spec.params), **spec.vars, "name": spec.name, "take": spec.take}
    return _Made(ResultReference(spec.id, entry.model.result, spec.name), values)
