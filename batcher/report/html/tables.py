"""The figures of a report as tables of texts. Every number is the read model's; nothing is worked out here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from batcher.jobs import SHORT_ID, ParamValue, Status
from batcher.report.budget import Cap, Forecast
from batcher.report.figures import Figures, Price, Report
from batcher.report.wallet import Reconciliation

from .words import count, duration, moment, number, percent

#: So many groups are shown; more are for a program to read.
SHOWN = 200

_CAUSES = {
    "doubtful": "doubtful jobs, of which nobody knows whether they were charged",
    "unanswered": "requests without an answer yet",
    "under_way": "tasks that may have ended, and given back, since they were asked for last",
    "answered_later": "tasks that may have been charged before the first reading",
    "ended_later": "tasks that may have given back before the first reading",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title; numbers stand on the `right`."""

    title: str
    right: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Texts in rows; the last one is a sum where `total`. `notes` are sentences below it."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    total: bool = False
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure at the top of the page, with a word to it."""

    name: str
    value: str
    note: str = ""


def tiles(total: Figures) -> Iterator[Tile]:
    """The figures that one looks for first."""
    jobs, money = total.jobs, total.credits
    yield Tile("jobs", number(sum(jobs.values())), f"{number(jobs.get(Status.SUCCEEDED, 0))} succeeded")
    yield Tile("files", number(total.files), f"{number(jobs.get(Status.FAILED, 0))} jobs failed")
    yield Tile("credits settled", number(money.settled), f"{number(money.returned)} returned")
    yield Tile("credits held", number(money.held), f"{number(money.doubtful)} doubtful")
    yield Tile("credits a file", number(total.cost_of_result) or "–", "settled / files")
    yield Tile("came to nothing", percent(total.failure_rate) or "–", f"of {count(total.attempts.total, 'attempt')}")
    wait = total.wait
    within = f"90 % within {duration(wait.p90)}" if wait else "no result yet"
    yield Tile("median wait", duration(wait.median) if wait else "–", within)


_Column = tuple[str, Callable[[Figures], str]]


def jobs(report: Report) -> Table:
    """Jobs by status, and what came of them, of each group."""
    total = report.total

    def of(status: Status) -> Callable[[Figures], str]:
        return lambda figures: number(figures.jobs.get(status, 0))

    return _groups(
        report,
        [
            ("jobs", lambda f: number(sum(f.jobs.values()))),
            *((str(status), of(status)) for status in Status if total.jobs.get(status)),
            ("files", lambda f: number(f.files)),
            ("came to nothing", lambda f: percent(f.failure_rate)),
            ("median wait", lambda f: duration(f.wait.median) if f.wait else ""),
            ("90 % within", lambda f: duration(f.wait.p90) if f.wait else ""),
        ],
    )


def bought(report: Report) -> Table:
    """Purchases and credits of each group."""
    money = report.total.credits
    some: list[tuple[_Column, int]] = [
        (("refused", lambda f: number(f.attempts.turned_away)), report.total.attempts.turned_away),
        (("doubtful", lambda f: number(f.credits.doubtful)), money.doubtful),
        (("over", lambda f: number(f.credits.over)), money.over),
    ]
    return _groups(
        report,
        [
            ("bought", lambda f: number(f.attempts.bought)),
            *(column for column, value in some[:1] if value),
            ("quoted", lambda f: number(f.credits.quoted)),
            ("held", lambda f: number(f.credits.held)),
            *(column for column, value in some[1:2] if value),
            ("settled", lambda f: number(f.credits.settled)),
            ("returned", lambda f: number(f.credits.returned)),
            *(column for column, value in some[2:] if value),
            ("credits a file", lambda f: number(f.cost_of_result)),
        ],
    )


def _groups(report: Report, figures: Sequence[_Column]) -> Table:
    names = [axis.name for axis in report.question.axes]
    rows = [
        [*(_value(value) for _, value in row.by), *(show(row.figures) for _, show in figures)]
        for row in report.rows[:SHOWN]
    ]
    many = len(report.rows) > 1
    if many:
        rows.append(["total", *[""] * (len(names) - 1), *(show(report.total) for _, show in figures)])
    left = len(report.rows) - SHOWN
    more = [f"… and {count(left, 'more row')}; batcher report --format csv has them all."] if left > 0 else []
    columns = [*map(Column, names), *(Column(title, right=True) for title, _ in figures)]
    return Table(columns, rows, total=many, notes=more)


def _value(value: ParamValue | None) -> str:
    return "–" if value is None else str(value)


def troubles(report: Report) -> Table:
    """Why jobs have failed or are doubtful."""
    columns = [Column("status"), Column("code"), Column("jobs", right=True), Column("the newest says"), Column("job")]
    return Table(
        columns,
        [[t.status, t.error_code or "", number(t.jobs), t.message or "", t.job_id[:SHORT_ID]] for t in report.troubles],
    )


def prices(found: Sequence[Price]) -> Table:
    """What the API named last, beside the catalogue."""
    several = len({price.account for price in found}) > 1
    columns = [
        *([Column("account")] if several else []),
        Column("price class"),
        Column("catalogue, from", right=True),
        Column("seen", right=True),
        Column("on"),
        Column("difference", right=True),
    ]
    rows = [
        [
            *([price.account] if several else []),
            price.price_class,
            number(price.catalogue),
            "not yet" if price.seen is None else number(price.seen),
            moment(price.seen_at),
            "" if price.difference is None else f"{price.difference:+,}" if price.difference else "none",
        ]
        for price in found
    ]
    return Table(columns, rows)


@dataclass(frozen=True, slots=True)
class Meter:
    """A cap with what is used of it; `settled` and `held` are hundredths of `limit`, for the drawing."""

    name: str
    limit: str
    used: str
    free: str
    runs_out: str
    settled: float
    held: float


def meters(report: Report) -> Iterator[Meter]:
    """Every cap, and how far it is used up."""
    for cap in report.caps:
        keep = cap.cap == "keep"
        room = cap.used + (cap.free or 0) if keep else cap.limit
        share = 100 / room if room else 0.0
        settled = min(100.0, cap.settled * share)
        yield Meter(
            name="keep in the wallet" if keep else f"{cap.cap} {cap.name}",
            limit=number(cap.limit),
            used=f"{number(cap.settled)} settled, {number(cap.held)} held",
            free="unknown before a wallet reading (--online)" if cap.free is None else f"{number(cap.free)} free",
            runs_out=_runs_out(cap, going=report.running),
            settled=round(settled, 2),
            held=round(min(100.0 - settled, cap.held * share), 2),
        )


def _runs_out(cap: Cap, *, going: bool) -> str:
    if cap.free == 0:
        return "used up"
    if cap.hours_left is None:
        return ""
    if cap.runs_out_at is not None:
        return f"runs out {moment(cap.runs_out_at)}"
    if going and cap.cap == "day":
        return "lasts for today"
    return f"enough for {duration(cap.hours_left * 3600)} of work"


def forecast(found: Forecast) -> Table:
    """What the rest of the plan will cost."""
    columns = [Column("campaign")]
    columns += [Column(title, right=True) for title in ("planned", "will cost", "committed", "in the end")]
    rows = [
        [c.campaign, number(c.jobs), number(c.credits), number(c.committed), number(c.committed + c.credits)]
        for c in found.campaigns
    ]
    many = len(rows) > 1
    if many:
        committed = sum(c.committed for c in found.campaigns)
        sums = (found.jobs, found.credits, committed, committed + found.credits)
        rows.append(["total", *map(number, sums)])
    return Table(columns, rows, total=many, notes=list(_forecast_notes(found)))


def _forecast_notes(found: Forecast) -> Iterator[str]:
    if not found.jobs:
        yield "No planned job is left to buy."
        return
    if any(quote.source.startswith("catalogue") for c in found.campaigns for quote in c.quotes):
        yield 'Some prices are the catalogue\'s "from": the API has not named them yet.'
    for bite in found.bites:
        yield f"Cap {bite.cap} {bite.name} is {count(bite.short, 'credit')} short of that."
    if not found.bites:
        yield "No cap is in the way."


def wallet(found: Reconciliation) -> Table:
    """The wallet beside the ledger."""
    rows = [
        ["wallet, says the API", number(found.wallet)],
        ["settled in this ledger for this account", number(found.settled)],
        ["held in this ledger for this account", number(found.held)],
    ]
    if found.since is not None and found.expected is not None and found.spent is not None:
        rows += [
            [f"wallet on {moment(found.since.at)}", number(found.since.credits)],
            ["spent since, by the ledger", number(found.spent)],
            ["so the wallet should have", number(found.expected)],
            ["difference", f"{found.difference:+,}" if found.difference else "none"],
        ]
    return Table([Column(found.account), Column("credits", right=True)], rows, notes=list(_wallet_notes(found)))


def _wallet_notes(found: Reconciliation) -> Iterator[str]:
    if found.difference is None:
        yield "No earlier reading is known, so there is nothing to compare."
        return
    for cause in found.causes if found.difference else ():
        bounds = [f"{number(n)} {word}" for n, word in ((cause.lower, "lower"), (cause.higher, "higher")) if n]
        yield f"It may be up to {' or '.join(bounds)}: {_CAUSES[cause.name]}."
    if not found.unexplained:
        yield "That explains the difference." if found.difference else "Wallet and ledger agree."
    elif found.unexplained > 0:
        yield f"{count(found.unexplained, 'credit')} came in that this ledger knows nothing of."
    else:
        yield f"{count(-found.unexplained, 'credit')} went that this ledger knows nothing of."
