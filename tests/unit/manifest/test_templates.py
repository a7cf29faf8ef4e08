"""Templates: what they can say, and that they can neither compute nor call nor grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.manifest.helpers import jobs_of, places, write

from batcher.manifest.filters import FILTERS
from batcher.manifest.problems import Fault
from batcher.manifest.templates import Undefined, compile_template
from batcher.manifest.values import comparable, kind_of, shown, text_of

VALUES: dict[str, Any] = {
    "a": "hi there", "n": 7, "f": 2.675, "t": "7.50", "yes": True, "no": False, "empty": "",
    "m": {"k": "v", "deep": {"er": 1}}, "l": ["x", 2, True], "word": "it's a DOG-house",
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain }} text", "plain }} text"),
        ("", ""),
        ("{{ a }}, {{a}}!", "hi there, hi there!"),
        ("{{ n }} {{ f }} {{ yes }} {{ no }} {{ t }}", "7 2.675 true false 7.50"),
        ("{{ m.k }}{{ m.deep.er }}", "v1"),
        ("{{ a | upper }} {{ a|capitalize }} {{ a | upper | lower }}", "HI THERE Hi there hi there"),
        ("{{ word | title }}", "It's A Dog-House"),
        ("{{ '  x ' | trim }}", "x"),
        ("{{ a | replace('hi', 'ho') | replace('', '.') }}", ".h.o. .t.h.e.r.e."),
        ("{{ f | round }} {{ f | round(1) }} {{ t | round(1) }} {{ n | round(2) }} {{ t | int }}", "3 2.7 7.5 7 7"),
        ("{{ l | join('-') }} {{ l | join }}", "x-2-true x2true"),
        ("{{ 'Été à Ünal' | slug }}", "été-à-ünal"),
        ("{{ 'a b/ü' | urlencode }}", "a%20b%2F%C3%BC"),
        ("{{ nope | default('d') }}{{ nope | default }}{{ empty | default('d') }}", "d"),
        ("{{ m.nope | default('d') }}{{ nope.x.y | default('e') }}", "de"),
        ("{{ 'x' if yes }}{{ 'y' if no }}{{ 'z' if no else 'w' }}", "xw"),
        ("{{ 'x' if n == 7 and not no or no }}", "x"),
        (
            "{{ 'x' if n == '7' }}{{ 'x' if '7' == n }}{{ 'x' if t < n }}{{ 'y' if t >= 7.5 }}{{ 'z' if n != 8 }}",
            "xxyz",
        ),
        ("{{ 'x' if 1 < n <= 7 }}{{ 'y' if n in [1, '7'] }}{{ 'z' if n not in (1, 2) }}", "xyz"),
        ("{{ 'x' if 'hi' in a }}{{ 'y' if 'x' in l }}{{ 'z' if 'q' not in a }}", "xyz"),
        ("{{ 'x' if n in [-7, 7.0] }}{{ 'y' if a == 7 }}{{ 'z' if a == yes }}", "x"),
        ("{# nothing #}{{ '{{' }}{% raw %}{{ a }}{% endraw %}", "{{{{ a }}"),
        ("{{ 'a\\d' }}", "a\\d"),
        ("line\r\nline\n", "line\nline\n"),
    ],
)
def test_what_templates_say(source: str, text: str) -> None:
    assert compile_template(source).render(VALUES).replace("\r\n", "\n") == text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ a() }}", "calls"),
        ("{{ a.upper() }}", "calls"),
        ("{{ lipsum() }}", "calls"),
        ("{{ _('x') }}", "calls"),
        ("{{ a['x'] }}", "subscripts"),
        ("{{ l[0] }}", "subscripts"),
        ("{{ 1 + 1 }}", "arithmetic"),
        ("{{ 9 ** 9 ** 9 }}", "arithmetic"),
        ("{{ 'x' * 1000000000 }}", "arithmetic"),
        ("{{ 'x' % 1 }}", "arithmetic"),
        ("{{ -n }}", "arithmetic"),
        ("{{ a ~ a }}", "joining texts"),
        ("{{ n is even }}", "tests"),
        ("{{ a if a is defined }}", "tests"),
        ("{{ {} }}", "mappings"),
        ("{{ [a] }}", "lists"),
        ("{{ (a, n) }}", "lists"),
        ("{{ none }}", "none"),
        ("{{ a.__class__ }}", "the attribute '__class__'"),
        ("{{ m._k }}", "the attribute '_k'"),
        ("{% for x in l %}{% endfor %}", "blocks"),
        ("{% set x = 1 %}", "blocks"),
        ("{% if a %}{% endif %}", "blocks"),
        ("{% filter upper %}{% endfilter %}", "blocks"),
        ("{% include 'x' %}", "blocks"),
        ("{% import 'x' as y %}", "blocks"),
        ("{% extends 'x' %}", "blocks"),
        ("{% macro x() %}{% endmacro %}", "blocks"),
        ("{% block x %}{% endblock %}", "blocks"),
        ("{% nonsense %}", "not a template: Encountered unknown tag 'nonsense'"),
        ("{{ a | attr('x') }}", "unknown filter 'attr'"),
        ("{{ a | format }}", "unknown filter 'format'"),
        ("{{ a | replace('x') }}", "the filter 'replace' does not take these arguments"),
        ("{{ a | replace(a, a) }}", "plain constants"),
        ("{{ a | replace(old='x', new='y') }}", "the filter 'replace' takes plain constants only"),
        ("{{ a | upper(*l) }}", "takes plain constants only"),
        ("{{ f | round('x') }}", "the filter 'round' does not take"),
        ("{{ f | round(true) }}", "the filter 'round' does not take"),
        ("{{ 'x' if a in [n] }}", "plain constants"),
        ("{{ 1e999 }}", "the number is too large"),
        ("{{ " + "9" * 5000 + " }}", "nested too deeply, or a number too long"),
        ("{{ " + "(" * 4000 + "a" + ")" * 4000 + " }}", "nested too deeply"),
        ("{{ a" + "|upper" * 60 + " }}", "nested at most 50 deep"),
        ("{{ a }}" * 1001, "at most 1000 parts"),
        ("x" * 100_001, "100,001 characters"),
        ("{{", "not a template: "),
        ("\n\n{{ a b }}", "not a template: expected token"),
    ],
)
def test_what_templates_may_not(source: str, message: str) -> None:
    with pytest.raises(Fault) as error:
        compile_template(source)
    assert message in error.value.message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ x }}", "undefined variable 'x'"),
        ("{{ range }}", "undefined variable 'range'"),
        ("{{ m.x }}", "undefined attribute 'x'"),
        ("{{ a.x }}", "there is no 'x' in it: the value is a text"),
        ("{{ m }}", "m is a mapping, not a text; name one of its parts: deep, k"),
        ("{{ l }}", "l is a list, not a text; use `join`"),
        ("{{ m | upper }}", "this filter takes a text, not a mapping"),
        ("{{ a | int }}", "'hi there' is no number"),
        ("{{ yes | round }}", "true is no number"),
        ("{{ a | join }}", "`join` takes a list, not a text"),
        ("{{ f | round(11) }}", "`round` takes 0 to 10 digits"),
        ("{{ 1 if a < n }}", "a text cannot be compared with a number"),
        ("{{ 1 if n in 7 }}", "`in` looks into a text or a list only"),
        ("{{ 1 if x == 1 }}", "undefined variable 'x'"),
        ("{{ a if m in a }}", "in` looks for a text or a number, not a mapping"),
    ],
)
def test_what_fails_only_with_the_values(source: str, message: str) -> None:
    with pytest.raises(Fault) as error:
        compile_template(source).render(VALUES)
    assert message in error.value.message


@pytest.mark.parametrize(
    "source",
    [
        "{{ x" + "|replace('x', 'xxxxxxxxxxxxxxxx')" * 20 + " }}",
        "{{ x | replace('', '" + "y" * 90_000 + "') }}",
        "{{ l | join('" + "y" * 60_000 + "') }}",
        "{{ big }}{{ big }}",
        "{{ big | upper }}",
        "{{ big | urlencode }}",
    ],
)
def test_templates_cannot_grow(source: str) -> None:
    with pytest.raises(Fault) as error:
        compile_template(source).render({"x": "x", "l": ["a", "b", "c"], "big": "ŉ" * 60_000})
    assert "grows" in error.value.message or "too long" in error.value.message


def test_half_a_character_cannot_stand_in_a_url() -> None:
    with pytest.raises(Fault, match="half a character"):
        compile_template("{{ x | urlencode }}").render({"x": "\ud800"})


def test_names_of_a_template() -> None:
    template = compile_template("{{ a | default('x') }} {{ b if c else d.e }}")
    assert template.names == {"a", "b", "c", "d"}
    assert template.required == {"b", "c", "d"}
    assert not template.constant
    assert compile_template("x {# c #}").constant
    with pytest.raises(Undefined, match="'b'"):
        template.check_names({"c", "d"})


def test_a_fault_in_a_long_text_says_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, "prompts:\n  - |\n    one\n    two {{ a b }}\n")
    assert places(path) == [
        "m.yaml:4:5: not a template: expected token 'end of print statement', got 'b' (in line 2 of the text)"
    ]


def test_params_are_variables_too(tmp_path: Path) -> None:
    path = write(tmp_path, "params: {duration: '07'}\nprompts: ['{{ duration }} s, {{ mode }}']")
    assert jobs_of(path)[0].prompt == "7 s, normal"


def test_every_filter_says_how_it_is_written() -> None:
    for name, found in FILTERS.items():
        assert name in found.usage
        compile_template(found.usage)


_EXPRESSIONS = st.text(alphabet="ab.|()[]{}%'\" 0123456789+-*~<>=!,\\ifelsenotinuprdjo#\n", max_size=40)


@settings(derandomize=True, max_examples=250, deadline=None, database=None)
@given(inner=_EXPRESSIONS)
def test_any_text_is_a_template_or_a_fault(inner: str) -> None:
    try:
        compile_template("{{ " + inner + " }}").render({"a": "x", "b": 1})
    except Fault as fault:
        assert fault.message  # noqa: PT017 - either outcome is fine


def test_words_for_values() -> None:
    kinds: list[Any] = [None, True, False, "x", 1, 1.5, [], {}]
    assert [kind_of(v) for v in kinds] == [
        "empty (null)", "true", "false", "a text", "a number", "a number", "a list", "a mapping",
    ]  # fmt: skip
    assert shown("x" * 100) == "'" + "x" * 59 + "…'"
    assert shown(None) == "null"
    assert shown([1, "é"]) == '[1, "\\\\u00e9"]'
    assert comparable({"b": 1, "a": [True]}) == '{"a": [true], "b": 1}'
    with pytest.raises(TypeError):
        text_of([])
