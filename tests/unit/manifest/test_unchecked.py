"""Models without a file: what the manifest writes under `params` is what goes out, and nothing is guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit.manifest.helpers import PNG, write

from batcher import own_models
from batcher.catalog import get_model
from batcher.errors import ManifestError
from batcher.jobs import JobSpec
from batcher.manifest import Manifest, Problems, load

HEAD = "campaign: c\nmodel: new-film\n"
CHAIN = """
prompts:
  - {name: still, prompt: A still, model: nano-banana}
  - {name: film, prompt: It moves, references: [{from: still}]}
"""
BACKWARDS = """
prompts:
  - {name: still, prompt: A still}
  - {name: film, prompt: It moves, model: grok-imagine-video, references: [{from: still}]}
"""


def loaded(folder: Path, text: str, **files: bytes | str) -> tuple[Manifest, list[JobSpec]]:
    path = write(folder, HEAD + text, {name.replace("_", "."): content for name, content in files.items()}, head=False)
    problems, manifest = Problems(), load(path, unchecked=True)
    jobs = list(manifest.expand(problems))
    problems.raise_if_any()
    return manifest, jobs


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("prompts: [A boat]", [{}]),
        (
            'params: {n: 6, f: 7.0, h: 0.5, s: "6", b: true, l: [a, 1.5, {k: 2.0}]}\nprompts: [A boat]',
            [{"n": 6, "f": 7, "h": 0.5, "s": "6", "b": True, "l": ["a", 1.5, {"k": 2}]}],
        ),
        ("params: {n: 1.10, t: ' x ', z: 16:9, no: no}\nprompts: [A]", [{"n": 1.1, "t": "x", "z": "16:9", "no": "no"}]),
        # a matrix sets what `params` names; `1` and `true` are no twins
        ("params: {n: 6}\nmatrix: {n: [6, 8.0], v: [a]}\nprompts: ['A {{ v }}']", [{"n": 6}, {"n": 8}]),
        ("params: {x: 1}\nprompts: [{prompt: A, params: {x: true}}, A]", [{"x": True}, {"x": 1}]),
        ("prompts: [{prompt: A, params: {n: 6}}, B]", [{"n": 6}, {}]),
        # a cell has the type that stands under `params`
        ("params: {n: 6, b: false, s: a}\nprompts: [{file: r.csv}]", [{"n": 8, "b": True, "s": "8"}]),
        ("params: {model: V5}\nprompts: [A]", [{"model": "V5"}]),
        # what another model of the manifest knows does not reach it, unless its own prompts name it
        (
            "params: {mode: fun, x: 1}\nprompts: [A, {prompt: B, model: grok-imagine-video}]",
            [{"x": 1}, {"mode": "fun"}],
        ),
        (
            "params: {mode: fun}\nprompts:\n- {prompt: A, params: {mode: 3}}\n- {prompt: B, model: grok-imagine-video}",
            [{"mode": 3}, {"mode": "fun"}],
        ),
    ],
)
def test_params_go_as_they_are_written(tmp_path: Path, text: str, params: list[dict[str, object]]) -> None:
    manifest, jobs = loaded(tmp_path, text, r_csv="prompt,n,b,s\nA boat,8,TRUE,8\n")
    # as JSON, for 1, 1.0 and true are equal
    assert [json.dumps(dict(job.params), sort_keys=True) for job in jobs] == [
        json.dumps(each, sort_keys=True) for each in params
    ]
    assert len({job.id for job in jobs}) == len(jobs)
    mine = [job for job in jobs if job.model == "new-film"]
    assert {(job.price_class, job.catalog_credits) for job in mine} == {("new-film unchecked unpriced", 1)}
    assert len(manifest.warnings) == 1
    assert "new-film has no file in the catalogue" in str(manifest.warnings[0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("references: [a.png]\nprompts: [A]", "m.yaml:3:14: which references new-film takes is not known"),
        ("references: ['https://x.org/a.png']\nprompts: [A]", "which references new-film takes is not known"),
        (
            "references: [a.png]\nprompts: [A, {prompt: B, model: grok-imagine-video}]",
            "m.yaml:3:14: which references new-film takes is not known",
        ),
        ("prompts: [{prompt: A, references: [a.png]}]", "which references new-film takes is not known"),
        ("prompts: [{file: pictured.csv}]", "(row 1): which references new-film takes is not known"),
        (CHAIN, "which references new-film takes is not known"),
        (BACKWARDS, "what new-film makes is not known: it has no file in the catalogue"),
        ("params: {n: 6}\nmatrix: {n: [6, high]}\nprompts: [A]", "n is 'high'; must be a number, as under `params`"),
        ("params: {b: true}\nmatrix: {b: [1]}\nprompts: [A]", "b is 1; must be a boolean, as under `params`"),
        ("params: {n: 6}\nprompts: [{file: wrong.csv}]", "n is '6s'; must be a number, as under `params`"),
        ("matrix: {n: [6, 8]}\nprompts: [A]", "for a param of a model without a file, write it under `params` too"),
        ("params: {name: x}\nprompts: [A]", "'name' cannot be a param of new-film"),
        ("prompts: [{prompt: A, model: 'New film'}, B]", "'New film' cannot be a model's id"),
        ("prompts: [{prompt: A, params: {n: null}}]", "must be a text, a number or true/false, not empty (null)"),
    ],
)
def test_what_cannot_be_known_is_refused(tmp_path: Path, text: str, told: str) -> None:
    files: dict[str, bytes | str] = {
        "a_png": PNG,
        "wrong_csv": "prompt,n\nA,6s\n",
        "pictured_csv": "prompt,reference\nA,a.png\n",
    }
    with pytest.raises(ManifestError) as error:
        loaded(tmp_path, text, **files)
    assert told in "\n".join(str(problem) for problem in error.value.problems)


def test_references_of_the_campaign_do_not_count_where_all_its_prompts_have_their_own(tmp_path: Path) -> None:
    text = "references: [a.png]\nprompts: [{prompt: A, references: [null]}, {prompt: B, model: grok-imagine-video}]"
    _, jobs = loaded(tmp_path, text, a_png=PNG)
    assert [job.reference is None for job in jobs] == [True, False]


def test_without_leave_it_is_an_error_that_names_the_ways(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "prompts: [A]", head=False)
    with pytest.raises(ManifestError) as error:
        load(path)
    (problem,) = error.value.problems
    assert problem.message == "unknown model 'new-film'"
    assert all(way in problem.hint for way in ("models --sync", "--catalog DIR", "--unchecked"))
    assert Manifest(campaign="c", model="new-film", prompts=["A"], unchecked=True).warnings


@pytest.mark.parametrize(
    ("param", "same"),
    [
        ('type = "number"\nmin = 1\nmax = 10', True),  # the same on the wire, and no default is left out
        ('type = "select"\noptions = ["6"]', False),  # another type on the wire
        ('type = "number"\ndefault = 6', False),  # its identity leaves the default out
        ('type = "number"\ndefault = 5', True),
    ],
)
def test_what_its_jobs_are_once_it_has_a_file(tmp_path: Path, param: str, *, same: bool) -> None:
    text = "params: {n: 6}\nprompts: [A boat]"
    _, (unchecked,) = loaded(tmp_path, text)
    default = param.partition("default = ")[2]
    frozen = f"n = {default}" if default else ""
    (tmp_path / "new-film.toml").write_text(
        f'id = "new-film"\nresult = "video"\nbase_credits = 5\n[identity_defaults]\n{frozen}\n[params.n]\n{param}\n'
    )
    try:
        own_models.use([tmp_path])
        manifest, (checked,) = loaded(tmp_path, text)
    finally:
        own_models.use(())
    assert not manifest.warnings
    assert (checked.id == unchecked.id) is same
    assert checked.price_class == "new-film"


def test_no_file_may_be_as_unknown_as_that(tmp_path: Path) -> None:
    (tmp_path / "new-film.toml").write_text('id = "new-film"\nresult = "unknown"\nbase_credits = 5\n')
    try:
        own_models.use([tmp_path])
        with pytest.raises(Exception, match="must be video, image or audio"):
            get_model("new-film")
    finally:
        own_models.use(())
