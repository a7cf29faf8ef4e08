"""YAML with positions: PyYAML's parser events, read by rules of ours.

YAML 1.2 core scalars; duplicate keys, tags and merge keys refused; size, depth and what aliases may grow to
bounded. Keys are always the texts that were typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from batcher.errors import Problem

from .open_inputs import read_regular
from .problems import Fault, Path, Place, Problems, SourceMap
from .values import FAULTY, plain_scalar, shown

MAX_BYTES = 8_000_000
MAX_DEPTH = 24
MAX_NODES = 400_000

_COMMENT = re.compile(r"[ \t]+(#[^\r\n]*)")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# YAML 1.2's printable characters, without NEL and the Unicode line separators: PyYAML counts these as line
# ends and no editor does, so every position after one would be wrong.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(slots=True)
class _Node:
    """A scalar (`value`), a sequence (`items`) or a mapping (`items`: key, value, key, value …)."""

    kind: str
    place: Place
    value: str = ""
    plain: bool = False
    items: list[_Node] = field(default_factory=list)
    open: bool = True
    cut: tuple[Place, str] | None = None


# Of every scalar: most nodes are some, and nothing is ever added to one.
_NO_ITEMS: list[_Node] = []


class _Stop(Exception):
    """The file cannot be read on; carries the problem."""

    def __init__(self, place: Place, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.place, self.message, self.hint = place, message, hint


def read(path: FilePath, problems: Problems) -> bytes | None:
    """The bytes of a YAML file, or None, and told, when it cannot be read at all."""
    try:
        return read_regular(path, MAX_BYTES)
    except Fault as fault:
        problems.add(Problem(str(path), fault.message, hint=fault.hint))
        return None


def parse(data: bytes, file: str, problems: Problems) -> tuple[Any, SourceMap] | None:
    """The value of a YAML text with its positions; all that is wrong goes into `problems`."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        hint = "this looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        line, column = _position(before.removeprefix("\ufeff"), len(before))
        message = f"the byte 0x{data[error.start]:02X} is not UTF-8; save it as UTF-8"
        problems.add(Problem(file, message, line, column, hint=hint))
        return None
    if bad := _UNPRINTABLE.search(text):
        line, column = _position(text, bad.start())
        message = f"the character U+{ord(bad[0]):04X} is not allowed here"
        problems.add(Problem(file, message, line, column, hint="remove it, or write it as an escape in double quotes"))
        return None
    try:
        return _construct(_compose(text), file, problems)
    except _Stop as stop:
        problems.add(Problem(file, stop.message, *stop.place, hint=stop.hint))
        return None


def _position(text: str, index: int) -> Place:
    before = text[:index].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _place(mark: Any) -> Place:
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


def _events(text: str) -> Iterator[Any]:
    loader = _Loader(text)
    try:
        while (event := loader.get_event()) is not None:
            yield event
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark or error.context_mark)
        what = " ".join(part for part in (error.problem, error.context) if part)
        if "nesting depth" in what:  # PyYAML reads ahead of the events, and since 6.0.4 has a bound of its own
            raise _too_deep(place) from None
        raise _Stop(place, f"this is not YAML: {what}", _why(text, error)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _Stop((0, 0), f"this is not YAML: {error}") from None
    finally:
        loader.dispose()


def _too_deep(place: Place) -> _Stop:
    return _Stop(place, f"nested deeper than {MAX_DEPTH} levels")


def _why(text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    lines = re.split("\r\n|\r|\n", text)
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if any(each[: len(each) - len(each.lstrip())].strip(" \t") for each in lines):
        return "indent with plain spaces: a line begins with others, such as no-break spaces"
    if re.search(r"[:-]\s+\{\{", line):
        return "a text that begins with {{ needs quotes"
    if "mapping values are not allowed" in str(error.problem):
        return "a text with ': ' in it needs quotes"
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with spaces, not tabs"
    if "quoted scalar" in str(error.context) and ("escape" in str(error.problem) or "hex" in str(error.problem)):
        half = "Unicode character" in str(error.problem)  # JSON writes an emoji as two escapes
        return "write the character itself" if half else "in double quotes a \\ begins an escape; use single quotes"
    if "cannot start any token" in str(error.problem):
        return "a text that begins with one of % @ ` needs quotes"
    return ""


def _cut(text: str, end: Any) -> tuple[Place, str] | None:
    """Where a ` #` ends a plain text, and what comes after it on its line; None where none does."""
    found = _COMMENT.match(text, end.index)
    if found is None:
        return None
    return (end.line + 1, end.column + 1 + found.start(1) - end.index), found[1]


def _compose(text: str) -> _Node:
    """The tree of nodes. Iterative, so that the depth is bounded before any recursion sees it."""
    comments = " #" in text or "\t#" in text
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    root: _Node | None = None
    count = 0
    for event in _events(text):
        place = _place(event.start_mark)
        node: _Node
        match type(event):
            case yaml.ScalarEvent:
                node = _Node("scalar", place, event.value, event.style in (None, ""), _NO_ITEMS, open=False)
                if comments and node.plain:
                    node.cut = _cut(text, event.end_mark)
            case yaml.MappingStartEvent:
                node = _Node("mapping", place)
            case yaml.SequenceStartEvent:
                node = _Node("list", place)
            case yaml.MappingEndEvent | yaml.SequenceEndEvent:
                stack.pop().open = False
                continue
            case yaml.AliasEvent:
                target = anchors.get(event.anchor or "")
                if target is None:
                    raise _Stop(place, f"the alias *{event.anchor} has no anchor &{event.anchor} before it")
                if target.open:
                    raise _Stop(place, f"the alias *{event.anchor} would contain itself")
                node = target
            case yaml.DocumentStartEvent:
                if root is not None:
                    raise _Stop(place, "a second document begins here; a manifest is one document")
                continue
            case _:
                continue
        count += 1
        if count > MAX_NODES:
            raise _Stop(place, f"more than {MAX_NODES:,} values; put prompts into a .csv, .jsonl or .txt file")
        if getattr(event, "tag", None):
            hint = "a text that begins with ! needs quotes, and so does a number that is a text"
            raise _Stop(place, f"tags ({shown(event.tag)}) are not allowed", hint)
        if not isinstance(event, yaml.AliasEvent) and event.anchor:
            anchors[event.anchor] = node
        if stack:
            stack[-1].items.append(node)
        else:
            root = node
        if node.open:
            stack.append(node)
            if len(stack) > MAX_DEPTH:
                raise _too_deep(place)
    if root is None:
        raise _Stop((1, 1), "the manifest is empty", "`batcher init` writes one to begin with")
    return root


def _construct(root: _Node, file: str, problems: Problems) -> tuple[Any, SourceMap]:
    marks = SourceMap(file, {}, {})
    left = MAX_NODES

    def build(node: _Node, path: Path) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or len(path) > MAX_DEPTH:
            raise _Stop(node.place, f"the aliases grow to more than {MAX_NODES:,} values or {MAX_DEPTH} levels")
        marks.values[path] = node.place
        if node.kind == "scalar":
            value = plain_scalar(node.value) if node.plain else node.value
            if node.cut is not None and isinstance(value, str):
                marks.cuts[path] = node.cut
            return value
        if node.kind == "list":
            return [build(item, (*path, index)) for index, item in enumerate(node.items)]
        mapping: dict[str, Any] = {}
        for key, value in zip(node.items[::2], node.items[1::2], strict=True):
            if key.kind != "scalar":
                unquoted = key.kind == "mapping" and len(node.items) == 2
                hint = "a text that begins with {{ needs quotes" if unquoted else ""
                problems.add(Problem(file, "a key must be a text", *key.place, hint=hint))
                if unquoted:
                    return FAULTY
            elif key.value == "<<" and key.plain:
                message = "merge keys (<<) are not supported; write the keys out"
                problems.add(Problem(file, message, *key.place))
            elif key.value in mapping:
                first = marks.keys[(*path, key.value)]
                message = f"the key {key.value!r} is here twice; first in line {first[0]}"
                problems.add(Problem(file, message, *key.place, hint="keep one of them"))
            else:
                marks.keys[(*path, key.value)] = key.place
                mapping[key.value] = build(value, (*path, key.value))
        return mapping

    return build(root, ()), marks
