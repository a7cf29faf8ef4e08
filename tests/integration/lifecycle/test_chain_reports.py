"""Chains in reports: how many have come how far, and which file went along, whatever takes came later."""

from __future__ import annotations

from pathlib import Path

from integration.lifecycle.helpers import FAST
from integration.lifecycle.test_chains import decided, named
from integration.report.helpers import report_of
from support import Bench

from batcher.errors import Kind
from batcher.jobs import Status
from batcher.ledger.decisions import Judge, Retry
from batcher.ledger.queries.chains import ChainCounts
from batcher.ledger.queries.gallery import cards
from batcher.ledger.queries.spend import Scope
from batcher.report import tables
from batcher.report.document import report_json
from batcher.settings import Selection

SCENES = ["harbour", "mountain", "desert", "forest", "moor"]
CHAIN = f"""campaign: story
model: grok-imagine-video
prompts:
  - {{name: still, model: nano-banana, prompt: "{{{{ scene }}}} at dawn", matrix: {{scene: {SCENES}}}}}
  - name: film
    prompt: "Over the {{{{ scene }}}}"
    matrix: {{scene: {SCENES}}}
    references: [{{from: still, where: {{scene: "{{{{ scene }}}}"}}, gate: review}}]
  - {{name: alone, prompt: A lighthouse}}
{FAST}"""


def story(bench: Bench) -> Path:
    """Of five chains one is whole, one to be bought, one for review, one rejected, and of one the still has failed."""
    path = bench.write(CHAIN)
    bench.switches.set({"fail_prompt": "moor at dawn"})
    assert bench.run(path).kind is Kind.CAPPED
    harbour, mountain, desert, *_ = [job["id"] for job in named(bench, "still")]
    decided(bench, Judge("rejected"), desert)
    decided(bench, Judge("approved"), harbour)
    bench.run(path)
    decided(bench, Judge("approved"), mountain)
    return path


def test_how_many_have_come_how_far(bench: Bench) -> None:
    path = bench.write(CHAIN)
    bench.run(path, selection=Selection(limit=0))
    (found,) = report_of(bench).chains
    assert found == ChainCounts("story", waiting=5)
    story(bench)
    report = report_of(bench)
    assert report.chains == (ChainCounts("story", whole=1, ready=1, review=1, source_rejected=1, source_failed=1),)
    table = tables.chains(report.chains)
    assert [column.title for column in table.columns[1:4]] == ["chains", "whole", "ready"]
    assert table.rows == [["story", "5", "1", "1", "1", "1", "1"]]
    assert "batcher approve" in table.notes[0]
    assert report_json(report)["chains"][0]["total"] == 5
    assert report_of(bench, where=["prompt=alone"]).chains == ()


def test_a_card_has_the_file_that_went_along(bench: Bench) -> None:
    path = story(bench)
    still = named(bench, "still")[0]
    decided(bench, Retry(frozenset({Status.SUCCEEDED}), alone=True), still["id"])
    bench.run(path)
    newer = named(bench, "still")[0]
    assert newer["result_path"] != still["result_path"]
    with bench.reader() as read:
        found = [card for card in cards(read, Scope(), 100) if card.name == "film"]
    told = {card.vars["scene"]: card.sources for card in found}
    assert [(each["job"], each["target"]) for each in told["harbour"]] == [(still["id"], still["result_path"])]
    assert [each["target"] for each in told["mountain"]] == [named(bench, "still")[1]["result_path"]]
    assert [each["target"] for each in told["forest"]] == [None], "it was not bought yet"
