"""From a checked document to what expansion works with: params in wire type, templates compiled, matrices joined.

Faulty pieces are told and left out, so that the rest is still checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from batcher.catalog import KindRule, Model, ReferenceRule, get_model, model_ids
from batcher.errors import Problem
from batcher.jobs import ParamValue
from batcher.spelling import nfc

from .fields import tag_name_fault, variable_name_fault
from .matrix import Axis, Claim, Matrix, MatrixRule, Rules, Shape
from .names import FileNames, slug
from .problems import Fault, Path, Problems, SourceMap, did_you_mean, joined, listed
from .readers import check_kind, suffix_of
from .schema import Document, MatrixSection
from .tables import column_name
from .templates import MARK as TEMPLATE_MARK
from .templates import Template, comment_note, compile_template, without_comments
from .values import FAULTY, Faulty, Value, comparable, kept, shown, wire

#: Columns with a meaning of their own; also variables, but for `prompt` where it is the row's template.
SPECIAL = ("prompt", "name", "reference")
# Stands for a model that does not exist: takes everything, so that other faults are still found.
_ANY_MODEL = Model(
    id="?",
    result="video",
    base_credits=0,
    references=ReferenceRule(
        max_files=1, image=KindRule(max_bytes=1 << 27, mime_types=("image/jpeg", "image/png", "image/webp"))
    ),
)


# One for all: Python makes an empty set anew each time.
_NOTHING: frozenset[str] = frozenset()


class ReferenceSlot(NamedTuple):
    """An entry of `references`: none for a job without a reference; all those of a list go with one job, `together`."""

    templates: tuple[Template, ...]
    path: Path
    together: bool = False

    @property
    def required(self) -> frozenset[str]:
        return _NOTHING.union(*(template.required for template in self.templates))

    @property
    def names(self) -> frozenset[str]:
        return _NOTHING.union(*(template.names for template in self.templates))


class Entry(NamedTuple):
    """One entry of `prompts`, ready for expansion. A tuple, for tens of thousands are made.

    `template` is None where the rows bring their own, and where it was faulty (`broken`). `base` are the
    entry's vars and params over those of the campaign; `own` are the names that the entry itself sets. `shape` is what
    is left of the matrix where no row sets more.
    """

    number: int  # from 0
    name: str | Template | None  # a template where variables make it
    template: Template | None
    broken: bool
    file: str | None
    base: dict[str, Value]
    own: Set[str]
    matrix: Matrix
    shape: Shape
    references: tuple[ReferenceSlot, ...]
    repeat: int
    tags: dict[str, ParamValue]
    sheet: str
    columns: dict[str, str]

    @property
    def path(self) -> Path:
        return "prompts", self.number

    @property
    def text_path(self) -> Path:
        return "prompts", self.number, "prompt"

    @property
    def names(self) -> set[str]:
        """The names that its texts, its references and the rules of its matrix use; the rows' texts use others."""
        templates = [self.template, *(template for slot in self.references for template in slot.templates)]
        templates += [self.name] if isinstance(self.name, Template) else []
        rules = (*self.matrix.include.rules, *self.matrix.exclude.rules)
        return set().union(*(t.names for t in templates if t), *(rule.values for rule in rules))


@dataclass(frozen=True, slots=True)
class CompiledManifest:
    """Everything that expansion needs. `blind` when faults hide which names are used."""

    campaign: str
    model: Model
    entries: tuple[Entry, ...]
    file_names: FileNames
    claims: tuple[Claim, ...]
    marks: SourceMap
    blind: bool


def compile_manifest(
    document: Document, marks: SourceMap, problems: Problems, *, blind: bool = False
) -> CompiledManifest:
    """Compile a document; what is wrong with it goes into `problems`. `blind` as in `CompiledManifest`."""
    return _Compiler(document, marks, problems, blind=blind).manifest()


class _Compiler:
    def __init__(self, document: Document, marks: SourceMap, problems: Problems, *, blind: bool) -> None:
        self.document, self.marks, self.problems = document, marks, problems
        self.blind = blind
        self.model = self.known_model()
        self.made_names: dict[str, int] = {}
        # what every prompt has
        defaults = {name: self.model.default(name) for name in self.model.params}
        params = self.params(document.params, ("params",))
        self.base = {**{name: value for name, value in defaults.items() if value is not None}, **params}
        include = self.rules(document.matrix, "include", ("matrix",)) or ()
        exclude = self.rules(document.matrix, "exclude", ("matrix",)) or ()
        self.matrix = Matrix(self.axes(document.matrix, ("matrix",)), (), Rules(include), Rules(exclude))
        self.shape = self.matrix.shape(_NOTHING, _NOTHING)
        self.slots = self.references(document.references, ("references",))
        self.tags = self.checked_tags(document.tags, ("tags",))

    def manifest(self) -> CompiledManifest:
        file_names = self.file_names()
        entries = [
            self.entry({"prompt": prompt} if isinstance(prompt, str) else prompt, number)
            for number, prompt in enumerate(self.document.prompts)
        ]
        matrices = {id(entry.matrix): entry.matrix for entry in entries}.values()
        self.check_excludes(
            self.matrix.exclude.rules, [*self.matrix.outer, *(axis for each in matrices for axis in each.inner)]
        )
        self.note_cuts()
        claims = dict.fromkeys((axis.name, axis.path) for axis in self.matrix.outer)
        for matrix in matrices:
            claims |= dict.fromkeys(matrix.shape(_NOTHING, _NOTHING).claims)
        return CompiledManifest(
            self.document.campaign, self.model, tuple(entries), file_names, tuple(claims), self.marks, self.blind
        )

    def note_cuts(self) -> None:
        """Tell of texts that YAML ends at a ` #`: all prompts. Comments beside others are common; ` #1` is none."""
        for path, (place, rest) in self.marks.cuts.items():
            prompt = path[0] == "prompts" and (len(path) == 2 or path[2:] == ("prompt",))
            text = path[0] in ("prompts", "matrix", "references", "results") and not rest[1:2].isspace() and rest != "#"
            if prompt or text:
                message = f"YAML takes {shown(rest)} for a comment and ends the text before it"
                hint = "put the text in quotes if it belongs to it"
                self.problems.notes.add(Problem(self.marks.file, message, *place, hint=hint))

    def tell(self, path: Path, fault: Fault, *, key: bool = False, blinds: bool = False) -> None:
        self.blind = self.blind or blinds
        self.problems.add(self.marks.problem(path, fault.message, hint=fault.hint, key=key))

    def known_model(self) -> Model:
        model_id, known = self.document.model, model_ids()
        if model_id in known:
            return get_model(model_id)
        if not isinstance(model_id, Faulty):
            hint = joined(did_you_mean(model_id, known), f"known: {listed(known)}")
            self.tell(("model",), Fault(f"unknown model {shown(model_id)}", hint), blinds=True)
        return _ANY_MODEL

    def wired(self, name: str, value: Value, path: Path) -> Value:
        """A param in wire type; FAULTY, and told, when the model does not take it."""
        if isinstance(value, Faulty) or name not in self.model.params:
            return value
        try:
            return wire(self.model, name, value)
        except ValueError as error:
            self.tell(path, Fault(f"{name} is {shown(value)}; {error}"))
            return FAULTY

    def params(self, params: Mapping[str, Value], path: Path) -> dict[str, Value]:
        out: dict[str, Value] = {}
        for name, value in params.items():
            if name not in self.model.params and self.model is not _ANY_MODEL:
                hint = joined(did_you_mean(name, self.model.params), f"allowed: {listed(sorted(self.model.params))}")
                self.tell((*path, name), Fault(f"{self.model.id} has no param {shown(name)}", hint), key=True)
                continue
            value = self.wired(name, value, (*path, name))
            if not isinstance(value, Faulty):
                out[name] = value
        return out

    def variables(self, variables: Mapping[str, Value], path: Path) -> dict[str, Value]:
        for name in variables:
            if name in self.model.params:
                message = f"{name!r} is a param of {self.model.id}, not a variable"
                self.tell((*path, name), Fault(message, "put it under params"), key=True)
            else:
                self.check_name(name, (*path, name))
        return {name: value for name, value in variables.items() if name not in self.model.params}

    def checked_tags(self, tags: Mapping[str, Value], path: Path) -> dict[str, ParamValue]:
        for name in tags:
            if fault := tag_name_fault(name):
                self.tell((*path, name), fault, key=True)
        return {name: kept(value) for name, value in tags.items()}

    def check_name(self, name: str, path: Path) -> None:
        if name not in self.model.params and (fault := variable_name_fault(name)):
            self.tell(path, fault, key=True, blinds=True)

    def axes(self, section: MatrixSection, path: Path) -> tuple[Axis, ...]:
        axes: list[Axis] = []
        for name, values in section.axes.items():
            where = (*path, name)
            self.check_name(name, where)
            checked = [self.wired(name, value, (*where, index)) for index, value in enumerate(values)]
            fine = [value for value in checked if not isinstance(value, Faulty)]
            # an axis of faulty values only still is one: others may refer to it
            axes.append(Axis(name, tuple(fine) or (checked[0],), where))
        return tuple(axes)

    def rules(self, section: MatrixSection, which: str, path: Path) -> tuple[MatrixRule, ...] | None:
        """The list, or None when it is not given (an empty one replaces the campaign's)."""
        given: list[dict[str, Value]] | None = getattr(section, which)
        if given is None:
            return None
        rules: list[MatrixRule] = []
        for index, values in enumerate(given):
            where: Path = (*path, which, index)
            wired: dict[str, Value] = {}
            for name, value in values.items():
                if name != "?":
                    self.check_name(name, (*where, name))
                wired[name] = self.wired(name, value, (*where, name))
            if not any(isinstance(value, Faulty) for value in wired.values()):
                rules.append(MatrixRule(wired, where))
        return tuple(rules)

    def check_excludes(self, rules: tuple[MatrixRule, ...], axes: list[Axis]) -> None:
        """An exclude that can match nothing is a typo that would be paid for."""
        values: dict[str, dict[str, Value]] = {}
        for axis in axes:
            values.setdefault(axis.name, {}).update((comparable(value), value) for value in axis.values)
        for rule in rules:
            for name, value in rule.values.items():
                where = (*rule.path, name)
                if name not in values:
                    hint = joined(
                        did_you_mean(name, values), f"axes: {listed(sorted(values))}" if values else "there are no axes"
                    )
                    self.tell(
                        where, Fault(f"exclude names {shown(name)}, which is no axis of the matrix", hint), key=True
                    )
                elif comparable(value) not in values[name]:
                    hint = joined(
                        did_you_mean(comparable(value), values[name]), f"values: {listed(sorted(values[name]))}"
                    )
                    self.tell(where, Fault(f"the axis {name!r} has no value {shown(value)}", hint))

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
            self.problems.notes.add(self.marks.problem(path, note.message, hint=note.hint))
        return template

    def references(self, texts: list[str | list[str] | None], path: Path) -> tuple[ReferenceSlot, ...]:
        slots: list[ReferenceSlot] = []
        for index, text in enumerate(texts):
            where = (*path, index)
            if text is None:
                slots.append(ReferenceSlot((), where))
                continue
            if self.model.references.max_files == 0:
                self.tell(where, Fault(f"{self.model.id} takes no references"), blinds=True)
                continue
            together = isinstance(text, list)
            templates = [self.template(each, where) for each in (text if isinstance(text, list) else [text])]
            known = tuple(template for template in templates if template is not None)
            if len(known) == len(templates):
                slots.append(ReferenceSlot(known, where, together))
        return tuple(slots)

    def file_names(self) -> FileNames:
        path: Path = ("results", "name")
        try:
            return FileNames(compile_template(self.document.results.name))
        except Fault as fault:
            self.tell(path, fault, blinds=True)
            return FileNames(compile_template("{{ job }}"))

    def entry(self, fields: Mapping[str, Any], number: int) -> Entry:
        path: Path = ("prompts", number)
        text, file, name = fields.get("prompt"), fields.get("file"), self.name(fields.get("name"), (*path, "name"))
        template = None if text is None else self.template(text, (*path, "prompt"))
        own: dict[str, Value] = {}
        matrix, shape, references = self.matrix, self.shape, self.slots
        if "vars" in fields:
            own |= self.variables(fields["vars"], (*path, "vars"))
        if "params" in fields:
            own |= self.params(fields["params"], (*path, "params"))
        if "matrix" in fields:
            matrix = self.inner_matrix(fields["matrix"], (*path, "matrix"))
        if own or matrix is not self.matrix:
            shape = matrix.shape(own.keys(), _NOTHING)
        if "references" in fields:
            references = self.references(fields["references"], (*path, "references"))
        if file is not None and not isinstance(file, Faulty):
            try:
                check_kind(suffix_of(file), fields)
            except Fault as fault:
                self.tell((*path, "file"), Fault(f"{shown(file)}: {fault.message}", fault.hint), blinds=True)
                file = FAULTY
        return Entry(
            number,
            self.made_name(text or "", number) if name is None and file is None else name,
            template,
            template is None and text is not None,
            file,
            {**self.base, **own} if own else self.base,
            own.keys() if own else _NOTHING,
            matrix,
            shape,
            references,
            fields.get("repeat", self.document.repeat),
            {**self.tags, **self.checked_tags(fields["tags"], (*path, "tags"))} if "tags" in fields else self.tags,
            fields.get("sheet", ""),
            self.columns(fields["columns"], (*path, "columns")) if "columns" in fields else {},
        )

    def name(self, text: str | None, path: Path) -> str | Template | None:
        if text is None or isinstance(text, Faulty) or not TEMPLATE_MARK.search(text):
            return text
        template = self.template(text, path)
        return FAULTY if template is None else template

    def columns(self, given: Mapping[str, str], path: Path) -> dict[str, str]:
        """What the columns of a file are to be called, by their names without what nobody sees at the ends."""
        for theirs, ours in given.items():
            if ours not in SPECIAL and ours not in self.model.params and (fault := variable_name_fault(ours)):
                self.tell((*path, theirs), fault, blinds=True)
        return {column_name(theirs): nfc(ours) for theirs, ours in given.items() if not isinstance(ours, Faulty)}

    def inner_matrix(self, section: MatrixSection, path: Path) -> Matrix:
        """A prompt's own matrix within the campaign's."""
        inner = self.axes(section, path)
        include = self.rules(section, "include", path)
        exclude = self.rules(section, "exclude", path)
        self.check_excludes(exclude or (), [*self.matrix.outer, *inner])
        return Matrix(
            self.matrix.outer,
            inner,
            self.matrix.include if include is None else Rules(include, inner=True),
            self.matrix.exclude if exclude is None else Rules(exclude, inner=True),
        )

    def made_name(self, text: str, number: int) -> str:
        name = slug(without_comments(text)) or f"prompt-{number + 1}"
        # texts that begin alike still get names that --only can tell apart
        count = self.made_names[name] = self.made_names.get(name, 0) + 1
        return name if count == 1 else f"{name}-{count}"


def explain_unused(name: str, model: Model, *, mentioned: bool) -> tuple[str, str]:
    """Message and hint for an axis that makes no difference to any job."""
    if name in model.params or mentioned:
        return f"{name!r} varies nothing: in every job something nearer sets it", "remove it, or remove what is nearer"
    hint = joined(did_you_mean(name, model.params), f"mention it as {{{{ {name} }}}} in a text, or remove it")
    return f"no job uses {name!r}: it is no param of {model.id} and no template mentions it", hint
