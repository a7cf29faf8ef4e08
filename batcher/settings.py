"""The numbers that a run obeys, as values: limits, polling, retries, stop rules, budget.

The manifest room parses them, the engine obeys them; neither knows the other, so they meet here.
Durations are in seconds, sums in credits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import NamedTuple, TypedDict

from .errors import UsageError
from .spelling import named_like
from .windows import BuyingWindow, ReadyBy, next_open

UNITS = {"second": 1.0, "s": 1.0, "minute": 60.0, "m": 60.0, "hour": 3600.0, "h": 3600.0, "day": 86400.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` requests in any window of `seconds`."""

    count: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    def __str__(self) -> str:
        unit = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}.get(self.seconds)
        return f"{self.count}/{unit or f'{self.seconds:g}s'}"


_RATE = re.compile(r"([0-9]{1,9}) ?/ ?([a-z]+)")
RATES = "must be a rate like 2/second, 30/minute, 500/hour or 1000/day (/s /m /h /d)"


def parse_rate(text: str) -> Rate:
    """The rate that a text states. Raises ValueError with what is allowed."""
    found = _RATE.fullmatch(text.strip())
    if not found or found[2] not in UNITS:
        raise ValueError(RATES)
    if not 1 <= int(found[1]) <= 1_000_000:
        raise ValueError(f"{RATES} with a number from 1 to 1,000,000")
    return Rate(int(found[1]), UNITS[found[2]])


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests a window and things at once; `requests` counts every request to the API's host."""

    submit: Rate = Rate(30, 60.0)
    requests: Rate = Rate(120, 60.0)
    in_flight: int = 20
    downloads: int = 4


@dataclass(frozen=True, slots=True)
class Polling:
    """When to ask for a task's state (rivya-api.md section 3); `give_up` ends this run's waiting for a task."""

    first: float = 3.0
    every: float = 5.0
    max: float = 30.0
    give_up: float = 3600.0


@dataclass(frozen=True, slots=True)
class Retries:
    """Repeats of one request; how long a key is trusted to replay; how long an outage is sat out."""

    times: int = 8
    replay_window: float = 3600.0
    outage: float = 3600.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """A named budget, in credits, on which all campaigns and runs of a ledger draw that name it."""

    name: str
    total: int


@dataclass(frozen=True, slots=True)
class Budget:
    """Caps in credits; None means no cap. `keep` is what has to stay in the wallet."""

    campaign: int | None = None
    day: int | None = None
    keep: int | None = None
    allowance: Allowance | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything of a manifest that says how to run, not what to make."""

    limits: Limits = Limits()
    polling: Polling = Polling()
    retries: Retries = Retries()
    failures_in_a_row: int = 10
    budget: Budget = Budget()
    download: bool = True
    sidecars: bool = False
    #: Campaigns of a run whose results stay where they are, and such as want no sidecars.
    left_there: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    #: Of the jobs that came to their end, so many percent that failed stop a run.
    failed_percent: int | None = None
    #: A job that holds more credits stops it.
    price_above: int | None = None
    #: Jobs in a row that pages of something in between keep out until it stops.
    blocked_in_a_row: int | None = None
    #: New jobs start only while all of these are open, and if they will be done by each of these times.
    windows: tuple[BuyingWindow, ...] = ()
    ready_by: tuple[ReadyBy, ...] = ()

    def downloads(self, campaign: str) -> bool:
        """Whether this campaign's results are fetched (`results.download` holds for its own campaign)."""
        return self.download and campaign not in self.left_there

    def writes_sidecars(self, campaign: str) -> bool:
        """Whether a sidecar is written beside each of this campaign's files."""
        return self.sidecars and campaign not in self.bare


def _lowest(values: Sequence[int | None]) -> int | None:
    return min((v for v in values if v is not None), default=None)


def both(one: Rate, other: Rate) -> Rate:
    """A rate that keeps both: one of the two if it implies the other, else fewer requests in the shorter window or
    single ones at even distances.

    The slower one alone is not enough: 1000/hour lets a thousand out in one minute, whatever 100/minute says.
    """
    short, long = sorted((one, other), key=lambda rate: (rate.seconds, rate.count))
    if long.count <= short.count:
        return long
    fits = long.count // math.ceil(long.seconds / short.seconds)
    if fits < 1:
        return Rate(1, math.ceil(1000 * long.seconds / long.count) / 1000)
    return Rate(min(short.count, fits), short.seconds)


def merged(by_campaign: Mapping[str, Settings]) -> Settings:
    """What a run over these campaigns obeys: the strictest numbers, and each campaign's own word on its files."""
    return replace(
        strictest(list(by_campaign.values())),
        left_there=tuple(name for name, each in by_campaign.items() if not each.download),
        bare=tuple(name for name, each in by_campaign.items() if not each.sidecars),
    )


def strictest(all_settings: Sequence[Settings]) -> Settings:
    """What a run over several manifests obeys: of each number the strictest.

    Caps and allowances of campaigns stay with them and are not merged: the result has none.
    Raises UsageError when there is nothing to merge.
    """
    if not all_settings:
        raise UsageError("no manifest was named")

    limits = [s.limits for s in all_settings]
    polling = [s.polling for s in all_settings]
    retries = [s.retries for s in all_settings]
    keeps = [s.budget.keep for s in all_settings if s.budget.keep is not None]
    return Settings(
        limits=Limits(
            submit=reduce(both, [x.submit for x in limits]),
            requests=reduce(both, [x.requests for x in limits]),
            in_flight=min(x.in_flight for x in limits),
            downloads=min(x.downloads for x in limits),
        ),
        polling=Polling(
            first=max(x.first for x in polling),
            every=max(x.every for x in polling),
            max=max(x.max for x in polling),
            give_up=min(x.give_up for x in polling),
        ),
        retries=Retries(
            times=min(x.times for x in retries),
            replay_window=min(x.replay_window for x in retries),
            outage=min(x.outage for x in retries),
        ),
        failures_in_a_row=min(s.failures_in_a_row for s in all_settings),
        failed_percent=_lowest([s.failed_percent for s in all_settings]),
        price_above=_lowest([s.price_above for s in all_settings]),
        blocked_in_a_row=_lowest([s.blocked_in_a_row for s in all_settings]),
        windows=tuple(dict.fromkeys(window for s in all_settings for window in s.windows)),
        ready_by=tuple(dict.fromkeys(by for s in all_settings for by in s.ready_by)),
        budget=Budget(day=_lowest([s.budget.day for s in all_settings]), keep=max(keeps, default=None)),
        download=any(s.download for s in all_settings),
        sidecars=any(s.sidecars for s in all_settings),
    )


class BuyingTime(NamedTuple):
    """When a run may start new jobs, in seconds since the epoch; None: no bound. `closed_by` names what `until` is."""

    since: float | None = None
    until: float | None = None
    closed_by: str = "until"
    ready_by: float | None = None


ANY_TIME = BuyingTime()


def buying_time(settings: Settings, now: float, until: float | None) -> BuyingTime:
    """When a run that begins now may start new jobs: the windows as they are open now or next, and `--until`.

    Raises UsageError where windows are never open together.
    """
    since, closed_by = None, "until"
    if settings.windows:
        if (span := next_open(settings.windows, now)) is None:
            raise UsageError("the windows of these manifests are never open together", hint="Run them one by one.")
        since = span.opens if span.opens > now else None
        if span.closes < math.inf and (until is None or span.closes < until):
            until, closed_by = span.closes, "window"
    ready_by = min((by.next(max(now, since or now)) for by in settings.ready_by), default=None)
    return BuyingTime(since, until, closed_by, ready_by)


@dataclass(frozen=True, slots=True)
class Selection:
    """What of the campaigns this run may start: prompt names by glob, and at most `limit` new intents."""

    only: tuple[str, ...] = ()
    limit: int | None = None
    #: Only these jobs; all where none is named. Without `buys` nothing is sent that could be a purchase.
    jobs: frozenset[str] = frozenset()
    buys: bool = True
    #: Of the planned jobs only these may be sent (a sample, a saved plan); all where it is None.
    chosen: frozenset[str] | None = None
    #: Whether what is chosen only shows prices: then the rest is left on purpose.
    probe: bool = False
    #: Jobs that the selected ones are made from, and no others: they are selected whatever their names are.
    also: frozenset[str] = frozenset()
    #: Of a canary the jobs that come first, then more of them; all others after these.
    steps: tuple[frozenset[str], ...] = ()
    #: Whether campaigns take turns by the credits that the run has committed for each; else one goes after the other.
    fair: bool = True

    @property
    def is_part(self) -> bool:
        """Whether jobs may stay planned without anything being undone."""
        return self.limit is not None or self.chosen is not None

    def may_send(self, name: str, job_id: str) -> bool:
        """Whether a planned job is selected."""
        return job_id in self.also or ((self.chosen is None or job_id in self.chosen) and self.takes(name))

    def takes_job(self, job_id: str) -> bool:
        """Whether a job is selected by its id."""
        return not self.jobs or job_id in self.jobs

    def takes(self, name: str) -> bool:
        """Whether a prompt's name is selected."""
        return not self.only or any(named_like(name, pattern) for pattern in self.only)


class SelectionOptions(TypedDict, total=False):
    """What of manifests is meant, as `run` and `plan` are told it: what `Workload.of` takes."""

    only: Iterable[str]
    limit: int | None
    max_jobs: int | None
    budget: int | None
    unpriced: int | None
    marked: Path | None
    sample: str | None
    order: str
    ramp: bool
