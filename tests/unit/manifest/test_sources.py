"""Prompts from files: what rows set, what they are called, and that they stream."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest
from unit.manifest.helpers import PNG, jobs_of, places, write

from batcher.manifest import Problems, load


def test_csv(tmp_path: Path) -> None:
    content = '\ufeffprompt, name ,duration,ignored\r\n\r\n" A {{ ignored }}\r\nB",one,9,x\r\nC,,,"y, z"\r\n'
    jobs = jobs_of(write(tmp_path, "prompts: [{file: a.CSV}]", {"a.CSV": content}))
    assert [(job.prompt, job.name, dict(job.params)) for job in jobs] == [
        ("A x\nB", "one", {"duration": 9}),
        ("C", "c", {}),
    ]


def test_jsonl(tmp_path: Path) -> None:
    content = (
        '\ufeff{"prompt": "A {{ n }} {{ m.x }} {{ v | default }}", "n": 1.10, "m": {"x": "y"}, "v": null, "name": 5}\n'
        "\n"
        '{"prompt": "B {{ m.x | default(\'-\') }}", "m": {}, "duration": 7.0, "mode": null, "name": ""}\n'
    )
    jobs = jobs_of(write(tmp_path, "params: {mode: fun}\nprompts: [{file: a.jsonl}]", {"a.jsonl": content}))
    assert [(job.prompt, job.name, dict(job.params)) for job in jobs] == [
        ("A 1.10 y", "5", {"mode": "fun"}),
        ("B -", "b", {"duration": 7, "mode": "fun"}),
    ]


def test_txt_lines_are_templates(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "matrix: {p: [ring, cup]}\nprompts: [{file: a.txt}, {file: a.txt, prompt: '{{ prompt }}, again', name: more}]",
        {"a.txt": "\n  A {{ p }} \nB {{ p }}\n"},
    )
    # as a variable a line is what it is: no template within a template
    jobs = jobs_of(path)
    assert [job.prompt for job in jobs if job.name != "more"] == ["A ring", "A cup", "B ring", "B cup"]
    assert {job.prompt for job in jobs if job.name == "more"} == {"A {{ p }}, again", "B {{ p }}, again"}


def test_the_entrys_prompt_beats_the_column(tmp_path: Path) -> None:
    rows = "prompt,title,name,reference\nA,Sunrise,,\nB,Sunset,last,a.png\n"
    path = write(
        tmp_path,
        "prompts: [{file: a.csv, prompt: '{{ title }} ({{ prompt }}) {{ name | default }}{{ reference | default }}'}]",
        {"a.csv": rows, "a.png": PNG},
    )
    jobs = jobs_of(path)
    assert [(job.prompt, job.name) for job in jobs] == [
        ("Sunrise (A)", "sunrise-a"),
        ("Sunset (B) lasta.png", "last"),
    ]
    assert jobs[0].reference is None
    assert jobs[1].reference is not None


def test_names_of_rows(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "prompts: [{file: a.csv, name: all}, {file: a.csv}, "
        "{file: b.csv, prompt: '{{ t }}: {{ u }} {{ t.x | default(1) }}'}]",
        {"a.csv": "prompt,name\nOne two,\nThree,three!\n!!!,\n", "b.csv": "t,u\nA,B\n"},
    )
    names = [job.name for job in jobs_of(path)]
    assert names == ["all", "three!", "all", "one-two", "three!", "row-3", "a-b-1"]


def test_a_column_that_the_template_names_is_no_misspelt_param(tmp_path: Path) -> None:
    path = write(tmp_path, "prompts: [{file: a.csv, prompt: 'x {{ Mode }}'}]", {"a.csv": "Mode\nslow\n"})
    assert jobs_of(path)[0].prompt == "x slow"
    path = write(tmp_path, "prompts: [{file: a.csv, prompt: 'x'}]", {"a.csv": "Mode,mode\nslow,fun\n"})
    assert jobs_of(path)[0].params == {"mode": "fun"}


def test_a_column_may_have_the_name_of_a_word_of_results_name(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "prompts: [{file: a.csv, prompt: '{{ model }} {{ job }}'}]\nresults: {name: '{{ model }}-{{ take }}'}",
        {"a.csv": "model,job\nT,painter\n"},
    )
    assert [(job.prompt, job.file_name) for job in jobs_of(path)] == [("T painter", "grok-imagine-video-1")]


def test_rows_stream(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("w") as file:
        for number in range(20_000):
            file.write(f"text {number}\n")
        file.write("{{ broken\n")
    problems = Problems()
    stream = load(write(tmp_path, "prompts: [{file: a.txt}]")).expand(problems)
    assert [job.prompt for job in islice(stream, 3)] == ["text 0", "text 1", "text 2"]
    assert problems.count == 0
    assert sum(1 for _ in stream) == 20_000 - 3
    assert [problem.row for problem in problems.values] == [20_001]


def test_sources_stay_in_the_folder_and_are_regular_files(tmp_path: Path) -> None:
    inner = tmp_path / "in"
    inner.mkdir()
    (tmp_path / "out.txt").write_text("x\n")
    (inner / "link.txt").symlink_to(tmp_path / "out.txt")
    (inner / "loop.txt").symlink_to("loop.txt")
    os.mkfifo(inner / "pipe.txt")
    (inner / "dir.txt").mkdir()
    names = ["link.txt", "../out.txt", "pipe.txt", "dir.txt", "loop.txt", '"a\\nb.txt"', '"a\\0b.txt"']
    path = write(inner, "prompts: [" + ", ".join(f"{{file: {name}}}" for name in names) + "]")
    told = [text.split(": ", 1)[1].partition(" (")[0] for text in places(path)]
    assert told[:4] == [
        "'link.txt' leads out of the manifest's folder",
        "'../out.txt' leads out of the manifest's folder",
        "'pipe.txt' is no regular file",
        "'dir.txt' is a folder, not a file",
    ]
    assert "loop.txt" in told[4]
    assert told[5:] == [
        "'a\\nb.txt' a path cannot hold the character U+000A",
        "'a\\x00b.txt' a path cannot hold the character U+0000",
    ]
    assert len(jobs_of(write(inner, "prompts: [{file: ../out.txt}, {file: link.txt}]"), tmp_path)) == 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{file: a.csv, prompt: '{{ x.y }}'}", "there is no 'y' in it: the value is a text"),
        ("{file: a.csv, prompt: '{{ x }}', references: ['{{ x }}.png']}", "'v.png' cannot be read"),
        ("{file: a.csv, prompt: '{{ x }}', references: ['{{ z.q }}.png']}", "undefined variable 'z'"),
    ],
)
def test_a_fault_of_a_row_also_names_the_line_of_the_manifest(entry: str, message: str, tmp_path: Path) -> None:
    (found,) = places(write(tmp_path, f"prompts: [{entry}]", {"a.csv": "x\nv\n"}))
    assert found.startswith("a.csv:2 (row 1): " + message)
    assert "see line 3 of m.yaml" in found


def test_a_model_without_references_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from batcher.catalog import ReferenceRule, get_model
    from batcher.manifest import compiler

    bare = get_model("grok-imagine").model_copy(update={"references": ReferenceRule()})
    monkeypatch.setattr(compiler, "get_model", lambda _: bare)
    path = write(
        tmp_path, "references: [null, a.png]\nprompts: [x, {file: a.csv}]", {"a.csv": "prompt,reference\ny,a.png\n"}
    )
    assert places(path) == [
        "m.yaml:3:20: grok-imagine takes no references",
        "a.csv:2 (row 1): grok-imagine takes no references",
    ]


def test_a_row_of_one_job_is_the_first_take_of_several(tmp_path: Path) -> None:
    """What makes one job only goes a shorter way, to the same jobs, names and faults."""
    rows = [
        '{"title": "a ring", "mode": "fun", "seconds": 3, "rate": 1.50}',
        '{"title": "a ring", "mode": "fun", "seconds": 3, "rate": 1.50}',
        '{"title": "", "mode": null}',
        '{"title": "b", "mode": "nonsense", "seconds": -0}',
        '{"seconds": 7, "rate": 2}',
        '{"title": "\\u0007", "seconds": 7}',
        '  {"title": "ü – ❤", "name": "Own name", "seconds": 12345678901234567890123}  ',
        '{"title": "x", "title": "y"}',
        '{"title": ["x"], "seconds": 1}',
    ]
    for prompt in ("{{ title }} in {{ seconds }} s", "{{ title }}{{ rate | default('') }}", "{{ title | upper }}"):
        manifest = f'repeat: REPEAT\nprompts: [{{file: r.jsonl, prompt: "{prompt}"}}]\n'
        files: dict[str, bytes | str] = {"r.jsonl": "\n".join(rows) + "\n"}
        one, several = Problems(), Problems()
        jobs = list(load(write(tmp_path, manifest.replace("REPEAT", "1"), files)).expand(one))
        takes = list(load(write(tmp_path, manifest.replace("REPEAT", "2"), files)).expand(several))
        assert jobs == [job for job in takes if job.take == 1]
        assert len(jobs) > 1
        assert one.values == several.values
        assert one.count > 2
