"""Names of prompts and of result files."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.manifest.helpers import PNG, jobs_of, places, write

from batcher.file_names import safe
from batcher.manifest import Problems, load
from batcher.manifest.names import FileNames, slug
from batcher.manifest.problems import Fault
from batcher.manifest.templates import compile_template

JOB = "0123456789ab"


def name(template: str, **values: str) -> str:
    return FileNames(compile_template(template)).render({"job": JOB, **values})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cinematic product reveal of a {{ product }} with", "a-cinematic-product-reveal-of-a-product"),
        ("It's  5 o’clock!", "its-5-oclock"),
        ("日本の 桜", "日本の-桜"),
        ("x" * 50, "x" * 40),
        ("!!!", ""),
    ],
)
def test_slugs(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_made_names_differ(tmp_path: Path) -> None:
    path = write(tmp_path, "prompts: [One thing, one thing!, '???', {prompt: x, name: ' My one '}]")
    assert [job.name for job in jobs_of(path)] == ["one-thing", "one-thing-2", "prompt-3", "My one"]


def test_everything_that_a_file_name_knows(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        references: [pic.png]
        repeat: 2
        matrix: {p: [ring]}
        prompts: [{prompt: x, name: n}]
        results:
          name: "{{ campaign }}/{{ model | upper }}/{{ prompt_name }}_{{ p }}_{{ duration }}s {{ reference_name }}
            {{ take }} {{ job }}"
        """,
        {"pic.png": PNG},
    )
    first, second = jobs_of(path)
    assert first.file_name == f"c/GROK-IMAGINE-VIDEO/n_ring_6s-pic-1-{first.id[:12]}"
    assert second.file_name == f"c/GROK-IMAGINE-VIDEO/n_ring_6s-pic-2-{second.id[:12]}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("../../etc/passwd", f"etc-passwd-{JOB}"),
        ("..", f"{JOB}"),
        (".hidden", f"hidden-{JOB}"),
        ("-rf", f"rf-{JOB}"),
        ('a\\b:c*d?e"f<g>h|i', f"a-b-c-d-e-f-g-h-i-{JOB}"),
        ("a\x00b\x1b[31m\u202ec\u200dd", f"ab[31mcd-{JOB}"),
        ("a  b\tc\nd", f"a-b-c-d-{JOB}"),
        ("e\u0301", f"\u00e9-{JOB}"),
        ("\ud800x\ue000", f"x-{JOB}"),
        ("é" * 200, "é" * 53 + f"-{JOB}"),
    ],
)
def test_what_a_value_becomes(value: str, expected: str) -> None:
    assert name("{{ v }}-{{ job }}", v=value).lstrip("-") == expected.lstrip("-")


@pytest.mark.parametrize("value", ["con", "CON.txt", "Nul", "com1", "lpt9.x", "aux."])
def test_reserved_names(value: str) -> None:
    assert name("{{ v }}", v=value).startswith("_")


def test_a_part_is_never_empty_and_the_id_never_cut() -> None:
    assert name("{{ v }}/{{ v }}", v="..") == "_/_"
    assert name("{{ v }}{{ w }}{{ job }}", v="a" * 100, w="b" * 100).endswith(JOB)
    assert len(name("{{ job }}" * 20)) == 120
    assert name("x./{{ v }}", v="a/b") == "x/a-b"


@pytest.mark.parametrize(
    "template", ["/x", "../{{ job }}", "a/../b", "a//b", "a/", "a/./b", "a\\b", "/{{ v }}", "a/b/c/d/e/f/g/h/i"]
)
def test_layouts_that_lead_astray(template: str) -> None:
    with pytest.raises(Fault):
        FileNames(compile_template(template))


def test_a_long_layout_and_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, "prompts: [x]\nresults: {name: " + "x" * 1001 + "}")
    assert places(path) == ["m.yaml:4:17: results.name: has more than 1,000 characters"]
    path = write(tmp_path, "matrix: {m: [{k: 1}]}\nprompts: ['{{ m.k }}']\nresults: {name: '{{ m }}'}")
    assert places(path) == ["m.yaml:5:17: m is a mapping, not a text; name one of its parts: k"]


@settings(derandomize=True, max_examples=150, deadline=None, database=None)
@given(value=st.text(max_size=200))
def test_any_value_makes_a_safe_part(value: str) -> None:
    for template in ("{{ v }}", "{{ v }}-{{ job }}", "{{ job }}.{{ v }}"):
        part = name(template, v=value)
        assert part
        assert len(part.encode()) <= 121
        assert "/" not in part
        assert part[0] not in ".- "
        assert part[-1] not in ". "
        assert not any(unicodedata.category(c)[0] == "C" for c in part)
    assert len(name("{{ v }}-{{ job }}", v=value)) >= len(JOB)
    assert JOB in name("{{ v }}-{{ job }}", v=value)
    assert "/" not in safe(value)


def test_what_is_only_counted_needs_no_names(tmp_path: Path) -> None:
    """Nobody looks at the names of a plan; the jobs are the same, and so is what is told of names that fail."""
    rows = '{"title": "a", "tags": ["x"]}\n{"title": "b", "tags": "y"}\n'
    for template, told in (("{{ prompt_name }}-{{ job }}", 0), ("{{ tags }}-{{ job }}", 1)):
        manifest = f'prompts: [{{file: r.jsonl, prompt: "{{{{ title }}}}"}}]\nresults: {{name: "{template}"}}'
        path = write(tmp_path, manifest, {"r.jsonl": rows})
        named, counted = Problems(), Problems()
        jobs = list(load(path).expand(named))
        bare = list(load(path).expand(counted, named=False))
        assert [job._replace(name="", file_name="") for job in jobs] == [
            job._replace(name="", file_name="") for job in bare
        ]
        assert named.values == counted.values
        assert len(named.values) == told
        assert all(job.name and job.file_name for job in jobs)
