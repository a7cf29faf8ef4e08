"""The lines of the post-mortem: what happened, in its order, many of a kind in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, zip_longest
from typing import Any

from batcher.clock import from_iso
from batcher.events import Event
from batcher.ledger.queries.spend import Scope
from batcher.ledger.queries.timeline import Batch, Gap, Note, RunEntry

#: What follows the last one of its kind, code and run within so many seconds goes into the same line …
SAME_LINE_SECONDS = 900.0
#: … or within this part of the time looked at: twenty nights have not many more lines than one.
_SAME_LINE_PART = 1 / 50
#: Seconds without an event before a line says so.
QUIET_SECONDS = 600.0


#: Where a line stands: the id of its first event, then its place among those of the same event.
Place = tuple[int, int]


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
    place: Place = field(default=(0, 0), compare=False)


#: Members of a note's detail: what says more of its kind, and what is for people.
_SAID: dict[str, tuple[str, str]] = {
    Event.HALTED: ("kind", "reason"),
    Event.CAP_REACHED: ("cap", "message"),
    Event.LOOKED: ("of", "message"),
    Event.WALLET_ODD: ("what", "message"),
    Event.CANARY: ("step", "message"),
    Event.COMMANDED: ("command", "message"),
    Event.COMMANDS_KEPT: ("state", "message"),
}


def of_runs(runs: Sequence[RunEntry]) -> Iterator[TimelineEntry]:
    """Begin and end of each run, and the times without one."""
    for run, later in zip_longest(runs, runs[1:]):
        first, last = run.traces.first, run.traces.last
        yield TimelineEntry("run_began", run.since, run.since, run.id, place=(first, 0))
        if run.state == "going":
            continue
        kind, code = (Event.RUN_ENDED, str(run.exit_code)) if run.state == "ended" else ("run_killed", None)
        yield TimelineEntry(kind, run.until, run.until, run.id, code=code, message=run.reason, place=(last, 8))
        if later and (seconds := _seconds(run.until, later.since)) >= QUIET_SECONDS:
            yield TimelineEntry("no_run", run.until, later.since, seconds=round(seconds, 3), place=(last, 9))


def fold(entries: Sequence[TimelineEntry], runs: Sequence[RunEntry]) -> Iterator[TimelineEntry]:
    """Runs one after the other that changed nothing and ended alike become one line, with the times between them."""
    known = {run.id: run for run in runs}

    def alike(entry: TimelineEntry) -> tuple[Any, ...] | None:
        run = known.get(entry.run_id) if entry.run_id is not None else None
        if entry.kind in ("run_began", Event.RUN_ENDED) and run and run.idle:
            return (run.exit_code, run.reason)
        return None

    pending: list[TimelineEntry] = []
    for key, group in groupby(_skipping(entries, alike), lambda pair: pair[0]):
        pending = [entry for _, entry in group]
        ended = [entry for entry in pending if entry.kind == Event.RUN_ENDED]
        if key is None or len(ended) < 2:
            yield from pending
            continue
        last = pending.index(ended[-1])
        yield replace(ended[-1], kind="runs_idle", since=pending[0].since, count=len(ended))
        yield from pending[last + 1 :]


def _skipping(
    entries: Sequence[TimelineEntry], alike: Callable[[TimelineEntry], Any]
) -> Iterator[tuple[Any, TimelineEntry]]:
    """Each entry with its key; a time without a run has that of what is before it."""
    key = None
    for entry in entries:
        if entry.kind != "no_run":
            key = alike(entry)
        yield key, entry


def quiet(gaps: Iterable[Gap], chosen: set[int], outages: Sequence[TimelineEntry]) -> Iterator[TimelineEntry]:
    """Times in which a run wrote nothing, but for outages, which say so themselves."""
    known = [(outage.since, outage.until or "9") for outage in outages]
    for before, run, start, end, seconds in gaps:
        if run in chosen and not any(since <= start and end <= until for since, until in known):
            yield TimelineEntry("quiet", start, end, run, seconds=round(seconds, 3), place=(before, 7))


def in_time(entries: Iterable[TimelineEntry], scope: Scope) -> list[TimelineEntry]:
    """In order, and only what lies in the scope: a run's begin may lie before it."""
    since, until = scope.since or "", scope.until or "9"
    found = sorted(entries, key=lambda entry: entry.place)
    return [entry for entry in found if entry.since < until and (entry.until or "9") >= since]


# What happened in a run


def apart(runs: Sequence[RunEntry]) -> float:
    """The least time between two lines of one kind, in seconds."""
    span = _seconds(min(run.since for run in runs), max(run.until for run in runs)) if runs else 0.0
    return max(SAME_LINE_SECONDS, span * _SAME_LINE_PART)


class _Lines:
    """Lines that are being written: of each key the last one may go on."""

    def __init__(self) -> None:
        self.all: list[TimelineEntry] = []
        self._going: dict[tuple[Any, ...], int] = {}

    def get(self, key: tuple[Any, ...]) -> TimelineEntry | None:
        place = self._going.get(key)
        return None if place is None else self.all[place]

    def begin(self, key: tuple[Any, ...], entry: TimelineEntry) -> TimelineEntry:
        self._going[key] = len(self.all)
        self.all.append(entry)
        return entry

    def change(self, key: tuple[Any, ...], **fields: Any) -> None:
        place = self._going[key]
        self.all[place] = replace(self.all[place], **fields)

    def end(self, key: tuple[Any, ...]) -> None:
        del self._going[key]


def of_notes(notes: Sequence[Note], apart: float) -> list[TimelineEntry]:
    """Outages from begin to end, limits from the first cut until they were restored, halts, caps.

    Cuts that come within `apart` seconds after a restoration go into the same line.
    """
    lines = _Lines()
    for id_, at, run, event, detail in notes:
        outage = ("outage", run, str(detail.get("of") or "api"))
        cut = (Event.LIMIT_CUT, run, str(detail.get("limit")))
        match event:
            case Event.OUTAGE_BEGAN:
                cause, message = _text(detail.get("cause")) or None, _text(detail.get("message"))
                entry = TimelineEntry("outage", at, None, run, code=cause, message=message, place=(id_, 5))
                lines.begin(outage, entry)
            case Event.OUTAGE_ENDED if lines.get(outage):
                lines.change(outage, until=at, seconds=_number(detail.get("seconds")))
                lines.end(outage)
            case Event.LIMIT_CUT:
                line = lines.get(cut)
                if line is None or (line.until and _seconds(line.until, at) > apart):
                    line = lines.begin(
                        cut, TimelineEntry(Event.LIMIT_CUT, at, None, run, 0, code=cut[2], place=(id_, 5))
                    )
                lines.change(
                    cut,
                    until=None,
                    count=line.count + 1,
                    per_minute=_least(line.per_minute, _number(detail.get("per_minute"))),
                    seconds=_most(line.seconds, _number(detail.get("retry_after"))),
                )
            case Event.LIMIT_RESTORED if lines.get(cut):
                lines.change(cut, until=at)
            case _ if event in _SAID:
                code, message = (_text(detail.get(name)) for name in _SAID[event])
                entry = TimelineEntry(event, at, at, run, code=code, message=message, place=(id_, 5))
                lines.all.append(entry)
    return lines.all


def of_batches(batches: Iterable[Batch], apart: float) -> list[TimelineEntry]:
    """Jobs to which the same happened, in one line as long as it comes again within `apart` seconds."""
    lines = _Lines()
    for id_, run, kind, code, count, first, last, job, message in batches:
        key = (run, kind, code)
        line = lines.get(key)
        if line is None or _seconds(line.until or first, first) > apart:
            line = lines.begin(key, TimelineEntry(kind, first, last, run, 0, code=code, place=(id_, 5)))
        until = max(line.until or "", last)
        lines.change(key, until=until, count=line.count + count, job_id=job, message=message)
    return lines.all


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
