"""Rows of a source as prompts: what a column means, what a row sets, what it is called."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from batcher.jobs import WireValue
from batcher.spelling import is_visible, nfc
from batcher.text import did_you_mean

from .compiler import Entry
from .fields import SPECIAL, name_fault
from .files import Cache
from .matrix import Shape
from .names import slug
from .problems import Fault, Problems, joined
from .scope import ReferenceSlot, no_references
from .sources import NOT_WORKED_OUT, SourceRow
from .templates import Piece, Template, comment_note, compile_template
from .unchecked import WRITTEN_TOO
from .values import Value, kind_of, shown, text_of, wire

# Sets of names, and characters of a param's value, up to which they are kept for the next row.
_FEW, _SHORT = 500, 100
# How much of a row's text its made name may come from.
_NAME_PIECES, _NAME_CHARACTERS = 21, 200
_NONE: frozenset[str] = frozenset()
_TEMPLATE = frozenset(["prompt"])
_SPELLINGS = {"prompts": "prompt", "names": "name", "references": "reference"}
# What spreadsheets show, and write to a CSV, for a formula that fails.
_FAILS = ("#REF!", "#N/A", "#NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!", "#SPILL!", "#CALC!")
_BROKEN = {
    text: (f"the cell shows {text}: its formula fails", "mend the formula, or type the value") for text in _FAILS
}
_BROKEN[NOT_WORKED_OUT] = (
    "the cell has a formula, and the file does not say what it comes to",
    "open the file in Excel or LibreOffice, and save it",
)
# What spreadsheets make of 16:9 and 1-2 where a cell is not of the format Text.
_MADE = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?|[0-9]{4}-[0-9]{2}-[0-9]{2}.*")
_MADE_OTHERS = "a spreadsheet takes 16:9 for a time; give the column the format Text, and type it again"


@dataclass(slots=True)
class Prompt:
    """A prompt that is about to be multiplied: one entry, or one row of one."""

    entry: Entry
    template: Template | None
    #: a template where variables make it
    name: str | Template
    base: dict[str, Value]
    shape: Shape
    references: tuple[ReferenceSlot, ...]
    row: SourceRow | None = None
    source: str = ""
    #: the columns that the row leaves empty and that nothing farther sets
    blank: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Columns:
    """Whether the columns of a row will do, and which of them are no mere variables: params (True) and `SPECIAL`."""

    fine: bool
    special: tuple[tuple[str, bool], ...]


class Rows:
    """Turns the rows of one source into prompts."""

    def __init__(
        self, entry: Entry, source: str, problems: Problems, mentioned: Set[str], *, named: bool = True
    ) -> None:
        """`mentioned` are the names that other templates than the entry's use.

        Not `named`: nobody looks at the prompts' names, and those that a row does not give are not made.
        """
        self.named = named
        #: names that make a difference; columns, with the line that names them, that may not
        self.used = {*entry.model.params, "name", "reference", *mentioned, *entry.names, *entry.columns.values()}
        if entry.template is None:
            self.used.add("prompt")
        self.columns_seen: dict[str, SourceRow] = {}  # in the first row that has it
        self.entry, self.model, self.source, self.problems = entry, entry.model, source, problems
        # the keys are all names of a row: each JSONL row may bring hundreds of new ones
        self.shapes: Cache[Any, Shape] = Cache(_FEW)
        self.columns: Cache[Any, _Columns] = Cache(_FEW)
        self.wires: Cache[Any, WireValue | Fault] = Cache()

    def prompt_of(self, row: SourceRow) -> Prompt | None:
        """A row as a prompt; None, and told, when it is faulty."""
        entry = self.entry
        faults: list[tuple[str, Fault]] = []
        key = tuple(row.values)
        columns = self.columns.get(key) or self.columns.keep(key, self.columns_of(row))
        given = self.cells(row, columns, faults)
        template = entry.template
        own = template is None and not entry.broken
        if own:
            template = self.own_template(row, given, faults)
        references = entry.references
        if (text := given.get("reference")) is not None:
            references = self.own_reference(text, faults)
        name = given.get("name")
        if name is not None and (wrong := name_fault(name)):
            faults.append(("name", Fault(f"name: {wrong}")))
        for column, value in row.values.items():
            if type(value) is not str or value[:1] != "#" or not (why := _BROKEN.get(value)):
                continue
            if column in self.used:
                faults = [*((at, fault) for at, fault in faults if at != column), (column, Fault(*why))]
            elif value == NOT_WORKED_OUT:
                given.pop(column, None)
        for column, fault in faults:
            self.problems.add(row.problem(self.source, fault, column))
        if faults or not columns.fine:
            return None
        base = {**entry.base, **given}
        blank = _NONE
        if len(given) + own < len(row.values):
            blank = frozenset(row.values.keys() - base.keys() - (_TEMPLATE if own else _NONE))
        key = tuple(given)
        shape = self.shapes.get(key) or self.shapes.keep(key, entry.matrix.shape(entry.own, given.keys()))
        if name is None and not self.named:
            name = entry.name or ""
        elif name is None:
            name = entry.name or row_name(template, given) or f"row-{row.number}"
        if isinstance(name, str):
            name = nfc(name.strip())
        return Prompt(entry, template, name, base, shape, references, row, self.source, blank)

    def cells(self, row: SourceRow, columns: _Columns, faults: list[tuple[str, Fault]]) -> dict[str, Value]:
        """The columns that a row sets, params in wire type; an empty cell sets nothing."""
        given = row.values.copy()
        if None in given.values():
            given = {name: value for name, value in row.values.items() if value is not None}
        for name, is_param in columns.special:
            value = given.pop(name, None)
            if value is None:
                continue
            if isinstance(value, str) and not value.strip():
                continue
            if is_param:
                wired = self.wired(name, value)
                if isinstance(wired, Fault):
                    faults.append((name, wired))
                else:
                    given[name] = wired
            elif isinstance(value, (list, dict)):
                faults.append((name, Fault(f"{name} must be a text, not {kind_of(value)}")))
            else:
                given[name] = text_of(value)
        return given

    def own_template(self, row: SourceRow, given: dict[str, Value], faults: list[tuple[str, Fault]]) -> Template | None:
        """The template in the row's column `prompt`, which then is no variable."""
        text = given.pop("prompt", None)
        if text is not None:
            try:
                template = compile_template(text)
            except Fault as fault:
                faults.append(("prompt", Fault(f"prompt: {fault.message}", fault.hint)))
                return None
            if template.names:
                self.used |= template.names
            for comment in template.comments:
                self.problems.notes.add(row.problem(self.source, comment_note(comment), "prompt"))
            return template
        if "prompt" in row.values:
            faults.append(("prompt", Fault("the prompt is empty")))
        elif not row.header:
            hint = "give each object a `prompt`, or the entry in the manifest one for all rows"
            faults.append(("", Fault("has no `prompt`", hint)))
        return None

    def own_reference(self, text: str, faults: list[tuple[str, Fault]]) -> tuple[ReferenceSlot, ...]:
        """The reference in the row's column `reference`."""
        if self.model.references.max_files == 0:
            faults.append(("reference", no_references(self.model)))
            return ()
        try:
            template = compile_template(text)
            self.used |= template.names
            return (ReferenceSlot((template,), (*self.entry.path, "file")),)
        except Fault as fault:
            faults.append(("reference", Fault(f"reference: {fault.message}", fault.hint)))
            return ()

    def wired(self, name: str, value: Value) -> WireValue | Fault:
        # by what is shown: 1, 1.0 and true are equal as keys and may differ on the wire
        key = (name, value) if type(value) is str else (name, type(value), str(value))
        known = self.wires.get(key)
        if known is not None:
            return known
        found: WireValue | Fault
        try:
            found = wire(self.model, name, value)
        except ValueError as error:
            hint = _MADE_OTHERS if isinstance(value, str) and _MADE.fullmatch(value) else ""
            found = Fault(f"{name} is {shown(value)}; {error}", hint)
        return self.wires.keep(key, found) if len(key[-1]) <= _SHORT else found

    def columns_of(self, row: SourceRow) -> _Columns:
        """What the columns are, for all rows with the same.

        Told when a needed one is missing, or a name is almost one that matters: ignoring it could cost money.
        """
        template = self.entry.template
        faults: list[tuple[str, Fault]] = []
        if len(self.columns_seen) < _FEW:
            self.columns_seen = dict.fromkeys(row.values, row) | self.columns_seen
        for name in row.values:
            shows = name if name.isascii() else "".join(c for c in name if is_visible(c) or c.isspace())
            plain = "_".join(shows.lower().replace("-", " ").replace("_", " ").split())
            meant = _SPELLINGS.get(plain, plain)
            if meant == name or (meant not in self.model.params and meant not in SPECIAL) or meant in row.values:
                continue
            if template is None or name not in template.names:
                hint = joined(did_you_mean(meant, [meant]), f"rename it, or write `columns: {{{name}: {meant}}}`")
                faults.append((name, Fault(f"the column {shown(name)} means nothing", hint)))
        if row.header and template is None and not self.entry.broken and "prompt" not in row.values and not faults:
            hint = (
                "add the column, name the one that has it under `columns`, or give the entry in the manifest a `prompt`"
            )
            faults.append(("", Fault("there is no column `prompt`", hint)))
        for column, fault in faults:
            self.problems.add(row.header_problem(self.source, fault, column))
        params = self.model.params
        special = ((name, name in params) for name in row.values if name in params or name in SPECIAL)
        return _Columns(not faults, tuple(special))

    def tell_unused(self) -> None:
        """A note for each column that makes no difference to any job; for when all rows are through, without fault."""
        known = [*SPECIAL, *self.model.params]
        for name, row in self.columns_seen.items():
            if name not in self.used:
                use = f"mention it as {{{{ {name} }}}} in a text" if name.isidentifier() else "name it under `columns`"
                use += "; --by and --where know it in any case"
                other = WRITTEN_TOO if self.model.is_unchecked else ""
                hint = joined(did_you_mean(name, set(known) - {name}), use, other)
                unused = Fault(f"nothing uses the column {shown(name)}", hint)
                self.problems.notes.add(row.header_problem(self.source, unused, name)._replace(row=0))


def row_name(template: Template | None, values: dict[str, Value]) -> str:
    """A name for a row from its text, with the row's own values filled in; may be empty."""
    pieces = template.pieces[:_NAME_PIECES] if template else ()
    words = [piece if isinstance(piece, str) else _in_a_name(piece, values) for piece in pieces]
    return slug("".join([word[:_NAME_CHARACTERS] for word in words])[:_NAME_CHARACTERS])


def _in_a_name(piece: Piece, values: dict[str, Value]) -> str:
    try:
        value = piece.evaluate(values)
        return value if type(value) is str else text_of(value)
    except (KeyError, TypeError, Fault):
        return " ".join(sorted(piece.names))
