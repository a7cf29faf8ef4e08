"""`approve` and `reject`: whose files are meant, and what a file of marks adds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.helpers import Cli, environment, site

CHAIN = """campaign: story
model: grok-imagine-video
prompts:
  - {name: dawn, model: z-image, prompt: Dawn}
  - {name: dusk, model: z-image, prompt: Dusk}
  - {name: noon, model: z-image, prompt: Noon}
  - {name: film, prompt: It moves, references: [{from: "d*", gate: review}, {from: noon}]}
limits: {submit: 1000/second, requests: 1000/second}
polling: {first: 10ms, every: 10ms, max: 20ms}
"""


def test_who_is_meant(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "story.yaml").write_text(CHAIN)
    with site() as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        ran = cli("run", "story.yaml", "--json")
        assert (ran.code, ran.document["reason"].partition(":")[0]) == (3, "review")
        jobs = {job["name"]: job for job in cli("jobs", "--json").document["jobs"] if job["name"] != "film"}
        waiting = [job for job in cli("jobs", "--json").document["jobs"] if job["waiting_for"]]
        assert {tuple(job["waiting_for"]) for job in waiting} == {(jobs["dawn"]["id"],), (jobs["dusk"]["id"],)}
        assert cli("approve", "story", "--name", "f*").code == 2
        (tmp_path / "marks.json").write_text(
            json.dumps({"batcher_marks": 1, "favourites": [jobs["dawn"]["id"]], "rejects": [jobs["dusk"]["id"]]})
        )
        for word, name in (("approve", "dawn"), ("reject", "dusk")):
            changed = cli(word, "story", "--marked", "marks.json", "--json").document["jobs"]
            assert [job["name"] for job in changed] == [name], "and not what no gate is before"
        assert cli("run", "story.yaml").code == 0
        statuses = [job["status"] for job in cli("jobs", "--json").document["jobs"]]
        assert statuses == ["succeeded"] * 4 + ["cancelled", "succeeded"]
        answer = cli("approve", "story", "--json").document
        assert [(job["name"], job["reason"].partition(";")[0]) for job in answer["left"]] == [
            ("dawn", "it is approved already"),
            ("dusk", "it is rejected"),
        ], "what a person has rejected waits no more"
        [lost] = [job["id"] for job in cli("jobs", "--json").document["jobs"] if job["status"] == "cancelled"]
        assert "it comes back with what it is made from" in cli("retry", lost).out
        assert cli("approve", jobs["dusk"]["id"]).code == 0
        assert cli("run", "story.yaml").code == 0
        assert len(place.world.oracle().tasks) == 6
        assert cli("approve", "story", "--marked", "story.yaml").code == 2
