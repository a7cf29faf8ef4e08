"""The matrix: every combination of the axes, with `include` and `exclude` as in GitHub Actions.

Two matrices meet in a prompt: the campaign's (outer) and its own (inner). An axis that something nearer sets
makes no copies. Combinations come one by one; nothing here grows with their number.

GitHub's rules: `exclude` removes the combinations that match all its keys. Then each `include` is added to every
remaining combination whose axis values it does not contradict; what an earlier include added may be overwritten,
an axis' value may not. One that fits nowhere becomes a combination of its own, even if it was excluded.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import product

from .problems import Fault, Path
from .values import Value, comparable

#: Combinations of a prompt that may be removed again.
MAX_REMOVED = 100_000
#: What makes a name vary: the path of the axis or of the include's key in the manifest.
Claim = tuple[str, Path]


@dataclass(frozen=True, slots=True)
class Axis:
    """A name and the values it takes, params in wire type; `path` says where it stands."""

    name: str
    values: tuple[Value, ...]
    path: Path


@dataclass(frozen=True, slots=True)
class MatrixRule:
    """An entry of `include` or `exclude`."""

    values: dict[str, Value]
    path: Path


@dataclass(frozen=True, slots=True)
class Rules:
    """A list of `include` or `exclude` that is in force; `inner` when it is the prompt's own."""

    rules: tuple[MatrixRule, ...] = ()
    inner: bool = False


@dataclass(frozen=True, slots=True)
class _Include:
    match: dict[str, str]
    added: dict[str, Value]
    #: what it sets as a combination of its own; None when it may not become one
    alone: dict[str, Value] | None


@dataclass(frozen=True, slots=True)
class Matrix:
    """The axes and rules of one prompt."""

    outer: tuple[Axis, ...] = ()
    inner: tuple[Axis, ...] = ()
    include: Rules = Rules()
    exclude: Rules = Rules()

    def shape(self, by_prompt: Set[str], by_row: Set[str]) -> Shape:
        """What is left of it when the prompt's vars and params, and the row, set these names."""
        own = {axis.name for axis in self.inner}
        campaign = {axis.name for axis in self.outer}
        near_outer = own | by_prompt | by_row
        outer = [axis for axis in self.outer if axis.name not in near_outer]
        inner = [axis for axis in self.inner if axis.name not in by_row]
        claims = [(axis.name, axis.path) for axis in outer + inner]

        declared = campaign | own if self.include.inner else campaign
        # names that an include cannot set, because something nearer than its level does
        nearer = by_row if self.include.inner else near_outer
        fixed_axes = (
            (by_row & declared) | ((by_prompt & campaign) - own) if self.include.inner else near_outer & campaign
        )
        includes: list[_Include] = []
        for rule in self.include.rules:
            added = {k: v for k, v in rule.values.items() if k not in declared and k not in nearer}
            match = {k: comparable(v) for k, v in rule.values.items() if k in declared}
            alone = {k: v for k, v in rule.values.items() if k not in nearer}
            if fixed_axes & match.keys():
                includes.append(_Include(match, added, None))
            elif declared or alone not in [i.alone for i in includes]:
                includes.append(_Include(match, added, alone))
            claims += [(name, (*rule.path, name)) for name in added]
        excludes = tuple({k: comparable(v) for k, v in rule.values.items()} for rule in self.exclude.rules)
        return Shape(
            tuple(outer),
            tuple(inner),
            tuple(includes),
            excludes,
            include_inner=self.include.inner,
            # GitHub: without any axis there is no combination to add to; each include makes one
            bare=bool(self.include.rules) and not declared,
            claims=tuple(claims),
            names=frozenset(name for name, _ in claims),
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """A matrix cut down to what still varies. `names` are all that a combination may set."""

    outer: tuple[Axis, ...]
    inner: tuple[Axis, ...]
    includes: tuple[_Include, ...]
    excludes: tuple[dict[str, str], ...]
    include_inner: bool
    bare: bool
    claims: tuple[Claim, ...]
    names: frozenset[str]

    def combinations(self, base: dict[str, Value]) -> Iterator[dict[str, Value]]:
        """The variables of each combination, laid over `base`.

        Raises Fault when `exclude` removes far too many: a matrix can be endless, and no job costs time too.
        """
        outer, inner = self.outer, self.inner
        if not (outer or inner or self.includes or self.excludes):
            yield base
            return
        names = [axis.name for axis in outer + inner]
        pools = [axis.values for axis in outer + inner]
        if not self.includes and not self.excludes:
            for values in product(*pools):
                variables = base.copy()
                variables.update(zip(names, values, strict=True))
                yield variables
            return
        placed = [False] * len(self.includes)
        removed = 0
        for values in () if self.bare else product(*pools):
            variables = base.copy()
            variables.update(zip(names, values, strict=True))
            if any(_matches(exclude, variables) for exclude in self.excludes):
                removed += 1
                if removed > MAX_REMOVED:
                    raise Fault(f"`exclude` removes more than {MAX_REMOVED:,} combinations", "make the axes shorter")
                continue
            original = variables
            for index, include in enumerate(self.includes):
                # compared with the axes' own values: what an include adds is no axis' value
                if _matches(include.match, original):
                    placed[index] = True
                    variables = {**variables, **include.added}
            yield variables
        for include, done in zip(self.includes, placed, strict=True):
            if done or include.alone is None:
                continue
            if self.include_inner:
                yield {**base, **include.alone}
            else:
                inner_names = [axis.name for axis in inner]
                for values in product(*(axis.values for axis in inner)):
                    yield {**base, **include.alone, **dict(zip(inner_names, values, strict=True))}


def _matches(wanted: dict[str, str], variables: dict[str, Value]) -> bool:
    return all(name in variables and comparable(variables[name]) == text for name, text in wanted.items())
