"""The ledger's events, one by one: what was committed after each, held against the caps and the legal moves."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .books import Books, Row

_ANSWERS = ("queued", "processing", "succeeded", "failed", "late_answer")
#: What an attempt counts with from now on, by the event that says so and the field of its detail.
_SETTLED = {"settled": "credits", "final_unknown": "credits", "final_changed": "now"}
#: A job may not be held for at less than each of so many of its class that were settled last.
_LAST = 5


@dataclass(slots=True)
class Replay:
    """`peaks` is the most that each campaign had held and settled after any commit; `faults` what was not as promised.

    `risen` counts how often the API took more than was held, `above` the credits of that by campaign.
    """

    peaks: dict[str, int] = field(default_factory=dict)
    above: dict[str, int] = field(default_factory=dict)
    risen: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Attempt:
    """An attempt so far; `counted` is what it holds or, once it is not open any more, was settled at."""

    row: Row
    counted: int
    open: bool = True


class _Player:
    def __init__(self, books: Books, caps: Mapping[str, int]) -> None:
        self.result = Replay()
        self._caps = caps
        self._rows = {(row["job_id"], row["number"]): row for row in books.attempts}
        self._at_end = _at_end(books)
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._committed = dict.fromkeys(caps, 0)
        self._seen: set[str] = set()
        self._finals: dict[str, list[int]] = defaultdict(list)
        self._status: dict[str, str] = {}

    def play(self, event: Row) -> None:
        detail = json.loads(event["detail"])
        if event["job_id"] is None:
            return
        if "to" in detail:
            self._moved(event, detail)
        name = (event["job_id"], event["attempt"])
        row, attempt = self._rows.get(name), self._attempts.get(name)
        if event["event"] == "intended":
            if row is None or attempt is not None:
                self._fault(event, "an intent without an attempt of its own")
            else:
                self._intended(event, name, row, detail["hold"])
        elif event["event"] == "holds_raised":
            for other in self._of_class(detail["price_class"]):
                self._count(event, other, max(other.counted, detail["credits"]))
        elif attempt is None:
            return
        elif event["event"] in _ANSWERS:
            self._answered(event, attempt, detail.get("reserved"))
            if event["event"] in ("succeeded", "failed") and self._at_end.get(name) is not None:
                self._settled(event, attempt, self._at_end[name])
        elif event["event"] == "refused":
            self._settled(event, attempt, 0)
        elif event["event"] in _SETTLED:
            self._settled(event, attempt, detail[_SETTLED[event["event"]]])

    def _of_class(self, price_class: str) -> Iterator[_Attempt]:
        return (each for each in self._attempts.values() if each.open and each.row["price_class"] == price_class)

    def _moved(self, event: Row, detail: Mapping[str, str]) -> None:
        job, before = event["job_id"], detail.get("from")  # nothing: new, or wanted again
        if before and self._status.get(job) != before:
            self._fault(event, f"moved from {before}, but it was {self._status.get(job)}")
        self._status[job] = detail["to"]

    def _intended(self, event: Row, name: tuple[str, int], row: Row, hold: int) -> None:
        price_class, last = row["price_class"], self._finals[row["price_class"]][-_LAST:]
        if price_class not in self._seen and any(self._of_class(price_class)):
            self._fault(event, f"a second job of class {price_class} before its price was named")
        if hold < row["quoted_credits"] or (last and hold < min(last)):
            self._fault(event, f"holds {hold}; its quote is {row['quoted_credits']}, the last prices were {last}")
        self._attempts[name] = _Attempt(row, 0)
        self._commit(event, row["campaign"], hold, intent=True)
        self._attempts[name].counted = hold

    def _answered(self, event: Row, attempt: _Attempt, reserved: object) -> None:
        if not attempt.open or not isinstance(reserved, int):
            return
        if reserved >= attempt.row["quoted_credits"]:
            self._seen.add(attempt.row["price_class"])
        self._count(event, attempt, max(attempt.counted, reserved))

    def _settled(self, event: Row, attempt: _Attempt, credits_: int) -> None:
        attempt.open = False
        if credits_:
            self._seen.add(attempt.row["price_class"])
        if credits_ and attempt.row["outcome"] == "succeeded":
            self._finals[attempt.row["price_class"]].append(credits_)
        self._count(event, attempt, credits_)

    def _count(self, event: Row, attempt: _Attempt, credits_: int) -> None:
        more, campaign = credits_ - attempt.counted, attempt.row["campaign"]
        if more > 0:
            self.result.risen += 1
            self.result.above[campaign] = self.result.above.get(campaign, 0) + more
        attempt.counted = credits_
        self._commit(event, campaign, more)

    def _commit(self, event: Row, campaign: str, change: int, *, intent: bool = False) -> None:
        self._committed[campaign] += change
        committed, cap = self._committed[campaign], self._caps[campaign]
        self.result.peaks[campaign] = max(committed, self.result.peaks.get(campaign, 0))
        if intent and committed > cap:
            self._fault(event, f"bought with {committed} held and settled over the cap of {cap} of {campaign}")
        if committed > cap + self.result.above.get(campaign, 0):
            self._fault(event, f"{committed} held and settled: more than the cap of {cap} and what prices rose by")

    def _fault(self, event: Row, what: str) -> None:
        self.result.faults.append(f"event {event['id']} ({event['event']}, job {event['job_id']}): {what}")

    def end(self, books: Books) -> Iterator[str]:
        """What the replay comes to must be what the ledger says now."""
        for campaign, committed in self._committed.items():
            mine = (row for row in books.attempts if row["campaign"] == campaign)
            now = sum(row["hold_credits"] if row["final_credits"] is None else row["final_credits"] for row in mine)
            if now != committed:
                yield f"the events of {campaign} come to {committed} credits, its attempts to {now}"
        for job in books.jobs:
            if job["id"] in self._status and self._status[job["id"]] != job["status"]:
                yield f"job {job['id']} is {job['status']}, its last event says {self._status[job['id']]}"


def _at_end(books: Books) -> dict[tuple[str, int], int]:
    """What the attempts were settled at whose end was told together with their price: no other event says so."""
    found = {(row["job_id"], row["number"]): row["final_credits"] for row in books.attempts}
    for event in reversed(books.events):
        name = (event["job_id"], event["attempt"])
        if event["event"] == "final_changed":
            found[name] = json.loads(event["detail"])["was"]
        elif event["event"] in ("settled", "final_unknown"):
            found.pop(name, None)
    return found


def replay(books: Books, caps: Mapping[str, int]) -> Replay:
    """Play all events (product.md, promise 3). Holds only rise until they are settled; what is settled may change."""
    player = _Player(books, caps)
    for event in books.events:
        player.play(event)
    player.result.faults.extend(player.end(books))
    return player.result
