"""What has become of a saved plan's jobs, and by whom: its own runs, other runs, a person. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batcher.events import Event
from batcher.jobs import JobId, Status
from batcher.ledger.reader import LedgerReader
from batcher.ledger.store.chains import SOURCE_FAILED, SOURCE_REJECTED
from batcher.ledger.store.enrolment import NOT_IN_MANIFEST

from .sql import among, placeholders

_PAGE = 500
_AGAIN = among(Event.RETRIED, Event.RESOLVED)
_NOT_BOUGHT = (Status.PLANNED, Status.CANCELLED)
#: Why a job is cancelled without a person's word.
_BY_ITSELF = (NOT_IN_MANIFEST, SOURCE_FAILED, SOURCE_REJECTED)


def last_event(read: LedgerReader) -> int:
    """The newest event (row id); 0 without any."""
    return read.figure("SELECT max(id) FROM events")


def used_by(read: LedgerReader, plan: str) -> int:
    """What the runs of a saved plan hold and have settled, in credits."""
    return sum(read.spent(run_id=run).committed for run in _runs(read, plan))


def changed_by_others(read: LedgerReader, jobs: Sequence[JobId], plan: str, since: int) -> Iterator[tuple[JobId, str]]:
    """The jobs that somebody else has bought, cancelled or planned again since an event; what, in words."""
    own = set(_runs(read, plan))
    for start in range(0, len(jobs), _PAGE):
        page = jobs[start : start + _PAGE]
        known = read.known(page)
        buyers: dict[str, set[int | None]] = {}
        for row in read.rows(
            f"SELECT job_id, run_id FROM events WHERE job_id IN ({placeholders(page)}) AND id > ? AND event = ?",
            (*page, since, Event.INTENDED),
        ):
            buyers.setdefault(row["job_id"], set()).add(row["run_id"])
        again = {
            row["job_id"]
            for row in read.rows(
                f"SELECT job_id FROM events WHERE job_id IN ({placeholders(page)}) AND id > ? AND event IN {_AGAIN}",
                (*page, since),
            )
        }
        for job_id in page:
            there, who = known.get(job_id), buyers.get(job_id, set())
            if who - own:
                yield job_id, "was bought by another run"
            elif there is None:
                continue
            elif there.status is Status.CANCELLED and there.error_code not in _BY_ITSELF:
                yield job_id, "was cancelled"
            elif there.status is Status.PLANNED and job_id in again:
                yield job_id, "was planned again by a person"
            elif there.status not in _NOT_BOUGHT and not who:
                yield job_id, f"is {there.status} by no run of this plan"


def unbought(read: LedgerReader, jobs: Sequence[JobId]) -> frozenset[JobId]:
    """Of these jobs those that are still to be bought, if anything is."""
    known = read.known(jobs)
    return frozenset(each for each in jobs if each not in known or known[each].status in _NOT_BOUGHT)


def _runs(read: LedgerReader, plan: str) -> list[int]:
    return [row["id"] for row in read.rows("SELECT id FROM runs WHERE settings ->> '$.plan' = ?", (plan,))]
