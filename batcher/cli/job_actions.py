"""What `retry`, `cancel` and `resolve` share: which jobs are meant, and telling what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batcher.errors import AmbiguousJob, UnknownJob
from batcher.jobs import JobId, Status
from batcher.ledger import LedgerReader, LedgerWriter
from batcher.ledger.decisions import (
    SHOWN,
    Decided,
    Decision,
    JobReview,
    Left,
    decide,
    has_campaign,
    review_of,
    select,
)
from batcher.ledger.queries.selectors import Condition
from batcher.text import count, number, safe, short

from .database import open_decisive
from .open_ledger import need_reader
from .terminal import Terminal


@contextmanager
def decisive_ledger(state: Path) -> Iterator[LedgerWriter]:
    """The ledger of a state folder, open for decisions, also while a run is going. Raises StorageError."""
    need_reader(state).close()
    with closing(open_decisive(state)) as ledger:
        yield ledger


@dataclass(frozen=True, slots=True)
class Targets:
    """What was named on the command line: campaigns, and jobs one by one."""

    campaigns: tuple[str, ...]
    jobs: tuple[JobReview, ...]


def find_targets(read: LedgerReader, words: Sequence[str], terminal: Terminal) -> Targets:
    """A word is a campaign if one has exactly this name, else the beginning of a job's id. Raises UsageError."""
    campaigns: dict[str, None] = {}
    jobs: dict[JobId, JobReview] = {}
    for word in words:
        if has_campaign(read, word):
            campaigns[word] = None
            if _begins_a_job(read, word):
                terminal.warn(f"{word!r} is taken for the campaign; a job's id begins so too: type more of that id")
            continue
        job = find_job(read, word, "job or campaign")
        jobs[job.id] = job
    return Targets(tuple(campaigns), tuple(jobs.values()))


def find_job(read: LedgerReader, word: str, noun: str = "job") -> JobReview:
    """The one job whose id begins so. Raises UsageError."""
    try:
        return review_of(read, read.resolve(word))
    except UnknownJob:
        hint = "`batcher jobs` lists the jobs, `batcher status` the campaigns."
        raise UnknownJob(f"there is no {noun} {word!r} in {read.path}", hint=hint) from None


def _begins_a_job(read: LedgerReader, word: str) -> bool:
    try:
        read.resolve(word)
    except AmbiguousJob:
        return True
    except UnknownJob:
        return False
    return True


@dataclass(slots=True)
class ActionOutcome:
    """What a command has changed, what it has left, and how the other jobs of the named campaigns stand."""

    changed: list[Decided] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def undone(self) -> list[Left]:
        """Those that are not as the person wants them."""
        return [left for left in self.left if not left.settled]

    def json(self) -> dict[str, Any]:
        """The outcome as docs/json.md has it."""
        jobs = [
            {
                **_named(done.job),
                "from": done.job.status,
                "to": done.status,
                "freed_credits": 0 if done.charged is None else done.job.hold,
                "charged_credits": done.charged,
            }
            for done in self.changed
        ]
        left = [{**_named(left.job), "status": left.job.status, "reason": left.why} for left in self.left]
        return {"jobs": jobs, "left": left, "others": dict(self.others)}


def _named(job: JobReview) -> dict[str, str]:
    return {"id": job.id, "campaign": job.campaign, "name": job.name}


def carry_out(ledger: LedgerWriter, decision: Decision, jobs: Iterable[JobId]) -> ActionOutcome:
    """Take the decision of each of these jobs."""
    outcome = ActionOutcome()
    for found in decide(ledger, decision, jobs):
        if isinstance(found, Decided):
            outcome.changed.append(found)
        else:
            outcome.left.append(found)
    return outcome


def carry_out_on(
    ledger: LedgerWriter,
    decision: Decision,
    targets: Targets,
    statuses: Iterable[Status],
    wide: Decision | None = None,
    some: Sequence[Condition] = (),
) -> ActionOutcome:
    """Take the decision of the named jobs, and (as `wide`, if that differs) of those with a status in the campaigns.

    Of these only such as meet the conditions `some`.
    """
    outcome = carry_out(ledger, decision, [job.id for job in targets.jobs])
    for campaign in targets.campaigns:
        before = Counter(ledger.read.counts([campaign])[campaign])
        chosen = select(ledger.read, campaign=campaign, statuses=list(statuses), conditions=some)
        found = carry_out(ledger, wide or decision, (job.id for job in chosen))
        outcome.changed += found.changed
        outcome.left += found.undone
        outcome.others += before - Counter(str(done.job.status) for done in found.changed)
    return outcome


def told(outcome: ActionOutcome, became: str = "") -> Iterator[str]:
    """The changed and the left jobs, a line each; `became` says what of those that are changed, else their status."""
    for done in outcome.changed[:SHOWN]:
        yield _line(done.job, became or f"{done.job.status} → {done.status}")
    if len(outcome.changed) > SHOWN:
        yield f"  … and {number(len(outcome.changed) - SHOWN)} more"
    for left in outcome.left[:SHOWN]:
        yield _line(left.job, f"left as it is: {safe(left.why)}")
    if len(outcome.left) > SHOWN:
        yield f"  … and {count(len(outcome.left) - SHOWN, 'more job')} left"


def _line(job: JobReview, became: str) -> str:
    return f"  {job.short}  {short(job.name, 40)}: {became}"
