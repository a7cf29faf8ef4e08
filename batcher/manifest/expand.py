"""From a plan to a stream of job specs. Nothing here grows with the number of jobs.

What is wrong with a row, a combination or a file is told, makes no job, and stops nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from batcher.catalog import Model
from batcher.jobs import (
    SHORT_ID,
    FileReference,
    JobId,
    JobSpec,
    OneReference,
    Reference,
    SeveralReferences,
    UrlReference,
    source_text,
)
from batcher.spelling import nfc

from .compiler import CompiledManifest, Entry, explain_unused
from .fields import name_fault
from .files import MAX_PATH, Cache, Files, reference_name
from .making import Maker
from .names import ALWAYS
from .problems import Fault, Path, Problems, joined, listed
from .readers import read_rows, suffix_of
from .results import Results
from .rows import Prompt, Rows
from .scope import ResultPart
from .sources import Source
from .templates import Template, Undefined
from .values import Value, kept, shown

# Faulty combinations of one prompt after which its others are not looked at: a matrix can be endless.
_ENOUGH = 100
# Longer lists of files are looked up again rather than kept for many patterns.
_FEW_FILES = 100
_NO_REFERENCE = (None,)
_NONE: frozenset[str] = frozenset()


def expand(plan: CompiledManifest, files: Files, problems: Problems, *, named: bool = True) -> Iterator[JobSpec]:
    """The jobs of a plan, in the manifest's order. Twins are not removed; `problems` gets what is wrong.

    Not `named`: nobody looks at the names of prompts and files. They stay empty, where making them cannot fail.
    """
    expansion = _Expansion(plan, files, problems, named=named)
    for entry in plan.entries:
        for prompt in expansion.prompts(entry):
            yield from expansion.jobs(prompt)
    expansion.tell_unused()


def check_names(plan: CompiledManifest, files: Files, problems: Problems) -> None:
    """Undefined variables and unused axes, as far as they show without opening a file."""
    expansion = _Expansion(plan, files, problems)
    needed = expansion.unused or expansion.file_needs
    for entry in plan.entries:
        if entry.file is None and (needed or not entry.is_constant):
            prompt = expansion.text_prompt(entry)
            expansion.claim(prompt)
            expansion.blind |= not expansion.names_fit(prompt)
    if all(entry.file is None for entry in plan.entries):
        expansion.tell_unused()


def has_chains(plan: CompiledManifest) -> bool:
    """Whether jobs are made from results of others."""
    slots = (slot for entry in plan.entries for slot in entry.references)
    return any(isinstance(part, ResultPart) for slot in slots for part in slot.parts)


class _Expansion:
    def __init__(self, plan: CompiledManifest, files: Files, problems: Problems, *, named: bool = True) -> None:
        self.named = named or not plan.file_names.sure or has_chains(plan)
        self.plan, self.files, self.problems = plan, files, problems
        self.makers = {model.id: Maker(plan.campaign, model) for model in plan.models}
        self.unused = dict.fromkeys(plan.claims)
        self.mentioned: set[str] = set()
        self.blind = plan.blind
        self.endless: set[Path] = set()
        self.faults = 0
        self.checked: Cache[Any, bool] = Cache(500)
        self.found: Cache[tuple[str, str], tuple[FileReference | UrlReference, ...] | Fault] = Cache(5_000)
        self.file_needs = plan.file_names.template.required.difference(ALWAYS)
        self.results = Results(plan.entries, self.prompts, self.jobs)

    # -- one prompt ------------------------------------------------------------------------------------------

    def text_prompt(self, entry: Entry) -> Prompt:
        return Prompt(entry, entry.template, entry.name or "", entry.base, entry.shape, entry.references)

    def jobs(self, prompt: Prompt) -> Iterator[JobSpec]:
        """Every combination, reference and take of a prompt."""
        template, entry = prompt.template, prompt.entry
        self.claim(prompt)
        if template is None or not self.names_fit(prompt):
            # a misspelt variable is told once, not a second time as an axis without use
            self.blind = True
            return
        rules = entry.matrix.exclude.rules
        if rules and rules[0].path in self.endless:
            return
        faults_before = self.faults
        combinations = 0
        try:
            for variables in prompt.shape.combinations(prompt.base):
                combinations += 1
                if self.faults - faults_before >= _ENOUGH:
                    return
                yield from self.takes(prompt, template, variables)
        except Fault as fault:  # `exclude` removes too many
            self.endless.add(rules[0].path)
            self.problems.add(self.plan.source_map.problem(rules[0].path[:-1], fault.message, hint=fault.hint))
        if not combinations and prompt.row is None and not self.endless:
            empty = Fault("the matrix leaves no combination of this prompt", "every one of them is excluded")
            self.tell(prompt, entry.path, empty)

    def takes(self, prompt: Prompt, template: Template, variables: dict[str, Value]) -> Iterator[JobSpec]:
        """Every reference and take of one combination."""
        maker = self.makers[prompt.entry.model.id]
        try:
            text = maker.checked_prompt(template.render(variables))
        except Fault as fault:
            self.tell(prompt, prompt.entry.text_path, fault)
            return
        chosen, model = maker.chosen(variables), maker.model
        if chosen.lacking:
            self.tell(prompt, prompt.entry.path, Fault(f"{model.id} needs the param {listed(chosen.lacking)}"))
            return
        name = self.name(prompt, variables)
        if name is None:
            return
        own = {kept(each): kept(value) for each, value in variables.items() if each not in maker.not_kept}
        for reference in self.references_of(prompt, variables):
            if chosen.ignored and reference is not None:
                message = f"{model.id} does not use {listed(chosen.ignored)} where a job has a reference"
                hint = "jobs that differ in nothing else buy the same thing twice"
                self.problems.notes.add(self.plan.source_map.problem(prompt.entry.path, message, hint=hint))
            source = source_text(reference)
            for take in range(1, prompt.entry.repeat + 1):
                identity = maker.identities.of(text, chosen.text, source, take)
                file_name = (
                    self.file_name(prompt, maker, name, variables, reference, identity, take) if self.named else ""
                )
                if file_name is None:
                    break
                yield JobSpec(
                    identity,
                    self.plan.campaign,
                    model.id,
                    name,
                    text,
                    chosen.params,
                    reference,
                    take,
                    chosen.plain if reference is None else chosen.dearer,
                    model.base_credits,
                    file_name,
                    own,
                    prompt.entry.tags,
                )

    def name(self, prompt: Prompt, variables: dict[str, Value]) -> str | None:
        """What a job's prompt is called; None, and told, where its template makes no name."""
        if isinstance(prompt.name, str):
            return prompt.name
        try:
            name = nfc(prompt.name.render(variables).strip())
            if wrong := "is empty" if not name else name_fault(name):
                raise Fault(f"the prompt's name {wrong}")
        except Fault as fault:
            self.tell(prompt, (*prompt.entry.path, "name"), fault)
            return None
        return name

    def file_name(
        self,
        prompt: Prompt,
        maker: Maker,
        name: str,
        variables: dict[str, Value],
        reference: Reference | None,
        identity: JobId,
        take: int,
    ) -> str | None:
        """The name of a job's file; None, and told, when there is none."""
        words = {
            **variables,
            **maker.words,
            "prompt_name": name,
            "reference_name": reference_name(reference),
            "job": identity[:SHORT_ID],
            "take": take,
        }
        try:
            return self.plan.file_names.render(words)
        except Fault as fault:
            self.tell(prompt, ("results", "name"), fault)
            return None

    def tell(self, prompt: Prompt, path: Path, fault: Fault) -> None:
        """A fault at its place in the manifest or, for a row, at the row with a word on the place."""
        self.faults += 1
        source_map = self.plan.source_map
        column = fault.variable if isinstance(fault, Undefined) else "prompt" if prompt.entry.template is None else ""
        if isinstance(fault, Undefined) and fault.variable in prompt.blank:
            empty = f"the cell of {shown(fault.variable)} is empty and nothing else sets it, but the text uses it"
            fault = Fault(empty, f"fill it, or write {{{{ {fault.variable} | default('…') }}}}")
        if prompt.row is None:
            self.problems.add(source_map.problem(path, fault.message, hint=fault.hint))
            return
        line, _ = source_map.place(path)
        fault = Fault(fault.message, joined(fault.hint, f"see line {line} of {source_map.file}"))
        self.problems.add(prompt.row.problem(prompt.source, fault, column))

    def references_of(self, prompt: Prompt, variables: dict[str, Value]) -> Sequence[Reference | None]:
        if not prompt.references:
            return _NO_REFERENCE
        found: list[Reference | None] = []
        model = prompt.entry.model
        for slot in prompt.references:
            if not slot.parts:
                found.append(None)
                continue
            try:
                each = [one for part in slot.parts for one in self.inputs_of(prompt.entry, part, variables)]
                if slot.together and (wrong := model.references.fault([one.kind for one in each])):
                    raise Fault(f"{model.id} takes {wrong}; these are {len(each)}")
            except Fault as fault:
                self.tell(prompt, slot.path, fault)
                continue
            found += [SeveralReferences(tuple(each))] if slot.together and len(each) > 1 else each
        return found

    def inputs_of(
        self, entry: Entry, part: Template | ResultPart, variables: dict[str, Value]
    ) -> Sequence[OneReference]:
        """The references that a part of an entry means. Raises Fault."""
        if isinstance(part, ResultPart):
            return self.results.find(part, entry, variables)
        return self.files_of(entry.model, part, variables)

    def files_of(
        self, model: Model, template: Template, variables: dict[str, Value]
    ) -> Sequence[FileReference | UrlReference]:
        """The references that a template names. Raises Fault, for the same text each time the same."""
        text = template.render(variables)
        found = self.found.get((model.id, text))
        if found is None:
            try:
                found = self.files.find(text, model)
            except Fault as fault:
                found = fault
            few = template.constant or isinstance(found, Fault) or len(found) <= _FEW_FILES
            if few and len(text) <= MAX_PATH:
                self.found.keep((model.id, text), found)
        if isinstance(found, Fault):
            raise found
        return found

    # -- names: which are known, which are used ------------------------------------------------------------------

    def names_fit(self, prompt: Prompt) -> bool:
        """Whether the templates can do with the names that there are; told when not, once for each set of names."""
        own = prompt.template
        required = self.file_needs | (own.required if own else _NONE)
        for slot in prompt.references:
            required |= slot.required
        named = prompt.name if isinstance(prompt.name, Template) else None
        if named:
            required |= named.required
        if not required or prompt.shape.names.issuperset(required.difference(prompt.base)):
            return True
        key = (own and own.source, prompt.entry.path, *prompt.base, prompt.shape.names, prompt.blank)
        known_result = self.checked.get(key)
        if known_result is not None and own is prompt.entry.template:
            return known_result
        known = prompt.base.keys() | prompt.shape.names | prompt.blank
        checks: list[tuple[Template, Path, set[str]]] = []
        if own is not None:
            checks.append((own, prompt.entry.text_path, known))
        checks += [(template, slot.path, known) for slot in prompt.references for template in slot.templates]
        checks += [(named, (*prompt.entry.path, "name"), known)] if named else []
        checks.append((self.plan.file_names.template, ("results", "name"), known | set(ALWAYS)))
        fine = True
        for template, path, names in checks:
            try:
                template.check_names(names)
            except Undefined as fault:
                fine = False
                if template is prompt.entry.template or template is named or path == ("results", "name"):
                    # the text stands in the manifest, and so does the fault, whichever row meets it
                    where = f" (in {prompt.entry.file})" if prompt.row else ""
                    self.problems.add(self.plan.source_map.problem(path, fault.message + where, hint=fault.hint))
                else:
                    self.tell(prompt, path, fault)
        # a template of a row's own is looked at for each row, and may be long
        return self.checked.keep(key, fine) if own is prompt.entry.template else fine

    def claim(self, prompt: Prompt) -> None:
        """Marks the axes that make a difference to this prompt's jobs."""
        if not self.unused:
            return
        mentions = self.plan.file_names.template.names
        if prompt.template is not None:
            mentions = mentions | prompt.template.names
        if isinstance(prompt.name, Template):
            mentions = mentions | prompt.name.names
        for slot in prompt.references:
            mentions = mentions | slot.names
        self.mentioned |= mentions
        for claim in prompt.shape.claims:
            if claim[0] in prompt.entry.model.params or claim[0] in mentions:
                self.unused.pop(claim, None)

    def tell_unused(self) -> None:
        """The axes that no job used; nothing while faults hide what would have used them."""
        for name, path in self.unused if not self.blind else ():
            message, hint = explain_unused(name, self.plan.models, mentioned=name in self.mentioned)
            self.problems.add(self.plan.source_map.problem(path, message, hint=hint, key=True))

    # -- rows ----------------------------------------------------------------------------------------------------

    def prompts(self, entry: Entry) -> Iterator[Prompt]:
        """An entry's own prompt, or one of each row of its file."""
        if entry.file is None:
            yield self.text_prompt(entry)
            return
        try:
            suffix = suffix_of(entry.file)
            shown_as = self.files.shown(entry.file)
            before = self.problems.count
            mentioned = self.plan.file_names.template.names
            rows = Rows(entry, shown_as, self.problems, mentioned, named=self.named)
            with self.files.opened(entry.file) as file:
                for some in read_rows(Source(file, shown_as, self.problems, entry.columns, entry.sheet), suffix):
                    prompts = [prompt for row in some if (prompt := rows.prompt_of(row)) is not None]
                    self.blind |= len(prompts) < len(some)
                    yield from prompts
            if self.problems.count == before:
                rows.tell_unused()
            self.blind = self.blind or self.problems.count > before
        except Fault as fault:
            self.blind = True
            if entry.file != "?":
                message = (
                    fault.message if shown(entry.file) in fault.message else f"{shown(entry.file)} {fault.message}"
                )
                place = (*entry.path, "file")
                self.problems.add(self.plan.source_map.problem(place, message, hint=fault.hint))
