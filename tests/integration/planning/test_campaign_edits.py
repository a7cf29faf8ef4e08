"""A manifest is edited and run again: what is bought is what was added, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import PIXEL, Bench

from batcher.errors import Kind

HEAD = """
campaign: edited
model: grok-imagine-video
limits: {submit: 1000/second, requests: 10000/second}
polling: {first: 1s, every: 1s}
matrix: {aspect_ratio: ["9:16", "16:9"]}
"""
PROMPTS = """
prompts:
  - {name: boat, prompt: A boat on the lake, repeat: 2}
  - {name: kite, prompt: A red kite, references: [refs/kite.png]}
"""


@pytest.fixture
def bought(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "kite.png").write_bytes(PIXEL)
    assert bench.run(bench.write(HEAD + PROMPTS)).kind is Kind.DONE
    assert len(bench.world.oracle().tasks) == 6
    return bench


@pytest.mark.parametrize(
    ("what", "prompts"),
    [
        (
            "re-ordered",
            """
prompts:
  - {name: kite, prompt: A red kite, references: [refs/kite.png]}
  - {repeat: 2, prompt: A boat on the lake, name: boat}
""",
        ),
        ("prompt renamed", PROMPTS.replace("name: boat", "name: sailing boat")),
        ("default written out", PROMPTS.replace("repeat: 2", "repeat: 2, params: {resolution: 480p, duration: '6'}")),
        ("white space and line ends", PROMPTS.replace("A red kite", '"  A red kite\\r\\n"')),
        ("entry twice", PROMPTS + "  - A boat on the lake\n"),
    ],
)
def test_what_buys_nothing(bought: Bench, what: str, prompts: str) -> None:
    path = bought.write(HEAD + prompts)
    assert bought.plan(path).new == 0, what
    assert bought.run(path).kind is Kind.DONE
    assert len(bought.world.oracle().tasks) == 6, what


def test_a_renamed_picture_buys_nothing(bought: Bench) -> None:
    (bought.folder / "refs" / "kite.png").rename(bought.folder / "refs" / "dragon.png")
    path = bought.write(HEAD + PROMPTS.replace("refs/kite.png", "refs/*.png"))
    assert bought.plan(path).new == 0
    assert bought.run(path).kind is Kind.DONE
    assert len(bought.world.oracle().tasks) == 6


def test_another_matrix_order_and_a_removed_value_buy_nothing(bought: Bench) -> None:
    path = bought.write(HEAD.replace('["9:16", "16:9"]', '["16:9"]') + PROMPTS)
    assert bought.plan(path).new == 0


def test_an_added_line_buys_that_line(bought: Bench) -> None:
    path = bought.write(HEAD + PROMPTS + "  - {name: dune, prompt: A dune}\n")
    plan = bought.plan(path)
    assert (plan.new, plan.credits, plan.campaigns[0].done) == (2, 20, 6)
    assert bought.run(path).kind is Kind.DONE
    bodies = [task.request["prompt"] for task in bought.world.oracle().tasks.values()]
    assert bodies.count("A dune") == 2
    assert len(bodies) == 8


def test_one_more_take_buys_one_more_take(bought: Bench) -> None:
    path = bought.write(HEAD + PROMPTS.replace("repeat: 2", "repeat: 3"))
    assert bought.plan(path).new == 2


def test_a_corrected_typo_does_not_buy_the_old_text_too(tmp_path: Path) -> None:
    """The run was stopped before it came to the line with the typo; the line is corrected; the run goes on."""
    bench = Bench(tmp_path)
    wrong = bench.write(HEAD + "prompts:\n  - {name: a, prompt: A boat}\n  - {name: b, prompt: A kitte}\n")
    bench.run(wrong, engine=lambda engine: engine.stop(Kind.INTERRUPTED, "test"))
    assert [job["status"] for job in bench.jobs()] == ["planned"] * 4
    right = bench.write(HEAD + "prompts:\n  - {name: a, prompt: A boat}\n  - {name: b, prompt: A kite}\n")
    plan = bench.plan(right).campaigns[0]
    assert (plan.new, plan.gone) == (4, 2)
    assert bench.run(right).kind is Kind.DONE
    texts = sorted(task.request["prompt"] for task in bench.world.oracle().tasks.values())
    assert texts == ["A boat", "A boat", "A kite", "A kite"]
    gone = [job for job in bench.jobs() if job["prompt"] == "A kitte"]
    assert [(job["status"], job["error_code"]) for job in gone] == [("cancelled", "not_in_manifest")] * 2
    assert bench.plan(right).new == 0


def test_a_job_that_is_wanted_again_comes_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    both = HEAD + "prompts:\n  - {name: a, prompt: A boat}\n  - {name: b, prompt: A kite}\n"
    bench.run(bench.write(both), engine=lambda engine: engine.stop(Kind.INTERRUPTED, "test"))
    assert bench.run(bench.write(both.replace("  - {name: b, prompt: A kite}\n", ""))).kind is Kind.DONE
    assert bench.plan(bench.write(both)).new == 2
    assert bench.run(bench.write(both)).kind is Kind.DONE
    assert len(bench.world.oracle().tasks) == 4
