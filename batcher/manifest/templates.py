"""Templates: Jinja2's syntax, cut down to what can neither compute, call, loop nor grow.

Jinja2 only parses. The tree is checked node by node against a list of what is allowed and turned into small
functions of this module; nothing of Jinja2 runs afterwards. Every intermediate text is bounded.
"""

from __future__ import annotations

import math
import operator
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import Environment, TemplateSyntaxError, nodes

from batcher.spelling import nfc
from batcher.text import did_you_mean

from .filters import FILTERS, Filter
from .problems import Fault, joined, listed
from .values import Value, kind_of, shown, text_of, to_number

MAX_SOURCE = 100_000
MAX_OUTPUT = 100_000
MAX_NODES = 1_000
MAX_DEPTH = 50

#: Where a text is more than itself.
MARK = re.compile(r"\{[{%#]")

Variables = Mapping[str, Value]
_Eval = Callable[[Variables], Value]

_ENVIRONMENT = Environment(keep_trailing_newline=True, autoescape=False)  # noqa: S701 - nothing of it is ever rendered
_NO_NAMES: frozenset[str] = frozenset()
_ALLOWED = "allowed are names, attributes, filters and `… if … else …`"
_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Call: "calls",
    nodes.Getitem: "subscripts",
    nodes.Concat: "joining texts with ~",
    nodes.BinExpr: "arithmetic",
    nodes.UnaryExpr: "arithmetic",
    nodes.Test: "tests (is …)",
    nodes.Dict: "mappings",
    nodes.Stmt: "blocks ({% … %})",
}


class Unset(Fault):
    """Something that is not there, so that `default` may stand in."""


class Undefined(Unset):
    """A variable that is not there; `name` as the template has it."""

    def __init__(self, name: str, known: Collection[str], what: str = "variable") -> None:
        names = sorted(known)
        hint = joined(did_you_mean(name, names), f"known: {listed(names)}" if names else "there are no variables here")
        super().__init__(f"undefined {what} {shown(name)}", hint)
        #: the variable; empty where it is a part of one that is there
        self.variable = name if what == "variable" else ""


@dataclass(frozen=True, slots=True)
class Piece:
    """One `{{ … }}`: how to work it out, and the names it mentions; `only` when it is nothing but that name."""

    evaluate: _Eval
    names: frozenset[str]
    only: str | None = None

    def text(self, variables: Variables) -> str:
        """The text that stands for it. Raises Fault."""
        try:
            value = self.evaluate(variables)
        except KeyError as error:
            raise Undefined(error.args[0], variables) from None
        if type(value) is str:
            return value
        try:
            return text_of(value)
        except TypeError:
            parts = f"; name one of its parts: {listed(sorted(value))}" if isinstance(value, dict) else "; use `join`"
            raise Fault(f"{' '.join(sorted(self.names))} is {kind_of(value)}, not a text{parts}") from None


class Template(NamedTuple):
    """A text over variables. `names` are all it mentions, `required` those it cannot do without.

    `comments` are in the source and in no text.
    """

    source: str
    pieces: tuple[str | Piece, ...]
    names: frozenset[str]
    required: frozenset[str]
    comments: tuple[str, ...] = ()

    @property
    def constant(self) -> bool:
        """Whether it has no variables."""
        return not self.names and all(isinstance(piece, str) for piece in self.pieces)

    def render(self, variables: Variables) -> str:
        """The text for these variables. Raises Fault."""
        out: list[str] = []
        left = MAX_OUTPUT
        for piece in self.pieces:
            text = piece if isinstance(piece, str) else piece.text(variables)
            # counted before they are joined: a variable may hold millions of characters, a thousand pieces its name
            left -= len(text)
            if left < 0:
                raise Fault(f"the text grows to more than {MAX_OUTPUT:,} characters")
            out.append(text)
        return "".join(out)

    def check_names(self, known: Collection[str]) -> None:
        """Raises Undefined for the first required name that is not known."""
        for name in sorted(self.required):
            if name not in known:
                raise Undefined(name, known)


def compile_template(source: str) -> Template:
    """The template of a text. Raises Fault with what is not allowed and what is."""
    if len(source) > MAX_SOURCE:
        raise Fault(f"has {len(source):,} characters; a template has at most {MAX_SOURCE:,}")
    if not MARK.search(source):
        return Template(source, (source,) if source else (), _NO_NAMES, _NO_NAMES)
    return _compile(source)


@lru_cache(maxsize=64)
def _compile(source: str) -> Template:
    try:
        with warnings.catch_warnings():
            # Python warns of unknown escapes like "\d" in a constant; they stand for themselves
            warnings.simplefilter("ignore")
            tree = _ENVIRONMENT.parse(source)
    except TemplateSyntaxError as error:
        mark = "{#" if "comment" in str(error.message) else "{%" if "{{" not in source else "{{"
        written = f"a `{mark}` that is text is written {{{{ '{mark}' }}}}"
        hint = written if error.lineno == 1 else f"in line {error.lineno} of the text"
        raise Fault(f"not a template: {error.message}", hint) from None
    except (RecursionError, ValueError, OverflowError):
        raise Fault("not a template: nested too deeply, or a number too long") from None
    return _Compiler().template(source, tree)


class _Compiler:
    def __init__(self) -> None:
        self.left = MAX_NODES
        self.names: set[str] = set()
        self.required: set[str] = set()
        self.optional = 0

    def template(self, source: str, tree: nodes.Template) -> Template:
        pieces: list[str | Piece] = []
        every: set[str] = set()
        for statement in tree.body:
            if not isinstance(statement, nodes.Output):
                raise _refusal(statement)
            for node in statement.nodes:
                if isinstance(node, nodes.TemplateData):
                    pieces.append(node.data)
                    continue
                self.names = set()
                evaluate = self.expression(node, MAX_DEPTH)
                only = nfc(node.name) if isinstance(node, nodes.Name) else None
                pieces.append(Piece(evaluate, frozenset(self.names), only))
                every |= self.names
        names, required = frozenset(every), frozenset(self.required)
        return Template(source, tuple(pieces), names, required, _comments(source))

    def expression(self, node: nodes.Node, depth: int) -> _Eval:
        self.left -= 1
        if self.left < 0 or depth < 0:
            raise Fault(f"too long for a template: at most {MAX_NODES} parts, nested at most {MAX_DEPTH} deep")
        depth -= 1
        match node:
            case nodes.Name():
                name = nfc(node.name)
                self.names.add(name)
                if not self.optional:
                    self.required.add(name)
                return operator.itemgetter(name)
            case nodes.Const(value=str() | bool() | int() | float()):
                value = _constant(node)
                return lambda _: value
            case nodes.Getattr(node=inner, attr=attr):
                return _attribute(self.expression(inner, depth), attr)
            case nodes.Filter():
                return self.filtered(node, depth)
            case nodes.CondExpr(test=test, expr1=yes, expr2=no):
                condition, then = self.expression(test, depth), self.expression(yes, depth)
                otherwise: _Eval = (lambda _: "") if no is None else self.expression(no, depth)
                return lambda v: then(v) if condition(v) else otherwise(v)
            case nodes.Not(node=inner):
                negated = self.expression(inner, depth)
                return lambda v: not negated(v)
            case nodes.And(left=left, right=right):
                a, b = self.expression(left, depth), self.expression(right, depth)
                return lambda v: a(v) and b(v)
            case nodes.Or(left=left, right=right):
                a, b = self.expression(left, depth), self.expression(right, depth)
                return lambda v: a(v) or b(v)
            case nodes.Compare():
                return self.comparison(node, depth)
        raise _refusal(node)

    def filtered(self, node: nodes.Filter, depth: int) -> _Eval:
        found = FILTERS.get(node.name)
        if found is None:
            hint = joined(did_you_mean(node.name, FILTERS), f"allowed: {listed(sorted(FILTERS))}")
            raise Fault(f"unknown filter {shown(node.name)}", hint)
        if node.node is None:
            raise _refusal(node)
        if node.kwargs or node.dyn_args or node.dyn_kwargs:
            raise Fault(f"the filter {node.name!r} takes plain constants only", _usage(found))
        arguments = [_constant(argument) for argument in node.args]
        if not found.fits(arguments):
            raise Fault(f"the filter {node.name!r} does not take these arguments", _usage(found))
        if node.name == "default":
            self.optional += 1
            inner = self.expression(node.node, depth)
            self.optional -= 1
            return _default(inner, arguments[0] if arguments else "")
        inner = self.expression(node.node, depth)
        apply = found.apply
        return lambda v: apply(inner(v), *arguments)

    def comparison(self, node: nodes.Compare, depth: int) -> _Eval:
        first = self.expression(node.expr, depth)
        steps: list[tuple[Callable[[Value, Value], bool], _Eval]] = []
        for operand in node.ops:
            if operand.op in ("in", "notin") and isinstance(operand.expr, (nodes.List, nodes.Tuple)):
                choices = [_constant(item) for item in operand.expr.items]
                steps.append((_COMPARE[operand.op], lambda _, choices=choices: choices))  # type: ignore[misc]
            else:
                steps.append((_COMPARE[operand.op], self.expression(operand.expr, depth)))

        def compare(variables: Variables) -> bool:
            left = first(variables)
            for operation, right_of in steps:
                right = right_of(variables)
                if not operation(left, right):
                    return False
                left = right
            return True

        return compare


def _comments(source: str) -> tuple[str, ...]:
    if "{#" not in source:
        return ()
    return tuple(text.strip() for _, kind, text in _ENVIRONMENT.lex(source) if kind == "comment")


def comment_note(comment: str) -> Fault:
    """What is told of a comment in a text: Jinja leaves it out, and it may have been meant as text."""
    return Fault(
        f"the comment {shown('{# ' + comment + ' #}')} is not sent", "a `{#` that is text is written {{ '{#' }}"
    )


def without_comments(source: str) -> str:
    """A template's source as it is but for its comments."""
    if "{#" not in source:
        return source
    try:
        return "".join(text for _, kind, text in _ENVIRONMENT.lex(source) if not kind.startswith("comment"))
    except TemplateSyntaxError:
        return source


def _refusal(node: nodes.Node) -> Fault:
    if isinstance(node, nodes.Const):
        return Fault("not allowed in a template: none", _ALLOWED)
    if isinstance(node, (nodes.Tuple, nodes.List)):
        return Fault("not allowed in a template: lists, but after `in`", _ALLOWED)
    for kind, what in _REFUSED.items():
        if isinstance(node, kind):
            return Fault(f"not allowed in a template: {what}", _ALLOWED)
    return Fault("not allowed in a template: this", _ALLOWED)


def _constant(node: nodes.Node) -> Value:
    match node:
        case nodes.Const(value=float() as value) if not math.isfinite(value):
            raise Fault("the number is too large")
        case nodes.Const(value=str() | bool() | int() | float() as value):
            return value
        case nodes.Neg(node=nodes.Const(value=int() | float() as value)):
            return -value
    raise Fault("arguments and lists in a template are plain constants", _ALLOWED)


def _usage(found: Filter) -> str:
    return f"write it like {found.usage}"


def _attribute(inner: _Eval, attr: str) -> _Eval:
    if attr.startswith("_"):
        raise Fault(f"not allowed in a template: the attribute {attr!r}", _ALLOWED)

    def attribute(variables: Variables) -> Value:
        value = inner(variables)
        if not isinstance(value, dict):
            raise Unset(f"there is no {attr!r} in it: the value is {kind_of(value)}", "only a mapping has parts")
        if attr not in value:
            raise Undefined(attr, value, "attribute")
        return value[attr]

    return attribute


def _default(inner: _Eval, fallback: Value) -> _Eval:
    def default(variables: Variables) -> Value:
        try:
            value = inner(variables)
        except (KeyError, Unset):
            return fallback
        return fallback if value is None else value

    return default


def _alike(left: Value, right: Value) -> tuple[Value, Value]:
    """A text beside a number counts as a number where it is one: CSV knows texts only."""
    if isinstance(left, str) and isinstance(right, (int, float)) and not isinstance(right, bool):
        number = to_number(left.strip())
        return (left if number is None else number), right
    if isinstance(right, str) and isinstance(left, (int, float)) and not isinstance(left, bool):
        number = to_number(right.strip())
        return left, (right if number is None else number)
    return left, right


def _equal(left: Value, right: Value) -> bool:
    left, right = _alike(left, right)
    if isinstance(left, str) and isinstance(right, str):
        return nfc(left) == nfc(right)
    return bool(left == right)


def _contains(left: Value, right: Value) -> bool:
    if isinstance(right, list):
        return any(_equal(left, item) for item in right)
    if isinstance(right, str):
        if isinstance(left, (list, dict)):
            raise Fault(f"`in` looks for a text or a number, not {kind_of(left)}")
        return nfc(text_of(left)) in nfc(right)
    raise Fault("`in` looks into a text or a list only")


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Value, Value], bool]:
    def ordered(left: Value, right: Value) -> bool:
        left, right = _alike(left, right)
        try:
            return compare(left, right)
        except TypeError:
            raise Fault(f"{kind_of(left)} cannot be compared with {kind_of(right)}") from None

    return ordered


_COMPARE: dict[str, Callable[[Value, Value], bool]] = {
    "eq": _equal,
    "ne": lambda a, b: not _equal(a, b),
    "lt": _ordered(operator.lt),
    "lteq": _ordered(operator.le),
    "gt": _ordered(operator.gt),
    "gteq": _ordered(operator.ge),
    "in": _contains,
    "notin": lambda a, b: not _contains(a, b),
}
