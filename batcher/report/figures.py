"""The read model: what a ledger comes to, as frozen values. Every figure that is shown anywhere comes from here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, partial
from typing import TypeVar

from batcher.clock import iso, local_day
from batcher.jobs import ParamValue, Status
from batcher.ledger import LedgerReader, seen_price
from batcher.ledger.queries import budgets, spend
from batcher.ledger.queries.spend import (
    Attempts,
    ContentRefusals,
    Credits,
    FailureCount,
    Key,
    PurchaseTotals,
    WaitingTimes,
)

from .budget import Cap, Forecast, Seen, budget, forecast
from .question import Question

_Sums = TypeVar("_Sums", Attempts, Credits)


@dataclass(frozen=True, slots=True)
class Figures:
    """Jobs by status, purchases, credits, saved files and waits of one group, or of all."""

    jobs: Mapping[Status, int] = field(default_factory=dict)
    attempts: Attempts = field(default_factory=Attempts)
    credits: Credits = field(default_factory=Credits)
    files: int = 0
    wait: WaitingTimes | None = None

    @property
    def cost_of_result(self) -> float | None:
        """Settled credits a saved file, whatever they were paid for; None without a file."""
        return round(self.credits.settled / self.files, 2) if self.files else None

    @property
    def failure_rate(self) -> float | None:
        """Which part of the purchases that came to an end gave nothing; None when none came to an end."""
        nothing = self.attempts.failed + self.attempts.refused + self.attempts.resolved
        ended = nothing + self.attempts.succeeded
        return round(nothing / ended, 4) if ended else None


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group: its values in the order of the axes (None: the job has none), and its figures."""

    by: tuple[tuple[str, ParamValue | None], ...]
    figures: Figures


@dataclass(frozen=True, slots=True)
class ClassPrice:
    """What the API named last for a class, beside the catalogue's; None where it has named none."""

    account: str
    price_class: str
    catalogue: int
    seen: int | None
    seen_at: str | None

    @property
    def difference(self) -> int | None:
        return None if self.seen is None else self.seen - self.catalogue


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report tells from the ledger alone. `as_of` is when it was read, ISO 8601, UTC."""

    question: Question
    as_of: str
    running: bool
    rows: tuple[GroupRow, ...]
    total: Figures
    troubles: tuple[FailureCount, ...]
    content_refusals: ContentRefusals
    prices: tuple[ClassPrice, ...]
    caps: tuple[Cap, ...]
    forecast: Forecast


def make_report(read: LedgerReader, question: Question, *, now: float, running: bool) -> Report:
    """Read a report; all of it shows one state of the ledger.

    `now` is in seconds since the epoch; `running` says that a run is going, so that its rate is the present one.
    Rows, total, troubles and prices are of the question's scope, caps and forecast of now for its campaigns.
    """
    with spend.snapshot(read):
        rows, seen = _rows(read, question), cache(partial(seen_price, read))
        campaigns = question.scope.campaigns or tuple(spend.campaign_names(read, question.scope.conditions))
        runs = budgets.run_caps(read, campaigns)
        allowances = budgets.allowances(read, campaigns)
        caps = budget(read, runs, allowances, now=now, today=local_day(now, read.zone), running=running)
        return Report(
            question=question,
            as_of=iso(now),
            running=running,
            rows=rows,
            total=_total(read, question, rows),
            troubles=tuple(spend.troubles(read, question.scope)),
            content_refusals=spend.content_refusals(read, question.scope),
            prices=tuple(_prices(read, question, seen)),
            caps=caps,
            forecast=forecast(read, campaigns, runs, caps, seen),
        )


def _rows(read: LedgerReader, question: Question) -> tuple[GroupRow, ...]:
    scope, axes = question.scope, question.axes
    bought = dict(spend.bought(read, scope, axes))
    waits = dict(spend.waits(read, scope, axes, {key: group.waited for key, group in bought.items()}))
    jobs: dict[Key, dict[Status, int]] = {}
    for key, status, count in spend.jobs(read, scope, axes):
        jobs.setdefault(key, {})[Status(status)] = count
    names = [axis.name for axis in axes]
    keys = sorted(bought.keys() | jobs.keys(), key=lambda key: [value_order(value) for value in key])
    rows = []
    for key in keys:
        money = bought.get(key, PurchaseTotals())
        figures = Figures(jobs.get(key, {}), money.attempts, money.credits, money.files, waits.get(key))
        rows.append(GroupRow(tuple(zip(names, key, strict=True)), figures))
    return tuple(rows)


def value_order(value: ParamValue | None) -> tuple[int, float, str]:
    """Nothing first, then numbers, then texts."""
    if value is None:
        return 0, 0, ""
    return (2, 0, value) if isinstance(value, str) else (1, value, "")


def _total(read: LedgerReader, question: Question, rows: Sequence[GroupRow]) -> Figures:
    """The sums of the groups; only the median of all has to be asked for."""
    each = [row.figures for row in rows]
    count = sum(figures.wait.count for figures in each if figures.wait)
    return Figures(
        jobs={status: sum(f.jobs.get(status, 0) for f in each) for status in Status},
        attempts=_sum(Attempts, [f.attempts for f in each]),
        credits=_sum(Credits, [f.credits for f in each]),
        files=sum(f.files for f in each),
        wait=dict(spend.waits(read, question.scope, (), {(): count})).get(()),
    )


def _sum(kind: type[_Sums], parts: Sequence[_Sums]) -> _Sums:
    return kind(*(sum(getattr(part, each.name) for part in parts) for each in fields(kind)))


def _prices(read: LedgerReader, question: Question, seen: Seen) -> Iterable[ClassPrice]:
    for found in budgets.classes(read, question.scope):
        named = seen(found.account, found.price_class)
        yield ClassPrice(
            account=found.account,
            price_class=found.price_class,
            catalogue=found.catalog_credits,
            seen=named.credits if named else None,
            seen_at=named.at if named else None,
        )
