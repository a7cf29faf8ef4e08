"""The ledger's events, one by one: what was committed after each, held against the caps and the legal moves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .books import Books, Row

_ANSWERS = ("queued", "processing", "succeeded", "failed", "refused", "late_answer")


@dataclass(slots=True)
class Replay:
    """`peaks` is the most that each campaign had held and settled after any commit; `faults` what was not as promised.

    `risen` counts purchases for which the API took more than was quoted, `above` the credits of that by campaign.
    """

    peaks: dict[str, int] = field(default_factory=dict)
    above: dict[str, int] = field(default_factory=dict)
    risen: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Attempt:
    """An attempt so far; `named` is the price that the API has named for it, `dearest` the class's when it began."""

    row: Row
    counted: int
    dearest: int
    named: int | None = None
    open: bool = True


class _Player:
    def __init__(self, books: Books, caps: Mapping[str, int]) -> None:
        self.result = Replay()
        self._caps = caps
        self._rows = {(row["job_id"], row["number"]): row for row in books.attempts}
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._committed = dict.fromkeys(caps, 0)
        self._price: dict[str, int] = {}
        self._unnamed: dict[str, int] = {}
        self._status: dict[str, str] = {}

    def play(self, event: Row) -> None:
        detail = json.loads(event["detail"])
        if event["job_id"] is None:
            return
        if "to" in detail:
            self._moved(event, detail)
        name = (event["job_id"], event["attempt"])
        row = self._rows.get(name)
        if event["event"] == "intended":
            if row is None or name in self._attempts:
                self._fault(event, "an intent without an attempt of its own")
            else:
                self._intended(event, name, row)
        elif event["event"] in _ANSWERS and (attempt := self._attempts.get(name)) is not None:
            self._answered(event, attempt, detail)

    def _moved(self, event: Row, detail: Mapping[str, str]) -> None:
        job, before = event["job_id"], detail.get("from")  # nothing: new, or wanted again
        if before and self._status.get(job) != before:
            self._fault(event, f"moved from {before}, but it was {self._status.get(job)}")
        self._status[job] = detail["to"]

    def _intended(self, event: Row, name: tuple[str, int], row: Row) -> None:
        price_class, campaign = row["price_class"], row["campaign"]
        if price_class not in self._price:
            self._unnamed[price_class] = self._unnamed.get(price_class, 0) + 1
            if self._unnamed[price_class] > 1:
                self._fault(event, f"a second job of class {price_class} before its price was named")
        if row["quoted_credits"] < self._price.get(price_class, 0) and self._price[price_class] > 0:
            self._fault(event, f"quoted {row['quoted_credits']} where {self._price[price_class]} was the last price")
        self._attempts[name] = _Attempt(row, row["quoted_credits"], self._price.get(price_class, 0))
        self._commit(event, campaign, row["quoted_credits"], intent=True)

    def _answered(self, event: Row, attempt: _Attempt, detail: Mapping[str, object]) -> None:
        row, price_class = attempt.row, attempt.row["price_class"]
        if not attempt.open:
            return
        reserved = detail.get("reserved")
        if attempt.named is None and isinstance(reserved, int):
            self._named(event, attempt, reserved)
        if event["event"] in ("succeeded", "failed", "refused"):
            attempt.open = False
            if attempt.named is None and price_class not in self._price:
                self._unnamed[price_class] -= 1
            self._commit(event, row["campaign"], (row["final_credits"] or 0) - attempt.counted)

    def _named(self, event: Row, attempt: _Attempt, reserved: int) -> None:
        row, price_class = attempt.row, attempt.row["price_class"]
        if reserved > attempt.counted:
            self.result.risen += 1
            more = reserved - attempt.counted
            self.result.above[row["campaign"]] = self.result.above.get(row["campaign"], 0) + more
            if reserved <= attempt.dearest:
                self._fault(event, f"{reserved} taken, {attempt.counted} held: the price was known when it was bought")
        held = max(reserved, attempt.counted)  # a hold is not lowered before it is settled
        self._commit(event, row["campaign"], held - attempt.counted)
        attempt.named, attempt.counted = reserved, held
        self._price[price_class] = max(reserved, self._price.get(price_class, 0))

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
            now = sum(_counted(row) for row in mine)
            if now != committed:
                yield f"the events of {campaign} come to {committed} credits, its attempts to {now}"
        for job in books.jobs:
            if job["id"] in self._status and self._status[job["id"]] != job["status"]:
                yield f"job {job['id']} is {job['status']}, its last event says {self._status[job['id']]}"


def _counted(row: Row) -> int:
    """What an attempt holds or has settled."""
    return int(row["hold_credits"] if row["final_credits"] is None else row["final_credits"])


def replay(books: Books, caps: Mapping[str, int]) -> Replay:
    """Play all events. Prices only rise in these scenarios, so the last price of a class is its dearest."""
    player = _Player(books, caps)
    for event in books.events:
        player.play(event)
    player.result.faults.extend(player.end(books))
    return player.result
