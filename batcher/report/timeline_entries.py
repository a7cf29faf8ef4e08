"""The lines of the post-mortem: what happened, in its order, many of a kind in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from batcher.clock import from_iso
from batcher.events import Event
from batcher.ledger.queries.spend import Scope
from batcher.ledger.queries.timeline import Batch, Gap, Note

#: What follows the last one of its kind, code and run within so many seconds goes into the same line …
SAME_LINE_SECONDS = 900.0
#: … or within this part of the time looked at: twenty nights have not many more lines than one.
_SAME_LINE_PART = 1 / 50
#: So long nothing happens before a line says so, in seconds.
QUIET_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run, `ended`, `going` or `killed`: its end was never written, and `until` is its last sign of life.

    Credits are those of its own purchases; `refused` attempts were closed at no cost. `went_on` counts jobs that an
    earlier run had bought and this one took on.
    `left` counts why jobs did not come to their end, where that was written down.
    """

    id: int
    state: str
    since: str
    until: str
    exit_code: int | None
    reason: str | None
    campaigns: tuple[str, ...]
    bought: int
    refused: int
    quoted: int
    settled: int
    held: int
    saved: int
    went_on: int
    left: Mapping[str, int] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether it came to its end and changed nothing."""
        return self.state == "ended" and not (self.bought or self.refused or self.saved or self.went_on)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A line: `count` things of a `kind` (docs/report.md) from `since` to `until`, the last of them at that time.

    `until` is None for what has no known end. `code` says more of the kind; job and message are those of the newest.
    `seconds` is how long something lasted, for `limit_cut` the longest wait that the API asked for; `per_minute` the
    lowest pace that a limit was cut to.
    """

    kind: str
    since: str
    until: str | None
    run_id: int | None = None
    count: int = 1
    code: str | None = None
    message: str | None = None
    job_id: str | None = None
    seconds: float | None = None
    per_minute: float | None = None


#: Members of a note's detail: what says more of its kind, and what is for people.
_SAID = {
    "halted": ("kind", "reason"),
    "cap_reached": ("cap", "message"),
    "looked": ("of", "message"),
    "wallet_odd": ("what", "message"),
}
#: Where a moment stands: the id of its first event, then its place among those of the same event.
Place = tuple[int, int]
Placed = tuple[Place, TimelineEntry]


def of_runs(runs: Sequence[RunEntry], events: Mapping[int, tuple[int, int]]) -> Iterator[Placed]:
    """Begin and end of each run, and the times without one. `events` has each run's first and last event's id."""
    for place, run in enumerate(runs):
        first, last = events[run.id]
        yield (first, 0), TimelineEntry("run_began", run.since, run.since, run.id)
        if run.state == "going":
            continue
        kind, code = ("run_ended", str(run.exit_code)) if run.state == "ended" else ("run_killed", None)
        yield (last, 8), TimelineEntry(kind, run.until, run.until, run.id, code=code, message=run.reason)
        if place + 1 < len(runs):
            until = runs[place + 1].since
            seconds = _seconds(run.until, until)
            if seconds >= QUIET_SECONDS:
                yield (last, 9), TimelineEntry("no_run", run.until, until, seconds=round(seconds, 3))


def fold(moments: Sequence[TimelineEntry], runs: Sequence[RunEntry]) -> Iterator[TimelineEntry]:
    """Runs one after the other that changed nothing and ended alike become one line, with the times between them."""
    known = {run.id: run for run in runs}

    def alike(moment: TimelineEntry) -> tuple[Any, ...] | None:
        run = known.get(moment.run_id) if moment.run_id is not None else None
        if moment.kind in ("run_began", "run_ended") and run and run.idle:
            return (run.exit_code, run.reason)
        return None

    pending: list[TimelineEntry] = []
    for key, group in groupby(_skipping(moments, alike), lambda pair: pair[0]):
        pending = [moment for _, moment in group]
        ended = [moment for moment in pending if moment.kind == "run_ended"]
        if key is None or len(ended) < 2:
            yield from pending
            continue
        last = pending.index(ended[-1])
        yield replace(ended[-1], kind="runs_idle", since=pending[0].since, count=len(ended))
        yield from pending[last + 1 :]


def _skipping(
    moments: Sequence[TimelineEntry], alike: Callable[[TimelineEntry], Any]
) -> Iterator[tuple[Any, TimelineEntry]]:
    """Each moment with its key; a time without a run has that of what is before it."""
    key = None
    for moment in moments:
        if moment.kind != "no_run":
            key = alike(moment)
        yield key, moment


def quiet(gaps: Iterable[Gap], chosen: set[int], outages: Sequence[TimelineEntry]) -> Iterator[Placed]:
    """Times in which a run wrote nothing, but for outages, which say so themselves."""
    known = [(outage.since, outage.until or "9") for outage in outages]
    for gap in gaps:
        if gap.run_id in chosen and not any(since <= gap.since and gap.until <= until for since, until in known):
            yield (gap.id, 7), TimelineEntry("quiet", gap.since, gap.until, gap.run_id, seconds=round(gap.seconds, 3))


def in_time(placed: Iterable[Placed], scope: Scope) -> list[TimelineEntry]:
    """In order, and only what lies in the scope: a run's begin may lie before it."""
    found = [moment for _, moment in sorted(placed, key=lambda pair: pair[0])]
    since, until = scope.since or "", scope.until or "9"
    return [moment for moment in found if moment.since < until and (moment.until or "9") >= since]


# What happened in a run


def apart(runs: Sequence[RunEntry]) -> float:
    """So many seconds lie between two lines of one kind, at least."""
    span = _seconds(min(run.since for run in runs), max(run.until for run in runs)) if runs else 0.0
    return max(SAME_LINE_SECONDS, span * _SAME_LINE_PART)


def of_notes(notes: Sequence[Note], apart: float) -> Iterator[Placed]:
    """Outages from begin to end, limits from the first cut until they were restored, halts, caps.

    Cuts that come within `apart` seconds after a restoration go into the same line.
    """
    outage: dict[tuple[int, str], Placed] = {}
    cuts: dict[tuple[int, str], Placed] = {}
    for note in notes:
        place, name = (note.id, 5), str(note.detail.get("limit"))
        match note.event:
            case Event.OUTAGE_BEGAN:
                key = (note.run_id, str(note.detail.get("of") or "api"))
                yield from _taken(outage, key)
                cause, message = _text(note.detail.get("cause")) or None, _text(note.detail.get("message"))
                outage[key] = (place, TimelineEntry("outage", note.at, None, note.run_id, code=cause, message=message))
            case Event.OUTAGE_ENDED if (key := (note.run_id, str(note.detail.get("of") or "api"))) in outage:
                at, moment = outage.pop(key)
                yield at, replace(moment, until=note.at, seconds=_number(note.detail.get("seconds")))
            case Event.LIMIT_CUT:
                key = (note.run_id, name)
                before = cuts.get(key)
                if before and before[1].until and _seconds(before[1].until, note.at) > apart:
                    yield from _taken(cuts, key)
                fresh = (place, TimelineEntry("limit_cut", note.at, None, note.run_id, count=0, code=name))
                at, moment = cuts.get(key, fresh)
                cuts[key] = (
                    at,
                    replace(
                        moment,
                        until=None,
                        count=moment.count + 1,
                        per_minute=_least(moment.per_minute, _number(note.detail.get("per_minute"))),
                        seconds=_most(moment.seconds, _number(note.detail.get("retry_after"))),
                    ),
                )
            case Event.LIMIT_RESTORED if (note.run_id, name) in cuts:
                at, moment = cuts[note.run_id, name]
                cuts[note.run_id, name] = (at, replace(moment, until=note.at))
            case Event.HALTED | Event.CAP_REACHED | Event.LOOKED | Event.WALLET_ODD:
                code, message = _SAID[note.event]
                yield (
                    place,
                    TimelineEntry(
                        note.event,
                        note.at,
                        note.at,
                        note.run_id,
                        code=_text(note.detail.get(code)),
                        message=_text(note.detail.get(message)),
                    ),
                )
    yield from outage.values()
    yield from cuts.values()


def of_batches(batches: Iterable[Batch], apart: float) -> Iterator[Placed]:
    """Jobs to which the same happened, in one line as long as it comes again within `apart` seconds."""
    open_lines: dict[tuple[int | None, str, str | None], Placed] = {}
    for batch in batches:
        key = (batch.run_id, batch.kind, batch.code)
        before = open_lines.get(key)
        if before and before[1].until and _seconds(before[1].until, batch.first) > apart:
            yield from _taken(open_lines, key)
        fresh = TimelineEntry(batch.kind, batch.first, batch.last, batch.run_id, count=0, code=batch.code)
        at, moment = open_lines.get(key, ((batch.id, 5), fresh))
        open_lines[key] = (
            at,
            replace(
                moment,
                until=max(moment.until or "", batch.last),
                count=moment.count + batch.count,
                job_id=batch.job_id,
                message=batch.message,
            ),
        )
    yield from open_lines.values()


def _taken(lines: dict[Any, Placed], key: Any) -> Iterator[Placed]:
    if key in lines:
        yield lines.pop(key)


def _seconds(since: str, until: str) -> float:
    return from_iso(until) - from_iso(since)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _least(*values: float | None) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _most(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)
