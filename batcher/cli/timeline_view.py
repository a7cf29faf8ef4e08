"""The post-mortem for people: what happened, a line each, with local times; then why, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from batcher.events import Event
from batcher.jobs import SHORT_ID
from batcher.ledger.queries.timeline import FailureCause, RunEntry
from batcher.report.timeline import Timeline
from batcher.report.timeline_entries import TimelineEntry
from batcher.report.usage import Usage
from batcher.text import amount, count, duration, local, number, safe, short

from .advice import advice, headline
from .console import columns
from .report_view import scope_line
from .terminal import table

#: Lines that are shown, the newest ones; all are there for a program.
SHOWN = 500
_BAD = ("run_killed", Event.HALTED, Event.CAP_REACHED, Event.DOUBTFUL, Event.LATE_ANSWER)
#: What jobs met, as it follows their number.
MET: dict[str, str] = {
    Event.FAILED: "failed",
    Event.REFUSED: "were refused",
    "reference": "had no usable reference",
    "unsent": "were not taken and are planned again",
    "unanswered": "had no answer; asked again",
    Event.DOUBTFUL: "became doubtful",
    Event.LATE_ANSWER: "were answered after they had been closed",
    Event.PRICE_ROSE: "cost more than expected",
    Event.HOLDS_RAISED: "cost more than others of the class held, which hold as much now",
    Event.FINAL_UNKNOWN: "settled at the hold, for the API named no price",
    Event.FINAL_CHANGED: "settled anew, for the API named another price",
    Event.FINAL_IGNORED: "priced by the API otherwise than by a person, whose figure counts",
    Event.UNKNOWN_STATE: "in a state that is not known, taken for still going",
    Event.MODEL_DIFFERS: "answered for by another model than was asked for",
    Event.RETRIED: "planned again by a person",
    Event.RESOLVED: "decided about by a person",
    Event.CANCELLED: "cancelled",
}


def timeline_view(timeline: Timeline, ledger: Path) -> Iterator[RenderableType]:
    """The post-mortem, part by part."""
    yield f"Ledger {safe(ledger.absolute())}"
    yield scope_line(timeline.question, timeline.as_of, running=timeline.running)
    yield from ("", Text("What happened", "bold"))
    yield from _lines(timeline)
    if timeline.slowest:
        yield from ("", Text("Slowest tasks", "bold"), _slowest(timeline))
    if timeline.causes:
        yield from (
            "",
            Text("What went wrong, and what to do", "bold"),
            *_causes(timeline.causes, ledger.parent, timeline.runs),
        )
    if timeline.limits:
        yield from ("", Text("Limits, in requests a minute", "bold"), _limits(timeline.limits))


# What happened


def _lines(timeline: Timeline) -> Iterator[RenderableType]:
    runs = {run.id: run for run in timeline.runs}
    entries = timeline.entries[-SHOWN:]
    if not entries:
        yield "  Nothing."
    if len(timeline.entries) > len(entries):
        yield f"  … {count(len(timeline.entries) - len(entries), 'earlier line')}; `--since` chooses, `--json` has all."
    for day, of_day in groupby(entries, lambda entry: f"{local(entry.since):%Y-%m-%d}"):
        yield f"  {day}"
        yield columns(*(_line(each, runs.get(each.run_id or 0)) for each in of_day))


def _line(entry: TimelineEntry, run: RunEntry | None) -> tuple[str, Text]:
    style = "bold red" if entry.kind in _BAD else "bold" if entry.kind.startswith("run") else ""
    return _when(entry), Text(_words(entry, run), style)


def _when(entry: TimelineEntry) -> str:
    begin, end = local(entry.since), local(entry.until) if entry.until else None
    if end is None:
        return f"    {begin:%H:%M:%S} –"
    if entry.kind in ("no_run", "quiet"):  # the words say how long
        return f"    {begin:%H:%M:%S}"
    days = (end.date() - begin.date()).days
    until = f"{end:%H:%M:%S}" + (f" (+{count(days, 'day')})" if days else "")
    return f"    {begin:%H:%M:%S}" + (f" – {until}" if f"{begin:%H:%M:%S}" != until else "")


def _words(entry: TimelineEntry, run: RunEntry | None) -> str:
    lasted = duration(entry.seconds) if entry.seconds is not None else ""
    match entry.kind:
        case "run_began":
            return f"run {entry.run_id} began: {short(', '.join(run.campaigns) if run else '', 60)}"
        case Event.RUN_ENDED | "run_killed":
            return _end(entry, run)
        case "runs_idle":
            ended = f"exit {entry.code}, {short(entry.message or '', 60)}"
            return f"{number(entry.count)} runs with nothing to do: {ended}"
        case "no_run":
            return f"… {lasted} without a run"
        case "quiet":
            return f"… {lasted} without any news"
        case "outage":
            never = "yet" if run and run.state == "going" else "until the run ended"
            why = f" ({short(entry.message, 160)})" if entry.message else ""
            return f"outage: no answer {never if entry.until is None else f'for {lasted}'}{why}"
        case Event.LIMIT_CUT:
            return _cut(entry, run)
        case Event.HALTED:
            return f"halted: {safe(entry.message)}"
        case Event.CAP_REACHED:
            return f"cap reached: {safe(entry.message or entry.code)}"
        case Event.LOOKED | Event.WALLET_ODD | Event.CANARY | Event.COMMANDED | Event.COMMANDS_KEPT:
            return short(entry.message or entry.code or "", 400)
        case _:
            return _jobs(entry)


def _end(entry: TimelineEntry, run: RunEntry | None) -> str:
    ended = f"ended: exit {entry.code}, {safe(entry.message)}"
    text = (
        f"run {entry.run_id} {ended if entry.kind == Event.RUN_ENDED else 'was killed: this is its last sign of life'}"
    )
    if run is None:
        return text
    parts = [f"{number(run.bought)} bought for {amount(run.quoted)}"] if run.bought else ["nothing bought"]
    if run.bought:
        parts.append(f"{number(run.settled)} settled, {number(run.held)} held")
    if run.refused:
        parts.append(f"{number(run.refused)} refused at no cost")
    if run.saved:
        parts.append(f"{count(run.saved, 'file')} saved")
    if run.went_on:
        parts.append(f"went on with {count(run.went_on, 'job')} of earlier runs")
    parts += [f"{count(jobs, 'job')} left: {short(why, 80)}" for why, jobs in run.left.items()]
    return f"{text}; {'; '.join(parts)}"


def _cut(entry: TimelineEntry, run: RunEntry | None) -> str:
    pace = "" if entry.per_minute is None else f", down to {entry.per_minute:g} a minute"
    asked = "" if entry.seconds is None else f", asked to wait up to {duration(entry.seconds)}"
    never = "not restored yet" if run and run.state == "going" else "not restored by the end of the run"
    end = never if entry.until is None else "restored"
    often = "once" if entry.count == 1 else f"{number(entry.count)} times"
    return f"429s: limit {safe(entry.code)} cut {often}{pace}{asked}; {end}"


def _jobs(entry: TimelineEntry) -> str:
    met = MET.get(entry.kind, safe(entry.kind))
    if entry.count == 1:
        met = met.replace("were ", "was ").replace(" are ", " is ").replace("they had", "it had")
    code = f": {short(entry.code, 60)}" if entry.code and entry.code != entry.kind else ""
    one = "" if entry.job_id is None else f"job {entry.job_id[:SHORT_ID]}"
    said = f": {short(entry.message, 80)}" if entry.message else ""
    example = f" ({'e.g. ' if entry.count > 1 else ''}{one}{said})" if one else ""
    noun = "request" if entry.kind == "unanswered" else "job"  # a job may have several
    return f"{count(entry.count, noun)} {met}{code}{example}"


# Slowest, causes, limits


def _slowest(timeline: Timeline) -> RenderableType:
    rows = [
        (
            duration(wait.seconds) + (" so far" if wait.open else ""),
            short(wait.name, 40),
            wait.campaign,
            wait.job_id[:SHORT_ID],
        )
        for wait in timeline.slowest
    ]
    return table(("waited", "prompt", "campaign", "job"), rows, right=("waited",))


def _causes(causes: Sequence[FailureCause], state: Path, runs: Sequence[RunEntry]) -> Iterator[RenderableType]:
    for cause in causes:
        yield Text.assemble("  ", (headline(cause), "bold" if cause.open else ""))
        one = [] if cause.job_id is None else [f"job {cause.job_id[:SHORT_ID]}"]
        said = ": ".join([*one, *([short(cause.message, 160)] if cause.message else [])])
        if said:
            yield _indented(Text(f"{'e.g. ' if cause.count > 1 else ''}{said}"))
        yield _indented(Text(advice(cause, state, runs), "cyan" if cause.open else ""))


def _indented(text: Text) -> RenderableType:
    return Padding(text, (0, 0, 0, 4))


def _limits(limits: Sequence[Usage]) -> RenderableType:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:,g}"

    rows = [
        (
            str(each.run_id),
            each.limit,
            shown(each.allowed),
            "not known any more" if each.sent is None else number(each.sent),
            shown(each.per_minute),
            shown(each.busiest),
            each.cuts,
            shown(each.lowest),
        )
        for each in limits
    ]
    headers = ("run", "limit", "allowed", "sent", "used", "busiest minute", "cuts", "cut to")
    return table(headers, rows, right=("run", *headers[2:]))
