"""The same history in every store, and every question of a run answered alike: the words are SQLite's."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from core_helpers import ACCOUNT, ManualClock, StoreShelf, job_name, make_spec, make_task
from integration.ledger.helpers import postgresql, sqlite

from batcher.events import Event
from batcher.jobs import FileReference, ResultReference, SeveralReferences, Status, Upload, UrlReference
from batcher.ledger import Caps, PlannedJob, expected_price, last_final, seen_price
from batcher.ledger.decisions import Cancel, Judge, Retry, Submitted, decide
from batcher.ledger.expansion_cache import Origin, cached_expansion
from batcher.ledger.queries.jobs import review_of
from batcher.measures import Inspection, Measures

S, F = Status.SUCCEEDED, Status.FAILED


def history(shelf: StoreShelf[Any]) -> list[Any]:
    """A life of a ledger with all that it may meet; what was answered on the way."""
    ledger, clock, said = shelf.ledger, shelf.clock, list[Any]()

    def tick(seconds: float = 1.0) -> None:
        clock.now += seconds

    still, film = job_name(1), ResultReference(job_name(1), "image", gate=True)
    specs = [
        make_spec(1, price_class="still", vars={"sku": "a"}, tags={"client": "x"}),
        make_spec(2, price_class="film", reference=film),
        make_spec(3, price_class="film", reference=UrlReference("https://x/1.png", "image")),
        make_spec(4, price_class="voice unpriced"),
        make_spec(5, reference=FileReference(Path("a.png"), "1" * 64, 5, "image/png", "image")),
        make_spec(6, price_class="pair", reference=SeveralReferences((film, UrlReference("https://x/2.png", "image")))),
        *(make_spec(n) for n in range(7, 12)),
    ]

    def origin() -> Origin:
        return Origin("fingerprint", [("file", "a.png", "1"), ("source", "m.yaml", "2")])

    for _ in range(2):
        for step in ledger.enrolling("spring", "m.yaml", specs, origin):
            said.append(step())
        tick()
    shelf.name_price()
    caps = Caps(run=500, campaigns={"spring": 400}, day=300, keep=1, wallet=1000, unpriced=50, chains=("spring",))

    def buy(number: int) -> Any:
        tick()
        made = shelf.ledger.intend(
            shelf.ledger.read.load(job_name(number)), account=ACCOUNT, compose=lambda r: r.encode(), caps=caps, api=7e8
        )
        said.append(made)
        return made

    one = buy(1)
    ledger.submitted(one, make_task(1, reserved_credits=12))
    ledger.record(one.attempt_id, make_task(1, S, final_credits=11, urls=("https://x/1", "https://x/2")), 2.5)
    ledger.begin_file(one.attempt_id, 0, '"etag"', 10)
    found = Inspection(Measures(None, 640, 480), ())
    said.append(ledger.claim_file(one.attempt_id, 0, target="results/a.png", sha256="2" * 64, size=9, found=found))
    said.append(ledger.claim_file(one.attempt_id, 1, target="results/A.png", sha256="3" * 64, size=9))
    ledger.file_saved(still, one.attempt_id, 0)
    ledger.set_aside(still, one.attempt_id, 1, path="unverified/b", sha256="4" * 64, why="cut")
    ledger.file_event(still, Event.FILE_DIFFERS, number=0)
    said += [list(decide(ledger, Judge("approved"), [still])) for _ in range(2)]
    for number in (3, 4, 5, 7, 8):
        buy(number)
    for number, status, final in ((3, S, 30), (4, S, None), (7, F, 0), (8, F, 3)):
        attempt = ledger.read.load(job_name(number)).phase
        if intent := getattr(attempt, "intent", None):
            tick(20)
            ledger.submitted(intent, make_task(number, reserved_credits=9 + number))
            ledger.record(intent.attempt_id, make_task(number, status, final_credits=final, urls=("https://x/9",)), 1.0)
    ledger.remember_upload(
        ACCOUNT, Upload("1" * 64, "https://u", "image", "a.png", "image/png", "f1", "token", 1.5, clock.now)
    )
    ledger.upload_verified(ACCOUNT, "1" * 64)
    ledger.cannot_send(job_name(9), "reference_changed", "it changed")
    said.append([*decide(ledger, Cancel(), [job_name(10), job_name(8)])])
    said.append([*decide(ledger, Retry(frozenset({F})), [job_name(7), job_name(8)])])
    if intent := getattr(ledger.read.load(job_name(5)).phase, "intent", None):
        ledger.maybe_received(intent, "cut", "off")
        said.append(ledger.refused(intent, "validation_failed", "no"))
    said.append([*decide(ledger, Submitted("task_5"), [job_name(5)])])
    for kind in ("submit", "poll", "credits"):
        tick()
        ledger.stamp(kind, ACCOUNT.text)
    ledger.stamp("poll")
    ledger.note(Event.WALLET_READ, account=ACCOUNT.text, credits=900, counted=880, mark=1, most=990)
    return said


def answers(shelf: StoreShelf[Any]) -> dict[str, Any]:
    """Every question of the port, and those that planning and decisions ask of the same ledger."""
    ledger, read = shelf.ledger, shelf.ledger.read
    ids = [job_name(number) for number in range(1, 12)]
    classes = ["still", "film", "voice unpriced", "small", "pair"]
    every: dict[str, Callable[[], Any]] = {
        "load": lambda: [read.load(each) for each in ids],
        "known": lambda: sorted(read.known(ids).items()),
        "classes": lambda: read.pending_classes("spring"),
        "pending": lambda: [
            read.pending("spring", each, after=-1, limit=3, part=part)
            for each in classes
            for part in ("none", "source", "ready")
        ],
        "sources": lambda: [read.sources(each) for each in ids],
        "chains": lambda: [read.has_chains(), [read.is_source(each) for each in ids], read.for_review("spring")],
        "unsettled": lambda: [read.unsettled("spring"), read.without_final("spring")],
        "unsaved": lambda: [read.unsaved("spring"), read.unsaved("spring", of_sources=True)],
        "under_way": lambda: [read.under_way("spring", unsaved=each) for each in (True, False)],
        "outcome": lambda: [sorted(map(str, read.outcome("spring", named=each))) for each in (True, False)],
        "spent": lambda: [read.spent(), read.spent(campaign="spring"), read.spent(day="2027-01-15"),
                          read.spent(run_id=1)],
        "wallet": lambda: [read.taken_since(ACCOUNT.text, 2), read.newest_attempt(), read.wallet_mark()],
        "waits": lambda: [[(a, round(b, 3)) for a, b in read.waits(ACCOUNT.text, each, 5)] for each in classes],
        "upload": lambda: [read.upload(ACCOUNT, "1" * 64), read.upload(ACCOUNT, "0" * 64)],
        "hints": lambda: read.hints(0),
        "usual_size": lambda: [read.usual_size(2, 0, None), read.usual_size(2, 0, "mode")],
        "prices": lambda: [
            (seen_price(read, ACCOUNT.text, each), expected_price(read, ACCOUNT.text, each, 7),
             last_final(read, ACCOUNT.text, each))
            for each in classes
        ],
        "refusal": lambda: [
            ledger.refusal(
                Caps(campaigns={"spring": 60}, keep=900, wallet=1000, chains=("spring",), unpriced=5),
                account=ACCOUNT, job=PlannedJob(ids[number], "spring", "", 0, catalog_credits=10, price_class=each),
            )
            for number, each in enumerate(classes)
        ],
        "counted": lambda: [ledger.counted(ACCOUNT.text, at) for at in ("", "2099")],
        "sends": lambda: [ledger.last_send(), ledger.sends_after(1), ledger.newest_sends(2, account=ACCOUNT.text),
                          ledger.newest_sends(9)],
        "saved": lambda: [list(ledger.saved(attempt, 0)) for attempt in range(1, 6)],
        "cached": lambda: cached_expansion(read, "spring", "fingerprint", lambda given: len(list(given)) == 2),
        "reviews": lambda: [review_of(read, each) for each in ids],
        "last_run": lambda: {k: v for k, v in dict(read.last_run() or {}).items() if k != "rev"},
    }  # fmt: skip
    return {name: ask() for name, ask in every.items()}


def test_every_store_lives_and_answers_alike(tmp_path: Path, postgres: str) -> None:
    stores = [partial(sqlite, tmp_path), partial(postgresql, postgres)]
    shelves: list[StoreShelf[Any]] = [StoreShelf(each, ManualClock()) for each in stores]
    said = [history(each) for each in shelves]
    assert ids_apart(said[0]) == ids_apart(said[1])
    found = [answers(each) for each in shelves]
    for name, of_sqlite in found[0].items():
        assert ids_apart(found[1][name]) == ids_apart(of_sqlite), name
    heard = [[(each.event, each.job_id, each.detail) for each in shelf.changes] for shelf in shelves]
    assert heard[0] == heard[1]
    for shelf in shelves:
        shelf.ledger.close()


def ids_apart(found: Any) -> str:
    """Without the keys, which hold the ledger's own id."""
    return re.sub(r"\b[0-9a-f]{40}\b", "KEY", repr(found))
