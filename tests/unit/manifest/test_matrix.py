"""Combinations: GitHub's documented rules, and what is left of an axis that something nearer sets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from unit.manifest.helpers import HEAD, PNG, jobs_of, places, write

from batcher.jobs import JobSpec
from batcher.manifest import Problems, load

SHOW = "{{ fruit | default('-') }} {{ animal | default('-') }} {{ color | default('-') }} {{ shape | default('-') }}"


def prompts(path: Path) -> list[str]:
    return [job.prompt for job in jobs_of(path)]


def test_githubs_example_of_include(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"""\
        matrix:
          fruit: [apple, pear]
          animal: [cat, dog]
          include:
            - color: green
            - color: pink
              animal: cat
            - fruit: apple
              shape: circle
            - fruit: banana
            - fruit: banana
              animal: cat
        prompts: ["{SHOW}"]
        """,
    )
    assert prompts(path) == [
        "apple cat pink circle",
        "apple dog green circle",
        "pear cat pink -",
        "pear dog green -",
        "banana - - -",
        "banana cat - -",
    ]


def test_githubs_example_of_exclude(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        matrix:
          os: [macos, windows]
          version: [12, 14, 16]
          environment: [staging, production]
          exclude:
            - {os: macos, version: 12, environment: production}
            - {os: windows, version: "16"}
        prompts: ["{{ os }} {{ version }} {{ environment }}"]
        """,
    )
    found = prompts(path)
    assert len(found) == 12 - 1 - 2
    assert "macos 12 production" not in found
    assert not any(text.startswith("windows 16") for text in found)


def test_include_comes_after_exclude_and_may_bring_back(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        matrix:
          fruit: [apple, pear]
          exclude: [{fruit: pear}]
          include: [{fruit: pear, color: red}]
        prompts: ["{{ fruit }} {{ color | default('-') }}"]
        """,
    )
    assert prompts(path) == ["apple -", "pear red"]


def test_include_without_axes_lists_the_combinations(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        matrix:
          include: [{fruit: apple, color: red}, {fruit: pear, color: blue}]
        prompts:
          - "{{ fruit }} {{ color }}"
          - prompt: "{{ fruit }} {{ color }} {{ size }}"
            matrix: {size: [s, m]}
          - prompt: "{{ fruit }} only"
            vars: {color: grey}
        """,
    )
    assert prompts(path) == [
        "apple red", "pear blue",
        "apple red s", "apple red m", "pear blue s", "pear blue m",
        "apple only", "pear only",
    ]  # fmt: skip


def test_an_include_that_is_all_overridden_makes_no_twins(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        matrix: {include: [{fruit: apple}, {fruit: pear}]}
        prompts: ["{{ fruit }}", {prompt: "a {{ fruit }}", vars: {fruit: plum}}]
        """,
    )
    assert prompts(path) == ["apple", "pear", "a plum"]


def test_an_include_of_the_campaign_multiplies_with_the_prompts_axes(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        matrix: {fruit: [apple], include: [{fruit: pear}, {fruit: apple, color: red}]}
        prompts:
          - prompt: "{{ fruit }} {{ n }} {{ color | default('-') }}"
            matrix: {n: [1, 2]}
        """,
    )
    assert prompts(path) == ["apple 1 red", "apple 2 red", "pear 1 -", "pear 2 -"]


def test_a_prompts_include_and_exclude_replace_the_campaigns_one_by_one(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        matrix:
          fruit: [apple, pear]
          exclude: [{fruit: pear}]
          include: [{fruit: plum}]
        prompts:
          - "a {{ fruit }}"
          - {prompt: "b {{ fruit }}", matrix: {exclude: []}}
          - {prompt: "c {{ fruit }}", matrix: {include: []}}
          - prompt: "d {{ fruit }} {{ n }}"
            matrix: {n: [1, 2], exclude: [{fruit: apple, n: 2}], include: [{fruit: fig, n: 3}]}
          - {prompt: "e {{ fruit }} {{ n }}", matrix: {n: [1], include: [{fruit: apple, n: 1}, {n: 1}]}}
        """,
    )
    assert prompts(path) == [
        "a apple", "a plum",
        "b apple", "b pear", "b plum",
        "c apple",
        "d apple 1", "d pear 1", "d pear 2", "d fig 3",
        "e apple 1",
    ]  # fmt: skip


def test_an_overridden_axis_makes_no_copies(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        params: {mode: spicy}
        matrix: {mode: [fun, normal], duration: [6, 7], product: [ring, watch]}
        prompts:
          - "a {{ product }}"
          - {prompt: "b {{ product }}", params: {mode: spicy}}
          - {prompt: "c {{ product }}", matrix: {mode: [spicy], duration: [9]}}
          - {prompt: "d {{ product }}", vars: {product: cup}, params: {duration: 8, mode: fun}}
          - {prompt: "e {{ product }}", params: {duration: 30}, matrix: {duration: [10], product: [x]}}
        """,
    )
    jobs = jobs_of(path)
    assert len(jobs) == len({job.id for job in jobs})
    by = {letter: [job for job in jobs if job.prompt.startswith(letter)] for letter in "abcde"}
    assert {letter: len(found) for letter, found in by.items()} == {"a": 8, "b": 4, "c": 2, "d": 1, "e": 2}
    assert [dict(job.params) for job in by["d"]] == [{"duration": 8, "mode": "fun"}]
    assert {job.params["duration"] for job in by["e"]} == {10}


def test_excludes_see_what_a_nearer_value_makes_of_a_combination(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        matrix: {mode: [fun, normal], duration: [6, 9], exclude: [{mode: fun, duration: 9}]}
        prompts: [a, {prompt: b, params: {mode: fun}}]
        """,
    )
    found = [(job.prompt, job.params.get("mode"), job.params.get("duration")) for job in jobs_of(path)]
    assert found == [("a", "fun", None), ("a", None, None), ("a", None, 9), ("b", "fun", None)]


def test_an_include_of_the_campaign_yields_to_what_is_nearer(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        matrix: {mode: [fun, normal], include: [{mode: fun, tone: loud}, {mode: spicy, tone: hot}]}
        prompts:
          - "a {{ tone | default('-') }}"
          - {prompt: "b {{ tone | default('-') }}", params: {mode: fun}}
          - {prompt: "c {{ tone | default('-') }}", params: {mode: normal}}
          - {prompt: "d {{ tone | default('-') }}", vars: {tone: calm}}
        """,
    )
    found = [(job.prompt, job.params.get("mode", "normal")) for job in jobs_of(path)]
    assert found == [
        ("a loud", "fun"), ("a -", "normal"), ("a hot", "spicy"),
        ("b loud", "fun"),
        ("c -", "normal"),
        ("d calm", "fun"), ("d calm", "normal"), ("d calm", "spicy"),
    ]  # fmt: skip


def test_values_may_have_parts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        matrix:
          product: [{name: ring, tags: [a, b]}, {name: cup, tags: []}]
          exclude: [{product: {tags: [], name: cup}}]
        prompts: ["{{ product.name }} {{ product.tags | join('+') }}"]
        """,
    )
    assert prompts(path) == ["ring a+b"]


def test_a_name_that_only_some_combinations_have_is_told_with_the_rest_going_on(tmp_path: Path) -> None:
    path = write(tmp_path, "matrix: {a: [1, 2], include: [{a: 1, b: x}]}\nprompts: ['{{ a }} {{ b }}']")
    assert places(path) == [
        "m.yaml:4:11: undefined variable 'b' (did you mean 'a'?; known: a, aspect_ratio, duration, mode, resolution)"
    ] or places(path)[0].startswith("m.yaml:4:11: undefined variable 'b'")


def test_a_row_overrides_axes_row_by_row(tmp_path: Path) -> None:
    rows = "title,mode,duration,tone\none,fun,,x\ntwo,,9,\nthree,,,\n"
    path = write(
        tmp_path,
        """\
        matrix: {mode: [normal, spicy]}
        prompts:
          - file: a.csv
            prompt: "{{ title }} {{ tone }}"
            matrix: {duration: [6, 7]}
            vars: {tone: soft}
        """,
        {"a.csv": rows},
    )
    found = [(job.prompt, job.params.get("mode", "normal"), job.params.get("duration", 6)) for job in jobs_of(path)]
    assert found == [
        ("one x", "fun", 6), ("one x", "fun", 7),
        ("two soft", "normal", 9), ("two soft", "spicy", 9),
        ("three soft", "normal", 6), ("three soft", "normal", 7),
        ("three soft", "spicy", 6), ("three soft", "spicy", 7),
    ]  # fmt: skip


def test_an_axis_that_every_row_overrides_is_an_error(tmp_path: Path) -> None:
    path = write(
        tmp_path, "matrix: {mode: [fun, spicy]}\nprompts: [{file: a.csv}]", {"a.csv": "prompt,mode\na,fun\nb,normal\n"}
    )
    assert places(path) == [
        "m.yaml:3:10: 'mode' varies nothing: in every job something nearer sets it "
        "(remove it, or remove what is nearer)"
    ]


def test_an_axis_is_used_by_a_row_a_reference_or_a_file_name(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"a.txt": "one {{ a }}\n", "x.png": PNG, "y.png": PNG + b"y"}
    manifest = """\
    matrix: {a: [1], b: [x, y], c: [2]}
    references: ["{{ b }}.png"]
    results: {name: "{{ c }}-{{ job }}"}
    prompts: [{file: a.txt}]
    """
    assert [job.file_name.split("-")[0] for job in jobs_of(write(tmp_path, manifest, files))] == ["2", "2"]


def test_expansion_is_a_stream(tmp_path: Path) -> None:
    axes = "\n".join(f"  v{i}: [{', '.join(str(n) for n in range(100))}]" for i in range(8))
    text = HEAD + f"matrix:\n{axes}\nprompts: ['" + " ".join(f"{{{{ v{i} }}}}" for i in range(8)) + "']\n"
    (tmp_path / "m.yaml").write_text(text)
    stream: Iterator[JobSpec] = load(tmp_path / "m.yaml").expand(Problems())
    assert [job.prompt for job in islice(stream, 2)] == ["0 0 0 0 0 0 0 0", "0 0 0 0 0 0 0 1"]


@pytest.mark.parametrize("value", ["true", "1", "1.0"])
def test_exclude_compares_what_is_shown(value: Any, tmp_path: Path) -> None:
    path = write(tmp_path, f"matrix: {{a: [true, 1, 1.0], exclude: [{{a: {value}}}]}}\nprompts: ['x {{{{ a }}}}']")
    assert prompts(path) == [f"x {text}" for text in ("true", "1", "1.0") if text != value]
