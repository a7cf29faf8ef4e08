"""What some models ask for beside a prompt and params with defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.manifest.helpers import PNG, jobs_of, problems_of, write

from batcher.manifest import Problems, load

REMOVER = "campaign: c\nmodel: sora-watermark-remover\n"
URL = "https://example.com/film.mp4"


def test_a_model_without_a_prompt(tmp_path: Path) -> None:
    path = write(tmp_path, f"{REMOVER}prompts: [{{name: a, params: {{video_url: '{URL}'}}}}]", head=False)
    (job,) = jobs_of(path)
    assert (job.prompt, job.name, job.params) == ("", "a", {"video_url": URL})


def test_its_rows_need_no_prompt_either(tmp_path: Path) -> None:
    text = f"{REMOVER}matrix: {{video_url: ['{URL}', '{URL}?2']}}\nprompts: [{{}}]"
    assert [job.params["video_url"] for job in jobs_of(write(tmp_path, text, head=False))] == [URL, f"{URL}?2"]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("[{name: a}]", "sora-watermark-remover needs the param video_url"),
        (f"[{{prompt: x, params: {{video_url: '{URL}'}}}}]", "sora-watermark-remover takes no prompt"),
        ("[{params: {video_url: 'http://x.org/a'}}]", "video_url is 'http://x.org/a'; must be a public https URL"),
        ("[{params: {video_url: film.mp4}}]", "must be a public https URL"),
    ],
)
def test_what_it_does_not_take(tmp_path: Path, prompts: str, message: str) -> None:
    found = problems_of(write(tmp_path, f"{REMOVER}prompts: {prompts}", head=False))
    assert any(message in each.message for each in found), found


def test_all_other_models_need_one(tmp_path: Path) -> None:
    (found,) = problems_of(write(tmp_path, "prompts: [{name: a}]"))
    assert found.message == "prompts[1] has no `prompt` and no `file`"


def test_a_param_that_counts_without_a_reference_only_is_told(tmp_path: Path) -> None:
    head = "campaign: c\nmodel: grok-imagine\nparams: {enable_pro: true}\nprompts: [x, y]\n"
    for references, notes in (("[a.png]", 2), ("[null]", 0)):
        path = write(tmp_path, f"{head}references: {references}", {"a.png": PNG}, head=False)
        problems = Problems()
        assert len(list(load(path).expand(problems))) == 2
        told = [note.message for note in problems.notes.values]
        assert told == ["grok-imagine does not use enable_pro where a job has a reference"] * notes
