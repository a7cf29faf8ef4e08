"""The post-mortem: what happened, how the limits were used, what went wrong and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from batcher.clock import iso
from batcher.errors import Kind, exit_code
from batcher.events import Event
from batcher.jobs import UNSETTLED, Status
from batcher.ledger import LedgerReader
from batcher.ledger.queries import budgets, spend, timeline
from batcher.ledger.queries.spend import Scope
from batcher.ledger.queries.timeline import FailureGroup, Note, Purchases, RunRow, Wait

from .question import Question
from .timeline_entries import (
    QUIET_SECONDS,
    RunEntry,
    TimelineEntry,
    apart,
    fold,
    in_time,
    of_batches,
    of_notes,
    of_runs,
    quiet,
)
from .usage import Usage, usage

#: So many of the slowest tasks are named.
SLOWEST = 5


@dataclass(frozen=True, slots=True)
class FailureCause:
    """Why so many jobs, or runs, went wrong. `open` are still so; job and message are those of the newest."""

    kind: str
    code: str | None
    count: int
    open: int
    job_id: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """The post-mortem of a time. `as_of` is when it was read, ISO 8601, UTC."""

    question: Question
    as_of: str
    running: bool
    runs: tuple[RunEntry, ...]
    moments: tuple[TimelineEntry, ...]
    slowest: tuple[Wait, ...]
    causes: tuple[FailureCause, ...]
    limits: tuple[Usage, ...]


def make_timeline(read: LedgerReader, question: Question, *, now: float, running: bool) -> Timeline:
    """Read the post-mortem; all of it shows one state of the ledger.

    `now` is in seconds since the epoch; `running` says that a run is going. What a run bought is told whole, also where
    the question's time has only a part of it.
    """
    scope = question.scope
    with spend.snapshot(read):
        rows = timeline.runs(read, scope)
        chosen = {row.id for row in rows}
        notes = list(timeline.notes(read, chosen))  # also those before: an outage may have begun there
        told = [note for note in notes if within(note.at, scope)]
        last = read.last_run()
        runs = _runs(read, scope, rows, notes, going=last["id"] if last and running else None)
        placed = [
            *of_runs(runs, {row.id: (row.first, row.last) for row in rows}),
            *of_notes(notes, apart(runs)),
            *of_batches(timeline.batches(read, scope), apart(runs)),
        ]
        outages = [moment for _, moment in placed if moment.kind == "outage"]
        placed += quiet(timeline.gaps(read, scope, longer=QUIET_SECONDS), chosen, outages)
        ended = [run for run in runs if within(run.until, scope)]
        waiting = None if running else timeline.without_file(read, scope)
        troubles = [*timeline.troubles(read, scope), *([waiting] if waiting else [])]
        return Timeline(
            question=question,
            as_of=iso(now),
            running=running,
            runs=tuple(runs),
            moments=tuple(fold(in_time(placed, scope), runs)),
            slowest=tuple(timeline.slowest(read, scope, now=iso(now), count=SLOWEST)),
            causes=tuple(_causes(ended, told, troubles, _unfinished(read))),
            limits=tuple(usage(rows, told, timeline.sends(read, scope))),
        )


def _runs(
    read: LedgerReader, scope: Scope, rows: Sequence[RunRow], notes: Sequence[Note], *, going: int | None
) -> list[RunEntry]:
    bought, went_on = timeline.purchases(read, scope), timeline.went_on(read, scope)
    ends = {note.run_id: note.detail for note in notes if note.event == Event.RUN_ENDED}
    nothing = Purchases(0, 0, 0, 0, 0)
    found = []
    for row in rows:
        bill, end = bought.get(row.id, nothing), ends.get(row.id, {})
        left = end.get("left")
        found.append(
            RunEntry(
                id=row.id,
                state="ended" if row.ended_at else "going" if row.id == going else "killed",
                since=row.started_at,
                until=row.last_at,
                exit_code=row.exit_code,
                reason=row.reason,
                campaigns=row.campaigns,
                bought=bill.attempts,
                refused=bill.refused,
                quoted=bill.quoted,
                settled=bill.settled,
                held=bill.held,
                saved=row.saved,
                went_on=went_on.get(row.id, 0),
                left={str(why): n for why, n in left.items() if isinstance(n, int)} if isinstance(left, dict) else {},
            )
        )
    return found


# Causes


def within(at: str, scope: Scope) -> bool:
    """Whether a time of the ledger lies in the scope."""
    return (scope.since or "") <= at < (scope.until or "9")


def _unfinished(read: LedgerReader) -> set[int]:
    """The newest run of each campaign that still has something to do."""
    going_on = [str(status) for status in (Status.PLANNED, *UNSETTLED)]
    campaigns = [name for name, found in read.counts().items() if any(found.get(status) for status in going_on)]
    return {run.run_id for run in budgets.run_caps(read, campaigns)}


def _causes(
    runs: Sequence[RunEntry], notes: Sequence[Note], troubles: Sequence[FailureGroup], unfinished: Collection[int]
) -> Iterator[FailureCause]:
    """What ended runs, then what jobs met, the most frequent first. That of an `unfinished` run is open."""
    found: dict[tuple[str, str | None], FailureCause] = {}
    for run_id, kind, code, message in _of_whole_runs(runs, notes):
        before = found.get((kind, code), FailureCause(kind, code, 0, 0, None, None))
        still = before.open + (run_id in unfinished)
        found[kind, code] = replace(before, count=before.count + 1, open=still, message=message)
    yield from found.values()
    for each in troubles:
        yield FailureCause(each.kind, each.code, each.jobs, each.open, each.job_id, each.message)


def _of_whole_runs(
    runs: Sequence[RunEntry], notes: Sequence[Note]
) -> Iterator[tuple[int | None, str, str | None, str | None]]:
    capped = {run.id for run in runs if run.state == "ended" and run.exit_code == exit_code(Kind.CAPPED)}
    known = {note.run_id for note in notes if note.event in (Event.HALTED, Event.CAP_REACHED)}
    for note in notes:
        cap, message = (note.detail.get(name) for name in ("cap", "message"))
        if note.event == Event.HALTED:
            yield (note.run_id, *halt_cause(str(note.detail.get("kind")), str(note.detail.get("reason"))))
        # A cap may be met in passing, until credits come free; and the time of --until is no trouble.
        elif note.event == Event.CAP_REACHED and note.run_id in capped and cap != "until":
            yield note.run_id, "cap", None if cap is None else str(cap), None if message is None else str(message)
    for run in runs:
        if run.state == "killed":
            yield run.id, "killed", None, None
        elif run.exit_code == exit_code(Kind.STORAGE):
            yield run.id, "storage", None, run.reason
        elif run.id in capped and run.id not in known:
            yield run.id, "cap", None, run.reason


def halt_cause(kind: str, reason: str) -> tuple[str, str | None, str]:
    """Kind, code and message of a halt; a reason that the API gave begins with its code."""
    word, colon, rest = reason.partition(": ")
    code = word if colon and " " not in word else None
    if kind == Kind.CAPPED.value:
        kind = "credits" if code else "stop"
    return kind, code, rest if code else reason


# For programs


def timeline_json(timeline: Timeline, advise: Callable[[FailureCause], str]) -> dict[str, Any]:
    """The post-mortem as docs/json.md has it, without the version. `advise` says what to do about a cause."""
    scope = timeline.question.scope
    return {
        "as_of": timeline.as_of,
        "running": timeline.running,
        "since": scope.since,
        "until": scope.until,
        "campaigns": list(scope.campaigns),
        "runs": [asdict(run) for run in timeline.runs],
        "moments": [asdict(moment) for moment in timeline.moments],
        "slowest": [asdict(wait) for wait in timeline.slowest],
        "causes": [asdict(cause) | {"advice": advise(cause)} for cause in timeline.causes],
        "limits": [
            asdict(each)
            | {
                "minutes": [{"at": at, "sent": sent} for at, sent in each.minutes],
                "allowed": each.allowed,
                "busiest": each.busiest,
            }
            for each in timeline.limits
        ],
    }
