"""A report as tables of texts, the same for the terminal and the page. Every number is the read model's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from batcher.jobs import SHORT_ID, ParamValue, Status
from batcher.ledger.queries.chains import ChainCounts
from batcher.planning.walk import CATALOGUE, UNKNOWN
from batcher.text import amount, count, duration, moment, number, percent, wait, what_differs

from .budget import Cap, Forecast
from .figures import ClassPrice, Figures, Report
from .question import Question
from .wallet import Reconciliation

#: Groups that are shown; more are for a program to read.
SHOWN = 200

_CAUSES = {
    "doubtful": "doubtful jobs, of which nobody knows whether they were charged",
    "unanswered": "requests without an answer yet",
    "under_way": "tasks that may have ended since they were asked for last, or whose price is not named yet",
    "answered_later": "tasks that may have been charged before the first reading",
    "ended_later": "tasks that may have given back before the first reading",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title; numbers stand on the `right`, and what may be `long` can be cut where there is little room."""

    title: str
    right: bool = False
    long: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Texts in rows, not made safe; the last one is a sum where `total`. `notes` are sentences below it."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    total: bool = False
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()


_GUESSES = {
    CATALOGUE: 'Some prices are the catalogue\'s "from": the API has not named them yet.',
    UNKNOWN: "Nobody knows the price of models without a file: they count as 1 credit.",
}
_Figure = tuple[str, Callable[[Figures], str]]


def _columns(left: Iterable[str], right: Iterable[str] = ()) -> list[Column]:
    return [*map(Column, left), *(Column(title, right=True) for title in right)]


def scope(question: Question) -> str:
    """Of which campaigns and of which time a report tells."""
    asked = question.scope
    who = ", ".join(asked.campaigns) or "All campaigns"
    bounds = [f"{word} {moment(at)}" for word, at in (("since", asked.since), ("until", asked.until)) if at]
    which = "".join(f", {condition.text}" for condition in asked.conditions)
    return f"{who}{which}, {' '.join(bounds) or 'from the beginning'}"


def jobs(report: Report) -> Table:
    """Jobs by status of each group."""
    some = [status for status in Status if report.total.jobs.get(status)]
    return _groups(
        report,
        ("jobs", lambda f: number(sum(f.jobs.values()))),
        *((str(status), _of(status)) for status in some),
        ("files", lambda f: number(f.files)),
    )


def _of(status: Status) -> Callable[[Figures], str]:
    return lambda figures: number(figures.jobs.get(status, 0))


def bought(report: Report) -> Table:
    """Purchases and credits of each group."""
    money, refused = report.total.credits, report.total.attempts.turned_away
    figures: list[tuple[_Figure, object]] = [
        (("bought", lambda f: number(f.attempts.bought)), True),
        (("refused", lambda f: number(f.attempts.turned_away)), refused),
        (("quoted", lambda f: number(f.credits.quoted)), True),
        (("held", lambda f: number(f.credits.held)), True),
        (("doubtful", lambda f: number(f.credits.doubtful)), money.doubtful),
        (("settled", lambda f: number(f.credits.settled)), True),
        (("returned", lambda f: number(f.credits.returned)), True),
        (("over", lambda f: number(f.credits.over)), money.over),
        (("credits a file", lambda f: number(f.cost_of_result)), True),
    ]
    return _groups(report, *(figure for figure, shown in figures if shown))


def course(report: Report) -> Table:
    """How the purchases of each group went; without a row where none has come to its end."""
    if report.total.attempts.total <= report.total.attempts.open:
        return Table((), ())
    return _groups(
        report,
        ("came to nothing", lambda f: percent(f.failure_rate)),
        ("median wait", lambda f: wait(f.wait.median) if f.wait else ""),
        ("90 % within", lambda f: wait(f.wait.p90) if f.wait else ""),
    )


def _groups(report: Report, *figures: _Figure) -> Table:
    names = [axis.name for axis in report.question.axes]
    rows = [
        [*(_value(value) for _, value in row.by), *(show(row.figures) for _, show in figures)]
        for row in report.rows[:SHOWN]
    ]
    many = len(report.rows) > 1
    if many:
        rows.append(["total", *[""] * (len(names) - 1), *(show(report.total) for _, show in figures)])
    return Table(_columns(names, (title for title, _ in figures)), rows, total=many)


_CHAINS = {
    "total": "chains",
    "whole": "whole",
    "under_way": "under way",
    "ready": "ready",
    "review": "for review",
    "waiting": "waiting",
    "source_rejected": "source rejected",
    "source_failed": "source failed",
    "failed": "failed",
    "doubtful": "doubtful",
    "cancelled": "cancelled",
}


def chains(found: Sequence[ChainCounts]) -> Table:
    """How many chains have come how far."""
    some = [name for name in _CHAINS if name in ("total", "whole") or any(getattr(each, name) for each in found)]
    rows = [[each.campaign, *(number(getattr(each, name)) for name in some)] for each in found]
    if len(found) > 1:
        rows.append(["total", *(number(sum(getattr(each, name) for each in found)) for name in some)])
    notes = []
    if any(each.review for each in found):
        notes.append("For review: `batcher approve` or `batcher reject` says whether their sources will do.")
    return Table(_columns(["campaign"], [_CHAINS[name] for name in some]), rows, total=len(found) > 1, notes=notes)


def left_out(report: Report) -> str:
    """That there are more groups than are shown; empty where there are not."""
    left = len(report.rows) - SHOWN
    return f"… and {count(left, 'more row')}; `batcher report --format csv` has them all." if left > 0 else ""


def _value(value: ParamValue | None) -> str:
    return "–" if value is None else str(value)


def troubles(report: Report) -> Table:
    """Why jobs have failed or are doubtful, and what was refused for its content."""
    columns = [
        Column("status"),
        Column("code"),
        Column("jobs", right=True),
        Column("the newest says", long=True),
        Column("job"),
    ]
    rows = [
        [t.status, t.error_code or "", number(t.jobs), t.message or "", t.job_id[:SHORT_ID]] for t in report.troubles
    ]
    refused, settled = report.content_refusals, report.total.credits.settled
    if not refused.purchases:
        return Table(columns, rows)
    share = f" for {number(refused.settled)} credits, {percent(refused.settled / settled)} of what is settled"
    charged = f"{number(refused.charged)} charged{share if refused.settled else ''}"
    return Table(columns, rows, notes=[f"Refused for content: {count(refused.purchases, 'purchase')}, {charged}."])


def prices(found: Sequence[ClassPrice]) -> Table:
    """What the API named last, beside the catalogue."""
    several = len({price.account for price in found}) > 1
    columns = [
        *_columns(["account"] if several else []),
        *_columns(["price class"], ["catalogue, from", "seen"]),
        *_columns(["on"], ["difference"]),
    ]
    shared, names = what_differs([price.price_class for price in found])
    rows = [
        [
            *([price.account] if several else []),
            name,
            number(price.catalogue),
            "not yet" if price.seen is None else number(price.seen),
            moment(price.seen_at),
            "" if price.difference is None else _difference(price.difference),
        ]
        for name, price in zip(names, found, strict=True)
    ]
    return Table(columns, rows, notes=[f"All of them: {shared}."] if shared else [])


def _difference(value: int) -> str:
    return f"{value:+,}" if value else "none"


def caps(report: Report) -> Table:
    """Every cap, what is used of it, and when it runs out."""
    rows = [
        [
            "keep" if cap.cap == "keep" else f"{cap.cap} {cap.name}",
            number(cap.limit),
            number(cap.settled),
            number(cap.held),
            "unknown" if cap.free is None else number(cap.free),
            runs_out(cap, going=report.running),
        ]
        for cap in report.caps
    ]
    columns = [*_columns(["cap"], ["limit", "settled", "held", "free"]), Column("runs out")]
    runs = ", ".join(map(str, sorted({cap.run_id for cap in report.caps})))
    notes = [f"Caps as run {runs} obeyed {'it' if len(report.caps) == 1 else 'them'}."]
    if any(cap.free is None for cap in report.caps):
        notes.append("What is free above keep is known after a wallet reading: --online takes one.")
    return Table(columns, rows, notes=notes)


def runs_out(cap: Cap, *, going: bool) -> str:
    """When nothing of a cap is left; empty where nobody can tell."""
    if cap.free == 0:
        return "now"
    if cap.hours_left is None:
        return ""
    if cap.runs_out_at is not None:
        return moment(cap.runs_out_at)
    if going and cap.cap == "day":
        return "not today"
    return f"after {duration(cap.hours_left * 3600)} of work"


def forecast(found: Forecast, caps: str = "cap") -> Table:
    """What the rest of the plan will cost; `caps` is what may be in the way of it, in words."""
    if not found.jobs:
        return Table((), (), notes=["No planned job is left to buy."])
    sums = [(c.campaign, c.jobs, c.credits, c.committed) for c in found.campaigns]
    many = len(sums) > 1
    if many:
        sums.append(("total", found.jobs, found.credits, sum(c.committed for c in found.campaigns)))
    sources = {quote.source for c in found.campaigns for quote in c.quotes}
    return Table(
        _columns(["campaign"], ["planned", "will cost", "committed", "in the end"]),
        [[name, *map(number, (planned, cost, spent, spent + cost))] for name, planned, cost, spent in sums],
        total=many,
        notes=[
            *(
                ['Some prices are the catalogue\'s "from": the API has not named them yet.']
                if CATALOGUE in sources
                else []
            ),
            *(
                ["Nobody knows the price of models without a file: they count as 1 credit."]
                if UNKNOWN in sources
                else []
            ),
            *([] if found.bites else [f"No {caps} is in the way."]),
        ],
        warnings=[f"Cap {bite.cap} {bite.name} is {amount(bite.short)} short of that." for bite in found.bites],
    )


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
            ["difference", _difference(found.difference or 0)],
        ]
    return Table(_columns([found.account], ["credits"]), rows, notes=list(_wallet_notes(found)))


def _wallet_notes(found: Reconciliation) -> Iterator[str]:
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
