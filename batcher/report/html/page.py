"""The report as one HTML file: nothing is fetched, nothing runs but the script that stands in it.

What comes from outside is text: Jinja2 escapes it, JSON in it has no markup, the script makes text nodes only, and a
Content-Security-Policy names the script and the style by their hashes, so that nothing else would run (`shell`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from batcher.jobs import Status
from batcher.ledger import LedgerReader
from batcher.ledger.decisions import select
from batcher.ledger.queries import gallery as ledger
from batcher.ledger.queries import selectors, spend
from batcher.report import tables
from batcher.report.figures import GroupRow, Report, make_report, rows_of
from batcher.report.question import Question, find_axes
from batcher.report.wallet import Reconciliation

from . import charts, gallery, glance
from .charts import Chart
from .shell import render

#: Jobs that have a card; a page with more would be slow to open.
CARDS = 5000
#: Campaigns that have a chart of their own: those that cost most.
_CAMPAIGNS = 4
_PARAMS = 6
_SCRIPTS = ("jobs.js", "manifest.js", "films.js", "gallery.js", "chains.js", "marks.js", "owner.js", "keys.js")


@dataclass(frozen=True, slots=True)
class Page:
    """The page, and how many jobs are in its gallery; `left_out` have no card there."""

    text: str
    jobs: int
    left_out: int


def make_page(
    read: LedgerReader,
    question: Question,
    *,
    state: Path,
    target: Path,
    now: float,
    running: bool,
    reconciliation: Reconciliation | None = None,
    words_of_state: str = "",
) -> Page:
    """The page over a ledger for a file that will be `target`; the results lie below the folder `state`.

    `now` is in seconds since the epoch. `words_of_state` is what a command line needs to find this state folder.
    """
    home = state.resolve()
    links, scope = gallery.Links.between(state, target), question.scope
    with spend.snapshot(read):
        keys = selectors.keys(read)
        params = keys["param"]
        axes = {axis.name: axis for axis in (*question.axes, *find_axes(read, ["campaign", "day", *params], keys))}
        groups = dict(spend.groups(read, scope, list(axes.values())))
        asked = spend.fold(groups.items(), len(question.axes))
        report = make_report(read, question, now=now, running=running, groups=asked)
        known = spend.campaign_names(read)
        alone = bool(scope.campaigns or scope.conditions) and len(known) > 1
        if alone:
            report = _without_others(report)
        waits = [wait for group in groups.values() for wait in group.waits]
        drawn = list(_charts(read, report, rows_of(groups, list(axes)), waits, params))
        data = gallery.data(
            (_placed(card, home) for card in ledger.cards(read, scope, CARDS)),
            link=links.to,
            ledger_id=read.ledger_id,
        )
        data |= {"words": words_of_state, "fresh": gallery.fresh(data["shared"]["campaign"], known)}
        # A person has to decide about these, whenever they were bought.
        doubtful = select(read, statuses=[Status.DOUBTFUL], conditions=scope.conditions)
        undecided = [job for job in doubtful if not scope.campaigns or job.campaign in scope.campaigns]
    left_out = sum(report.total.jobs.values()) - len(data["rows"])
    text = render(
        "page.html.j2",
        scripts=_SCRIPTS,
        style="page.css",
        client=False,
        data=Markup(gallery.script_json(data)),  # noqa: S704  (has no markup)
        report=report,
        scope=tables.scope(report.question) + ("; a run is going" if report.running else ""),
        tiles=list(glance.tiles(report.total)),
        charts=[(chart, Markup(chart.svg)) for chart in drawn],  # noqa: S704  (made of escaped text)
        groups=[("Jobs", tables.jobs(report)), ("Credits", tables.bought(report)), ("Course", tables.course(report))],
        more=tables.left_out(report),
        chains=tables.chains(report.chains),
        troubles=tables.troubles(report),
        prices=tables.prices(report.prices),
        meters=list(glance.meters(report)),
        forecast=tables.forecast(report.forecast, "cap of its own" if alone else "cap"),
        wallet=tables.wallet(reconciliation) if reconciliation else None,
        doubtful=undecided,
        held=sum(job.hold for job in undecided),
        state_words=words_of_state,
        left_out=left_out,
    )
    return Page(text, len(data["rows"]), left_out)


def _placed(card: ledger.Card, state: Path) -> ledger.Card:
    """The card with whole paths: a result that another job was made from stands there as it lies below the state."""
    if not card.sources:
        return card
    texts = [str(each["text"]) for each in card.references]
    whole = [str(state / text) if text.startswith("results/") else text for text in texts]
    return card._replace(references=[each | {"text": text} for each, text in zip(card.references, whole, strict=True)])


def _without_others(report: Report) -> Report:
    """The report without the sums under caps that campaigns share, which tell of those that were not asked for."""
    caps = tuple(cap for cap in report.caps if cap.cap == "campaign")
    bites = tuple(bite for bite in report.forecast.bites if bite.cap == "campaign")
    return replace(report, caps=caps, forecast=replace(report.forecast, bites=bites))


def _charts(
    read: LedgerReader, report: Report, split: Sequence[GroupRow], waits: Sequence[float], params: Sequence[str]
) -> Iterator[Chart]:
    scope, total = report.question.scope, report.total
    within = ledger.span(read, scope)
    if within is None:
        return
    caps = {(cap.cap, cap.name): cap.limit for cap in reversed(report.caps)}
    day_caps = [cap.limit for cap in report.caps if cap.cap == "day"]
    costs = charts.costs(split, "campaign")
    largest = sorted(costs, key=lambda cost: -(cost.settled + cost.held))[:_CAMPAIGNS]
    spent = ledger.spending(read, scope, within)
    for cost in largest if total.attempts.total else ():
        name = str(cost.value)
        mine = [step for step in spent if step.campaign == name]
        yield charts.credits_over_time(name, mine, caps.get(("campaign", name)), within)
    days = [day for day in charts.costs(split, "day") if day.settled or day.held]
    if days and (len(days) > 1 or day_caps):
        yield charts.credits_by_day(days, min(day_caps, default=None))
    if moves := ledger.moves(read, scope, within):
        yield charts.states_over_time(charts.states(moves), within)
    if total.wait is not None:
        yield charts.waiting(waits, total.wait)
    for param in params[:_PARAMS]:
        found = charts.costs(split, param)
        if len(found) > 1:
            yield charts.cost_by_param(param, found)
