"""APIs whose figures say too little, too late or too much: no figure of theirs switches a cap off.

The bent API is the truth about what is charged: what it takes in the end, whatever it says on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from integration.lifecycle.helpers import FAST, attempts, events, held, manifest
from support import Bench

from batcher.engine import Engine
from batcher.errors import Kind
from batcher.jobs import Status, TaskState
from batcher.ledger import Change
from batcher.providers.rivya import Rivya

CAP = 50
PRICE = 10  # also the catalogue's
NOT_YET = (Status.QUEUED, Status.PROCESSING)


@dataclass(frozen=True)
class Figures:
    """What an API says: on submission, and in its nth answer after the end (from 0); what it takes of the nth job."""

    reserved: int | None = PRICE
    final: Callable[[int, int], int | None] = lambda number, asked: PRICE
    takes: Callable[[int], int] = lambda number: PRICE
    fails: Callable[[int], bool] = lambda number: False


@dataclass
class Bent:
    """The API of a bench with figures of its own; `ended` counts the answers about each task since its end."""

    bench: Bench
    figures: Figures
    numbers: dict[str, int] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)

    def bend(self, found: Any) -> Any:
        task = found if isinstance(found, TaskState) else getattr(found, "task", None)
        if task is None:
            return found
        bent = self.say(task)
        return bent if isinstance(found, TaskState) else replace(found, task=bent)

    def say(self, task: TaskState) -> TaskState:
        number = self.numbers.setdefault(task.task_id, len(self.numbers) + 1)
        if task.status in NOT_YET:
            return replace(task, reserved_credits=self.figures.reserved, final_credits=0)
        status = Status.FAILED if self.figures.fails(number) else task.status
        final = self.figures.final(number, self.ended[task.task_id])
        self.ended[task.task_id] += 1
        return replace(
            task, status=status, word=str(status), reserved_credits=self.figures.reserved, final_credits=final
        )

    @property
    def charged(self) -> int:
        """What it has taken, or will take, for all that it has."""
        return sum(map(self.figures.takes, self.numbers.values()))

    @property
    def client(self) -> type[Rivya]:
        bend = self.bend

        class Api(Rivya):
            async def submit(self, intent: Any) -> Any:
                return bend(await super().submit(intent))

            async def poll(self, task_id: str) -> Any:
                return bend(await super().poll(task_id))

        return Api


def bent(bench: Bench, figures: Figures) -> Bent:
    api = Bent(bench, figures)
    bench.client = api.client
    return api


def campaign(
    bench: Bench, *, jobs: int = 40, in_flight: int = 20, more: str = f"budget: {{campaign: {CAP}}}\n"
) -> Path:
    fast = FAST.replace("}", f", in_flight: {in_flight}}}", 1)
    return manifest(bench, *(f"Boat {n}" for n in range(jobs)), more=more, fast=fast)


def watch_cap(bench: Bench) -> None:
    """At each intent, what is held and settled is within the cap."""

    def look(change: Change) -> None:
        if change.event == "intended":
            with bench.reader() as reader:
                assert reader.spent(campaign="spring").committed <= CAP

    bench.observe = look


def settled(bench: Bench) -> int:
    with bench.reader() as reader:
        return reader.spent().settled


def late(answers: int) -> Callable[[int, int], int | None]:
    return lambda number, asked: PRICE if asked >= answers else 0


def by_number(*prices: int) -> Callable[[int], int]:
    return lambda number: prices[min(number, len(prices)) - 1]


def taken(prices: Callable[[int], int]) -> Callable[[int, int], int | None]:
    return lambda number, asked: prices(number)


HONEST_IN_THE_END = {
    "honest": Figures(),
    "reserves 0": Figures(reserved=0),
    "reserves 1": Figures(reserved=1),
    "reserves nothing": Figures(reserved=None),
    "reserves a bit less": Figures(reserved=9),
    "settles late": Figures(final=late(1)),
    "settles very late": Figures(final=late(3)),
    "reserves 0, settles late": Figures(reserved=0, final=late(2)),
    "names no price": Figures(reserved=None, final=lambda number, asked: None),
    "names 0 for ever": Figures(reserved=0, final=lambda number, asked: 0),
    "names 0 beside a reserve": Figures(final=lambda number, asked: 0),
    "reserves 1, names no price": Figures(reserved=1, final=lambda number, asked: None),
}


@pytest.mark.parametrize("figures", HONEST_IN_THE_END.values(), ids=HONEST_IN_THE_END.keys())
def test_what_the_api_does_not_say_is_held(bench: Bench, figures: Figures) -> None:
    """Ten credits a job under a cap of fifty are five jobs, and the ledger has it so in the end."""
    api = bent(bench, figures)
    watch_cap(bench)
    ending = bench.run(campaign(bench))
    assert ending.kind is Kind.CAPPED
    assert (api.charged, settled(bench), held(bench)) == (CAP, CAP, 0)
    unknown = figures.final(1, 99) in (0, None)
    assert events(bench).count("final_unknown") == (5 if unknown else 0)
    again = bench.run(campaign(bench))
    assert (again.kind, len(api.numbers)) == (Kind.CAPPED, 5)


OVER = {
    # The first alone, and its price shows: nobody else is surprised.
    "reserves 1, takes 25": (Figures(reserved=1, final=taken(lambda n: 25), takes=lambda n: 25), 1),
    "reserves 0, takes 25": (Figures(reserved=0, final=taken(lambda n: 25), takes=lambda n: 25), 1),
    # Those under way together when the first ends.
    "takes more than it reserved": (Figures(final=taken(lambda n: 14), takes=lambda n: 14), 5),
    "rises": (Figures(final=taken(by_number(10, 10, 14)), takes=by_number(10, 10, 14)), 5),
    "rises and falls": (Figures(final=taken(by_number(10, 14, 20, 6)), takes=by_number(10, 14, 20, 6)), 5),
    # Failures: at no cost, or not; the first of the class too.
    "charges for failures": (Figures(fails=lambda n: n % 2 == 0), 0),
    "the first fails at no cost": (
        Figures(reserved=1, fails=lambda n: n == 1, final=taken(by_number(0, 10)), takes=by_number(0, 10)),
        0,
    ),
    "failures are dearer": (
        Figures(reserved=0, fails=lambda n: n == 2, final=taken(by_number(10, 25, 10)), takes=by_number(10, 25, 10)),
        4,
    ),
}


@pytest.mark.parametrize(("figures", "surprised"), OVER.values(), ids=OVER.keys())
def test_only_what_nobody_could_know_passes_a_cap(bench: Bench, figures: Figures, surprised: int) -> None:
    """Over by what so many jobs took above their holds, to the credit; and the ledger has what was charged."""
    api = bent(bench, figures)
    bench.run(campaign(bench))
    rows = attempts(bench)
    above = [over for row in rows if (over := row["final_credits"] - row["quoted_credits"]) > 0]
    assert len(above) <= surprised
    assert api.charged == settled(bench) <= CAP + sum(above)
    assert held(bench) == 0


def test_the_caps_of_run_and_day_and_the_wallet_hold_too(bench: Bench) -> None:
    api = bent(bench, Figures(reserved=0, final=late(1)))
    ending = bench.run(campaign(bench, more=f"budget: {{day: {CAP}}}\n"))
    assert (ending.kind, api.charged) == (Kind.CAPPED, CAP)


@pytest.mark.parametrize(("other_seconds", "longest"), [(0, 75), (900, 600)])
def test_a_success_is_asked_for_its_price_at_growing_intervals(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, other_seconds: int, longest: int
) -> None:
    """For ten minutes beside other work, else until the run has had nothing else to do for a minute."""
    api = bent(bench, Figures(final=lambda number, asked: None))
    asked: list[float] = []
    began = bench.clock.monotonic()
    honest = api.say

    def say(task: TaskState) -> TaskState:
        said = honest(task)
        if api.numbers[task.task_id] == 2 and bench.clock.monotonic() < began + other_seconds:
            return replace(said, status=Status.PROCESSING, word="processing")
        if api.numbers[task.task_id] == 1 and said.status is Status.SUCCEEDED:
            asked.append(bench.clock.monotonic())
        return said

    monkeypatch.setattr(api, "say", say)
    bench.run(campaign(bench, jobs=2, more="budget: {campaign: 1000}\n"))
    waits = [after - before for before, after in pairwise(asked)]
    assert longest / 3 < asked[-1] - asked[0] <= longest + 1
    assert 2 <= len(waits) <= 6
    assert 4 < waits[0] < 7
    assert all(after > before for before, after in pairwise(waits[:-1]))
    assert events(bench).count("final_unknown") == 2
    assert bench.clock.monotonic() - began < other_seconds + 120


@pytest.mark.parametrize(
    ("final", "hours", "seconds"),
    [(late(1), 0, 30), (lambda number, asked: None, 0, 120), (lambda number, asked: None, 1, 5)],
)
def test_the_next_run_asks_on(
    bench: Bench,
    final: Callable[[int, int], int | None],
    hours: int,
    seconds: float,
) -> None:
    """A run that ends by a signal leaves an open price to the next one; what ended long ago is asked for once."""
    api = bent(bench, Figures(final=final))
    path = campaign(bench, jobs=1)

    engines: list[Engine] = []

    def stop_once_saved(change: Change) -> None:
        if change.event == "saved":
            engines[0].stop(Kind.TERMINATED, "SIGTERM")

    bench.observe = stop_once_saved
    assert bench.run(path, engine=engines.append).kind is Kind.TERMINATED
    assert (held(bench), settled(bench)) == (PRICE, 0)
    bench.observe = lambda change: None
    bench.clock.start += 3600 * hours
    began, asked = bench.clock.monotonic(), api.ended.total()
    assert bench.run(path).kind is Kind.DONE
    assert (held(bench), settled(bench), api.charged) == (0, PRICE, PRICE)
    assert bench.clock.monotonic() - began < seconds
    assert api.ended.total() - asked >= 1
