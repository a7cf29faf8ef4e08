"""A run that goes on elsewhere, followed from the ledger alone: its tally is fed with the rows of `events`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batcher.clock import from_iso, iso
from batcher.events import Event
from batcher.ledger import LedgerReader
from batcher.ledger.queries import jobs, progress, spend
from batcher.ledger.queries.run_settings import read_settings, texts
from batcher.settings import Selection
from batcher.text import moment, safe

from .progress import RATE_SECONDS, Feed, Tally

#: Seconds between two looks, at least, and a look must not take more than this share of the time.
_PAUSE = 0.25
_SHARE = 0.2
#: After so many seconds without news one looks whether somebody holds the lock. Not more often, since that test could
#: turn away a run that starts at this very moment.
_QUIET = 1.0
#: What a person does, and enrolment: after these the work of the run is another.
_OTHER_WORK = frozenset({Event.PLANNED, Event.CANCELLED, Event.RETRIED, Event.RESOLVED})


class Follower:
    """Follows one run of a ledger; `feed` is what a display shows of it. Raises StorageError."""

    def __init__(
        self, read: LedgerReader, state: Path, run: dict[str, Any], *, wall: Callable[[], float] = time.time
    ) -> None:
        self._read = read
        self._state = state
        self._wall = wall
        self._then: float | None = None  # the time of what is replayed
        self.run = run
        self.holder: jobs.Holder | None = None
        settings = read_settings(run["settings"])
        self._campaigns = texts(run["campaigns"])
        self._selection = Selection(settings.only, settings.limit)
        self._download = settings.download
        self._over = False
        self._first = progress.first_event(read, run["id"])
        self._last = 0
        self._version = -1
        self._news_at = wall()
        self.pause = _PAUSE
        self.tally = Tally(self._now)
        self.feed = Feed(self._campaigns, self.tally, read, run["id"], settings, run["account"], wall)

    def _now(self) -> float:
        """The tally's clock: that of what is replayed; a run that is over has no rate, as if it were long ago."""
        if self._then is not None:
            return self._then
        return math.inf if self._over else self._wall()

    def look(self) -> bool:
        """Take in what is new; whether the run still goes on."""
        self._over = not self._look()
        return not self._over

    def _look(self) -> bool:
        began = self._wall()
        version = progress.version(self._read)
        if version != self._version:
            first_time, self._version, self._news_at = self._version == -1, version, began
            with spend.snapshot(self._read):
                self._take_in(first_time)
                self.run = jobs.run(self._read, self.run["id"]) or self.run
            if not first_time:
                self.pause = max(_PAUSE, (self._wall() - began) / _SHARE)
                return self._goes_on()
        elif 0 <= began - self._news_at < _QUIET:
            return self._goes_on()
        self.holder = jobs.holder(self._state, self._read)
        self._news_at = began
        if self.holder is None and progress.version(self._read) != self._version:
            return self._look()  # it may have ended properly just now
        return self._goes_on() and self.holder is not None

    def _goes_on(self) -> bool:
        return self.run["ended_at"] is None and not self.replaced

    @property
    def replaced(self) -> bool:
        """Whether a newer run has begun; then this one was cut off, whatever its row says."""
        last = self._read.last_run()
        return last is not None and last["id"] != self.run["id"]

    def _take_in(self, first_time: bool) -> None:
        if first_time:
            since = iso(self._wall() - RATE_SECONDS)
            events = progress.lately(self._read, self.run["id"], first=self._first, since=since)
        else:
            events = progress.events_after(self._read, self._last)
        other = first_time
        for event in events:
            if event.run_id != self.run["id"] or event.change.event in _OTHER_WORK:
                other = True
            else:
                self._then = from_iso(event.at)
                self.tally(event.change)
        self._then = None
        self._last = progress.last_event(self._read)
        if other:
            self._count()

    def _count(self) -> None:
        """Count the work anew; what the tally knows of the last minute, and of troubles, stays."""
        found = progress.run_progress(
            self._read,
            self.run["id"],
            campaigns=self._campaigns,
            selection=self._selection,
            download=self._download,
            first=self._first,
        )
        self._then = from_iso(self.run["started_at"])
        self.tally.begin(found.counts, download=self._download, saved=found.saved)
        self._then = None

    def state(self) -> str:
        """Whether the run goes on, or how it ended, in words."""
        run = self.run
        if run["ended_at"] is not None:
            reason = safe(run["reason"])
            return f"The run of {moment(run['started_at'])} ended with exit code {run['exit_code']}: {reason}."
        if self.replaced:
            return f"The run of {moment(run['started_at'])} was cut off, and another one has begun."
        if self.holder is None:
            return f"The run of {moment(run['started_at'])} was cut off; run it again to go on."
        who = f": pid {self.holder.pid}, started {moment(self.holder.started)}" if self.holder.pid is not None else ""
        return f"A run is going{safe(who)}."
