"""What a run has come to so far: counted from the ledger's changes, a constant effort each."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from batcher.clock import local_day, local_time
from batcher.controls import DRAINING
from batcher.events import Event
from batcher.jobs import SHORT_ID, UNSETTLED, JobId, Status
from batcher.ledger import Change, LedgerReader
from batcher.ledger.cap_room import CapRoom, StatedCaps, asked_caps, room_under
from batcher.ledger.queries.jobs import job_name
from batcher.ledger.store import commands
from batcher.measures import in_words
from batcher.planning.room import jobs_with_room, waiting_jobs
from batcher.text import duration, number, safe, short

#: The rate is that of so many seconds.
RATE_SECONDS = 60.0
_SUMS_SECONDS = 1.0
#: Of what is done in less than this nobody asks at what time that is.
_SOON_SECONDS = 600.0
#: Of the time a count of the jobs that have room may take.
_SHARE = 0.01


class JobTrouble(NamedTuple):
    """Something of a job that a person may want to know."""

    job_id: JobId
    what: str
    text: str


class Tally:
    """Observes a ledger. Counts are of this run's work: what it starts, goes on with and fetches."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.started = monotonic()
        self.counts: Counter[Status] = Counter()
        self.total = 0
        self.saved = 0
        self.bought = 0
        self.moves = 0
        self.download = True
        self.halted = ""
        self._paused, self._state = "", ""  # in words; what a person has asked for
        self._outages: dict[str, str] = {}  # what is dead, and why
        self._paces: dict[str, str] = {}
        self.troubles: deque[JobTrouble] = deque(maxlen=1000)
        self.told: deque[str] = deque(maxlen=100)
        self._ends: deque[float] = deque(maxlen=10_000)

    def begin(self, counts: Counter[Status], *, download: bool, saved: int = 0) -> None:
        """Start from what there is to do: planned jobs, unsettled ones, and succeeded ones that lack a file.

        Who comes later starts from how that stands by now; `saved` of the succeeded ones then have their file.
        """
        self.counts = Counter(counts)
        self.saved = saved
        self.total = counts.total()
        self.download = download
        self.started = self._monotonic()

    def __call__(self, change: Change) -> None:
        self.moves += 1
        if change.new is not None and change.old is not change.new:
            if change.old is not None:
                self.counts[change.old] -= 1
            self.counts[change.new] += 1
            if change.new in (Status.FAILED, Status.DOUBTFUL) or (change.new is Status.SUCCEEDED and not self.download):
                self._ends.append(self._monotonic())
        match change.event:
            case Event.INTENDED:
                self.bought += 1
            case Event.SAVED if change.detail.get("number") == 0:
                self.saved += 1
                self._ends.append(self._monotonic())
            case Event.MAYBE_RECEIVED:
                self._trouble(change, "no answer", self._said(change))
            case Event.RESTORED:
                self.saved += 1
            case Event.ODD_FILE | Event.UNVERIFIED:
                self._trouble(change, "file", str(change.detail.get("why")))
            case Event.FILE_DIFFERS:
                self._trouble(change, "file", f"not as asked for: {in_words(change.detail['differs'])}")
            case Event.PRICE_ROSE:
                self._trouble(change, "price", "{expected} credits expected, {taken} taken".format_map(change.detail))
            case Event.COMMANDED:
                self.told.append(safe(change.detail.get("message")))
                if state := change.detail["set"].get("state"):
                    self._hold(state[1], change)
            case Event.COMMANDS_KEPT:
                self.told.append(safe(change.detail.get("message")))
                self._hold(change.detail.get("state"), change)
            case Event.LOOKED | Event.WALLET_ODD | Event.CANARY:
                self.told.append(safe(change.detail.get("message")))
            case Event.HALTED:
                self.halted = safe(change.detail.get("reason"))
            case Event.OUTAGE_BEGAN:
                self._outages[change.detail.get("of", "api")] = safe(change.detail.get("message", ""))
            case Event.OUTAGE_ENDED:
                self._outages.pop(change.detail.get("of", "api"), None)
            case Event.LIMIT_CUT:
                kind = "submissions" if change.detail["limit"] == "submit" else "requests"
                wait = change.detail.get("retry_after")
                pause = f"asks to wait {wait:.0f} s, then " if wait else ""
                self._paces[kind] = f"{pause}{change.detail['per_minute']:g} {kind} a minute"
            case Event.LIMIT_RESTORED:
                self._paces.pop("submissions" if change.detail["limit"] == "submit" else "requests", None)
            case _ if change.new in (Status.FAILED, Status.DOUBTFUL):
                self._trouble(change, str(change.new), self._said(change))

    def _hold(self, state: object, change: Change) -> None:
        self._state, self._paused = str(state or ""), safe(change.detail.get("message"))

    @staticmethod
    def _said(change: Change) -> str:
        found = (change.detail.get("code"), change.detail.get("message"))
        return ": ".join(str(part) for part in found if part)

    def _trouble(self, change: Change, what: str, text: str) -> None:
        assert change.job_id is not None
        self.troubles.append(JobTrouble(change.job_id, what, safe(text)))

    @property
    def in_flight(self) -> int:
        """Jobs with the API, or on their way to it."""
        return sum(self.counts[status] for status in UNSETTLED)

    @property
    def notice(self) -> str:
        """What holds the run up as a whole, if anything does."""
        if self.halted:
            return f"no new job is started: {self.halted}"
        if self._state:
            goes_on = "" if self._state == DRAINING else "; `batcher ctl resume` goes on"
            return f"{self._paused}: no new job starts{goes_on}"
        for what, why in self._outages.items():
            dead = "the API does not answer" if what == "api" else "no create is answered"
            return f"{dead}{f' ({why})' if why else ''}; it is asked again and again, and no job's repeats are spent"
        return f"the API says it is too much: {', '.join(self._paces.values())}, slowly more" if self._paces else ""

    @property
    def done(self) -> int:
        return self.saved if self.download else self.counts[Status.SUCCEEDED]

    @property
    def fetching(self) -> int:
        return self.counts[Status.SUCCEEDED] - self.done

    @property
    def ended(self) -> int:
        return self.done + self.counts[Status.FAILED] + self.counts[Status.DOUBTFUL]

    @property
    def per_minute(self) -> float:
        """Jobs that came to their end in the last minute (since the start, if that is less long ago)."""
        now = self._monotonic()
        while self._ends and self._ends[0] < now - RATE_SECONDS:
            self._ends.popleft()
        span = min(RATE_SECONDS, max(1.0, now - self.started))
        return len(self._ends) * 60.0 / span

    def parts(self) -> list[tuple[str, int]]:
        """How many jobs stand where, in the order of a job's life."""
        found = [(str(status), self.counts[status]) for status in Status if status is not Status.SUCCEEDED]
        place = len((Status.PLANNED, Status.SUBMITTING, Status.QUEUED, Status.PROCESSING))
        found[place:place] = [("downloading", self.fetching), ("done", self.done)]
        return found


class Sums(NamedTuple):
    """This run's credits; `left` is the room under the tightest cap, which `cap` names.

    `out` are planned jobs for which the caps have no room.
    """

    held: int
    settled: int
    cap: str = ""
    left: int | None = None
    out: int = 0


class Feed:
    """What is shown of a run: its tally, its credits (read from the ledger at most once a second), jobs in trouble."""

    def __init__(
        self,
        campaigns: Sequence[str],
        tally: Tally,
        read: LedgerReader,
        run_id: int,
        caps: StatedCaps,
        account: str,
        wall: Callable[[], float] = time.time,
        ends: float | None = None,
    ) -> None:
        """`ends` is when the run's time to buy is over, in seconds since the epoch; None: never."""
        self.title = safe(", ".join(campaigns))
        self.tally = tally
        self._read = read
        self._run_id = run_id
        self._caps = caps
        self._wall, self._ends = wall, ends
        self._campaigns, self._account = campaigns, account
        self._out, self._out_until = 0, float("-inf")
        self._at = float("-inf")
        self._sums = Sums(0, 0)

    def news(self) -> list[str]:
        """Troubles since the last call, a line each."""
        found = list(self.tally.troubles)
        self.tally.troubles.clear()
        return [f"{what} {job[:SHORT_ID]} {short(job_name(self._read, job), 40)}: {text}" for job, what, text in found]

    def told(self) -> list[str]:
        """What the run was told of the wallet and the models since the last call."""
        found = list(self.tally.told)
        self.tally.told.clear()
        return found

    def credits(self) -> str:
        """`this run 130 settled, 120 held; 250 left (campaign x)`."""
        sums = self.sums()
        left = "" if sums.left is None else f"; {number(sums.left)} left ({sums.cap})"
        return f"this run {number(sums.settled)} settled, {number(sums.held)} held{left}"

    def states(self) -> list[tuple[str, int]]:
        """The states that have jobs."""
        return [(name, jobs) for name, jobs in self.tally.parts() if jobs]

    def line(self) -> str:
        """Where the run stands, in one line."""
        tally = self.tally
        states = ", ".join(f"{number(jobs)} {name}" for name, jobs in self.states())
        left = self.seconds_left
        pace = f"; {tally.per_minute:.0f}/min, {duration(math.ceil(left))} left{self.done_by()}" if left else ""
        return f"{number(tally.ended)}/{number(self.total)} ({states}); credits: {self.credits()}{pace}"

    def done_by(self) -> str:
        """`, done by 05:40 at this rate`, and how many jobs would not be before the run's time is over."""
        left, now = self.seconds_left, self._wall()
        if not left or left < _SOON_SECONDS:
            return ""
        late = 0 if self._ends is None else self._too_late(self._ends - now)
        over = f" ({number(late)} too late for {local_time(self._ends)})" if late and self._ends is not None else ""
        return f", done by {local_time(-(-(now + left) // 60) * 60)} at this rate{over}"

    def _too_late(self, seconds: float) -> int:
        """How many jobs would not come to their end in so many seconds, at this rate."""
        in_time = self.tally.per_minute * max(0.0, seconds) / 60
        return max(0, self.total - self.tally.ended - int(in_time))

    @property
    def total(self) -> int:
        """The jobs of this run that are or may be bought: as many as its caps have room for."""
        return self.tally.total - self.sums().out

    @property
    def seconds_left(self) -> float | None:
        """The rest at the present rate; None when nothing came to its end lately."""
        rate = self.tally.per_minute
        return (self.total - self.tally.ended) * 60.0 / rate if rate else None

    def sums(self, *, fresh: bool = False) -> Sums:
        """The sums, at most a second old."""
        now = time.monotonic()
        if fresh or now - self._at >= _SUMS_SECONDS:
            self._at, self._sums = now, self._look()
        return self._sums

    def _look(self) -> Sums:
        run = self._read.spent(run_id=self._run_id)
        today = local_day(self._wall(), self._read.zone)
        caps = asked_caps(self._caps, commands.controls(self._read, self._run_id))
        rooms = list(room_under(caps, self._campaigns, self._read.spent, run_id=self._run_id, day=today))
        tightest = min((room for room in rooms if room.unpriced is None), key=lambda room: room.left, default=None)
        out = self._without_room(rooms)
        if tightest is None:
            return Sums(run.held, run.settled, out=out)
        return Sums(run.held, run.settled, tightest.words, max(0, tightest.left), out)

    def _without_room(self, rooms: Sequence[CapRoom]) -> int:
        """How many of the jobs that may still be started have no room; counted so seldom that it costs little."""
        planned, began = self.tally.counts[Status.PLANNED], time.monotonic()
        if not planned:
            return 0
        if began >= self._out_until:
            waiting = waiting_jobs(self._read, self._campaigns, self._account)
            whole = sum(each.jobs for each in waiting) >= planned  # else some are on their way into the ledger
            self._out = max(0, planned - jobs_with_room(waiting, rooms)) if whole else 0
            now = time.monotonic()
            self._out_until = now + (now - began) / _SHARE
        return min(self._out, planned)
