"""Jobs that are bought together are bought as one after the other would be: what a group knows is never out of date."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from core_helpers import ACCOUNT, OTHER, ManualClock, StoreShelf, job_name, make_spec, make_task
from integration.ledger.helpers import StoresShelf, postgresql, priced, shelf, sqlite
from integration.ledger.test_alike import ids_apart
from virtual_time import SEED

from batcher.errors import BatcherError
from batcher.jobs import FileReference, Intent, ResultReference, Status
from batcher.ledger import Buying, Caps, NotAdmitted
from batcher.ledger.control import Word, ask_of
from batcher.settings import Allowance

__all__ = ["priced", "shelf"]

CAMPAIGNS = ("spring", "summer")
CLASSES = ("small", "big", "voice unpriced", "film unpriced")
JOBS, CHAINS, ROUNDS = 100, 12, 18
_ROWS = (
    "id, job_id, number, run_id, account, day, price_class, class_id, allowance, client_request_id, body, used,"
    " quoted_credits, hold_credits, reserved_credits, final_credits, outcome, intended_at FROM attempts ORDER BY id",
    "run_id, job_id, attempt, event, detail FROM events ORDER BY id",
    "run_id, campaign, day, allowance, unpriced, held, settled FROM spent ORDER BY 1, 2, 3, 4, 5",
    "id, status, attempt_id, begun, waiting, error_code FROM wanted ORDER BY id",
    "account, provider, unit FROM accounts ORDER BY 1",
)
Operation = Callable[[StoreShelf[Any]], Callable[[], object]]


def specs(rng: Random) -> dict[str, list[Any]]:
    """Jobs of both campaigns: the last are stills, films made from these, and what is made of those."""
    found: dict[str, list[Any]] = {name: [] for name in CAMPAIGNS}
    for number in range(1, JOBS + 1):
        campaign, price_class = rng.choice(CAMPAIGNS), rng.choice(CLASSES)
        made = make_spec(number, campaign=campaign, price_class=price_class, catalog_credits=rng.choice((5, 10)))
        found[campaign].append(made)
    for number in range(JOBS + 1, JOBS + CHAINS + 1):
        of = ResultReference(job_name(number - CHAINS // 3), "image") if number > JOBS + CHAINS // 3 else None
        found["spring"].append(make_spec(number, price_class=rng.choice(CLASSES), reference=of))
    return found


def caps(rng: Random, shelf: StoreShelf[Any]) -> Caps:
    """Caps of which each one may be there, most with room for some more jobs."""
    read = shelf.ledger.read

    def maybe(value: int) -> int | None:
        return value if rng.random() < 0.3 else None

    def room(used: int) -> int:
        return used + rng.randrange(5, 50)

    newest, wallet = read.newest_attempt(), 1000
    mark = max(0, newest - rng.randrange(6))
    keep = maybe(wallet - room(read.taken_since(ACCOUNT.text, mark)))
    night = Allowance("night", room(read.spent(allowance="night").committed))
    return Caps(
        run=maybe(room(read.spent(run_id=shelf.run_id).committed)),
        campaigns={each: room(read.spent(campaign=each).committed) for each in CAMPAIGNS if rng.random() < 0.4},
        allowances={each: night for each in CAMPAIGNS if rng.random() < 0.4},
        day=maybe(room(read.spent().committed)),
        keep=keep,
        wallet=wallet,
        wallet_mark=mark,
        wallet_at=rng.choice((None, shelf.clock.wall() - 299, shelf.clock.wall() - 301)),
        room=maybe(rng.randrange(60)),
        room_mark=newest,
        price_above=maybe(rng.randrange(9, 14)),
        ceilings={each: rng.randrange(8, 14) for each in CLASSES if rng.random() < 0.1},
        unpriced=rng.choice((None, room(read.spent(unpriced=True).committed // 2))),
        quoted=maybe(room(read.spent(run_id=shelf.run_id, unpriced=False).committed)),
        until=rng.choice((*(None,) * 9, shelf.clock.wall())),
        ready_by=rng.choice((*(None,) * 4, shelf.clock.wall() + 30)),
        chains=rng.choice(((), CAMPAIGNS, ("spring",))),
    )


def buying(number: int, under: Caps, account: Any, *, known: bool, breaks: bool) -> Operation:
    """A purchase; `known` as one beforehand; one that `breaks` has no body."""

    def made(shelf: StoreShelf[Any]) -> Callable[[], object]:
        job = shelf.ledger.read.load(job_name(number))
        used = [each for each in shelf.ledger.read.sources(job.id) if each.ready]
        if used and used[0].sha256:
            job = replace(job, reference=FileReference(Path("a"), used[0].sha256, 5, "image/png", "image"))

        def compose(request_id: str) -> bytes:
            if breaks:
                raise ValueError("no body")
            return request_id.encode()

        buy = partial(shelf.ledger.intend, job, account=account, compose=compose, caps=under, api=7e8)
        return Buying(job, buy) if known else buy

    return made


def news(number: int, rng: Random) -> Operation:
    """What comes of a job that was bought, or of one that was not."""
    reserved, final = rng.randrange(8, 14), rng.choice((None, 0, rng.randrange(5, 20)))
    status = rng.choice((Status.QUEUED, Status.SUCCEEDED, Status.FAILED))
    what, half = rng.choice(("record", "record", "record", "unsent", "doubt", "cannot_send")), rng.random() * 20
    if status is Status.QUEUED:
        final = 0
    task = make_task(number, status, reserved_credits=reserved, final_credits=final, urls=("https://x/1",))

    def made(shelf: StoreShelf[Any]) -> Callable[[], object]:
        ledger, job_id = shelf.ledger, job_name(number)

        def write() -> object:
            phase = ledger.read.load(job_id).phase
            intent = getattr(phase, "intent", None)
            if what == "cannot_send" or phase is None:
                return ledger.cannot_send(job_id, "reference_changed", "x") if number % 7 == 0 else None
            if isinstance(intent, Intent):
                match what:
                    case "unsent":
                        return ledger.unsent(intent, "rate_limited", "no")
                    case "doubt":
                        return ledger.doubt(intent.attempt_id, "conflict", "x")
                ledger.record(intent.attempt_id, task, half)
                if status is Status.SUCCEEDED:
                    ledger.claim_file(
                        intent.attempt_id, 0, target=f"results/{number}.png", sha256=f"{number:064x}", size=5
                    )
                    ledger.file_saved(job_id, intent.attempt_id, 0)
            return None

        return write

    return made


def asking(rng: Random) -> Operation:
    """What a person asks meanwhile; a pause is soon taken back."""
    words: tuple[Word, ...] = ("pause", "resume", "resume", "budget")
    word, cap = rng.choice(words), rng.randrange(200, 900)
    values = {"budget.campaign:spring": cap} if word == "budget" else {}
    return lambda shelf: partial(ask_of, shelf.ledger, word, values, who="ann", raises=True)


def operations(rng: Random, shelf: StoreShelf[Any], under: Caps) -> list[Operation]:
    last = JOBS + CHAINS
    numbers = [*rng.sample(range(1, last + 1), rng.randrange(2, 14)), rng.randrange(JOBS + 1, last + 1)]
    found: list[Operation] = [
        buying(
            number, under, rng.choice((*(ACCOUNT,) * 9, OTHER)), known=rng.random() < 0.7, breaks=rng.random() < 0.05
        )
        for number in (*numbers, numbers[0])
    ]
    going = [int(job, 16) for each in CAMPAIGNS for job, _ in shelf.ledger.read.unsettled(each)]
    found += [news(number, rng) for number in rng.sample(going, min(len(going), rng.randrange(6)))]
    found += [news(rng.randrange(1, last + 1), rng) for _ in range(rng.randrange(2))]
    found += [asking(rng) for _ in range(rng.random() < 0.3)]
    rng.shuffle(found)
    return found


def alone(work: list[Callable[[], object]]) -> list[object]:
    """Each in a transaction of its own, in the order of a group: those that are known to buy come last."""
    found = dict[int, object]()
    for place in sorted(range(len(work)), key=lambda n: isinstance(work[n], Buying)):
        try:
            found[place] = work[place]()
        except (BatcherError, ValueError) as error:
            found[place] = error
    return [found[place] for place in range(len(work))]


def stands(shelf: StoreShelf[Any]) -> list[list[tuple[object, ...]]]:
    return [[tuple(row) for row in shelf.ledger.read.rows(f"SELECT {each}")] for each in _ROWS]


@pytest.mark.parametrize("seed", [int(SEED)])
def test_a_group_buys_what_its_jobs_would_buy_one_by_one(tmp_path: Path, postgres: str, seed: int) -> None:
    for name in ("alone", "together"):
        (tmp_path / name).mkdir()
    opened = [
        partial(sqlite, tmp_path / "alone"),
        partial(sqlite, tmp_path / "together"),
        partial(postgresql, postgres),
    ]
    rng = Random(seed)
    wanted = specs(rng)
    shelves: list[StoreShelf[Any]] = [StoreShelf(each, ManualClock()) for each in opened]
    with ExitStack() as stack:
        for store in shelves:
            stack.callback(store.ledger.close)
        _compare(shelves, rng, wanted)


def _compare(shelves: list[StoreShelf[Any]], rng: Random, wanted: dict[str, list[Any]]) -> None:
    first, *others = shelves
    for store in shelves:
        for campaign in CAMPAIGNS:
            store.enrol(wanted[campaign], campaign)
        for price_class in CLASSES[:2]:
            store.name_price(price_class)
    said = set[str]()
    for _ in range(ROUNDS):
        under = caps(rng, first)
        made = operations(rng, first, under)
        answers = alone([each(first) for each in made])
        for store in others:
            found = store.ledger.commit_group([each(store) for each in made])
            assert ids_apart(found) == ids_apart(answers), under
            assert stands(store) == stands(first), under
        said |= {each.cap if isinstance(each, NotAdmitted) else type(each).__name__ for each in answers}
        later = rng.choice((*(3.25,) * 9, 7200.5))
        for store in shelves:
            store.clock.now += later
    assert {"Intent", "Stale", "price"} <= said


@pytest.mark.parametrize(
    ("cap", "under"),
    [
        ("run", {"run": 25}),
        ("run", {"run": 100, "quoted": 25}),
        ("campaign", {"campaigns": {"spring": 25}}),
        ("allowance", {"allowances": {"spring": Allowance("night", 25)}}),
        ("day", {"day": 25}),
        ("keep", {"keep": 75, "wallet": 100}),
        ("reading", {"keep": 0, "wallet": 100, "room": 25}),
    ],
)
def test_a_group_fills_a_cap_and_goes_no_further(priced: StoresShelf, cap: str, under: dict[str, Any]) -> None:
    buy = partial(priced.ledger.intend, account=ACCOUNT, compose=lambda r: r.encode(), caps=Caps(**under))
    jobs = [priced.ledger.read.load(job_name(number)) for number in range(1, 5)]
    found = priced.ledger.commit_group([Buying(job, partial(buy, job)) for job in jobs])
    assert [each.cap if isinstance(each, NotAdmitted) else "" for each in found] == ["", "", cap, cap]
    assert priced.ledger.read.spent() == (20, 0)


def test_of_a_class_without_a_price_a_group_buys_one(shelf: StoresShelf) -> None:
    shelf.enrol([make_spec(number) for number in range(1, 4)])
    found = shelf.ledger.commit_group([partial(shelf.intend, number) for number in range(1, 4)])
    assert [each.cap if isinstance(each, NotAdmitted) else "" for each in found] == ["", "price", "price"]
