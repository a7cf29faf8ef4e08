"""Faults in rows, and how faults are counted and told: all in one go, with file, line and row."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.manifest.helpers import PNG, jobs_of, places, write

from batcher.errors import ManifestError
from batcher.manifest import load

# (source, manifest's entry, what is said)
IN_A_ROW: dict[str, tuple[str, bytes | str, str]] = {
    "param's value": ("a.csv", "prompt,mode\nx,fum\n", "a.csv:2 (row 1): mode is 'fum'; must be one of fun, normal"),
    "ragged": ("a.csv", "prompt,mode\nx,fun\ny,fun,z\n", "a.csv:3 (row 2): has 3 cells, the header 2 columns (a text"),
    "ragged the other way": ("a.csv", "prompt,mode\nx\n", "a.csv:2 (row 1): has 1 cells, the header 2 columns"),
    "line of a long record": ("a.csv", 'prompt,mode\n"x\ny",fun\nz,fum\n', "a.csv:4 (row 2): mode is 'fum'"),
    "open quote": ("a.csv", 'prompt,mode\n"x,fun\n', "a.csv:2 (row 1): this is not CSV: unexpected end of data (is a"),
    "no column prompt": ("a.csv", "mode\nfun\nfun\n", "a.csv:1: there is no column `prompt` (add the column"),
    "column twice": ("a.csv", "prompt,a,a\nx,1,2\n", "a.csv:1: the column 'a' is here twice"),
    "column without a name": ("a.csv", ",prompt\n1,x\n", "a.csv:1: column 1 has no name"),
    "too many columns": ("a.csv", ",".join(f"c{i}" for i in range(501)), "a.csv:1: has 501 columns; at most 500"),
    "value without a column": ("a.csv", "prompt,\nx,1\n", "a.csv:2 (row 1): a cell has a value and its column no"),
    "column nearly a param": (
        "a.csv",
        "prompt,Duration\nx,9\n",
        "a.csv:1: the column 'Duration' means nothing (did you",
    ),
    "column nearly a reference": (
        "a.csv",
        "prompt,references\nx,9\n",
        "a.csv:1: the column 'references' means nothing",
    ),
    "empty prompt": ("a.csv", "prompt,mode\n,fun\n", "a.csv:2 (row 1): the prompt is empty"),
    "template": ("a.csv", "prompt\n{{ a( }}\n", "a.csv:2 (row 1): prompt: not a template: unexpected '}'"),
    "undefined": ("a.csv", "prompt,a\n{{ b }},1\n", "a.csv:2 (row 1): undefined variable 'b' (known: a, aspect_ratio"),
    "name": ("a.csv", 'prompt,name\nx,"a\nb"\n', "a.csv:2 (row 1): name: must be one line without"),
    "reference that is missing": ("a.csv", "prompt,reference\nx,no.png\n", "a.csv:2 (row 1): 'no.png' cannot be read"),
    "reference's template": (
        "a.csv",
        "prompt,reference\nx,{{ 1 + 1 }}\n",
        "a.csv:2 (row 1): reference: not allowed in",
    ),
    "no rows": ("a.csv", "prompt\n", "a.csv: has no rows"),
    "nothing at all": ("a.txt", "\n \n", "a.txt: has no rows"),
    "not UTF-8": ("a.csv", b"prompt\nok\ncaf\xe9\n", "a.csv:3:4 (row 2): the byte 0xE9 is not UTF-8 (save it as UTF-8"),
    "UTF-16": ("a.csv", "prompt\nok\n".encode("utf-16"), "a.csv:1: is UTF-16 (save it as UTF-8"),
    "long line": ("a.txt", b"x" * 1_000_001, "a.txt:1 (row 1): the line is longer than 1,000,000 bytes"),
    "long cell": ("a.csv", 'prompt\n"' + "x\n" * 70_000 + '"', "a.csv:2 (row 1): this is not CSV: field larger than"),
    "control character": ("a.csv", b"prompt\na\x07b\n", "a.csv:2 (row 1): the prompt holds the character U+0007"),
    "not JSON": (
        "a.jsonl",
        '{"prompt": "x"}\n{"prompt": }\n',
        "a.jsonl:2:12 (row 2): this is not JSON: Expecting value",
    ),
    "no object": ("a.jsonl", "\n[1]\n", "a.jsonl:2 (row 1): must be a JSON object {…}, not a list"),
    "key twice": ("a.jsonl", '{"prompt": "x", "a": 1, "a": 2}', "a.jsonl:1 (row 1): the key 'a' is here twice"),
    "too many keys": (
        "a.jsonl",
        "{" + ",".join(f'"k{i}": 1' for i in range(501)) + "}",
        "a.jsonl:1 (row 1): has 501 keys",
    ),
    "NaN": (
        "a.jsonl",
        '{"prompt": "x", "duration": NaN}',
        "a.jsonl:1 (row 1): this is not JSON: NaN is no JSON number",
    ),
    "endless number": ("a.jsonl", '{"duration": 1%s}' % ("0" * 5000), "a.jsonl:1 (row 1): the number is too long"),
    "infinite number": ("a.jsonl", '{"duration": 1e9999}', "a.jsonl:1 (row 1): the number is too large"),
    "deep JSON": ("a.jsonl", "[" * 200_000, "a.jsonl:1 (row 1): this is not JSON: nested too deeply"),
    "no prompt": ("a.jsonl", '{"mode": "fun"}', "a.jsonl:1 (row 1): has no `prompt` (give each object"),
    "param that is a list": (
        "a.jsonl",
        '{"prompt": "x", "mode": []}',
        "a.jsonl:1 (row 1): mode is []; must be fun | normal |",
    ),
    "name that is a list": (
        "a.jsonl",
        '{"prompt": "x", "name": []}',
        "a.jsonl:1 (row 1): name must be a text, not a list",
    ),
    "lone surrogate": ("a.jsonl", '{"prompt": "\\ud800"}', "a.jsonl:1 (row 1): the prompt holds the character U+D800"),
    "key nearly a param": (
        "a.jsonl",
        '{"prompt": "x", "aspect-ratio": "1:1"}',
        "a.jsonl:1 (row 1): the column 'aspect-rat",
    ),
}


@pytest.mark.parametrize("case", IN_A_ROW)
def test_fault_in_a_row(case: str, tmp_path: Path) -> None:
    name, content, message = IN_A_ROW[case]
    found = places(write(tmp_path, f"prompts: [{{file: {name}}}]", {name: content}))
    assert len(found) == 1, found
    assert found[0].startswith(message)


def test_every_fault_comes_in_one_go(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        campaign: Loud
        model: grok-imagine-video
        params: {mode: fum, colour: red}
        matrix: {aspect_ratio: ["9:16", "16:10"], product: 5}
        prompts:
          - "{{ a( }}"
          - {prompt: "{{ nobody }}", repeat: none, matrix: {duration: [6, 90]}}
          - {file: a.csv}
          - {file: b.jsonl, prompt: "{{ title }}", parms: {}}
          - {prompt: fine, references: [no.png, "*.png", "http://x.org/a", bad.png]}
        limits: {submit: often}
        bugdet: {day: 5}
        """,
        {
            "a.csv": "prompt,duration\nx,5\n{{ y(,6\nz,7\nw,eight\n",
            "b.jsonl": '{"title": "a"}\n{"title": \n{"title": "c", "mode": "no"}\n',
            "bad.png": b"GIF89a....",
        },
        head=False,
    )
    with pytest.raises(ManifestError) as error:
        load(path)
    told = [str(p).replace(f"{tmp_path}/", "") for p in error.value.problems]
    starts = [text.split(": ")[0] for text in told]
    assert starts == [
        "m.yaml:1:11",
        "m.yaml:3:16",
        "m.yaml:3:21",
        "m.yaml:4:33",
        "m.yaml:4:52",
        "m.yaml:6:5",
        "m.yaml:7:14",
        "m.yaml:7:38",
        "m.yaml:7:67",
        "m.yaml:9:44",
        "m.yaml:10:33",
        "m.yaml:10:41",
        "m.yaml:10:50",
        "m.yaml:10:68",
        "m.yaml:11:18",
        "m.yaml:12:1",
        "a.csv:2 (row 1)",
        "a.csv:3 (row 2)",
        "a.csv:5 (row 4)",
        "b.jsonl:2:10 (row 2)",
        "b.jsonl:3 (row 3)",
    ], "\n".join(told)
    assert error.value.hint == "21 errors; nothing was sent."


def test_the_first_problems_are_kept_and_the_rest_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "prompts: [{file: a.csv}]", {"a.csv": "prompt,mode\n" + "x,no\n" * 500})
    with pytest.raises(ManifestError) as error:
        jobs_of(path)
    assert (len(error.value.problems), error.value.more) == (200, 300)


def test_a_fault_of_the_manifests_text_is_told_once_and_not_for_every_row(tmp_path: Path) -> None:
    rows: dict[str, bytes | str] = {"a.csv": "title\n" + "x\n" * 50, "refs/a.png": PNG}
    path = write(tmp_path, "prompts: [{file: a.csv, prompt: '{{ titel }}'}]", rows)
    assert places(path) == [
        "m.yaml:3:33: undefined variable 'titel' (in a.csv) (did you mean 'title'?; "
        "known: aspect_ratio, duration, mode, resolution, title)"
    ]


@pytest.mark.parametrize(
    ("manifest", "count"),
    [
        ("prompts: ['{{ a }}']", 1),
        ("prompts: [x]\nmatrix: {a: [1]}", 1),
        ("prompts: [x]\nmatrix: {a: [1]}\nbudget: {day: -1}\nparams: {mode: 3}", 3),
        ("prompts: ['{{ a', x]\nmatrix: {a: [1]}", 1),
        ("prompts: [x]\nresults: {nam: '{{ a }}'}\nmatrix: {a: [1]}", 1),
        ("prompts: [{prompt: x, referenced: ['{{ a }}']}]\nmatrix: {a: [1]}", 1),
        ("prompts: [{file: a.csv}]\nmatrix: {a: [1]}", 0),
    ],
)
def test_load_tells_what_the_document_alone_shows(manifest: str, count: int, tmp_path: Path) -> None:
    path = write(tmp_path, manifest)
    if not count:
        load(path)
        return
    with pytest.raises(ManifestError) as error:
        load(path)
    assert len(error.value.problems) == count, error.value


def test_a_prompt_with_faults_in_every_combination_ends(tmp_path: Path) -> None:
    axes = "".join(f"  v{i}: [{', '.join(map(str, range(100)))}]\n" for i in range(6))
    text = "".join(f"{{{{ v{i} }}}}" for i in range(6)) + "x" * 5000
    found = places(write(tmp_path, f"matrix:\n{axes}prompts: ['{text}', '{{{{ v0.x }}}}']\n"))
    assert all(text.startswith("m.yaml:10:") for text in found)
    assert len(found) < 20


def test_what_is_told_is_safe_to_print(tmp_path: Path) -> None:
    path = write(tmp_path, 'prompts: [x]\nparams: {"\\x1b[31m\\u202e": 1}\n"\\x07": {}\n', {})
    told = places(path)
    assert len(told) == 2
    assert all(text.isprintable() for text in told)
    with pytest.raises(ManifestError) as error:
        load(tmp_path / "a\x1bb")
    assert error.value.problems[0].file.endswith("a\\x1bb")
