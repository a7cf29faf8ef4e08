"""YAML with positions: the events of PyYAML's parser, straight into values.

YAML 1.2 core scalars; duplicate keys, tags and merge keys refused; size, depth and what aliases may grow to bounded.
Keys are always the texts that were typed. Where things stand only problems ask: then the text is read once more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath
from sys import intern
from typing import Any

import yaml

from batcher.errors import Problem

from .open_inputs import read_regular
from .problems import Fault, Path, Place, Places, Problems, SourceMap
from .values import FAULTY, plain_scalar, shown

MAX_BYTES = 8_000_000
MAX_DEPTH = 24
MAX_NODES = 400_000

_COMMENT = re.compile(r"[ \t]+(#[^\r\n]*)")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# YAML 1.2's printable characters, without NEL and the Unicode line separators: PyYAML counts these as line
# ends and no editor does, so every position after one would be wrong.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OPEN = object()


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
    reader = _Reader(text, None)
    try:
        value = reader.document()
    except _Stop as stop:
        problems.add(Problem(file, stop.message, *stop.place, hint=stop.hint))
        return None
    source_map = SourceMap(file, lambda: _places(text), reader.cuts)
    for place, message, hint in reader.faults:
        problems.add(Problem(file, message, *place, hint=hint))
    for path, place in reader.twice:
        message = f"the key {path[-1]!r} is here twice; first in line {source_map.place(path, key=True)[0]}"
        problems.add(Problem(file, message, *place, hint="keep one of them"))
    return value, source_map


def _places(text: str) -> Places:
    places = Places()
    _Reader(text, places).document()
    return places


def _position(text: str, index: int) -> Place:
    before = text[:index].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _place(mark: Any) -> Place:
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


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


@dataclass(slots=True)
class _Anchor:
    path: Path
    text: str | None  # a scalar as it was typed, which an alias may stand for as a key
    value: Any = _OPEN


class _Reader:
    """Reads a document node by node. What can be passed over is kept as a fault, all else raises _Stop."""

    def __init__(self, text: str, places: Places | None) -> None:
        """Where the nodes stand goes into `places`."""
        self.text, self.places = text, places
        self.faults: list[tuple[Place, str, str]] = []
        self.twice: list[tuple[Path, Place]] = []  # keys that their mapping has already
        self.cuts: dict[Path, tuple[Place, str]] = {}  # where YAML ended a text at a ` #`, and the rest
        self._comments = " #" in text or "\t#" in text
        self._anchors: dict[str, _Anchor] = {}
        self._left = MAX_NODES

    def document(self) -> Any:
        """The value of the only document. Raises _Stop."""
        loader = _Loader(self.text)
        self._next: Callable[[], Any] = loader.get_event
        try:
            return self._document()
        except yaml.MarkedYAMLError as error:
            place = _place(error.problem_mark or error.context_mark)
            what = " ".join(part for part in (error.problem, error.context) if part)
            if "nesting depth" in what:  # PyYAML reads ahead of the events, and since 6.0.4 has a bound of its own
                raise _too_deep(place) from None
            raise _Stop(place, f"this is not YAML: {what}", _why(self.text, error)) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise _Stop((0, 0), f"this is not YAML: {error}") from None
        finally:
            loader.dispose()

    def _document(self) -> Any:
        self._next()  # the stream's start
        if type(self._next()) is yaml.StreamEndEvent:
            raise _Stop((1, 1), "the manifest is empty", "`batcher init` writes one to begin with")
        value = self._node(self._next(), ())
        self._next()  # the document's end
        if type(event := self._next()) is not yaml.StreamEndEvent:
            raise _Stop(_place(event.start_mark), "a second document begins here; a manifest is one document")
        return value

    def _node(self, event: Any, path: Path) -> Any:
        """The value of the node that begins with an event."""
        kind = type(event)
        if kind is yaml.AliasEvent:
            return self._alias(event, path)
        self._left -= 1
        anchor = self._checked(event, path) if event.anchor or event.tag or self._left < 0 else None
        if self.places is not None:
            self.places.values.setdefault(path, _place(event.start_mark))
        value: Any
        if kind is yaml.ScalarEvent:
            value = event.value if event.style else plain_scalar(event.value)
            if self._comments and not event.style and isinstance(value, str):
                self._note_cut(event.end_mark, path)
        elif len(path) >= MAX_DEPTH:
            raise _too_deep(_place(event.start_mark))
        elif kind is yaml.MappingStartEvent:
            value = self._mapping(path)
        else:
            value = []
            while type(event := self._next()) is not yaml.SequenceEndEvent:
                value.append(self._node(event, (*path, len(value))))
        if anchor is not None:
            anchor.value = value
        return value

    def _checked(self, event: Any, path: Path) -> _Anchor | None:
        """The anchor of a node that may be too much."""
        if self._left < 0:
            place = _place(event.start_mark)
            raise _Stop(place, f"more than {MAX_NODES:,} values; put prompts into a .csv, .jsonl or .txt file")
        if event.tag:
            hint = "a text that begins with ! needs quotes, and so does a number that is a text"
            raise _Stop(_place(event.start_mark), f"tags ({shown(event.tag)}) are not allowed", hint)
        if not event.anchor:
            return None
        anchor = self._anchors[event.anchor] = _Anchor(path, getattr(event, "value", None))
        return anchor

    def _mapping(self, path: Path) -> Any:
        """A mapping whose start was read."""
        found: dict[str, Any] = {}
        odd: list[Any] = []
        while type(key := self._next()) is not yaml.MappingEndEvent:
            name = self._key(key, path)
            inner = (*path, name or "")
            value = self._node(self._next(), inner)
            if name is None:
                odd.append(key)
            elif name == "<<" and not getattr(key, "style", ""):
                message = "merge keys (<<) are not supported; write the keys out"
                self.faults.append((_place(key.start_mark), message, ""))
            elif name in found:
                self.twice.append((inner, _place(key.start_mark)))
            else:
                found[name] = value
                if self.places is not None:
                    self.places.keys[inner] = _place(key.start_mark)
        for key in odd:
            unquoted = type(key) is yaml.MappingStartEvent and not found and len(odd) == 1
            hint = "a text that begins with {{ needs quotes" if unquoted else ""
            self.faults.append((_place(key.start_mark), "a key must be a text", hint))
            if unquoted:
                return FAULTY
        return found

    def _key(self, event: Any, path: Path) -> Any:
        """The text of a key; None for what is none."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._left -= 1
            if (event.anchor or event.tag or self._left < 0) and (anchor := self._checked(event, path)):
                anchor.value = event.value
            return intern(event.value)  # tens of thousands of prompts have the same few
        self._node(event, (*path, ""))
        return self._anchors[event.anchor].text if kind is yaml.AliasEvent else None

    def _note_cut(self, end: Any, path: Path) -> None:
        if found := _COMMENT.match(self.text, end.index):
            line, column = _place(end)
            self.cuts[path] = (line, column + found.start(1) - end.index), found[1]

    def _alias(self, event: Any, path: Path) -> Any:
        place = _place(event.start_mark)
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            raise _Stop(place, f"the alias *{event.anchor} has no anchor &{event.anchor} before it")
        if anchor.value is _OPEN:
            raise _Stop(place, f"the alias *{event.anchor} would contain itself")
        if self.places is not None:
            self.places.aliases[path] = anchor.path
        return self._copy(anchor.value, len(path), place)

    def _copy(self, value: Any, depth: int, place: Place) -> Any:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise _Stop(place, f"the aliases grow to more than {MAX_NODES:,} values or {MAX_DEPTH} levels")
        if isinstance(value, dict):
            return {name: self._copy(inner, depth + 1, place) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._copy(inner, depth + 1, place) for inner in value]
        return value
