"""The read model of `report`, as frozen values: jobs, credits, refusals, groups. Budgets and wallet have their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

from batcher.clock import iso, local_day
from batcher.jobs import ParamValue, Status
from batcher.ledger import LedgerReader, seen_price
from batcher.ledger.queries import budgets, chains, spend
from batcher.ledger.queries.chains import ChainCounts
from batcher.ledger.queries.spend import (
    Attempts,
    ContentRefusals,
    Credits,
    FailureCount,
    Group,
    Key,
    WaitingTimes,
)

from .budget import Cap, Forecast, Seen, budget, forecast
from .question import Question


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
    chains: tuple[ChainCounts, ...] = ()


def make_report(
    read: LedgerReader,
    question: Question,
    *,
    now: float,
    running: bool,
    groups: Mapping[Key, Group] | None = None,
) -> Report:
    """Read a report; all of it shows one state of the ledger.

    `now` is in seconds since the epoch; `running` says that a run is going, so that its rate is the present one.
    Rows, total, troubles and prices are of the question's scope, caps and forecast of now for its campaigns. `groups`
    are those of the question, where they were read already, in the same state.
    """
    with spend.snapshot(read):
        scope, seen = question.scope, cache(partial(seen_price, read))
        if groups is None:
            groups = dict(spend.groups(read, scope, question.axes))
        campaigns = scope.campaigns or tuple(spend.campaign_names(read, scope.conditions))
        runs = budgets.run_caps(read, campaigns)
        allowances = budgets.allowances(read, campaigns)
        caps = budget(read, runs, allowances, now=now, today=local_day(now, read.zone), running=running)
        return Report(
            question=question,
            as_of=iso(now),
            running=running,
            rows=rows_of(groups, [axis.name for axis in question.axes]),
            total=next(map(_figures, spend.fold(groups.items(), 0).values()), Figures()),
            troubles=tuple(spend.troubles(read, scope)),
            content_refusals=spend.content_refusals(read, scope),
            prices=tuple(_prices(read, question, seen)),
            caps=caps,
            forecast=forecast(read, campaigns, runs, caps, seen),
            chains=tuple(chains.counts(read, question.scope)),
        )


def rows_of(groups: Mapping[Key, Group], axes: Sequence[str]) -> tuple[GroupRow, ...]:
    """The groups by axes of these names, in the order of their values."""
    keys = sorted(groups, key=lambda key: [value_order(value) for value in key])
    return tuple(GroupRow(tuple(zip(axes, key, strict=True)), _figures(groups[key])) for key in keys)


def _figures(found: Group) -> Figures:
    return Figures(found.jobs, found.attempts, found.credits, found.files, spend.waiting_times(found.waits))


def value_order(value: ParamValue | None) -> tuple[int, float, str]:
    """Nothing first, then numbers, then texts."""
    if value is None:
        return 0, 0, ""
    return (2, 0, value) if isinstance(value, str) else (1, value, "")


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
