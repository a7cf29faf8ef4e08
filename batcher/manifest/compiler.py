"""From a checked document to what expansion works with: params in wire type, templates compiled, matrices joined.

Faulty pieces are told and left out, so that the rest is still checked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from batcher.catalog import Model, get_model, model_ids
from batcher.jobs import ParamValue
from batcher.spelling import nfc
from batcher.text import did_you_mean

from .fields import SPECIAL, tag_name_fault, variable_name_fault
from .matrix import Axis, Claim, Matrix, MatrixRule, Rules, Shape
from .names import FileNames, slug
from .problems import Fault, Path, Problems, SourceMap, joined, listed
from .readers import check_kind, suffix_of
from .schema import Document, MatrixSection
from .scope import ANY_MODEL, NOTHING, ModelScope, ReferenceSlot, Teller
from .tables import column_name
from .templates import MARK as TEMPLATE_MARK
from .templates import Template, compile_template, without_comments
from .unchecked import WAYS, WRITTEN_TOO, stand_in, warning
from .values import FAULTY, Faulty, Value, comparable, kept, shown


class Entry(NamedTuple):
    """One entry of `prompts`, ready for expansion. A tuple, for tens of thousands are made.

    `template` is None where the rows bring their own, and where it was faulty (`broken`). `base` are the
    entry's vars and params over those of the campaign; `own` are the names that the entry itself sets. `shape` is what
    is left of the matrix where no row sets more.
    """

    number: int  # from 0
    model: Model
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
    def is_constant(self) -> bool:
        """Whether its text and its name mention nothing, and it has no references that could."""
        text = self.template
        return not (self.references or isinstance(self.name, Template) or text is None or text.names)

    @property
    def names(self) -> set[str]:
        """The names that its texts, its references and the rules of its matrix use; the rows' texts use others."""
        templates = [self.template, *(template for slot in self.references for template in slot.templates)]
        templates += [self.name] if isinstance(self.name, Template) else []
        rules = (*self.matrix.include.rules, *self.matrix.exclude.rules)
        return set().union(*(t.names for t in templates if t), *(rule.values for rule in rules))


@dataclass(frozen=True, slots=True)
class CompiledManifest:
    """Everything that expansion needs; `models` are those of its prompts. `blind`: faults hide which names are used."""

    campaign: str
    model: Model
    models: tuple[Model, ...]
    entries: tuple[Entry, ...]
    file_names: FileNames
    claims: tuple[Claim, ...]
    source_map: SourceMap
    blind: bool


def compile_manifest(
    document: Document, source_map: SourceMap, problems: Problems, *, blind: bool = False, unchecked: bool = False
) -> CompiledManifest:
    """Compile a document; what is wrong with it goes into `problems`. `blind` as in `CompiledManifest`.

    `unchecked`: a model may have no file in the catalogue.
    """
    return _Compiler(document, source_map, problems, blind=blind, unchecked=unchecked).manifest()


class _Compiler:
    def __init__(
        self, document: Document, source_map: SourceMap, problems: Problems, *, blind: bool, unchecked: bool
    ) -> None:
        self.document, self.source_map, self.unchecked = document, source_map, unchecked
        self.teller = Teller(source_map, problems, blind=blind)
        self.stand_ins: dict[str, Model] = {}
        self.model = self.known_model(document.model, ("model",))
        self.made_names: dict[str, int] = {}
        own = {n: each for n, each in enumerate(document.prompts) if isinstance(each, dict) and "model" in each}
        self.own_models = {n: self.known_model(each["model"], ("prompts", n, "model")) for n, each in own.items()}
        used = [] if len(own) == len(document.prompts) else [self.model]
        self.models = {model.id: model for model in [*used, *self.own_models.values()]}
        every = NOTHING.union(*(model.params for model in self.models.values()))
        strict = ANY_MODEL.id not in self.models
        self.scopes = {
            name: ModelScope(model, every, document, self.teller, strict=strict or len(self.models) == 1)
            for name, model in self.models.items()
        }
        self.tags = self.checked_tags(document.tags, ("tags",))

    def manifest(self) -> CompiledManifest:
        file_names = self.file_names()
        entries = [
            self.entry({"prompt": prompt} if isinstance(prompt, str) else prompt, number)
            for number, prompt in enumerate(self.document.prompts)
        ]
        outer = [scope.matrix for scope in self.scopes.values()]
        matrices = {id(entry.matrix): entry.matrix for entry in entries}.values()
        axes = [axis for each in outer for axis in each.outer] + [axis for each in matrices for axis in each.inner]
        self.check_excludes(tuple({rule.path: rule for m in outer for rule in m.exclude.rules}.values()), axes)
        self.teller.cuts()
        claims: dict[Claim, None] = {}
        for matrix in (*outer, *matrices):
            claims |= dict.fromkeys((axis.name, axis.path) for axis in matrix.outer)
        for matrix in matrices:
            claims |= dict.fromkeys(matrix.shape(NOTHING, NOTHING).claims)
        models = tuple(self.models.values())
        return CompiledManifest(
            *(self.document.campaign, self.model, models, tuple(entries), file_names, tuple(claims), self.source_map),
            blind=self.teller.blind,
        )

    def known_model(self, model_id: str, path: Path) -> Model:
        known = model_ids()
        if model_id in known:
            return get_model(model_id)
        if isinstance(model_id, Faulty):
            return ANY_MODEL
        if model_id in self.stand_ins:
            return self.stand_ins[model_id]
        meant = did_you_mean(model_id, known)
        if not self.unchecked:
            hint = joined(meant, f"known: {listed(known)}", WAYS)
            self.teller.tell(path, Fault(f"unknown model {shown(model_id)}", hint), blinds=True)
            return ANY_MODEL
        try:
            model = stand_in(model_id, self.document)
        except Fault as fault:
            self.teller.tell(path, fault, blinds=True)
            return ANY_MODEL
        told = warning(model, meant)
        self.teller.problems.warnings.add(self.source_map.problem(path, told.message, hint=told.hint))
        return self.stand_ins.setdefault(model_id, model)

    def checked_tags(self, tags: Mapping[str, Value], path: Path) -> dict[str, ParamValue]:
        for name in tags:
            if fault := tag_name_fault(name):
                self.teller.tell((*path, name), fault, key=True)
        return {name: kept(value) for name, value in tags.items()}

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
                    fault = Fault(f"exclude names {shown(name)}, which is no axis of the matrix", hint)
                    self.teller.tell(where, fault, key=True)
                elif comparable(value) not in values[name]:
                    hint = joined(
                        did_you_mean(comparable(value), values[name]), f"values: {listed(sorted(values[name]))}"
                    )
                    self.teller.tell(where, Fault(f"the axis {name!r} has no value {shown(value)}", hint))

    def file_names(self) -> FileNames:
        path: Path = ("results", "name")
        try:
            return FileNames(compile_template(self.document.results.name))
        except Fault as fault:
            self.teller.tell(path, fault, blinds=True)
            return FileNames(compile_template("{{ job }}"))

    def entry(self, fields: Mapping[str, Any], number: int) -> Entry:
        path: Path = ("prompts", number)
        text, file = fields.get("prompt"), fields.get("file")
        name = self.name(fields.get("name"), ("prompts", number, "name"))
        model = self.own_models.get(number, self.model)
        scope = self.scopes[model.id]
        template = None if text is None else self.teller.template(text, ("prompts", number, "prompt"))
        own: dict[str, Value] = {}
        matrix, shape, references = scope.matrix, scope.shape, scope.slots
        if "vars" in fields:
            own |= scope.variables(fields["vars"], (*path, "vars"))
        if "params" in fields:
            own |= scope.params(fields["params"], (*path, "params"))
        if "matrix" in fields:
            matrix = self.inner_matrix(scope, fields["matrix"], (*path, "matrix"))
        if own or matrix is not scope.matrix:
            shape = matrix.shape(own.keys(), NOTHING)
        if "references" in fields:
            references = scope.references(fields["references"], (*path, "references"))
        elif model.is_unchecked:
            references = scope.references(self.document.references, ("references",))
        if file is not None and not isinstance(file, Faulty):
            try:
                check_kind(suffix_of(file), fields)
            except Fault as fault:
                self.teller.tell((*path, "file"), Fault(f"{shown(file)}: {fault.message}", fault.hint), blinds=True)
                file = FAULTY
        return Entry(
            number,
            model,
            self.made_name(text or "", number) if name is None and file is None else name,
            template,
            template is None and text is not None,
            file,
            {**scope.base, **own} if own else scope.base,
            own.keys() if own else NOTHING,
            matrix,
            shape,
            references,
            fields.get("repeat", self.document.repeat),
            {**self.tags, **self.checked_tags(fields["tags"], (*path, "tags"))} if "tags" in fields else self.tags,
            fields.get("sheet", ""),
            self.columns(model, fields["columns"], (*path, "columns")) if "columns" in fields else {},
        )

    def name(self, text: str | None, path: Path) -> str | Template | None:
        if text is None or isinstance(text, Faulty) or not TEMPLATE_MARK.search(text):
            return text
        template = self.teller.template(text, path)
        return FAULTY if template is None else template

    def columns(self, model: Model, given: Mapping[str, str], path: Path) -> dict[str, str]:
        """What the columns of a file are to be called, by their names without what nobody sees at the ends."""
        for theirs, ours in given.items():
            if ours not in SPECIAL and ours not in model.params and (fault := variable_name_fault(ours)):
                self.teller.tell((*path, theirs), fault, blinds=True)
        return {column_name(theirs): nfc(ours) for theirs, ours in given.items() if not isinstance(ours, Faulty)}

    def inner_matrix(self, scope: ModelScope, section: MatrixSection, path: Path) -> Matrix:
        """A prompt's own matrix within the campaign's."""
        inner = scope.axes(section, path)
        include = scope.rules(section, "include", path)
        exclude = scope.rules(section, "exclude", path)
        self.check_excludes(exclude or (), [*scope.matrix.outer, *inner])
        return Matrix(
            scope.matrix.outer,
            inner,
            scope.matrix.include if include is None else Rules(include, inner=True),
            scope.matrix.exclude if exclude is None else Rules(exclude, inner=True),
        )

    def made_name(self, text: str, number: int) -> str:
        name = slug(without_comments(text)) or f"prompt-{number + 1}"
        # texts that begin alike still get names that --only can tell apart
        count = self.made_names[name] = self.made_names.get(name, 0) + 1
        return name if count == 1 else f"{name}-{count}"


def explain_unused(name: str, models: Collection[Model], *, mentioned: bool) -> tuple[str, str]:
    """Message and hint for an axis that makes no difference to any job."""
    params = [param for model in models for param in model.params]
    if name in params or mentioned:
        return f"{name!r} varies nothing: in every job something nearer sets it", "remove it, or remove what is nearer"
    other = WRITTEN_TOO if any(model.is_unchecked for model in models) else ""
    hint = joined(did_you_mean(name, params), f"mention it as {{{{ {name} }}}} in a text, or remove it", other)
    whose = " or ".join(model.id for model in models)
    return f"no job uses {name!r}: it is no param of {whose} and no template mentions it", hint
