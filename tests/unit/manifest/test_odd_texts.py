"""What is lost, empty, or alike in another spelling is told, and nothing is guessed."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from unit.manifest.helpers import NFC, NFD, PNG, jobs_of, places, read, told, write

# manifest, files, what is told
TOLD: dict[str, tuple[str, dict[str, bytes | str], list[str]]] = {
    "a text that ends at #": (
        "prompts:\n  - A red boat # at dawn\n  - prompt: A blue one #2\n  - prompt: A\n      kite   # mine\n",
        {},
        ["m.yaml:4:16: YAML takes '# at dawn'", "m.yaml:5:24: YAML takes '#2'", "m.yaml:7:14: YAML takes '# mine' for"],
    ),
    "comments beside other texts are comments": (
        "prompts: # of boats\n  - A red boat\n  - 'A blue boat'   # in quotes\n  - name: kite  # its name\n"
        "    prompt: >- # folded\n      A kite # at dawn\n    matrix: {mode: [fun]} # an axis\nrepeat: 1 #one\n",
        {},
        [],
    ),
    "other texts that end at #": (
        "prompts:\n  - prompt: A {{ k }} {{ v }}\n    name: hero #2\n"
        "    vars:\n      v: blue #3 paint\nmatrix:\n  k:\n    - watch #1\n",
        {},
        ["m.yaml:5:16: YAML takes '#2'", "m.yaml:7:15: YAML takes '#3 paint'", "m.yaml:10:13: YAML takes '#1'"],
    ),
    "after other scripts and CRLF": (
        "prompts:\r\n  - Ein 🚣 Böot\r\n  - Zürich 🚣 # Nacht\r\n",
        {},
        ["m.yaml:5:14: YAML takes '# Nacht' for a comment"],
    ),
    "a comment of Jinja": (
        "prompts: ['A {# secret #}boat', 'B {{ \"{#\" }}', {prompt: 'C{# x #}', name: c}]",
        {},
        ["m.yaml:3:11: the comment '{# secret #}' is not sent", "m.yaml:3:58: the comment '{# x #}' is not sent"],
    ),
    "a comment of Jinja in a row": (
        "prompts: [{file: a.csv}]",
        {"a.csv": "prompt\nA\nB {# no #}\n"},
        ["a.csv:3 (row 2): the comment '{# no #}' is not sent"],
    ),
    "columns that nothing uses": (
        "prompts: [{file: a.csv}, {file: b.jsonl, prompt: '{{ x }}'}]",
        {
            "a.csv": "prompt,name,duration,reference,sku,moode\nA {{ sku }},,,,1,fun\n",
            "b.jsonl": '{"x":1}\n{"x":2,"y":3,"prompt":"no"}\n',
        },
        [
            "a.csv:1: nothing uses the column 'moode' (did you mean 'mode'?; mention it as {{ moode }}",
            "b.jsonl:2: nothing uses the column 'y'",
            "b.jsonl:2: nothing uses the column 'prompt'",
        ],
    ),
    "columns that something uses": (
        "matrix: {size: [s, m], exclude: [{size: s}]}\n"
        "prompts: [{file: a.csv, prompt: 'A {{ size }} {{ a if b else c }}'}]\n"
        "references: ['{{ pic }}.png']\nresults: {name: '{{ sku }}/{{ job }}'}\n",
        {"a.csv": "a,b,c,pic,sku\n1,2,3,p,s\n", "p.png": PNG},
        [],
    ),
    "lines that are comments": (
        "prompts: [{file: a.txt}]",
        {"a.txt": "# cars\nA red car\n; old\n\n  # boats\nA red boat\n"},
        ["a.txt:1: 2 lines begin with # and are no prompts; the first: '# cars'"],
    ),
    "a line that is a comment": (
        "prompts: [{file: a.txt}]",
        {"a.txt": "x\n#1 fan\n"},
        ["a.txt:2: no prompt: '#1 fan'"],
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_nothing_is_lost_in_silence(case: str, tmp_path: Path) -> None:
    text, files, notes = TOLD[case]
    path = write(tmp_path, "", files)
    path.write_bytes(path.read_bytes() + text.encode())
    found = told(path)
    assert [note[: len(wanted)] for note, wanted in zip(found, notes, strict=True)] == notes


def test_a_made_name_has_no_comment_in_it(tmp_path: Path) -> None:
    assert [job.name for job in jobs_of(write(tmp_path, "prompts: ['A {# secret #}boat']"))] == ["a-boat"]


# prompt of the entry, columns and cells, the text; None: an error of the row
EMPTY: dict[str, tuple[str, str, str | None]] = {
    "in the text": ("{{ a }} {{ b }}", "a,b\nx,\n", None),
    "spaces only": ("{{ a }} {{ b }}", "a,b\nx,  \n", None),
    "in a condition": ("{{ a }}{{ '!' if b }}", "a,b\nx,\n", None),
    "not used": ("{{ a }}", "a,b\nx,\n", "x"),
    "used by another row only": ("{{ a if a | default else b }}", "a,b\nx,\n", "x"),
    "with a default": ("{{ a }} {{ b | default('none') }}", "a,b\nx,\n", "x none"),
    "vars are farther": ("{{ a }} {{ v }}", "a,v\nx,\n", "x of the entry"),
    "an axis is farther": ("{{ a }} {{ axis }}", "a,axis\nx,\n", "x of the matrix"),
    "a param's default is farther": ("{{ a }} {{ duration }}", "a,duration\nx,\n", "x 6"),
    "null in JSON": ("{{ a }} {{ b }}", '{"a": "x", "b": null}\n', None),
    "blanks in JSON are no value of a param": ("{{ a }} {{ duration }}", '{"a": "x", "duration": " "}\n', "x 6"),
    "an empty text in JSON is a text": ("{{ a }}{{ b }}", '{"a": "x", "b": ""}\n', "x"),
}


@pytest.mark.parametrize("case", EMPTY)
def test_an_empty_cell_sets_nothing(case: str, tmp_path: Path) -> None:
    prompt, rows, text = EMPTY[case]
    name = "a.jsonl" if rows.startswith("{") else "a.csv"
    rest = (
        "    vars: {v: of the entry}\nmatrix: {axis: [of the matrix]}"
        if "axis" in rows
        else "    vars: {v: of the entry}"
    )
    path = write(tmp_path, f'prompts:\n  - file: {name}\n    prompt: "{prompt}"\n{rest}\n', {name: rows})
    if text is not None:
        assert [job.prompt for job in jobs_of(path)] == [text]
        return
    (error,) = places(path)
    assert error.startswith(
        f"{name}:{1 if name == 'a.jsonl' else 2} (row 1): the cell of 'b' is empty and nothing else"
    )
    assert "{{ b | default('…') }}" in error


def test_an_empty_cell_in_other_templates(tmp_path: Path) -> None:
    text = "prompts: [{file: a.csv, prompt: '{{ a }}', references: ['{{ b }}.png']}, {file: b.csv}]\n"
    found = places(write(tmp_path, text, {"a.csv": "a,b\nx,\n", "b.csv": "prompt,b\ny {{ b }},\n"}))
    text = "prompts: [{file: c.csv}]\nresults: {name: '{{ c }}'}"
    found += places(write(tmp_path, text, {"c.csv": "prompt,c\nx,\n"}))
    assert [each.partition(" is empty")[0] for each in found] == [
        "a.csv:2 (row 1): the cell of 'b'",
        "b.csv:2 (row 1): the cell of 'b'",
        "c.csv:2 (row 1): the cell of 'c'",
    ]


@pytest.mark.parametrize(("on_disk", "typed"), [(NFC, NFD), (NFD, NFC)])
def test_paths_are_found_however_they_are_spelled(on_disk: str, typed: str, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"{on_disk}/{on_disk}.csv": "prompt\nA\n", f"{on_disk}/{on_disk}.png": PNG}
    for pattern in ("D/D.png", "D/*.png", "*/D.png", "*/D*g", "D/**/*.png", "./D/[D]*.png"):
        reference = pattern.replace("D", typed)
        path = write(tmp_path, f"prompts: [{{file: {typed}/{typed}.csv}}]\nreferences: ['{reference}']", files)
        (job,) = jobs_of(path)
        assert job.reference is not None
        assert job.reference.text == str(tmp_path / on_disk / f"{on_disk}.png")
    # the one that is spelled as it was typed comes before the other; two others are told
    (tmp_path / typed).mkdir()
    (tmp_path / typed / f"{typed}.png").write_bytes(PNG + b"2")
    path = write(tmp_path, f"prompts: [A]\nreferences: ['{typed}/{typed}.png']")
    (job,) = jobs_of(path)
    assert job.reference is not None
    assert job.reference.text == str(tmp_path / typed / f"{typed}.png")


def test_two_files_that_look_alike(tmp_path: Path) -> None:
    mixed = ["Ü" + "e\u0301.png", "U\u0308é.png", "U\u0308e\u0301.png"]
    path = write(tmp_path, "prompts: [A]\nreferences: ['Üé.png']", dict.fromkeys(mixed, PNG))
    (error,) = places(path)
    assert "there are 3 files of this name, which look alike" in error


def test_variables_and_values_are_compared_however_they_are_spelled(tmp_path: Path) -> None:
    rows = f"prompt,größe\nA {{{{ {unicodedata.normalize('NFD', 'größe')} }}}},1\n"
    assert read(tmp_path, "a.csv", rows) == [("a-1", "A 1")]
    path = write(tmp_path, f"matrix: {{k: [{NFC}, b], exclude: [{{k: {NFD}}}]}}\nprompts: ['{{{{ k }}}}']")
    assert [job.prompt for job in jobs_of(path)] == ["b"]
    path = write(tmp_path, f"matrix: {{k: [{NFC}]}}\nprompts: [\"{{{{ 'yes' if k == '{NFD}' else 'no' }}}}\"]")
    assert [job.prompt for job in jobs_of(path)] == ["yes"]


# text, whether the model takes it (5,000 UTF-16 units at most, and something to see)
PROMPTS = {
    "at its length": ("x" * 5000, True),
    "too long": ("x" * 5001, False),
    "at its length in UTF-16": ("\U0001f6a3" * 2500, True),
    "too long in UTF-16 only": ("\U0001f6a3" * 2500 + "x", False),
    "one emoji of several": ("\U0001f468\u200d\U0001f469\u200d\U0001f467", True),
    "a flag": ("\U0001f1f5\U0001f1f0", True),
    "a heart with its mark": ("\u2764\ufe0f", True),
    "punctuation": ("!", True),
    "letters with marks": ("e\u0301", True),
    "of Devanagari": ("\u0915\u094d", True),
    "zero width": ("\u200b\u200c\u200d\u2060\ufeff", False),
    "spaces of all kinds": (" \u00a0\u2003\u3000\u2028\u180e", False),
    "marks without a letter": ("\u0301\u0301", False),
    "fillers": ("\u3164\u115f\uffa0\u2800", False),
    "marks of direction": ("\u200e\u202c\u2069", False),
    "a soft hyphen": ("\u00ad", False),
}


@pytest.mark.parametrize("case", PROMPTS)
def test_a_prompt_can_be_seen_and_is_no_longer_than_the_api_counts(case: str, tmp_path: Path) -> None:
    text, taken = PROMPTS[case]
    path = write(tmp_path, f"prompts: [{json.dumps(text, ensure_ascii=False)}]")
    assert (places(path) == []) == taken
    path = write(tmp_path, "prompts: [{file: a.jsonl}]", {"a.jsonl": json.dumps({"prompt": text}) + "\n"})
    assert (places(path) == []) == taken
