"""Which planned job is next: from the ledger in pages, in manifest order, so that memory does not grow with it.

A campaign may grow while it is read: its later jobs come behind all that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from batcher.jobs import JobId
from batcher.ledger import NotAdmitted, PlannedJob, StoreReader
from batcher.ledger.answers import ChainPart
from batcher.lifecycle import JobRunState
from batcher.settings import Selection

_PAGE = 200
#: Pages looked through at once for a job that is selected: a few milliseconds, in which nothing else moves.
_PAGES_AT_ONCE = 10


@dataclass(slots=True)
class WorkItem:
    """A job that this run is at work on; `pending` as the backlog gave it, None for what was bought before.

    `done`: all its files were whole once, and some are brought back.
    """

    job_id: JobId
    pending: PlannedJob | None = None
    state: JobRunState = field(default_factory=JobRunState)
    in_flight: bool = True
    done: bool = False


@dataclass(slots=True)
class _Cursor:
    """How far the planned jobs of one class of a campaign have been handed out; `page` is turned round.

    `part` says which of them: sources of others have their own, for these need more room, each as much as what is made
    from it: `refused` has the first job that met a refusal, by what it makes.
    """

    campaign: str
    price_class: str
    part: ChainPart
    after: int = -1
    page: list[PlannedJob] = field(default_factory=list)
    at_end: bool = False
    refused: dict[str, tuple[PlannedJob, NotAdmitted]] = field(default_factory=dict)

    @property
    def is_closed(self) -> bool:
        """Whether none of its jobs may be started at present."""
        return bool(self.refused) and self.part == "none"

    def back_to(self, job: PlannedJob) -> None:
        """Hand this job out again, and all behind it."""
        self.after, self.page, self.at_end = min(self.after, job.position - 1), [], False

    def again(self) -> None:
        """Look from the first one on: any of them may have become ready."""
        self.after, self.page, self.at_end = -1, [], False


class Backlog:
    """The planned jobs of some campaigns, one by one; classes that a cap refused are passed over until reopened.

    Each class has a cursor of its own, so that a class that waits costs nothing however many jobs it has. What is ready
    because others have their results goes before what begins anew, so that caps leave whole chains.
    """

    def __init__(
        self,
        read: StoreReader,
        campaigns: Sequence[str],
        selection: Selection,
        growing: Collection[str] = (),
        *,
        to_come: bool = False,
    ) -> None:
        """`growing` are campaigns of which more jobs are to come; `to_come`: the plan has some to buy."""
        self._read = read
        self._selection = selection
        self._parts: tuple[ChainPart, ...] = ("none", "source", "ready") if read.has_chains() else ("none",)
        self._cursors = {name: self._of_classes(name, read.pending_classes(name)) for name in campaigns}
        self.growing = set(growing)
        self._to_come = to_come
        self._pages = 0
        self.searching = False  # whether `next` gave up for now, and would go on when it is called again

    def _of_classes(self, campaign: str, classes: Iterable[str]) -> list[_Cursor]:
        return [_Cursor(campaign, each, part) for each in classes for part in self._parts]

    @property
    def has_jobs(self) -> bool:
        """Whether any job was planned at the start that may be started, or may come."""
        coming = bool(self.growing) and self._to_come
        return (coming or any(self._cursors.values())) and self._selection.limit != 0

    def grew(self, campaign: str, *, whole: bool) -> None:
        """More jobs of a campaign are planned now; all of them if it is `whole`."""
        if whole:
            self.growing.discard(campaign)
        cursors = self._cursors[campaign]
        for cursor in cursors:
            cursor.at_end = False
        known = {cursor.price_class for cursor in cursors}
        new = [each for each in self._read.pending_classes(campaign) if each not in known]
        cursors += self._of_classes(campaign, new)

    def next(
        self, skip: Callable[[PlannedJob], bool], committed: Callable[[str], int] = lambda _: 0
    ) -> PlannedJob | None:
        """The next job that may be started; None when there is none at present. `skip` names those not to take.

        Where campaigns take turns, the one with the least `committed` credits is next, of several the first.
        """
        self._pages, self.searching = 0, False
        waiting = [name for name, cursors in self._cursors.items() if name in self.growing or any(map(_more, cursors))]
        if self._selection.fair and len(waiting) > 1:
            waiting.sort(key=committed)
        for campaign in waiting:
            ready = [c for c in self._cursors[campaign] if not c.is_closed and self._look(c, skip)]
            if self.searching:
                return None  # else a class whose search is done would go before one of an earlier place
            if ready:
                first = min(ready, key=lambda cursor: (cursor.part != "ready", cursor.page[-1].position))
                found = first.page.pop()
                first.after = found.position
                return found
            if campaign in self.growing:
                return None  # else another campaign would go before jobs of this one that are about to come
        return None

    def _look(self, cursor: _Cursor, skip: Callable[[PlannedJob], bool]) -> bool:
        """Turn to the cursor's next job that may be started, if it has one."""
        while not cursor.at_end:
            while cursor.page:
                found = cursor.page[-1]
                open_ = found.makes not in cursor.refused
                if open_ and self._selection.may_send(found.name, found.id) and not skip(found):
                    return True
                cursor.after = cursor.page.pop().position
            self._pages += 1
            if self._pages > _PAGES_AT_ONCE:
                self.searching = True
                return False
            of = (cursor.campaign, cursor.price_class)
            page = self._read.pending(*of, after=cursor.after, limit=_PAGE, part=cursor.part)
            cursor.page, cursor.at_end = page[::-1], not page
        return False

    def again(self) -> None:
        """Look from the first job on: those that were passed over may be started now."""
        for cursor in self._all():
            cursor.again()

    def close(self, job: PlannedJob, refusal: NotAdmitted) -> None:
        """Pass over the jobs of a class that make what the refused one makes; `reopen` comes back to this very job."""
        for cursor in self._cursors[job.campaign]:
            if (cursor.price_class, cursor.part) == (job.price_class, job.part):
                first, _ = cursor.refused.get(job.makes, (job, refusal))
                cursor.refused[job.makes] = min(first, job, key=lambda each: each.position), refusal

    def _all(self) -> Iterator[_Cursor]:
        return chain.from_iterable(self._cursors.values())

    @property
    def closed(self) -> list[NotAdmitted]:
        """Why classes are passed over."""
        return [refusal for cursor in self._all() for _, refusal in cursor.refused.values()]

    def reopen(self, refusal: Callable[[PlannedJob], NotAdmitted | None]) -> None:
        """Credits may have come free, a price been named or a result come: take up what there is room for again.

        `refusal` is asked with the job that was refused; its answer takes the old one's place.
        """
        for cursor in self._all():
            if cursor.part == "ready":
                cursor.again()
            for makes, (job, _) in list(cursor.refused.items()):
                if found := refusal(job):
                    cursor.refused[makes] = job, found
                else:
                    del cursor.refused[makes]
                    cursor.back_to(job)


def _more(cursor: _Cursor) -> bool:
    return not cursor.at_end or bool(cursor.page)
