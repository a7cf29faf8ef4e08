"""The API that the money machine buys from: it charges a key once, changes its prices, and its wallet has other users.

And the machine's own book: what the rows of the ledger come to when they are added up by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from batcher.jobs import Intent, Status, TaskState

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Tariff:
    """What a class costs, in credits: reserved when a task is made, taken when it succeeds. Compared by identity."""

    reserved: int
    final: int


@dataclass
class Task:
    """A purchase as the API knows it. `ended_under` is the tariff that its final price was taken from.

    `told` says whether the API names it: a success may do so later, or never.
    """

    id: str
    body: bytes
    price_class: str
    tariff: Tariff
    status: Status = Status.QUEUED
    final: int = 0
    ended_under: Tariff | None = None
    told: bool = True

    @property
    def charged(self) -> int:
        """Credits that are out of the wallet for it."""
        return self.tariff.reserved if self.status is Status.QUEUED else self.final

    def show(self, *, priced: bool = True) -> TaskState:
        reserved = self.tariff.reserved if priced or self.status is not Status.QUEUED else None
        final = self.final if self.told else 0
        return TaskState(self.id, self.status, str(self.status), reserved, final)


@dataclass
class Api:
    """One account. The same key with the same bytes shows the same task again; a short wallet buys nothing.

    `drawn` are the credits that others took from the wallet, `above` those that the API took over what was held.
    """

    name: str
    tariffs: dict[str, Tariff]
    wallet: int
    drawn: int = 0
    above: int = 0
    tasks: dict[str, Task] = field(default_factory=dict)  # by key

    def create(self, intent: Intent, price_class: str, hold: int) -> Task | None:
        known = self.tasks.get(intent.key)
        assert known is None or known.body == intent.body, "one key with two bodies"
        if known:
            return known
        tariff = self.tariffs[price_class]
        if tariff.reserved > self.wallet:
            return None
        self.wallet -= tariff.reserved
        self.above += max(0, tariff.reserved - hold)
        made = Task(f"task_{self.name}_{len(self.tasks) + 1}", intent.body, price_class, tariff)
        self.tasks[intent.key] = made
        return made

    def find(self, task_id: str) -> Task | None:
        return next((task for task in self.tasks.values() if task.id == task_id), None)

    def end(self, task: Task, status: Status, hold: int, *, told: bool, fee: int = 0) -> None:
        """Settle a task, once: a success at the price of today, a failure at a fee."""
        if task.status is Status.QUEUED:
            task.status, task.ended_under = status, self.tariffs[task.price_class]
            task.final = task.ended_under.final if status is Status.SUCCEEDED else fee
            task.told = told or status is Status.FAILED
            self.wallet += task.tariff.reserved - task.final
            self.above += max(0, task.final - max(hold, task.tariff.reserved))

    def change(self, task: Task, final: int, known: int) -> None:
        """Take another price for a task that has ended, above what was known of it or below."""
        self.wallet += task.final - final
        self.above += max(0, final - known)
        task.final, task.told = final, True


# The book


def taken(row: Row) -> int:
    """Credits that an attempt holds or has settled."""
    return int(row["hold_credits"] if row["final_credits"] is None else row["final_credits"])


def unpriced(row: Row) -> bool:
    """Whether a success waits for its price."""
    return bool(row["final_credits"] is None and row["outcome"] == "succeeded")


def committed(rows: Iterable[Row], fits: Callable[[Row], bool] = lambda row: True) -> int:
    return sum(taken(row) for row in rows if fits(row))


def spent(rows: Iterable[Row]) -> dict[tuple[int, str, str, str], tuple[int, int]]:
    """Held and settled by run, campaign, day and allowance: what the table `spent` has to say."""
    sums: dict[tuple[int, str, str, str], tuple[int, int]] = {}
    for row in rows:
        place = (row["run_id"], row["campaign"], row["day"], row["allowance"] or "")
        held, settled = sums.get(place, (0, 0))
        is_held = row["final_credits"] is None
        sums[place] = (held + taken(row) * is_held, settled + taken(row) * (not is_held))
    return sums


def fits_its_attempt(status: str, last: Row | None) -> bool:
    """Whether a job's status goes with its latest attempt."""
    if last is None:
        return status in ("planned", "failed", "cancelled")
    settled, outcome, task = last["final_credits"] is not None, last["outcome"], last["task_id"]
    match status:
        case "planned" | "cancelled":
            return settled and outcome is not None
        case "submitting":
            return not settled and outcome is None and task is None
        case "queued" | "processing":
            return not settled and outcome is None and task is not None
        case "succeeded":
            return bool(outcome == "succeeded")
        case "failed":
            return settled  # by the API's word, or planned again and then not to be sent
        case _:
            return not settled and outcome == "doubtful"
