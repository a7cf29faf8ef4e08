"""What a step of a job returns, and what is remembered between two of them. Waiting is data: nobody sleeps here."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from enum import Enum

from batcher.jobs import Status, TaskState, Upload
from batcher.ledger import NotAdmitted
from batcher.limits import LONGEST_WAIT
from batcher.providers import Fatal, Going, Retryable, Unknown

#: A create that pages of something in between answered so often is this job's trouble, if those of others are answered.
PAGES = 3
#: What is left of a job whose paid request this process may not send (any more).
ELSEWHERE = "another worker has it"
#: Before the first repeat of a request one waits so long at most, in seconds.
FIRST_SECONDS = 1.0


class Stage(Enum):
    """Which kind of work a job's next step is; each stage has workers of its own."""

    SUBMIT = "submit"
    POLL = "poll"
    FETCH = "fetch"
    PRICE = "price"


@dataclass(slots=True)
class JobRunState:
    """What this run remembers of a job between two steps; all else is in the ledger.

    `repeats` counts sendings of the same request without a definite answer; `asked` polls;
    `since` (monotonic seconds) is when the present kind of trouble, named `trouble`, began;
    `polling_since` when this run began to poll; `bought` whether this run has made an intent of it.
    `price_class` is the job's, `is_fetched` whether its result is; `submitted` (monotonic seconds) when the API had the
    task; `unfinished_for` so many seconds after that it was last seen unfinished, None before it was seen so in this
    run. `uploads` is what this run's intent of it names, and `anew` whether it is bought once more because that may
    have been why it was refused.
    `restore` names files that were whole once, by number, and what is the matter with them; `unlike` counts answers
    that did not show a doubtful file to be whole.
    `pages` counts creates that something in between answered, `page` is what it said; `blocked` when that is this job's
    trouble alone; `asking` while this job's intent asks whether creates work again; `look` when it is to be polled at
    once, and `polled` once a poll of it had an answer; `odd` is what its last poll said in place of a known state;
    `barred` is the local cause for which its result is not fetched.
    `price_asked`: how often a success was asked for its price, None before it waits for nothing else; `ended`
    (monotonic seconds) is when it ended, `left` what was left of it before; `idle` for how many seconds the run has
    waited for nothing but prices, None where it does something else. `under_way` is how many jobs the run has bought
    or is buying, `poll_at` when it is to be asked for, and `asked_at` when it was last (monotonic seconds).
    """

    repeats: int = 0
    asked: int = 0
    trouble: str = ""
    since: float = 0.0
    polling_since: float | None = None
    bought: bool = False
    price_class: str = ""
    is_fetched: bool = True
    unlike: int = 0
    restore: dict[int, str] = field(default_factory=dict)
    submitted: float | None = None
    unfinished_for: float | None = None
    uploads: tuple[Upload, ...] = ()
    anew: bool = False
    pages: int = 0
    page: str = ""
    blocked: bool = False
    asking: bool = False
    look: bool = False
    polled: bool = False
    odd: str = ""
    barred: str = ""
    price_asked: int | None = None
    ended: float | None = None
    left: str = ""
    idle: float | None = None
    under_way: int = 1
    poll_at: float = 0.0
    asked_at: float = -math.inf

    def in_trouble(self, kind: str, now: float) -> float:
        """Note a trouble and return for how many seconds it has lasted."""
        if self.trouble != kind:
            self.trouble, self.since = kind, now
        return now - self.since

    def answered(self) -> None:
        """A definite answer came: earlier repeats do not count any more."""
        self.repeats, self.trouble, self.pages = 0, "", 0

    def polled_with(self, found: TaskState | Unknown | Going | Fatal | Retryable) -> None:
        """Take in what came of a poll."""
        self.polled = self.polled or not isinstance(found, Retryable | Fatal)
        match found:
            case TaskState(status=status, word=word):
                self.odd = "" if word.strip().casefold() == status else f"it says {word!r}"
            case Unknown() | Retryable():
                self.odd = f"{found.code}: {found.bare}"
            case Going(message=message):
                self.odd = message

    @property
    def given_up(self) -> str:
        """Why the task is waited for no longer in this run."""
        said = f"; it said last: {self.odd}" if self.odd else ""
        return f"still with the API after polling.give_up; the next run asks on{said}"


@dataclass(frozen=True, slots=True)
class Reschedule:
    """Come back in so many seconds, in that stage."""

    stage: Stage
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """This run has nothing more to do for the job; `left` says why when it is not at its end."""

    status: Status
    left: str = ""


@dataclass(frozen=True, slots=True)
class Deferred:
    """The job stays planned: a cap has no room, or its price has to be named first."""

    refusal: NotAdmitted


@dataclass(frozen=True, slots=True)
class Abort:
    """The whole run stops buying; the job stays as it is."""

    halt: Fatal
    status: Status


Step = Reschedule | Done | Deferred | Abort


def backoff(repeats: int, rng: random.Random, *, least: float | None = None) -> float:
    """Seconds to wait before repeat number `repeats` (from 1): doubling up to a minute, with jitter.

    Never less than `least`, what the API asked for. Half of each wait is random, so that many waiting jobs do not
    come back together. What was asked for is obeyed for ten minutes at most: then somebody asks whether it still holds.
    """
    full = min(60.0, FIRST_SECONDS * 2.0 ** min(repeats - 1, 10))
    return max(min(least or 0.0, LONGEST_WAIT), full * rng.uniform(0.5, 1.0))
