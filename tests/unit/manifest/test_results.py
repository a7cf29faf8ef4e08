"""References that are results of other prompts, and prompts with a model of their own."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from unit.manifest.helpers import problems_of, write

from batcher.jobs import JobSpec, SeveralReferences, sources_of
from batcher.manifest import Problems, json_schema, load

STILL = """model: grok-imagine-video
prompts:
  - {name: still, model: grok-imagine, prompt: dawn, vars: {scene: a}}
"""
FAULTY = {
    "a name that nobody has": ("{name: a, prompt: x, references: [{from: stil}]}", "no other prompt has a name like"),
    "its own": ("{name: a, prompt: x, references: [{from: a}]}", "no other prompt has a name like 'a'"),
    "a variable that nobody has": (
        "{name: a, prompt: x, references: [{from: still, where: {scen: a}}]}",
        "no prompt like 'still' has 'scen'",
    ),
    "a value that nobody has": (
        '{name: a, prompt: x, vars: {b: c}, references: [{from: still, where: {scene: "{{ b }}"}}]}',
        "no job of the prompts like 'still' has scene: c",
    ),
    "of another kind": (
        "{name: a, prompt: x, references: [{from: b}]}\n  - {name: b, prompt: y}",
        "'b': grok-imagine-video makes video, and grok-imagine-video takes image",
    ),
    "an unknown key": ("{name: a, prompt: x, references: [{form: still}]}", "has the unknown key 'form'"),
    "another gate": ("{name: a, prompt: x, references: [{from: still, gate: no}]}", "gate is 'no'; it can be"),
    "too many": (
        "{name: a, prompt: x, references: [[{from: still}, {from: still}]]}",
        "grok-imagine-video takes at most 1 reference",
    ),
    "a param of another model": (
        "{name: a, model: grok-imagine, prompt: x, params: {mode: fun}}",
        "grok-imagine has no param 'mode'",
    ),
    "an unknown model": ("{name: a, model: grok-imagin, prompt: x}", "unknown model 'grok-imagin'"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_what_is_wrong_is_told(case: str, tmp_path: Path) -> None:
    entry, message = FAULTY[case]
    found = problems_of(write(tmp_path, f"campaign: t\n{STILL}  - {entry}\n", head=False))
    assert [message in problem.message for problem in found] == [True], found


def test_a_circle_is_told(tmp_path: Path) -> None:
    entries = "".join(f"  - {{name: {a}, prompt: x, references: [{{from: {b}}}]}}\n" for a, b in ("de", "ed"))
    found = problems_of(write(tmp_path, f"campaign: t\nmodel: wan-2-6\nprompts:\n{entries}", head=False))
    assert any("makes a circle: d ← e ← d" in problem.message for problem in found)


def test_a_long_chain_may_be_written_first_step_first(tmp_path: Path) -> None:
    """Last step first it is an error beyond a length, for Python's stack has an end."""
    made = [f"  - {{name: p{n}, prompt: x, references: [{{from: p{n + 1}}}]}}\n" for n in range(200)]
    last = "  - {name: p200, prompt: x}\n"
    head = "campaign: t\nmodel: wan-2-6\nprompts:\n"
    assert len(jobs(tmp_path, head + last + "".join(reversed(made)))) == 201
    found = problems_of(write(tmp_path, head + "".join(made) + last, head=False))
    assert any("more than 30 prompts stand each before the one" in problem.message for problem in found)


def jobs(tmp_path: Path, text: str) -> list[JobSpec]:
    found = list(load(write(tmp_path, text, head=False)).expand(problems := Problems()))
    problems.raise_if_any()
    return found


def test_what_a_job_is_holds_the_ids_of_its_sources_in_their_order(tmp_path: Path) -> None:
    """Golden: an id that moves buys again."""
    both = "[[{from: still}, {from: last}], [{from: last}, {from: still}]]"
    text = f"""campaign: t
model: kling-3-0
prompts:
  - {{name: film, prompt: x, references: {both}}}
  - {{name: still, model: z-image, prompt: dawn}}
  - {{name: last, model: z-image, prompt: dusk}}
"""
    forth, back, still, last = jobs(tmp_path, text)
    assert [one.job_id for one in sources_of(forth.reference)] == [still.id, last.id]
    assert [one.job_id for one in sources_of(back.reference)] == [last.id, still.id]
    assert isinstance(forth.reference, SeveralReferences)
    assert (forth.id[:12], back.id[:12]) == ("79319d26bac3", "655acca611a4")
    gated = jobs(tmp_path, text.replace("{from: still}", "{from: still, gate: review}"))
    assert [spec.id for spec in gated] == [forth.id, back.id, still.id, last.id], "a gate makes no other job"


def test_what_another_model_knows_does_not_reach_a_prompt(tmp_path: Path) -> None:
    text = """campaign: t
model: grok-imagine-video
params: {mode: fun, enable_pro: true}
matrix:
  duration: [6, 10]
  aspect_ratio: ["1:1", "16:9"]
  exclude: [{duration: 10, aspect_ratio: "1:1"}]
prompts:
  - {name: still, model: grok-imagine, prompt: dawn}
  - {name: film, prompt: dawn}
"""
    found = [(spec.name, dict(spec.params)) for spec in jobs(tmp_path, text)]
    still = {"enable_pro": "true"}
    assert found == [
        ("still", still),
        ("still", still | {"aspect_ratio": "16:9"}),
        ("film", {"mode": "fun", "aspect_ratio": "1:1"}),
        ("film", {"mode": "fun", "aspect_ratio": "16:9"}),
        ("film", {"mode": "fun", "duration": 10, "aspect_ratio": "16:9"}),
    ]


def test_the_pages_rows_make_stills_and_films_of_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "shots.csv").write_text("shot,picture,motion\n1,Dawn,It rises\n2,Dusk,It sets\n")
    page = (Path(__file__).parents[3] / "docs" / "manifest.md").read_text("utf-8")
    text = page.partition("**Text before pictures**")[2].partition("```yaml\n")[2].partition("```")[0]
    found = jobs(tmp_path, text)
    assert [spec.name for spec in found] == ["still-1", "still-2", "film-1", "film-2"]
    assert [[one.name for one in sources_of(spec.reference)] for spec in found] == [[], [], ["still-1"], ["still-2"]]


@pytest.mark.parametrize(
    ("more", "fine"),
    [
        ({}, True),
        ({"params": {"mode": "std"}}, False),
        ({"model": "kling-3-0", "params": {"mode": "std"}}, True),
        ({"model": "kling-3-0", "params": {"mode": "fun"}}, False),
        ({"references": [{"from": "a", "gate": "review"}, ["b.png", {"from": "c", "where": {"d": 1}}]]}, True),
        ({"references": [{"from": "a", "gate": "no"}]}, False),
    ],
)
def test_editors_know_the_params_of_a_prompts_own_model(more: dict[str, object], fine: bool) -> None:
    document = {"campaign": "a", "model": "grok-imagine-video", "prompts": [{"prompt": "x", **more}]}
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(document) is fine
