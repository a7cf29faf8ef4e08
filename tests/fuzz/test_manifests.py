"""Fuzzing: whatever a manifest, its sources and its templates hold, there are jobs that can be sent, or problems."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.manifest.helpers import HEAD, PNG

from batcher.errors import ManifestError, Problem, UsageError
from batcher.jobs import JobSpec
from batcher.manifest import STARTER, Manifest, Problems, load

RICH = """\
campaign: spring-launch
model: grok-imagine-video
params: {mode: normal, resolution: 480p}
matrix: {aspect_ratio: ["9:16", "16:9"], product: [watch, ring], include: [{product: cup}], exclude: [{product: ring}]}
prompts:
  - A reveal of a {{ product | upper | replace('a', 'b') }}
  - {name: dunes, prompt: "{{ product }} at {{ time if time else 'noon' }}", vars: {time: dawn, m: {k: [1]}}}
  - {file: rows.csv, prompt: "{{ title | default('x') }} {{ product }}", matrix: {duration: [6, 10]}}
  - {file: rows.jsonl}
  - {file: rows.txt, references: [null, "*.png", "https://x.example/{{ product }}.png"]}
limits: {submit: 30/minute, requests: 120/minute, in_flight: 20, downloads: 4}
budget: {campaign: 500, day: 200, keep: 50}
results: {download: true, name: "{{ prompt_name }}/{{ job }}"}
"""
_PIECES = st.sampled_from(
    [
        b"",
        b"\0",
        b"\x1b[2J",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xe2\x80\xae",
        b"\xef\xbb\xbf",
        b"\n",
        b"\r",
        b"\t",
        b"  ",
        b"- ",
        b": ",
        b"{{",
        b"}}",
        b"{%",
        b"{",
        b"}",
        b"[",
        b"]",
        b"'",
        b'"',
        b"\\",
        b"|",
        b">",
        b"&a ",
        b"*a",
        b"!!x ",
        b"<<: ",
        b"null",
        b"~",
        b"1e999",
        b"9" * 50,
        b"-0",
        b".nan",
        b"true",
        b"..",
        b"/",
        b"file: ",
        b"*" * 3,
        b"%",
        b",",
        b"#",
    ]
)
_FUZZ = settings(derandomize=True, deadline=None, database=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz")
    (made / "a.png").write_bytes(PNG)
    for name, text in (("rows.csv", "title\nx\n"), ("rows.jsonl", '{"prompt": "y"}\n'), ("rows.txt", "z\n")):
        (made / name).write_text(text)
    return made


def told(problems: list[Problem]) -> None:
    """Each problem can be printed, and is not endless."""
    for problem in problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 6_000
        assert problem.line >= 0
        assert problem.column >= 0


def sound(spec: JobSpec) -> None:
    """A job that can be sent, written into a ledger and saved."""
    assert spec.prompt.encode()
    json.dumps(dict(spec.params), allow_nan=False).encode()
    assert len(spec.id) == 32
    assert len(spec.name) <= 100
    assert spec.name.encode()
    for part in spec.file_name.split("/"):
        assert part not in ("", ".", "..")
        assert len(part.encode()) <= 121
        assert part.isprintable()


def read(path: Path) -> None:
    """A manifest or its problems; then jobs or problems; nothing else."""
    try:
        manifest = load(path)
    except (ManifestError, UsageError) as error:
        assert isinstance(error, ManifestError)  # noqa: PT017 - either outcome is fine
        assert error.problems  # noqa: PT017
        told(error.problems)
        return
    assert isinstance(manifest, Manifest)
    problems = Problems()
    for spec in islice(manifest.expand(problems), 100):
        sound(spec)
    told(problems.values)


_CUTS = st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 40), _PIECES), min_size=1, max_size=4)


@settings(_FUZZ, max_examples=300)
@given(base=st.sampled_from([RICH.encode(), STARTER.encode()]), cuts=_CUTS)
def test_a_good_manifest_with_faults(folder: Path, base: bytes, cuts: list[tuple[int, int, bytes]]) -> None:
    for start, length, piece in cuts:
        base = base[:start] + piece + base[start + length :]
    (folder / "cut.yaml").write_bytes(base)
    read(folder / "cut.yaml")


_ROWS = {
    ".csv": [b"prompt", b"name", b"duration", b"reference", b"title", b'"', b'""', b"a.png", b"*.png", b"\r\n", b"x"],
    ".jsonl": [
        b'{"prompt": ',
        b'"name": ',
        b'"duration": ',
        b'"reference": ',
        b'"x"',
        b'"\\ud800"',
        b"[[[",
        b"NaN",
        b"1e400",
    ],
    ".txt": [b"{{ prompt }}", b"{{ row }}", b"a text", b"\x85", b"\xe2\x80\xa8"],
}


@settings(_FUZZ, max_examples=100)
@pytest.mark.parametrize("suffix", _ROWS)
@given(data=st.data(), template=st.sampled_from(["", ", prompt: '{{ title | default(1) }} {{ prompt | default(2) }}'"]))
def test_any_source(folder: Path, suffix: str, data: st.DataObject, template: str) -> None:
    words = st.sampled_from([*_ROWS[suffix], b"\n", b"\n", b","]) | _PIECES | st.binary(max_size=4)
    first = b"prompt,title,duration\n" if suffix == ".csv" else b""
    content = data.draw(st.sampled_from([b"", first])) + b"".join(data.draw(st.lists(words, max_size=30)))
    (folder / f"any{suffix}").write_bytes(content)
    (folder / "source.yaml").write_text(f"{HEAD}prompts: [{{file: any{suffix}{template}}}]\n")
    read(folder / "source.yaml")


_SAID = st.lists(
    st.sampled_from(
        [
            "v",
            "w.k",
            "m",
            "'x'",
            "1",
            "true",
            "none",
            " if ",
            " else ",
            " and ",
            " not ",
            " in ",
            " == ",
            " < ",
            "[1, 'x']",
            "(",
            ")",
            "|upper",
            "|lower",
            "|title",
            "|slug",
            "|int",
            "|round",
            "|join('')",
            "|default('d')",
            "|urlencode",
            "|replace('x', 'yy')",
            "|trim",
            "|capitalize",
            "|nonsense",
            ".k",
            "._x",
            "()",
            "+",
            "~",
            "**",
            ",",
            "}}{{",
        ]
    ),
    max_size=12,
)
_GIVEN = st.recursive(
    st.text(max_size=20) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["k", "l"]), inner, max_size=2),
    max_leaves=4,
)


@settings(_FUZZ, max_examples=300)
@given(words=_SAID, value=_GIVEN)
def test_any_template_over_any_value(folder: Path, words: list[str], value: object) -> None:
    row = {"prompt": "{{ " + "".join(words) + " }}", "v": value, "w": {"k": value}, "name": str(value)[:100] or "n"}
    (folder / "tpl.jsonl").write_text(json.dumps(row))
    manifest = f"{HEAD}prompts: [{{file: tpl.jsonl}}]\nresults: {{name: \"{{{{ v | default('x') }}}}\"}}\n"
    (folder / "template.yaml").write_text(manifest)
    read(folder / "template.yaml")
