"""What one model of a manifest makes of names and values: which are params, which variables, which do not reach it.

A campaign's params and axes are for every prompt; those that another model of the manifest knows do not reach the
prompts of a model that does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from batcher.catalog import KindRule, Model, ReferenceRule
from batcher.errors import Problem
from batcher.text import did_you_mean

from .fields import FromResult, variable_name_fault
from .matrix import Axis, Matrix, MatrixRule, Rules, Shape
from .problems import Fault, Path, Problems, SourceMap, joined, listed
from .schema import Document, MatrixSection
from .templates import Template, comment_note, compile_template
from .values import FAULTY, Faulty, Value, shown, wire

# Stands for a model that does not exist: takes everything, so that other faults are still found.
ANY_MODEL = Model(
    id="?",
    result="video",
    base_credits=1,
    references=ReferenceRule(
        max_files=1, image=KindRule(max_bytes=1 << 27, mime_types=("image/jpeg", "image/png", "image/webp"))
    ),
)
# One for all: Python makes an empty set anew each time.
NOTHING: frozenset[str] = frozenset()


class ResultPart(NamedTuple):
    """The results of prompts whose name fits a glob, and whose values are those of `where`; `gate`: once approved."""

    glob: str
    where: tuple[tuple[str, Template], ...]
    gate: bool

    @property
    def templates(self) -> tuple[Template, ...]:
        return tuple(template for _, template in self.where)


class ReferenceSlot(NamedTuple):
    """An entry of `references`: none for a job without a reference; all those of a list go with one job, `together`."""

    parts: tuple[Template | ResultPart, ...]
    path: Path
    together: bool = False

    @property
    def templates(self) -> tuple[Template, ...]:
        each = ((part,) if isinstance(part, Template) else part.templates for part in self.parts)
        return tuple(template for templates in each for template in templates)

    @property
    def required(self) -> frozenset[str]:
        return NOTHING.union(*(template.required for template in self.templates))

    @property
    def names(self) -> frozenset[str]:
        return NOTHING.union(*(template.names for template in self.templates))


def no_references(model: Model) -> Fault:
    """Why a model gets none."""
    if not model.is_unchecked:
        return Fault(f"{model.id} takes no references")
    hint = "write a file for it: `batcher models --sync`, or `batcher --catalog DIR`"
    return Fault(f"which references {model.id} takes is not known: it has no file in the catalogue", hint)


class Teller:
    """Tells faults at their place in the manifest; `blind` once one may hide which names are used."""

    def __init__(self, source_map: SourceMap, problems: Problems, *, blind: bool) -> None:
        self.source_map, self.problems, self.blind = source_map, problems, blind

    def tell(self, path: Path, fault: Fault, *, key: bool = False, blinds: bool = False) -> None:
        self.blind = self.blind or blinds
        self.problems.add(self.source_map.problem(path, fault.message, hint=fault.hint, key=key))

    def template(self, text: str, path: Path) -> Template | None:
        if isinstance(text, Faulty):
            return None
        try:
            template = compile_template(text)
        except Fault as fault:
            self.tell(path, fault, blinds=True)
            return None
        for comment in template.comments:
            note = comment_note(comment)
            self.problems.notes.add(self.source_map.problem(path, note.message, hint=note.hint))
        return template

    def cuts(self) -> None:
        """Tell of texts that YAML ends at a ` #`: all prompts. Comments beside others are common; ` #1` is none."""
        for path, (place, rest) in self.source_map.cuts.items():
            prompt = path[0] == "prompts" and (len(path) == 2 or path[2:] == ("prompt",))
            text = path[0] in ("prompts", "matrix", "references", "results") and not rest[1:2].isspace() and rest != "#"
            if prompt or text:
                message = f"YAML takes {shown(rest)} for a comment and ends the text before it"
                hint = "put the text in quotes if it belongs to it"
                self.problems.notes.add(Problem(self.source_map.file, message, *place, hint=hint))


class ModelScope:
    """A model of a manifest, and what its prompts have of the campaign; `others` are the params of all its models."""

    def __init__(self, model: Model, others: Set[str], document: Document, teller: Teller, *, strict: bool) -> None:
        """Not `strict`: another model is not known, and any name may be a param of it."""
        self.model, self.teller, self.strict = model, teller, strict
        self.foreign = others - model.params.keys()
        #: told with a fault where another model of the manifest might take the value
        self.whose = f" ({model.id})" if self.foreign else ""
        defaults = {name: model.default(name) for name in model.params}
        params = self.params(document.params, ("params",), self.foreign)
        self.base = {**{name: value for name, value in defaults.items() if value is not None}, **params}
        include = self.rules(document.matrix, "include", ("matrix",), self.foreign) or ()
        exclude = self.rules(document.matrix, "exclude", ("matrix",), self.foreign) or ()
        outer = self.axes(document.matrix, ("matrix",), self.foreign)
        self.matrix = Matrix(outer, (), Rules(include), Rules(exclude))
        self.shape: Shape = self.matrix.shape(NOTHING, NOTHING)
        reached = not model.is_unchecked and (not self.foreign or model.references.max_files > 0)
        self.slots = self.references(document.references, ("references",)) if reached else ()

    def wired(self, name: str, value: Value, path: Path) -> Value:
        """A param in wire type; FAULTY, and told, when the model does not take it."""
        if isinstance(value, Faulty) or name not in self.model.params:
            return value
        try:
            return wire(self.model, name, value)
        except ValueError as error:
            self.teller.tell(path, Fault(f"{name} is {shown(value)}; {error}{self.whose}"))
            return FAULTY

    def params(self, params: Mapping[str, Value], path: Path, foreign: Set[str] = NOTHING) -> dict[str, Value]:
        """Params in wire type; those of other models (`foreign`) are left out."""
        out: dict[str, Value] = {}
        for name, value in params.items():
            if name in foreign or (name not in self.model.params and not self.strict):
                continue
            if name not in self.model.params and self.model is not ANY_MODEL:
                known = sorted(self.model.params.keys() | foreign)
                hint = joined(did_you_mean(name, known), f"allowed: {listed(known)}")
                who = "no model of this manifest has the" if foreign else f"{self.model.id} has no"
                self.teller.tell((*path, name), Fault(f"{who} param {shown(name)}", hint), key=True)
                continue
            value = self.wired(name, value, (*path, name))
            if not isinstance(value, Faulty):
                out[name] = value
        return out

    def variables(self, variables: Mapping[str, Value], path: Path) -> dict[str, Value]:
        """The variables that a prompt sets."""
        for name in variables:
            if name in self.model.params:
                message = f"{name!r} is a param of {self.model.id}, not a variable"
                self.teller.tell((*path, name), Fault(message, "put it under params"), key=True)
            else:
                self.check_name(name, (*path, name))
        return {name: value for name, value in variables.items() if name not in self.model.params}

    def check_name(self, name: str, path: Path) -> None:
        """Tell of a name that no variable can have."""
        if name not in self.model.params and (fault := variable_name_fault(name)):
            self.teller.tell(path, fault, key=True, blinds=True)

    def axes(self, section: MatrixSection, path: Path, foreign: Set[str] = NOTHING) -> tuple[Axis, ...]:
        """The axes of a matrix, params in wire type."""
        axes: list[Axis] = []
        for name, values in section.axes.items():
            if name in foreign:
                continue
            where = (*path, name)
            self.check_name(name, where)
            checked = [self.wired(name, value, (*where, index)) for index, value in enumerate(values)]
            fine = [value for value in checked if not isinstance(value, Faulty)]
            # an axis of faulty values only still is one: others may refer to it
            axes.append(Axis(name, tuple(fine) or (checked[0],), where))
        return tuple(axes)

    def rules(
        self, section: MatrixSection, which: str, path: Path, foreign: Set[str] = NOTHING
    ) -> tuple[MatrixRule, ...] | None:
        """The list, or None when it is not given (an empty one replaces the campaign's).

        An exclude that names a `foreign` axis can match nothing here; an include adds what is left of it.
        """
        given: list[dict[str, Value]] | None = getattr(section, which)
        if given is None:
            return None
        rules: list[MatrixRule] = []
        for index, values in enumerate(given):
            where: Path = (*path, which, index)
            reaching = {name: value for name, value in values.items() if name not in foreign}
            if not reaching or (which == "exclude" and len(reaching) < len(values)):
                continue
            wired: dict[str, Value] = {}
            for name, value in reaching.items():
                if name != "?":
                    self.check_name(name, (*where, name))
                wired[name] = self.wired(name, value, (*where, name))
            if not any(isinstance(value, Faulty) for value in wired.values()):
                rules.append(MatrixRule(wired, where))
        return tuple(rules)

    def references(self, given: list[Any], path: Path) -> tuple[ReferenceSlot, ...]:
        """The entries of `references`."""
        slots: list[ReferenceSlot] = []
        for index, each in enumerate(given):
            where = (*path, index)
            if each is None:
                slots.append(ReferenceSlot((), where))
                continue
            if self.model.references.max_files == 0:
                self.teller.tell(where, no_references(self.model), blinds=True)
                continue
            parts = [self.part(one, where) for one in (each if isinstance(each, list) else [each])]
            known = tuple(part for part in parts if part is not None)
            if len(known) == len(parts):
                slots.append(ReferenceSlot(known, where, together=isinstance(each, list)))
        return tuple(slots)

    def part(self, given: str | FromResult, path: Path) -> Template | ResultPart | None:
        """One reference of an entry; None, and told, when it is faulty."""
        if not isinstance(given, FromResult):
            return self.teller.template(given, path)
        where = [(name, self.teller.template(text, path)) for name, text in given.where.items()]
        known = tuple((name, template) for name, template in where if template is not None)
        return ResultPart(given.glob, known, given.gate) if len(known) == len(where) else None
