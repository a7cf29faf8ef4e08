"""Jobs that are made from results of others: bought in their order, each once, whatever fails or is taken anew."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from core_helpers import Shelf, job_name, make_spec
from integration.lifecycle.helpers import FAST
from support import PIXEL, Bench

from batcher.errors import Kind
from batcher.jobs import JobId, ResultReference, Status
from batcher.ledger import LedgerWriter
from batcher.ledger.decisions import Cancel, Decided, Decision, Judge, Retry, decide
from batcher.ledger.queries.gallery import cards
from batcher.ledger.queries.spend import Scope
from batcher.planning.chains import whole_chains
from batcher.planning.forecast import Schedule, outlook
from batcher.settings import Selection
from batcher.simulator.media import plain
from batcher.workload import prepare

#: Two stills (4 each), two films (10 each) of each still.
CHAIN = """campaign: story
model: grok-imagine-video
prompts:
  - name: still
    model: grok-imagine
    prompt: "{{ scene }} at dawn"
    matrix: {scene: [harbour, mountain]}
  - name: film
    prompt: "The camera pans over the {{ scene }}"
    matrix: {scene: [harbour, mountain], mode: [fun, normal]}
    references: [{from: still, where: {scene: "{{ scene }}"}GATE}]
"""


def chain(bench: Bench, *, gate: bool = False, more: str = "") -> Path:
    return bench.write(CHAIN.replace("GATE", ", gate: review" if gate else "") + FAST + more)


def named(bench: Bench, name: str) -> list[dict[str, Any]]:
    return [job for job in bench.jobs() if job["name"] == name]


def bought_at(bench: Bench) -> list[str]:
    """The names of what was bought, in order."""
    names = {job["id"]: job["name"] for job in bench.jobs()}
    with bench.reader() as reader:
        return [names[row["job_id"]] for row in reader.rows("SELECT job_id FROM attempts ORDER BY id")]


def test_films_are_made_from_the_stills_of_their_scene(bench: Bench) -> None:
    path = chain(bench)
    plan = bench.plan(path)
    assert (plan.new, plan.credits) == (6, 2 * 4 + 4 * 10)
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    stills = {job["id"]: job for job in named(bench, "still")}
    oracle = bench.world.oracle()
    for film in named(bench, "film"):
        (still,) = [each for each in stills.values() if json.loads(each["vars"]) == json.loads(film["vars"])]
        assert film["reference"] == still["result_path"]
        assert json.loads(film["references"]) == [still["result_path"]]
        (item,) = oracle.tasks[film["task_id"]].request["params"]["referenceMediaItems"]
        assert (item["kind"], item["mimeType"]) == ("image", "image/png")
    assert sorted(oracle.uploads.values()) == [1, 1], "a result is uploaded once, whatever is made from it"
    assert bench.run(path).kind is Kind.DONE
    assert len(bench.world.oracle().tasks) == 6


def test_a_job_waits_for_its_sources_and_is_no_other_when_they_are_there(bench: Bench) -> None:
    path = chain(bench, more="budget: {campaign: 8}\n")
    assert bench.run(path, selection=Selection(limit=0)).kind is Kind.DONE
    before = [job["id"] for job in bench.jobs()]
    for film in named(bench, "film"):
        (source,) = json.loads(film["waiting_for"])
        assert (film["status"], film["reference"]) == ("planned", f"result:{source}")
    path = chain(bench)
    assert bench.run(path).kind is Kind.DONE
    assert [job["id"] for job in bench.jobs()] == before
    assert {job["waiting_for"] for job in bench.jobs()} == {None}


def decided(bench: Bench, decision: Decision, *jobs: str) -> None:
    """Take a decision of some jobs, as the command does beside a run."""
    ledger = LedgerWriter.open(bench.ledger_path, bench.clock)
    try:
        for found in decide(ledger, decision, map(JobId, jobs)):
            assert isinstance(found, Decided), found
    finally:
        ledger.close()


@pytest.mark.parametrize("retaken", ["before", "after"])
def test_another_take_of_a_still_buys_no_film_again(bench: Bench, retaken: str) -> None:
    """A film that is bought says which still it used; one that is not is made from the newest."""
    path = chain(bench)
    if retaken == "before":
        bench.run(path, selection=Selection(limit=2))
        assert bought_at(bench) == ["still", "still"]
    else:
        bench.run(path)
    still, *_ = named(bench, "still")
    decided(bench, Retry(frozenset({Status.SUCCEEDED}), alone=True), still["id"])
    if retaken == "before":
        assert sum(job["waiting_for"] is not None for job in named(bench, "film")) == 2
    bench.app.media = plain(77)
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    assert len(bench.world.oracle().tasks) == 7, "the still once more, and nothing else"
    again = next(job for job in named(bench, "still") if job["id"] == still["id"])
    assert (again["attempt"], again["result_path"] != still["result_path"]) == (2, True)
    used = again if retaken == "before" else still
    films = [job for job in named(bench, "film") if json.loads(job["vars"]) == json.loads(still["vars"])]
    assert [job["reference"] for job in films] == [used["result_path"]] * 2


def test_ready_jobs_go_before_new_sources_and_a_cap_leaves_whole_chains(bench: Bench) -> None:
    many = CHAIN.replace("[harbour, mountain]", "[a, b, c, d, e]").replace("GATE", "")
    path = bench.write(many + FAST + "budget: {campaign: 50}\n")
    plan = bench.plan(path)
    workload, account = bench.workload(path), bench.provider().account.text
    schedule = Schedule(workload.settings.limits, None, account)
    ahead = outlook(plan, lambda: workload.lines(plan, None, account), schedule)
    assert (ahead.chains, ahead.chains_of, ahead.credits) == (4, 10, 48)
    ending = bench.run(path)
    assert (ending.kind, ending.caps) == (Kind.CAPPED, ("campaign story",))
    assert Counter(bought_at(bench)) == {"still": 2, "film": 4}
    assert bench.run(path).kind is Kind.CAPPED
    assert len(bench.world.oracle().tasks) == 6
    bench.check()


def test_first_and_last_frame_from_two_stills_and_a_file_beside_them(bench: Bench) -> None:
    (bench.folder / 'lo"go.png').write_bytes(PIXEL)
    path = bench.write(
        "campaign: frames\nmodel: kling-3-0\nprompts:\n"
        "  - {name: first, model: z-image, prompt: Dawn}\n  - {name: last, model: z-image, prompt: Dusk}\n"
        "  - name: day\n    prompt: It passes\n"
        "    references: [[{from: last}, {from: first}], ['lo\"go.png', {from: first}]]\n" + FAST
    )
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    first, last = (named(bench, name)[0]["result_path"] for name in ("first", "last"))
    made = [json.loads(job["references"]) for job in named(bench, "day")]
    assert made == [[last, first], [str(bench.folder / 'lo"go.png'), first]]
    oracle = bench.world.oracle()
    for job, paths in zip(named(bench, "day"), made, strict=True):
        items = oracle.tasks[job["task_id"]].request["params"]["referenceMediaItems"]
        assert [item["name"] for item in items] == [Path(text).name for text in paths], "in their order"
    assert sorted(oracle.uploads.values()) == [1, 1, 1]


def test_a_film_of_a_film_and_takes(bench: Bench) -> None:
    path = bench.write(
        "campaign: deep\nmodel: wan-2-6\nprompts:\n"
        "  - {name: still, model: z-image, prompt: Dawn, repeat: 2}\n"
        "  - {name: film, prompt: It moves, references: [{from: still}]}\n"
        '  - {name: longer, prompt: It moves on, references: [{from: "f*", where: {take: 1}}]}\n' + FAST
    )
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    assert Counter(job["name"] for job in bench.jobs()) == {"still": 2, "film": 2, "longer": 2}
    kinds = [
        task.request["params"]["referenceMediaItems"][0]["kind"]
        for task in bench.world.oracle().tasks.values()
        if task.request["model"] == "wan-2-6"
    ]
    assert Counter(kinds) == {"image": 2, "video": 2}


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_a_source_that_ends_without_a_file_takes_along_what_hangs_on_it(bench: Bench, how: str) -> None:
    path = chain(bench)
    if how == "failed":
        bench.switches.set({"fail_prompt": "harbour at dawn"})
        assert bench.run(path).kind is Kind.UNFINISHED
        again: Decision = Retry()
    else:
        bench.run(path, selection=Selection(limit=0))
        decided(bench, Cancel(), named(bench, "still")[0]["id"])
        again = Retry(frozenset({Status.CANCELLED}))
        bench.run(path)
    still, _ = named(bench, "still")
    gone = [job for job in named(bench, "film") if job["status"] == "cancelled"]
    assert [(job["error_code"], job["attempt"]) for job in gone] == [("source_failed", 0)] * 2
    films = prepare([path], only=["film"]).selection
    for selection in (Selection(), films):
        assert bench.run(path, selection=selection).kind is (Kind.UNFINISHED if how == "failed" else Kind.DONE)
    bench.switches.set({"fail_prompt": ""})
    decided(bench, again, still["id"])
    assert [job["status"] for job in named(bench, "film")] == ["planned", "planned", "succeeded", "succeeded"]
    assert bench.run(path).kind is Kind.DONE
    assert {job["status"] for job in bench.jobs()} == {"succeeded"}
    bench.check()


FIRST = "campaign: frames\nmodel: kling-3-0\nprompts:\n  - {name: first, model: z-image, prompt: Dawn}\n"
#: What is made from the first still by two ways.
BOTH = (
    "  - {name: last, model: grok-imagine, prompt: Dusk, references: [{from: first}]}\n"
    "  - {name: day, prompt: It passes, references: [[{from: first}, {from: last}]]}\n"
)


@pytest.mark.parametrize("known", [True, False])
def test_what_hangs_on_a_source_in_two_ways_moves_once(bench: Bench, known: bool) -> None:
    """Also where it comes to the ledger after its source has failed."""
    bench.switches.set({"fail_prompt": "Dawn"})
    assert bench.run(bench.write(FIRST + (BOTH if known else "") + FAST)).kind is Kind.UNFINISHED
    path = bench.write(FIRST + BOTH + FAST)
    assert bench.run(path).kind is Kind.UNFINISHED
    assert [job["status"] for job in bench.jobs()] == ["failed", "cancelled", "cancelled"]
    bench.switches.set({"fail_prompt": ""})
    decided(bench, Retry(), named(bench, "first")[0]["id"])
    assert {job["status"] for job in bench.jobs()} == {"planned"}
    assert bench.run(path).kind is Kind.DONE
    bench.check()


def test_a_chain_may_be_longer_than_pythons_stack(tmp_path: Path) -> None:
    """Two jobs are made from each of its films, and the chain goes on with the second."""
    films = range(2, 2002, 2)
    specs = [
        make_spec(n, reference=ResultReference(job_name(n // 2 * 2 - 2), "video", "x") if n > 2 else None)
        for film in films
        for n in (film, film + 3)
    ]
    bought = list(whole_chains([(spec, "new") for spec in specs], lambda _: "", lambda _: None))
    assert len({step.spec.id for step in bought}) == len(bought) == 2000
    shelf = Shelf(tmp_path / "ledger.db")
    shelf.enrol(specs[:800])
    shelf.ledger.cannot_send(job_name(2), "reference_changed", "it is another file")
    assert shelf.rows("SELECT status, count(*) AS n FROM wanted GROUP BY 1") == [
        {"status": "cancelled", "n": 799},
        {"status": "failed", "n": 1},
    ]
    shelf.ledger.close()


def test_a_gate_waits_for_a_person_and_holds_for_the_bytes(bench: Bench) -> None:
    path = chain(bench, gate=True)
    ending = bench.run(path)
    assert (ending.kind, ending.reason) == (Kind.CAPPED, "review: 4 waiting for `batcher approve` or `batcher reject`")
    assert bought_at(bench) == ["still", "still"]
    harbour, mountain = named(bench, "still")
    decided(bench, Judge("approved"), harbour["id"])
    decided(bench, Judge("rejected"), mountain["id"])
    assert [(job["status"], job["error_code"]) for job in named(bench, "film")] == [
        *[("planned", None)] * 2,
        *[("cancelled", "source_rejected")] * 2,
    ]
    assert bench.run(path).kind is Kind.DONE, "what a person rejected is wanted no more"
    decided(bench, Retry(frozenset({Status.SUCCEEDED}), alone=True), mountain["id"])
    bench.app.media = plain(77)
    assert bench.run(path).kind is Kind.CAPPED, "another take is another file, which nobody has judged"
    decided(bench, Judge("approved"), mountain["id"])
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    assert [job["attempt"] for job in named(bench, "film")] == [1] * 4


def test_only_some_prompts_bring_along_what_they_are_made_from(bench: Bench) -> None:
    path = chain(bench)
    chosen = prepare([path], only=["film"])
    assert len(chosen.selection.also) == 2
    plan = bench.plan(path, selection=chosen.selection)
    assert (plan.new, plan.campaigns[0].unselected) == (6, 0)
    assert bench.run(path, selection=prepare([path], only=["still"]).selection).kind is Kind.DONE
    assert bought_at(bench) == ["still", "still"]
    assert bench.run(path, selection=chosen.selection).kind is Kind.DONE
    assert len(bench.world.oracle().tasks) == 6
    sample = prepare([path], sample="1")
    assert sample.selection.chosen
    assert len({*sample.selection.chosen, *sample.selection.also}) in (1, 2)


def test_sources_are_fetched_though_results_stay_where_they_are(bench: Bench) -> None:
    path = chain(bench, more="results: {download: false}\n")
    assert bench.run(path).kind is Kind.DONE
    assert [bool(job["result_path"]) for job in named(bench, "still")] == [True, True]
    assert [bool(job["result_path"]) for job in named(bench, "film")] == [False] * 4


def test_a_still_that_is_gone_from_the_disk_is_brought_back(bench: Bench) -> None:
    path = chain(bench)
    bench.run(path, selection=Selection(limit=2))
    for still in named(bench, "still"):
        (bench.state / still["result_path"]).unlink()
    assert bench.run(path).kind is Kind.DONE
    bench.check()
    assert len(bench.world.oracle().tasks) == 6


def test_reports_say_which_file_went_along(bench: Bench) -> None:
    path = chain(bench, more="results: {sidecar: true}\n")
    bench.run(path, selection=Selection(limit=3))
    with bench.reader() as reader:
        found = {card.id: card for card in cards(reader, Scope(), 100)}
    stills = {job["result_path"]: job for job in named(bench, "still")}
    for job in named(bench, "film"):
        [reference] = found[job["id"]].references
        assert reference["url"] is False
        if job["attempt"]:
            sidecar = json.loads((bench.state / f"{job['result_path']}.json").read_text())
            assert reference["text"] == sidecar["reference"] == job["reference"]
            assert sidecar["reference_sha256"] == stills[job["reference"]]["result_sha256"]
        else:
            assert reference["text"].startswith("result:")
