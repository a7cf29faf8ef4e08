"""What earlier runs have left for this one, and what this one leaves: both read from the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from batcher.damage import Damage
from batcher.jobs import JobId, ResultFile, Status, Succeeded
from batcher.ledger import StoreReader
from batcher.lifecycle import JobRunState, Stage
from batcher.settings import Selection, Settings

from .backlog import WorkItem


def leftovers(
    read: StoreReader, campaigns: Sequence[str], settings: Settings, selection: Selection, damage: Damage
) -> Iterator[tuple[WorkItem, Stage]]:
    """What is bought and not at its end, what lacks a file, what was whole once, and what waits for its price only.

    Intents without an answer are left where nothing may be bought: their key could be the first to arrive.
    """
    fetched: set[JobId] = set()

    def fetch(job_id: JobId, *, done: bool) -> tuple[WorkItem, Stage]:
        fetched.add(job_id)
        state = JobRunState(restore=dict(damage.get(job_id, {})))
        return WorkItem(job_id, state=state, in_flight=False, done=done), Stage.FETCH

    for campaign in campaigns:
        for job_id, status in read.unsettled(campaign):
            if selection.takes_job(job_id) and (selection.buys or status is not Status.SUBMITTING):
                yield WorkItem(job_id), Stage.SUBMIT if status is Status.SUBMITTING else Stage.POLL
        for job_id in read.unsaved(campaign, of_sources=not settings.downloads(campaign)):
            if selection.takes_job(job_id):
                yield fetch(job_id, done=False)
    # Files are looked at in the campaigns whose results are kept here only.
    for job_id in damage:
        if job_id not in fetched and not any(not file.saved and not file.forgotten for file in _files(read, job_id)):
            yield fetch(job_id, done=True)
    for campaign in campaigns:
        for job_id in read.without_final(campaign):
            if selection.takes_job(job_id) and job_id not in fetched:
                yield WorkItem(job_id, in_flight=False), Stage.PRICE


def unfinished(
    read: StoreReader, campaigns: Sequence[str], settings: Settings, selection: Selection, given_up: int
) -> dict[str, int]:
    """Selected jobs that are not done, by what is the matter with them. A file that was whole once is not asked for."""
    found: Counter[str] = Counter()
    if selection.jobs:
        for job_id in map(JobId, selection.jobs):
            job = read.load(job_id)
            match job.phase:
                case Succeeded(files=files):
                    if settings.downloads(job.campaign) and any(not f.saved and not f.forgotten for f in files):
                        found["without file"] += 1
                case _ if (status := read.known([job_id])[job_id].status) not in (Status.PLANNED, Status.CANCELLED):
                    found[str(status)] += 1
        return dict(found)
    for campaign in campaigns:
        for part in read.outcome(campaign, named=bool(selection.only)):
            if selection.only and not selection.takes(part.name):
                continue
            match part.status:
                case Status.SUCCEEDED:
                    if settings.downloads(campaign):
                        found["without file"] += part.jobs
                case Status.PLANNED if selection.is_part:
                    continue
                case status:
                    found[str(status)] += part.jobs
    for source in read.known([JobId(each) for each in selection.also]).values() if selection.only else ():
        if source.status not in (Status.PLANNED, Status.CANCELLED, Status.SUCCEEDED):
            found[str(source.status)] += 1
    if selection.is_part and given_up:
        found[str(Status.PLANNED)] = given_up
    return dict(found)


def to_review(read: StoreReader, campaigns: Sequence[str], selection: Selection) -> int:
    """How many selected jobs wait for a person to judge what they are made from."""
    waiting = (each for campaign in campaigns for each in read.for_review(campaign))
    return sum(selection.may_send(name, job_id) for job_id, name in waiting)


def _files(read: StoreReader, job_id: JobId) -> Sequence[ResultFile]:
    phase = read.load(job_id).phase
    return phase.files if isinstance(phase, Succeeded) else ()
