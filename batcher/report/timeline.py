"""The post-mortem: what happened, how the limits were used, what went wrong and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from batcher.clock import iso
from batcher.errors import Kind, exit_code
from batcher.events import Event, OwnHalt
from batcher.jobs import UNSETTLED, Status
from batcher.ledger import TIMES, LedgerReader
from batcher.ledger.queries import budgets, spend, timeline
from batcher.ledger.queries.spend import Scope
from batcher.ledger.queries.timeline import FailureCause, Note, RunEntry, Wait

from .question import Question
from .timeline_entries import QUIET_SECONDS, TimelineEntry, apart, fold, in_time, of_batches, of_notes, of_runs, quiet
from .usage import Usage, usage

#: How many of the slowest tasks are named.
SLOWEST = 5


@dataclass(frozen=True, slots=True)
class Timeline:
    """The post-mortem of a time. `as_of` is when it was read, ISO 8601, UTC."""

    question: Question
    as_of: str
    running: bool
    runs: tuple[RunEntry, ...]
    entries: tuple[TimelineEntry, ...]
    slowest: tuple[Wait, ...]
    causes: tuple[FailureCause, ...]
    limits: tuple[Usage, ...]


def make_timeline(read: LedgerReader, question: Question, *, now: float, running: bool) -> Timeline:
    """Read the post-mortem; all of it shows one state of the ledger.

    `now` is in seconds since the epoch; `running` says that a run is going.
    """
    scope = question.scope
    with spend.snapshot(read):
        last = read.last_run()
        runs = timeline.runs(read, scope, going=last["id"] if last and running else None)
        chosen = {run.id for run in runs}
        notes = list(timeline.notes(read, chosen))  # also those before: an outage may have begun there
        told = [note for note in notes if within(note.at, scope)]
        left = {note.run_id: _left(note) for note in notes if note.event == Event.RUN_ENDED}
        runs = [replace(run, left=left.get(run.id, {})) for run in runs]
        entries = [
            *of_runs(runs),
            *of_notes(notes, apart(runs)),
            *of_batches(timeline.batches(read, scope), apart(runs)),
        ]
        outages = [entry for entry in entries if entry.kind == "outage"]
        entries += quiet(timeline.gaps(read, scope, longer=QUIET_SECONDS), chosen, outages)
        ended = [run for run in runs if within(run.until, scope)]
        waiting = None if running else timeline.without_file(read, scope)
        causes = [*_of_whole_runs(ended, told, _unfinished(read)), *timeline.troubles(read, scope)]
        return Timeline(
            question=question,
            as_of=iso(now),
            running=running,
            runs=tuple(runs),
            entries=tuple(fold(in_time(entries, scope), runs)),
            slowest=tuple(timeline.slowest(read, scope, now=iso(now), count=SLOWEST)),
            causes=(*causes, *([waiting] if waiting else [])),
            limits=tuple(usage(runs, told, timeline.sends(read, scope))),
        )


def _left(note: Note) -> dict[str, int]:
    """Why jobs did not come to their end, as the run's last event has it."""
    left = note.detail.get("left")
    return {str(why): n for why, n in left.items() if isinstance(n, int)} if isinstance(left, dict) else {}


# Causes


def within(at: str, scope: Scope) -> bool:
    """Whether a time of the ledger lies in the scope."""
    return (scope.since or "") <= at < (scope.until or "9")


def _unfinished(read: LedgerReader) -> set[int]:
    """The newest run of each campaign that still has something to do."""
    going_on = [str(status) for status in (Status.PLANNED, *UNSETTLED)]
    campaigns = [name for name, found in read.counts().items() if any(found.get(status) for status in going_on)]
    return {run.run_id for run in budgets.run_caps(read, campaigns)}


def _of_whole_runs(
    runs: Sequence[RunEntry], notes: Sequence[Note], unfinished: Collection[int]
) -> Iterator[FailureCause]:
    """What ended runs. That of an `unfinished` run is open."""
    found: dict[tuple[str, str | None], FailureCause] = {}
    for run_id, kind, code, message in _ends(runs, notes):
        before = found.get((kind, code), FailureCause(kind, code, 0, 0, None, None))
        still = before.open + (run_id in unfinished)
        found[kind, code] = replace(before, count=before.count + 1, open=still, message=message)
    yield from found.values()


def _ends(runs: Sequence[RunEntry], notes: Sequence[Note]) -> Iterator[tuple[int | None, str, str | None, str | None]]:
    capped = {run.id for run in runs if run.state == "ended" and run.exit_code == exit_code(Kind.CAPPED)}
    drained = {note.run_id for note in notes if note.event == Event.COMMANDED and note.detail.get("command") == "drain"}
    known = drained | {note.run_id for note in notes if note.event in (Event.HALTED, Event.CAP_REACHED)}
    for note in notes:
        cap, message = (note.detail.get(name) for name in ("cap", "message"))
        if note.event == Event.HALTED:
            yield (note.run_id, *halt_cause(note.detail))
        # A cap may be met in passing, until credits come free; and that its time is over is no trouble.
        elif note.event == Event.CAP_REACHED and note.run_id in capped and cap not in TIMES:
            yield note.run_id, "cap", None if cap is None else str(cap), None if message is None else str(message)
    for run in runs:
        if run.state == "killed":
            yield run.id, "killed", None, None
        elif run.exit_code == exit_code(Kind.STORAGE):
            yield run.id, "storage", None, run.reason
        elif run.id in capped and run.id not in known:
            yield run.id, "cap", None, run.reason


def halt_cause(detail: Mapping[str, Any]) -> tuple[str, str | None, str]:
    """Kind, code and message of a halt, by the detail of its event."""
    kind, code, message = (str(detail.get(name) or "") for name in ("kind", "code", "message"))
    if "message" not in detail:  # an older batcher wrote the reason only, which a code begins
        message = str(detail.get("reason"))
        word, colon, rest = message.partition(": ")
        if colon and " " not in word:
            code, message = word, rest
    if kind == Kind.CAPPED.value:
        kind = "credits" if code and code not in set(OwnHalt) else "stop"
    return kind, code or None, message


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
        "runs": [_shown(run, but="traces") for run in timeline.runs],
        "moments": [_shown(entry, but="place") for entry in timeline.entries],
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


def _shown(entry: RunEntry | TimelineEntry, *, but: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if name != but}
