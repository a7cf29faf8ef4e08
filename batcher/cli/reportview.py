"""A report for people: what happened, what it cost, what is left of the budget, what the rest will cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from batcher.jobs import SHORT_ID, ParamValue, Status
from batcher.ledger.tallies import Trouble
from batcher.report.budget import Cap, Forecast
from batcher.report.figures import Figures, Price, Report
from batcher.report.question import Question
from batcher.report.wallet import Reconciliation

from .terminal import table
from .text import safe, short
from .words import amount, count, duration, moment, number

#: So many groups are shown; more are for a program to read.
SHOWN = 200

_Column = tuple[str, Callable[[Figures], str]]

_CAUSES = {
    "doubtful": "doubtful jobs, of which nobody knows whether they were charged",
    "unanswered": "requests without an answer yet",
    "under_way": "tasks that may have ended since they were asked for last, or whose price is not named yet",
    "answered_later": "tasks that may have been charged before the first reading",
    "ended_later": "tasks that may have given back before the first reading",
}


def report_view(report: Report, ledger: Path, reconciliation: Reconciliation | None = None) -> Iterator[RenderableType]:
    """The report, part by part."""
    yield f"Ledger {safe(ledger.absolute())}"
    yield scope_line(report.question, report.as_of, running=report.running)
    yield ""
    yield from _groups(report)
    if report.troubles:
        yield from ("", Text("What went wrong", "bold"), _troubles(report.troubles))
    if report.prices:
        yield from ("", Text("Prices", "bold"), _prices(report.prices))
    if report.caps:
        yield from ("", Text("Budget", "bold"), *_budget(report))
    yield from ("", Text("The rest of the plan", "bold"), *_forecast(report.forecast))
    if reconciliation is not None:
        yield from ("", Text("Wallet", "bold"), *_reconciliation(reconciliation))


def scope_line(question: Question, as_of: str, *, running: bool) -> str:
    """Of which campaigns and of which time a report tells."""
    scope = question.scope
    who = ", ".join(map(safe, scope.campaigns)) or "All campaigns"
    bounds = [f"{word} {moment(at)}" for word, at in (("since", scope.since), ("until", scope.until)) if at]
    going = "; a run is going" if running else ""
    return f"{who}, {' '.join(bounds) or 'from the beginning'}, as of {moment(as_of)}{going}."


# Jobs and credits by group


def _groups(report: Report) -> Iterator[RenderableType]:
    if not report.rows:
        yield "No job and no purchase lies in there."
        return
    yield _figures_table(report, _job_columns(report.total))
    yield ""
    yield _figures_table(report, _credit_columns(report.total))
    if report.total.attempts.total > report.total.attempts.open:
        yield ""
        yield _figures_table(report, _course_columns())
    if len(report.rows) > SHOWN:
        yield f"… and {count(len(report.rows) - SHOWN, 'more row')}; `--format csv` has them all."


def _job_columns(total: Figures) -> list[_Column]:
    def of(status: Status) -> Callable[[Figures], str]:
        return lambda figures: number(figures.jobs.get(status, 0))

    return [
        ("jobs", lambda f: number(sum(f.jobs.values()))),
        *((str(status), of(status)) for status in Status if total.jobs.get(status)),
        ("files", lambda f: number(f.files)),
    ]


def _course_columns() -> list[_Column]:
    return [
        ("came to nothing", lambda f: _percent(f.failure_rate)),
        ("median wait", lambda f: _seconds(f.wait.median) if f.wait else ""),
        ("90 % within", lambda f: _seconds(f.wait.p90) if f.wait else ""),
    ]


def _credit_columns(total: Figures) -> list[_Column]:
    some: list[tuple[_Column, int]] = [
        (("refused", lambda f: number(f.attempts.turned_away)), total.attempts.turned_away),
        (("doubtful", lambda f: number(f.credits.doubtful)), total.credits.doubtful),
        (("over", lambda f: number(f.credits.over)), total.credits.over),
    ]
    return [
        ("bought", lambda f: number(f.attempts.bought)),
        *(column for column, value in some[:1] if value),
        ("quoted", lambda f: number(f.credits.quoted)),
        ("held", lambda f: number(f.credits.held)),
        *(column for column, value in some[1:2] if value),
        ("settled", lambda f: number(f.credits.settled)),
        ("returned", lambda f: number(f.credits.returned)),
        *(column for column, value in some[2:] if value),
        ("credits a file", lambda f: _ratio(f.cost_of_result)),
    ]


def _figures_table(report: Report, columns: Sequence[_Column]) -> RenderableType:
    names = [axis.name for axis in report.question.axes]
    headers = [*names, *(header for header, _ in columns)]
    rows = [
        [*(_value(value) for _, value in row.by), *(show(row.figures) for _, show in columns)]
        for row in report.rows[:SHOWN]
    ]
    if len(report.rows) > 1:
        rows.append(["total", *[""] * (len(names) - 1), *(show(report.total) for _, show in columns)])
    return table(headers, rows, right=headers[len(names) :], total=len(report.rows) > 1)


def _value(value: ParamValue | None) -> str:
    return "–" if value is None else str(value)


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate * 100:.1f} %"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if 0 <= seconds < 10 else duration(seconds)


# What went wrong, prices, caps, the rest


def _troubles(troubles: Sequence[Trouble]) -> RenderableType:
    rows = [
        (t.status, t.error_code or "", number(t.jobs), short(t.message or "", 60), t.job_id[:SHORT_ID])
        for t in troubles
    ]
    return table(("status", "code", "jobs", "the newest says", "job"), rows, right=("jobs",))


def _prices(prices: Sequence[Price]) -> RenderableType:
    several = len({price.account for price in prices}) > 1
    headers = [*(["account"] if several else []), "price class", "catalogue, from", "seen", "on", "difference"]
    rows = [
        [
            *([price.account] if several else []),
            price.price_class,
            number(price.catalogue),
            "not yet" if price.seen is None else number(price.seen),
            moment(price.seen_at),
            "" if price.difference is None else f"{price.difference:+,}" if price.difference else "none",
        ]
        for price in prices
    ]
    return table(headers, rows, right=("catalogue, from", "seen", "difference"))


def _budget(report: Report) -> Iterator[RenderableType]:
    headers = ["cap", "limit", "settled", "held", "free", "runs out"]
    rows = [
        [
            "keep" if cap.cap == "keep" else f"{cap.cap} {cap.name}",
            number(cap.limit),
            number(cap.settled),
            number(cap.held),
            "unknown" if cap.free is None else number(cap.free),
            _runs_out(cap, going=report.running),
        ]
        for cap in report.caps
    ]
    yield table(headers, rows, right=headers[1:5])
    runs = sorted({cap.run_id for cap in report.caps})
    yield f"Caps as run {', '.join(map(str, runs))} obeyed {'it' if len(report.caps) == 1 else 'them'}."
    if any(cap.free is None for cap in report.caps):
        yield "What is free above keep is known after a wallet reading: --online takes one."


def _runs_out(cap: Cap, *, going: bool) -> str:
    if cap.free == 0:
        return "now"
    if cap.hours_left is None:
        return ""
    if cap.runs_out_at is not None:
        return moment(cap.runs_out_at)
    if going and cap.cap == "day":
        return "not today"
    return f"after {duration(cap.hours_left * 3600)} of work"


def _forecast(forecast: Forecast) -> Iterator[RenderableType]:
    if not forecast.jobs:
        yield "No planned job is left to buy."
        return
    headers = ["campaign", "planned", "will cost", "committed", "in the end"]
    rows: list[list[object]] = [
        [c.campaign, number(c.jobs), number(c.credits), number(c.committed), number(c.committed + c.credits)]
        for c in forecast.campaigns
    ]
    if len(rows) > 1:
        committed = sum(c.committed for c in forecast.campaigns)
        sums = (forecast.jobs, forecast.credits, committed, committed + forecast.credits)
        rows.append(["total", *map(number, sums)])
    yield table(headers, rows, right=headers[1:], total=len(rows) > 1)
    if any(quote.source.startswith("catalogue") for c in forecast.campaigns for quote in c.quotes):
        yield 'Some prices are the catalogue\'s "from": the API has not named them yet.'
    for bite in forecast.bites:
        yield Text(f"Cap {bite.cap} {safe(bite.name)} is {amount(bite.short)} short of that.", "yellow")
    if not forecast.bites:
        yield "No cap is in the way."


# The wallet


def _reconciliation(found: Reconciliation) -> Iterator[RenderableType]:
    rows = [
        ("wallet, says the API", number(found.wallet)),
        ("settled in this ledger for this account", number(found.settled)),
        ("held in this ledger for this account", number(found.held)),
    ]
    if found.since is not None and found.expected is not None and found.spent is not None:
        rows += [
            (f"wallet on {moment(found.since.at)}", number(found.since.credits)),
            ("spent since, by the ledger", number(found.spent)),
            ("so the wallet should have", number(found.expected)),
            ("difference", f"{found.difference:+,}" if found.difference else "none"),
        ]
    yield table((safe(found.account), ""), rows, right=("",))
    if found.difference is None:
        yield "No earlier reading is known, so there is nothing to compare; this one is kept for the next time."
        return
    for cause in found.causes if found.difference else ():
        bounds = [f"{number(n)} {word}" for n, word in ((cause.lower, "lower"), (cause.higher, "higher")) if n]
        yield f"It may be up to {' or '.join(bounds)}: {_CAUSES[cause.name]}."
    if not found.unexplained:
        yield "Wallet and ledger agree." if not found.difference else "That explains the difference."
    elif found.unexplained > 0:
        yield f"{amount(found.unexplained)} came in that this ledger knows nothing of: a top-up, or a late refund."
    else:
        yield (
            f"{amount(-found.unexplained)} went that this ledger knows nothing of: another program or ledger with this"
            " account, the web site, or credits that expired."
        )
