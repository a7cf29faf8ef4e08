"""A cap leaves whole chains: what a run buys under one is what the plan says, and no source is bought for nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from core_helpers import StoreShelf, job_name, make_spec
from integration.lifecycle.helpers import FAST
from integration.lifecycle.test_chains import bought_at
from support import Bench

from batcher.errors import Kind
from batcher.jobs import Intent, ResultReference
from batcher.ledger import LedgerWriter, NotAdmitted
from batcher.settings import Selection
from batcher.workload import prepare

HEAD = "campaign: {}\nmodel: grok-imagine-video\nprompts:\n"
STILL = '  - {name: still, model: grok-imagine, prompt: "{{ n }} at dawn", matrix: {n: [a, b, c, d, e]}}\n'
FILM = """
  - {name: film, prompt: "Pan {{ n }}", matrix: {n: [a, b, c, d, e]},
     references: [{from: still, where: {n: "{{ n }}"}}]}
"""
PICS = '  - {name: pic, model: grok-imagine, prompt: "Pic {{ p }}", matrix: {p: [1, 2, 3]}}\n'
PLAIN = '  - {name: plain, prompt: "Boat {{ p }}", matrix: {p: [1, 2, 3, 4, 5]}}\n'
ONE = STILL.replace("a, b, c, d, e", "a") + FILM.replace("a, b, c, d, e", "a")
MODES = FILM.replace("matrix: {", "matrix: {mode: [fun, normal], ")
LONGER = "  - {name: longer, model: wan-2-6, prompt: On, references: [{from: film}]}\n"
DEAR = FILM.replace("name: film,", "name: dear, model: wan-2-6,")


@dataclass(frozen=True)
class Case:
    """Manifests by campaign (prompts; caps), what is selected, and what is bought.

    A still and a pic cost 4, a film and a plain one 10, what is longer or dear 70.
    """

    manifests: dict[str, tuple[str, str]]
    bought: dict[str, int]
    only: tuple[str, ...] = ()
    sample: str | None = None
    order: str = "listed"


CASES = {
    "one film of each": Case({"a": (STILL + FILM, "campaign: 45")}, {"still": 3, "film": 3}),
    "two films of each": Case({"a": (STILL + MODES, "campaign: 50")}, {"still": 2, "film": 4}),
    "two films, one fits": Case({"a": (STILL + MODES, "campaign: 40")}, {"still": 2, "film": 3}),
    "no chain fits": Case({"a": (STILL + FILM, "campaign: 13")}, {}),
    "sources that are named": Case({"a": (STILL + FILM, "campaign: 10")}, {"still": 2}, only=("still",)),
    "films that are named": Case({"a": (STILL + FILM, "campaign: 50")}, {"still": 3, "film": 3}, only=("film",)),
    "a sample": Case({"a": (STILL + FILM, "campaign: 30")}, {"still": 2, "film": 2}, sample="10"),
    "class-mates without films": Case({"a": (ONE + PICS, "campaign: 13")}, {"pic": 3}),
    "a chain before others": Case({"a": (ONE + PLAIN, "campaign: 35")}, {"still": 1, "film": 1, "plain": 2}),
    "a film too dear keeps nobody out": Case({"a": (STILL + FILM + DEAR, "campaign: 32")}, {"still": 2, "film": 2}),
    "a dear chain keeps no cheap one out": Case(
        {
            "a": (
                STILL + DEAR.replace("a, b, c, d, e", "a, c") + FILM.replace("a, b, c, d, e", "b, d, e"),
                "campaign: 31",
            )
        },
        {"still": 2, "film": 2},
    ),
    "a dear chain of three keeps no cheap one out": Case(
        {
            "a": (
                STILL
                + FILM.replace("a, b, c, d, e", "a")
                + FILM.replace("a, b, c, d, e", "b, c").replace("name: film", "name: short")
                + LONGER,
                "campaign: 30",
            )
        },
        {"still": 2, "short": 2},
        only=("short", "longer"),
    ),
    "a chain of three": Case({"a": (ONE + LONGER + PICS, "campaign: 84")}, {"still": 1, "film": 1, "longer": 1}),
    "a chain of three, one short": Case({"a": (ONE + LONGER + PICS, "campaign: 83")}, {"pic": 3}),
    "a day of two campaigns": Case(
        {"a": (STILL + FILM, "day: 52"), "b": (PLAIN, "day: 52")}, {"still": 3, "film": 3, "plain": 1}
    ),
    "an allowance of two": Case(
        {name: (text, "allowance: {name: night, total: 52}") for name, text in (("a", STILL + FILM), ("b", PLAIN))},
        {"still": 3, "film": 3, "plain": 1},
    ),
    "a day in turns": Case(
        {"a": (STILL + FILM, "day: 52"), "b": (PLAIN, "day: 52")}, {"still": 3, "film": 3, "plain": 1}, order="fair"
    ),
    "a cap of another campaign": Case(
        {"a": (ONE, "campaign: 20"), "b": (PLAIN, "campaign: 50")}, {"still": 1, "film": 1, "plain": 5}
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_run_buys_what_the_plan_says(bench: Bench, case: Case) -> None:
    paths = [
        bench.write(
            f"campaign: {name}\nmodel: grok-imagine-video\nprompts:\n{prompts}{FAST}budget: {{{caps}}}\n",
            f"{name}.yaml",
        )
        for name, (prompts, caps) in case.manifests.items()
    ]
    workload = prepare(paths, only=case.only, sample=case.sample, order=case.order)
    account = bench.provider().account.text
    plan = bench.plan(*paths, selection=workload.selection)
    lines = [line.spec.name for line in workload.lines(plan, None, account) if line.is_bought]
    assert bench.run(*paths, selection=workload.selection).kind in (Kind.CAPPED, Kind.DONE)
    bought = Counter(bought_at(bench))
    assert bought == case.bought
    # where campaigns take turns, these hang on how long tasks take
    assert bought == Counter(lines) or case.order == "fair"
    bench.check()


def test_the_wallet_keeps_room_for_a_chain(bench: Bench) -> None:
    bench.world.set_wallet(70)
    path = bench.write(HEAD.format("a") + STILL + FILM + FAST + "budget: {keep: 50}\n")
    assert bench.run(path).kind is Kind.CAPPED
    assert Counter(bought_at(bench)) == {"still": 1, "film": 1}


@pytest.fixture
def shelf(tmp_path: Path) -> StoreShelf[LedgerWriter]:
    return StoreShelf(lambda clock, observe: LedgerWriter.open(tmp_path / "ledger.db", clock, observe))


def test_what_is_priced_takes_nothing_of_what_unpriced_jobs_may_cost(shelf: StoreShelf[LedgerWriter]) -> None:
    shelf.enrol(
        [
            make_spec(1, price_class="aud unpriced", catalog_credits=6, params={}),
            make_spec(2, catalog_credits=50, reference=ResultReference(job_name(1), "image", "x")),
        ]
    )
    refused = shelf.intend(1, unpriced=20, campaigns={"spring": 55}, chains=("spring",))
    assert isinstance(refused, NotAdmitted)
    assert (refused.cap, refused.message) == (
        "campaign",
        "campaign spring of 55: 0 held or settled, 6 more wanted, 50 kept for what is made from results",
    )
    assert isinstance(shelf.intend(1, unpriced=20, campaigns={"spring": 56}, chains=("spring",)), Intent)


def test_room_is_kept_for_what_is_made_later_from_a_still_that_is_there(bench: Bench) -> None:
    still = ONE.partition("\n")[0] + "\n"
    assert bench.run(bench.write(HEAD.format("a") + still + FAST)).kind is Kind.DONE
    gated = ONE.replace('{n: "{{ n }}"}}', '{n: "{{ n }}"}, gate: review}')
    path = bench.write(HEAD.format("a") + PLAIN + gated + FAST + "budget: {campaign: 25}\n")
    assert bench.run(path).kind is Kind.CAPPED
    assert Counter(bought_at(bench)) == {"still": 1, "plain": 1}


def test_what_goes_on_to_something_dear_keeps_no_ready_one_out(bench: Bench) -> None:
    films = FILM.replace("a, b, c, d, e", "a") + FILM.replace("a, b, c, d, e", "b").replace("name: film", "name: short")
    text = HEAD.format("a") + STILL.replace("a, b, c, d, e", "a, b") + films + LONGER + FAST
    assert bench.run(bench.write(text), selection=Selection(only=("still",))).kind is Kind.DONE
    assert bench.run(bench.write(text + "budget: {campaign: 20}\n")).kind is Kind.CAPPED
    assert Counter(bought_at(bench)) == {"still": 2, "short": 1}
