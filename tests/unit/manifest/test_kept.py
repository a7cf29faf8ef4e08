"""Variables and tags: what of them a job keeps, and that they are no part of what it is."""

from __future__ import annotations

from pathlib import Path

from unit.manifest.helpers import jobs_of, places, write


def test_a_job_keeps_its_variables_and_tags(tmp_path: Path) -> None:
    rows = "name,reference,duration,text,Sprache,client\na,,6,Hello,ur,x\nb,,10,Salam,,y\n"
    path = write(
        tmp_path,
        """\
        matrix: {size: [1.10, 2], shape: [[a, b]]}
        tags: {client: al-noor, round: 2}
        prompts:
          - {prompt: "A {{ size }} {{ tone }}{{ shape | join }}", vars: {tone: stern}, tags: {round: 3, week: 47}}
          - {file: rows.csv, prompt: "{{ text }} {{ size }}{{ shape | join }}"}
        """,
        {"rows.csv": rows},
    )
    jobs = jobs_of(path)
    assert [dict(job.vars) for job in jobs[:3]] == [
        {"size": "1.10", "shape": ["a", "b"], "tone": "stern"},
        {"size": 2, "shape": ["a", "b"], "tone": "stern"},
        {"size": "1.10", "shape": ["a", "b"], "text": "Hello", "Sprache": "ur", "client": "x"},
    ]
    assert "Sprache" not in jobs[-1].vars, "an empty cell sets nothing"
    assert jobs[0].tags == {"client": "al-noor", "round": 3, "week": 47}
    assert jobs[2].tags == {"client": "al-noor", "round": 2}


def test_they_are_no_part_of_its_identity(tmp_path: Path) -> None:
    plain = write(tmp_path, "prompts: [{prompt: A boat, vars: {tone: mild}}]\n")
    before = jobs_of(plain)
    after = jobs_of(write(tmp_path, "prompts: [{prompt: A boat, vars: {tone: stern}}]\ntags: {client: x}\n"))
    assert [job.id for job in before] == [job.id for job in after]
    assert before[0].vars != after[0].vars


def test_what_cannot_be_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "prompts: [A]\ntags: {7up: x, a: [1], b: }\n")
    assert places(path) == [
        "m.yaml:4:8: '7up' cannot be a tag: letters, digits, _ and -, and no digit first",
        "m.yaml:4:19: tags.a: must be a text, a number or true/false, not a list",
        "m.yaml:4:27: tags.b: must be a text, a number or true/false, not empty (null)",
    ]
    odd = write(
        tmp_path, "prompts: [{file: rows.jsonl}]\n", {"rows.jsonl": r'{"prompt": "A", "x": "\ud800", "n": 1e30}'}
    )
    assert jobs_of(odd)[0].vars == {"x": "?", "n": "1e30"}
