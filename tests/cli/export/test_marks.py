"""Favourites of a gallery: a file that is not believed, and what it chooses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli.export.helpers import SPRING
from cli.helpers import Cli
from support import Bench

NOBODY = "f" * 32


def ids(bench: Bench, name: str) -> list[str]:
    return [job["id"] for job in bench.jobs() if job["name"] == name]


def marks(**members: object) -> str:
    return json.dumps({"batcher_marks": 1, **members})


def test_results_of_favourites(bench: Bench, cli: Cli) -> None:
    (reveal,), dunes = ids(bench, "reveal"), ids(bench, "dunes")
    Path("marks.json").write_text("\ufeff" + marks(favourites=[dunes[1], reveal, reveal], rejects=[dunes[0]]), "utf-8")
    ran = cli("results", "spring", "--marked", "marks.json")
    assert (ran.code, ran.err) == (0, "")
    assert [line.rpartition("-")[2][:12] for line in ran.out.splitlines()] == [reveal[:12], dunes[1][:12]]
    assert len(cli("results", "spring", "--marked", "marks.json", "--where", "mode=fun").out.splitlines()) == 1
    assert cli("report", "--marked", "marks.json", "--json").document["total"]["jobs"]["total"] == 2


def test_a_run_takes_favourites_and_their_other_takes(bench: Bench, cli: Cli) -> None:
    Path("spring.yaml").write_text(SPRING.replace("repeat: 2", "repeat: 5"))
    assert cli("plan", "spring.yaml", "--json").document["campaigns"][0]["new"] == 3
    for name, new in (("dunes", 3), ("reveal", 0)):
        Path("marks.json").write_text(marks(favourites=ids(bench, name)[-1:]))
        assert cli("plan", "spring.yaml", "--marked", "marks.json", "--json").document["campaigns"][0]["new"] == new
    Path("marks.json").write_text(marks(favourites=ids(bench, "leaf")))
    ran = cli("plan", "spring.yaml", "--marked", "marks.json")
    assert (ran.code, ran.out) == (2, "")
    assert "no favourite of marks.json is a job of these manifests" in ran.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["marks.json:1:1: it is no JSON"]),
        ('{"batcher_marks": 1,\n "favourites": [}', ["marks.json:2:17: it is no JSON"]),
        ("[" * 100_000, ["it is no JSON"]),
        ("[]", ["it is no file of marks"]),
        ('{"batcher_plan": 1}', ["it is no file of marks"]),
        (marks(batcher_marks=2), ["batcher_marks is 2"]),
        (marks(batcher_marks=True), ["batcher_marks is true"]),
        (
            marks(favourites=["x", 3, NOBODY, "../" + NOBODY], rejects=[NOBODY], more=1),
            [
                'unknown member "more"',
                'favourites[0] is no id of a job: "x"',
                "favourites[1] is no id of a job: 3",
                "favourites[3] is no id of a job",
                "rejects[0]: ffffffffffff is a favourite and a reject",
                "5 errors",
            ],
        ),
        (marks(favourites="all", rejects={}), ["favourites is no list", "rejects is no list"]),
        (marks(favourites=[NOBODY]), ["ffffffffffff is no job of"]),
        (marks(favourites=[]), ["it marks no favourite"]),
        (marks(favourites=[f"{n:032x}" for n in range(50)]), ["50 errors", "and 30 more"]),
    ],
    ids=range(12),
)
def test_what_is_wrong_with_a_file_is_told_all_at_once(bench: Bench, cli: Cli, text: str, told: list[str]) -> None:
    Path("marks.json").write_text(text)
    ran = cli("results", "spring", "--marked", "marks.json")
    assert (ran.code, ran.out) == (2, "")
    for each in told:
        assert each in ran.err


def test_no_file_hangs(bench: Bench, cli: Cli) -> None:
    os.mkfifo("pipe")
    for name, why in (("pipe", "it is no file"), ("state", "it is no file"), ("none", "there is no such file")):
        assert why in cli("results", "spring", "--marked", name).err
