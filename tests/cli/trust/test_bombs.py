"""Small inputs that would become large ones: bounded by structure, shown by limits on memory, not by a clock."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.helpers import ROOT
from unit.manifest.helpers import HEAD, PNG, write

from batcher.file_names import safe
from batcher.manifest import Problems, load
from batcher.manifest.filters import FILTERS, MAX_TEXT
from batcher.manifest.names import slug
from batcher.manifest.problems import Fault
from batcher.manifest.templates import MAX_OUTPUT, compile_template

pytestmark = pytest.mark.sweep


def bombs() -> dict[str, str]:
    """Manifests of at most eight million bytes."""
    return {
        "billion laughs": f"a: &a [{'x,' * 99}]\nb: &b [{'*a,' * 99}]\nc: &c [{'*b,' * 99}]\nd: [{'*c,' * 99}]",
        "many values": HEAD + "prompts: [" + "1," * 500_000 + "]",
        "many brackets": "[" * 7_900_000,
        "many braces": "{" * 7_900_000,
        "many dashes": "- " * 3_900_000,
        "many questions": "? " * 3_900_000,
        "many colons": HEAD + "prompts: [x]\n" + ": " * 3_900_000,
        "endless text": HEAD + "prompts: [" + "x" * 7_900_000 + "]",
        "endless key": HEAD + "prompts: [x]\n? " + "k" * 7_900_000 + "\n: 1",
        "endless anchor": HEAD + "prompts: [*" + "k" * 7_900_000 + "]",
        "endless tag": HEAD + "prompts: [!" + "k" * 7_900_000 + " x]",
        "endless number": HEAD + "prompts: [x]\nrepeat: " + "9" * 7_900_000,
        "endless escapes": HEAD + 'prompts: ["' + "\\U0001F600" * 700_000 + '"]',
        "long variable, often": HEAD + f"prompts: [{{prompt: '{'{{ v }}' * 900}', vars: {{v: {'y' * 7_000_000}}}}}]",
        "long variable in a name": HEAD
        + f"results: {{name: '{'{{ v }}' * 100} {{{{ x }}}}'}}\n"
        + f"prompts: [{{prompt: x, vars: {{v: {'y ' * 3_500_000}}}}}]",
        "exclude for ever": HEAD
        + "prompts: ['{{ a }}']\nmatrix:\n  a: [x]\n"
        + "".join(f"  v{n}: [{','.join(map(str, range(100)))}]\n" for n in range(50))
        + "  exclude: [{a: x}]\n",
        "large list": HEAD + "prompts: [{file: sparse.txt}]",
        "large table": HEAD + "prompts: [{file: sparse.csv}]",
        "large lines": HEAD + "prompts: [{file: sparse.jsonl}]",
        "large picture": HEAD + "references: [sparse.png]\nprompts: [x]",
        "row without end": HEAD + "prompts: [{file: quotes.csv}]",
    }


#: What is said about files that are larger than any memory; the last one is 22 MB of one row.
SPARSE = {
    "large list": "error: sparse.txt:1 (row 1): the line is longer than 1,000,000 bytes",
    "large table": "error: sparse.csv:2 (row 1): the line is longer than 1,000,000 bytes",
    "large lines": "error: sparse.jsonl:1 (row 1): the line is longer than 1,000,000 bytes",
    "row without end": "error: quotes.csv:2 (row 1): the row goes on over more than 1,000,000 bytes; "
    "is a quote left open?",
}
_WATCHED = """
import resource, sys
from batcher.cli.app import main
resource.setrlimit(resource.RLIMIT_AS, (%d, %d))
for name in sys.argv[1:]:
    print(main(["validate", name]), name, flush=True)
"""
_MEMORY = 900_000_000


def test_no_bomb_takes_much_memory(tmp_path: Path) -> None:
    """One process that may have so much memory and no more reads them all; each is told, with a place."""
    made = bombs()
    for number, text in enumerate(made.values()):
        (tmp_path / f"{number}.yaml").write_text(text)
    for suffix in ("txt", "csv", "jsonl", "png", "yaml"):
        with (tmp_path / f"sparse.{suffix}").open("wb") as file:
            file.write(PNG if suffix == "png" else b"prompt\n" if suffix == "csv" else b"")
            os.truncate(file.fileno(), 1 << 40)  # a terabyte, of which the disk holds nothing
    (tmp_path / "quotes.csv").write_bytes(b"prompt\n" + b'"x\n","x\n",' * 1_000_000)
    names = [*(f"{number}.yaml" for number in range(len(made))), "sparse.yaml"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _WATCHED % (_MEMORY, _MEMORY), *names]
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.splitlines() == [f"2 {name}" for name in names], ran.stderr[-2000:]
    told = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    places = [f"error: {number}.yaml:" for number, name in enumerate(made) if name not in SPARSE]
    assert [line for line in told if not line.startswith(tuple(places))] == [
        *SPARSE.values(),
        "error: sparse.yaml: is larger than 8,000,000 bytes",
    ]
    assert "MemoryError" not in ran.stderr
    assert len(ran.stderr) < 60_000


_WIDE = 40_000
#: Sources whose rows are all different and long: what one row says is to be forgotten with it.
SOURCES: dict[str, tuple[str, Callable[[int], object]]] = {
    "templates": ("prompts: [{file: a.jsonl}]", lambda n: {"prompt": "{{ n }} " + f"{n}" + "x" * _WIDE, "n": 1}),
    "texts": ("prompts: [{file: a.jsonl}]", lambda n: {"prompt": f"{n}" + "x" * _WIDE}),
    "names": ("prompts: [{file: a.jsonl}]", lambda n: {"prompt": "x", "name": f"{n}" + "x" * _WIDE}),
    "params": ("prompts: [{file: a.jsonl}]", lambda n: {"prompt": "x", "mode": f"{n}" + "x" * _WIDE}),
    "references": ("prompts: [{file: a.jsonl}]", lambda n: {"prompt": "x", "reference": f"{n}" + "x" * _WIDE}),
    "keys": ("prompts: [{file: a.jsonl}]", lambda n: {"prompt": "x", f"{n}" + "x" * _WIDE: 1}),
    "file names": (
        "prompts: [{file: a.jsonl}]\nresults: {name: '{{ title }} {{ job }}'}",
        lambda n: {"prompt": f"x {n}", "title": f"{n}é" + "x" * _WIDE},
    ),
    "made names": (
        "prompts: [{file: a.jsonl, prompt: '{{ title }}{{ title }}'}]",
        lambda n: {"title": f"{n} " + "\u0300\u0316" * (_WIDE // 4)},
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_rows_are_forgotten(kind: str, tmp_path: Path) -> None:
    """250 rows, 10 MB in all, leave less than that behind: a few compiled templates, next to nothing of all else."""
    manifest, row = SOURCES[kind]
    with (tmp_path / "a.jsonl").open("w", encoding="utf-8") as file:
        for number in range(250):
            file.write(json.dumps(row(number), ensure_ascii=False) + "\n")
    path = write(tmp_path, manifest)
    problems = Problems()
    stream = load(path).expand(problems)
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # as with users
    tracemalloc.start()
    try:
        made = sum(1 for _ in stream)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.set_threshold(*before)
    assert made + problems.count >= 250
    assert peak < (8_000_000 if kind == "templates" else 3_000_000)


@pytest.mark.parametrize("name", FILTERS)
def test_no_filter_takes_or_gives_more_than_it_may(name: str) -> None:
    arguments = {"replace": "('y', 'yyyyyyyyyyyyyyyyyyyy')", "join": "('yyyy')", "round": "(10)"}.get(name, "")
    template = compile_template(f"{{{{ v | {name}{arguments} }}}}")
    for value in (
        "y" * MAX_TEXT,
        "y" * 8_000_000,
        "ŉ" * MAX_TEXT,
        "ß" * 5_000,
        ["y"] * MAX_TEXT,
        10**39,
        "9" * 40,
        1e308,
    ):
        try:
            made = template.render({"v": value})
        except Fault as fault:
            assert len(fault.message) < 500  # noqa: PT017 - either outcome is fine
        else:
            assert len(made) <= MAX_OUTPUT


def test_a_template_works_on_what_it_gives_at_most() -> None:
    """Whatever a template says, no text in it is longer than its output may be, and there are at most 1,000 steps."""
    for source in (
        "{{ v }}" * 900,
        "{{ v | default('x') }}" * 300,
        "{{ '' if v | lower == v | upper }}" * 100,
        "{{ v if v in v else v }}" * 100,
    ):
        tracemalloc.start()
        try:
            compile_template(source).render({"v": "y" * 1_000_000})
        except Fault as fault:
            assert "grows to more than" in fault.message  # noqa: PT017
        else:
            pytest.fail("that is too long")
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 4_000_000


def test_marks_out_of_order_are_not_sorted_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalising takes quadratic time over them: names are cut before."""
    import unicodedata

    real, lengths = unicodedata.normalize, []

    def counted(form: str, text: str) -> str:
        lengths.append(len(text))
        return real(form, text)  # type: ignore[arg-type]

    monkeypatch.setattr(unicodedata, "normalize", counted)
    marks = "a" + "\u0300\u0316" * 50_000
    assert slug(marks)
    assert safe(marks)
    with pytest.raises(Fault, match="too long for `slug`"):
        compile_template("{{ v | slug }}").render({"v": marks[:50_000]})
    assert compile_template("{{ v | slug }}").render({"v": "a b " * 2_000}) == "-".join("ab" * 2_000)
    assert max(lengths) <= 10_500
